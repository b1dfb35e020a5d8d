"""Find pictures and decode them."""

import os
import re
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from cnnviz.errors import InputError, OutputError
from cnnviz.files import absence
from cnnviz.networks.catalog import is_named_network
from cnnviz.shared import Shared

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")


@dataclass(frozen=True)
class ImageSource:
    """A picture to look at, or a place where one was expected.

    Attributes:
        path: Where it is.
        key: Its path relative to the folder it was found in; names its place in the output.
        error: Why it cannot be used; None where nothing is known against it.
        folder: The folder in which it was looked for; None where it was named itself.
        frames: The pictures that it consists of, in order, where it is a clip; empty elsewhere.
    """

    path: Path
    key: str
    error: str | None = None
    folder: Path | None = None
    frames: tuple[Path, ...] = ()


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
    exclude = _real(exclude) if exclude else None
    found: dict[Path, ImageSource] = {}
    for place in inputs:
        for source in _expand(place, exclude):
            found.setdefault(_real(source.path), source)
    sources = list(found.values())
    if all(source.error for source in sources):
        errors = [str(source.error) for source in sources]
        raise InputError("; ".join(errors[:5]) or "no picture in an empty list")
    return told_apart(sources)


def _expand(place: Path, exclude: Path | None) -> list[ImageSource]:
    def without(error: str) -> list[ImageSource]:
        return [ImageSource(place, place.name, error)]

    if not os.path.lexists(place):
        return without(_missing(place))
    if not os.path.isdir(place):
        return [ImageSource(place, place.name)]
    closed: list[OSError] = []
    paths = list(_walk(place, exclude, closed.append))
    found = [ImageSource(p, p.relative_to(place).as_posix(), folder=place) for p in paths]
    found += [_closed(Path(error.filename), error) for error in closed]
    return found or without(f"no picture in folder {place}; looked for {' '.join(EXTENSIONS)}")


def _closed(folder: Path, error: OSError) -> ImageSource:
    said = f"cannot read folder {shown(folder)}: {error.strerror}"
    return ImageSource(folder, folder.name, said)


def _real(path: Path) -> Path:
    # The method of Path raises on links in a circle.
    return Path(os.path.realpath(path))


def shown(place: Path) -> str:
    """Return a path as a line of text can hold it: a line break in it would tear the line."""
    return text if (text := place.as_posix()).isprintable() else repr(text)


def _missing(place: Path) -> str:
    text = shown(place)
    if re.match("(https?|ftp|s3|gs|file):/", text):
        # As a path, an address has lost one of its slashes.
        return f"{text.replace(':/', '://', 1)} is an address and not a file; download it first"
    hint = "; a network is named with -m" if is_named_network(text) else ""
    return f"{text} {absence(place)}{hint}"


def _walk(
    folder: Path, exclude: Path | None, on_error: Callable[[OSError], None]
) -> Iterator[Path]:
    # Only the output of a run is left out, not a folder of pictures that is also the output.
    skip = exclude if exclude != _real(folder) else None
    for root, folders, files in os.walk(folder, onerror=on_error):
        here = Path(root)
        folders[:] = sorted(
            (f for f in folders if not f.startswith(".") and _real(here / f) != skip),
            key=natural_key,
        )
        for name in sorted(files, key=natural_key):
            if name.lower().endswith(EXTENSIONS) and not name.startswith("."):
                yield here / name


def check_places(sources: Iterable[ImageSource], out: Path) -> None:
    """Make sure that no picture lies where the folder for what is drawn of it must be.

    Args:
        sources: The pictures.
        out: The output folder.

    Raises:
        OutputError: If one does; it names it.
    """
    for source in sources:
        if not source.error and _is_same(source.path, out / source.key):
            raise OutputError(
                f"{shown(source.path)} stands where a folder for its own pictures would be made; "
                "choose another output folder with --out"
            )


def _is_same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key that puts img2 before img10."""
    parts = re.split(r"(\d+)", name.lower())
    # int() takes every kind of digit that \d matches; the text breaks the tie of 01 and 1.
    return [(1, int(part), part) if part.isdecimal() else (0, 0, part) for part in parts]


def told_apart(sources: list[ImageSource]) -> list[ImageSource]:
    """Return sources with more of their path in equal keys: no output replaces another."""
    longer: set[Path] = set()
    while True:
        count = Counter(source.key for source in sources)
        twins = {_real(source.path) for source in sources if count[source.key] > 1}
        if not twins:
            return sources
        # A longer key may be that of a third picture: the set grows until none is left.
        longer |= twins
        shared = os.path.commonpath(longer)
        sources = [
            replace(s, key=path.relative_to(shared).as_posix())
            if (path := _real(s.path)) in longer
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
    with decoding(path), Image.open(path) as image:
        scale = _scale(image.size, least) if image.format in ("JPEG", "MPO") else 1
        if scale > 1:
            image.draft(None, (image.width // scale, image.height // scale))
        image.load()
        upright = to_rgb(image)
        return upright, (upright.width * scale, upright.height * scale)


@contextmanager
def decoding(path: Path, part: str = "") -> Iterator[None]:
    """Turn what goes wrong while a file is decoded into an error that names it.

    Args:
        path: The file.
        part: What of it is decoded; ends in "of ".

    Raises:
        InputError: If the file cannot be read, is no picture, is cut short, or is too large.
    """
    try:
        with _silence:
            yield
    except FileNotFoundError as error:
        raise InputError(_missing(path)) from error
    except IsADirectoryError as error:
        raise InputError(f"{shown(path)} is a folder; name a photo") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{part}{shown(path)} is not a picture that can be read") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{part}{shown(path)} is too large: {_megapixels(error)}") from error
    except OSError as error:
        raise InputError(
            f"{part}{shown(path)} cannot be read: {error.strerror or error}"
        ) from error
    except _BROKEN as error:
        raise InputError(f"{part}{shown(path)} is a broken picture: {error}") from error


@contextmanager
def _without_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# Pillow's warnings, of odd metadata and of large sizes, are fine.
_silence = Shared(_without_warnings)


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


def to_rgb(image: Image.Image) -> Image.Image:
    """Return a picture as 8-bit RGB, upright, transparency laid over white."""
    image = ImageOps.exif_transpose(image)
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
