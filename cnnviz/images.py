"""Find pictures, decode them, and prepare them for a network."""

import os
import re
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from cnnviz.errors import InputError, UsageError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")

# Pixels of a resized photo; 100 times as long as wide at the usual sizes.
_LARGEST = 50_000_000

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class ImageSource:
    """A picture to look at, or a place where one was expected.

    Attributes:
        path: Where it is.
        key: Its path relative to the folder it was found in; names its place in the output.
        error: Why it cannot be used; None where nothing is known against it.
    """

    path: Path
    key: str
    error: str | None = None


def find_images(inputs: Iterable[Path], *, exclude: Path | None = None) -> list[ImageSource]:
    """Return the pictures that are named or lie below named folders, in the order people count.

    A file is taken whatever its name; in a folder, searched recursively, the extension decides
    and hidden files are passed over. Inputs that lead to no picture are among the result with
    their error, so that a long run can go on without them.

    Args:
        inputs: Files and folders.
        exclude: A folder that is not entered: the output of a run before this one.

    Raises:
        InputError: If there is no picture at all.
    """
    found: dict[Path, ImageSource] = {}
    for place in inputs:
        for source in _expand(place, exclude):
            found.setdefault(source.path.resolve(), source)
    sources = list(found.values())
    if all(source.error for source in sources):
        errors = [str(source.error) for source in sources]
        raise InputError("; ".join(errors[:5]) or "no picture in an empty list")
    return _tell_apart(sources)


def _expand(place: Path, exclude: Path | None) -> list[ImageSource]:
    def without(error: str) -> list[ImageSource]:
        return [ImageSource(place, place.name, error)]

    if not os.path.lexists(place):
        hint = "; download it first" if str(place).startswith(("http:", "https:")) else ""
        return without(f"{place} does not exist{hint}")
    if not place.is_dir():
        return [ImageSource(place, place.name)]
    try:
        paths = list(_walk(place, exclude.resolve() if exclude else None))
    except OSError as error:
        return without(f"cannot read folder {error.filename}: {error.strerror}")
    if not paths:
        return without(f"no picture in folder {place}; looked for {' '.join(EXTENSIONS)}")
    return [ImageSource(path, path.relative_to(place).as_posix()) for path in paths]


def _walk(folder: Path, exclude: Path | None) -> Iterator[Path]:
    # Only the output of a run is left out, not a folder of pictures that is also the output.
    skip = exclude if exclude != folder.resolve() else None
    for root, folders, files in os.walk(folder, onerror=_raise):
        here = Path(root)
        folders[:] = sorted(
            (f for f in folders if not f.startswith(".") and (here / f).resolve() != skip),
            key=natural_key,
        )
        for name in sorted(files, key=natural_key):
            if name.lower().endswith(EXTENSIONS) and not name.startswith("."):
                yield here / name


def _raise(error: OSError) -> None:
    raise error


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key that puts img2 before img10."""
    parts = re.split(r"(\d+)", name.lower())
    # int() takes every kind of digit that \d matches; the text breaks the tie of 01 and 1.
    return [(1, int(part), part) if part.isdecimal() else (0, 0, part) for part in parts]


def _tell_apart(sources: list[ImageSource]) -> list[ImageSource]:
    """Give pictures of the same key more of their path, so that no output overwrites another."""
    longer: set[Path] = set()
    while True:
        count = Counter(source.key for source in sources)
        twins = {source.path.resolve() for source in sources if count[source.key] > 1}
        if not twins:
            return sources
        # A longer key may be that of a third picture: the set grows until none is left.
        longer |= twins
        shared = os.path.commonpath(longer)
        sources = [
            replace(s, key=path.relative_to(shared).as_posix())
            if (path := s.path.resolve()) in longer
            else s
            for s in sources
        ]


def open_image(path: Path) -> Image.Image:
    """Return the picture as 8-bit RGB, upright, transparency laid over white, first frame only.

    Raises:
        InputError: If the file cannot be read, is no picture, is cut short, or is too large.
    """
    return open_reduced(path, None)[0]


def open_reduced(path: Path, least: int | None) -> tuple[Image.Image, tuple[int, int]]:
    """Return the picture as `open_image` does, or smaller where that is quicker, and its size.

    A JPEG holds its blocks as frequencies, and is decoded at a half, a quarter or an eighth of
    its size in less time, each pixel then being the mean of those that it stands for. Only scales
    that divide both sides are taken, so that every pixel stays where it was.

    Args:
        path: The file.
        least: How long both sides of the smaller picture must be; None for the whole picture.

    Returns:
        The picture, and (width, height) of the whole one, upright.

    Raises:
        InputError: As `open_image` does.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata and of sizes below its limit; both are fine here.
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                scale = _scale(image.size, least) if image.format in ("JPEG", "MPO") else 1
                if scale > 1:
                    image.draft(None, (image.width // scale, image.height // scale))
                image.load()
                upright = _to_rgb(ImageOps.exif_transpose(image))
                return upright, (upright.width * scale, upright.height * scale)
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is not a picture that can be read") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} is too large: {_megapixels(error)}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except _BROKEN as error:
        raise InputError(f"{path} is a broken picture: {error}") from error


def _scale(size: tuple[int, int], least: int | None) -> int:
    """Return by how much a JPEG may be reduced while it is decoded."""
    return next(
        scale
        for scale in (8, 4, 2, 1)
        if scale == 1 or (least and all(s % scale == 0 and s // scale >= least for s in size))
    )


# What Pillow's decoders raise on damaged files, besides OSError.
_BROKEN = (
    ValueError, TypeError, SyntaxError, EOFError, LookupError, ArithmeticError, AttributeError,
    MemoryError, NotImplementedError, struct.error, zlib.error,
)  # fmt: skip


def _megapixels(error: Exception) -> str:
    pixels = re.search(r"\d+", str(error))
    limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
    size = f"{int(pixels[0]) // 1_000_000} million pixels; " if pixels else ""
    return f"{size}the limit is {limit} million"


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        return Image.fromarray(_to_8_bit(np.asarray(image))).convert("RGB")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_8_bit(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return grey values as 0 to 255, taking them as shares of one, bytes or 16-bit by range."""
    grey = np.nan_to_num(values.astype(np.float64))
    if not np.issubdtype(values.dtype, np.integer) and grey.max() <= 1:
        full = 1.0
    else:
        full = 65535.0 if values.dtype == np.uint16 or grey.max() > 255 else 255.0
    return np.rint(np.clip(grey / full, 0, 1) * 255).astype(np.uint8)


@dataclass(frozen=True)
class Preprocess:
    """What is done to a photo before a network sees it: resize, centre crop, grey, normalise.

    Attributes:
        input_size: (rows, columns) of the network's input.
        resize: (rows, columns) that the resized photo just covers, keeping its proportions;
            the crop is taken from its centre.
        mean: Per channel of the network's input (red, green, blue; or grey), of values in [0, 1].
        std: Per channel.
        interpolation: Pillow's resampling filter.
        grey: Whether colours are taken away.
        stretch: Whether the resized photo has the size `resize`, whatever its proportions were.
        source: Who says so: "weights" (published with them), "model" (its builder's usual weights),
            "timm", "assumed" (nobody), or "options" (the user).
        options: Names of what the user said in place of the source.

    Example:
        >>> import cnnviz
        >>> own = cnnviz.Preprocess((28, 28), (32, 32), mean=(0.13,), std=(0.31,), grey=True)
        >>> own.channels
        1
    """

    input_size: tuple[int, int]
    resize: tuple[int, int]
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: Image.Resampling = Image.Resampling.BILINEAR
    grey: bool = False
    stretch: bool = False
    source: str = "options"
    options: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        """How many channels the network's input has."""
        return len(self.mean)

    def with_input_size(self, size: tuple[int, int]) -> "Preprocess":
        """Return the same for another input size, the margin around the crop in proportion."""
        ratio = (self.resize[0] / self.input_size[0], self.resize[1] / self.input_size[1])
        resize = (round(size[0] * ratio[0]), round(size[1] * ratio[1]))
        return replace(self, input_size=size, resize=resize)

    def with_channels(self, count: int) -> "Preprocess":
        """Return the same for a network that reads so many channels; one is grey.

        Raises:
            UsageError: If the user gave the mean or deviation of another number of channels.
        """
        return replace(
            self,
            mean=self._per_channel("mean", self.mean, count),
            std=self._per_channel("std", self.std, count),
            grey=self.grey or count == 1,
        )

    def _per_channel(self, name: str, values: tuple[float, ...], count: int) -> tuple[float, ...]:
        if len(values) == count:
            return values
        if name in self.options and len(values) > 1:
            wanted = "give one value" + (f", or {count}" if count > 1 else "")
            raise UsageError(
                f"{name} {','.join(f'{value:g}' for value in values)} has {len(values)} values, "
                f"and the network reads {'one channel' if count == 1 else f'{count} channels'}; "
                f"{wanted}"
            )
        # Of other inputs than red, green and blue only the usual middle and spread are known.
        return (sum(values) / len(values),) * count

    def crop(self, photo: Image.Image) -> Image.Image:
        """Return the part of an RGB photo that the network sees, at its input size.

        As torchvision's `Resize`, `CenterCrop` and `Grayscale` do on a Pillow image, to the pixel.

        Raises:
            InputError: If the photo is so narrow that it would be huge after the resize.
        """
        width, height = self._resized(photo.size)
        if width * height > _LARGEST:
            raise InputError(
                f"a picture of {photo.width}x{photo.height} pixels is too narrow: "
                f"it would be {width}x{height} after the resize"
            )
        resized = photo.resize(self._resized(photo.size), self.interpolation)
        left, top = self._corner(resized.size)
        rows, columns = self.input_size
        return self.in_colour(resized.crop((left, top, left + columns, top + rows)))

    def in_colour(self, photo: Image.Image) -> Image.Image:
        """Return an RGB photo in the colours that the network sees."""
        return photo.convert("L").convert("RGB") if self.grey else photo

    def normalize(self, picture: Image.Image) -> NDArray[np.float32]:
        """Return an RGB picture as (C, H, W) float32, in C order, with `mean` and `std` applied.

        C is three, or one for a network that reads grey pictures.
        """
        levels = np.atleast_3d(np.asarray(picture.convert("L") if self.channels == 1 else picture))
        values = levels.astype(np.float32).transpose(2, 0, 1) / np.float32(255)
        mean = np.asarray(self.mean, dtype=np.float32)[:, None, None]
        std = np.asarray(self.std, dtype=np.float32)[:, None, None]
        return np.ascontiguousarray((values - mean) / std)

    def to_photo(self, box: Box, photo_size: tuple[int, int]) -> Box:
        """Return where a box on the network's input lies on the photo.

        Args:
            box: (x0, y0, x1, y1) pixels of the input, end exclusive.
            photo_size: (width, height) of the photo, upright.

        Returns:
            (x0, y0, x1, y1) pixels of the photo; beyond its edges where the box was in padding.
        """
        resized = self._resized(photo_size)
        left, top = self._corner(resized)
        x, y = photo_size[0] / resized[0], photo_size[1] / resized[1]
        x0, y0, x1, y1 = box
        return ((x0 + left) * x, (y0 + top) * y, (x1 + left) * x, (y1 + top) * y)

    def to_input(self, box: Box, photo_size: tuple[int, int]) -> Box:
        """Return where a box on the photo lies on the network's input; undoes `to_photo`."""
        resized = self._resized(photo_size)
        left, top = self._corner(resized)
        x, y = resized[0] / photo_size[0], resized[1] / photo_size[1]
        x0, y0, x1, y1 = box
        return (x0 * x - left, y0 * y - top, x1 * x - left, y1 * y - top)

    def _resized(self, photo_size: tuple[int, int]) -> tuple[int, int]:
        """Return (width, height) after the resize."""
        width, height = photo_size
        rows, columns = self.resize
        if self.stretch:
            return columns, rows
        # Integer division as torchvision has it: the longer side is rounded down.
        if width * rows <= height * columns:
            return columns, max(columns * height // width, 1)
        return max(rows * width // height, 1), rows

    def _corner(self, resized: tuple[int, int]) -> tuple[int, int]:
        """Return (left, top) of the crop; negative where the resized photo is smaller."""
        rows, columns = self.input_size
        return round((resized[0] - columns) / 2), round((resized[1] - rows) / 2)


def parse_input_size(text: str, what: str = "input size") -> tuple[int, int]:
    """Return (rows, columns) from `224` or `224x320`.

    Args:
        text: As the user wrote it.
        what: What it is the size of, for messages.

    Raises:
        UsageError: If the text is neither, or a side is not within 1 to 8192.
    """
    parts = text.lower().split("x")
    sides = [int(part) for part in parts if part.strip().isdecimal()]
    if len(parts) > 2 or len(sides) != len(parts) or not all(1 <= side <= 8192 for side in sides):
        raise UsageError(f"{what} {text!r} not understood; write 224 or 224x320 (rows x columns)")
    return sides[0], sides[-1]
