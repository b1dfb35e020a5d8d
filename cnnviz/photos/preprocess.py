"""What is done to a photo before a network sees it, and where its pixels are then."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnnviz.errors import InputError, UsageError
from cnnviz.selection import parse_number

# Pixels of a resized photo; 100 times as long as wide at the usual sizes.
_LARGEST = 50_000_000
# Of a network's input; beyond it the activations of a first layer alone fill a machine.
_LONGEST_SIDE = 8192

Box = tuple[float, float, float, float]


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
            InputError: If the photo would be huge after the resize.
        """
        width, height = self._resized(photo.size)
        if width * height > _LARGEST:
            raise InputError(
                f"a picture of {photo.width}x{photo.height} pixels would be {width}x{height} after "
                f"the resize, and the limit is {_LARGEST // 1_000_000} million pixels"
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
    sides = [parse_number(part) or 0 for part in parts]
    if len(parts) > 2 or not all(1 <= side <= _LONGEST_SIDE for side in sides):
        raise UsageError(
            f"{what} {text!r} not understood; write 224 or 224x320 (rows x columns), "
            f"sides of 1 to {_LONGEST_SIDE}"
        )
    return sides[0], sides[-1]
