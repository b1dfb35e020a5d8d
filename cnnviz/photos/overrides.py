"""How photos are prepared where the user says otherwise than the weights."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from cnnviz.errors import UsageError
from cnnviz.photos.preprocess import Preprocess, parse_input_size

Size = tuple[int, int]

NO_CROP = "none"


@dataclass(frozen=True)
class Overrides:
    """What is done to photos in place of what the weights expect; None keeps that.

    Attributes:
        input_size: (rows, columns) of the network's input, the margin around the crop in
            proportion.
        crop: The same, the margin being what is left of `resize`.
        resize: (rows, columns) that the resized photo just covers.
        stretch: Whether the photo is stretched to the input size, and nothing cropped.
        mean: One value, or one per channel, of values in [0, 1].
        std: The same.
        grey: Whether colours are taken away.
    """

    input_size: Size | None = None
    crop: Size | None = None
    resize: Size | None = None
    stretch: bool | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    grey: bool | None = None

    @property
    def size(self) -> Size | None:
        """(rows, columns) of the network's input, where it is set."""
        return self.crop or self.input_size or (self.resize if self.stretch else None)

    def over(self, told: Preprocess) -> Preprocess:
        """Return a preprocessing with these in place of its own.

        Raises:
            UsageError: If the photo is resized to less than what is cropped from it.
        """
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        names = tuple(name for name, value in given.items() if value is not None)
        size = self.size or told.input_size
        if self.input_size:
            told = told.with_input_size(self.input_size)
        resize = size if self.stretch else self.resize or told.resize
        if self.resize or self.crop:
            _check_fits(size, resize)
        return replace(
            told,
            input_size=size,
            resize=resize,
            stretch=told.stretch if self.stretch is None else self.stretch,
            mean=self.mean or told.mean,
            std=self.std or told.std,
            grey=told.grey if self.grey is None else self.grey,
            options=names,
        )


def parse_overrides(
    *,
    input_size: str | None = None,
    resize: str | None = None,
    crop: str | None = None,
    mean: Sequence[str] = (),
    std: Sequence[str] = (),
    grey: bool = False,
) -> Overrides:
    """Return what options of the command line say.

    Args:
        input_size: `224` or `224x320`.
        resize: The same.
        crop: The same, or `none`.
        mean: Numbers, also several in a text, with commas.
        std: The same.
        grey: Whether colours are taken away.

    Raises:
        UsageError: If one is not understood, is out of range, or contradicts another.
    """
    whole = parse_input_size(input_size) if input_size else None
    covered = parse_input_size(resize, "resize") if resize else None
    stretch = (crop or "").lower() == NO_CROP
    part = parse_input_size(crop, "crop") if crop and not stretch else None
    if whole and part and whole != part:
        raise UsageError(
            f"--input-size {input_size} and --crop {crop} are two sizes of the network's input; "
            "give one"
        )
    if stretch and whole and covered and whole != covered:
        raise UsageError(
            f"--input-size {input_size} and --resize {resize} are two sizes of the network's "
            "input where nothing is cropped; give one"
        )
    if covered and (whole or part):
        _check_fits(whole or part or covered, covered)
    return Overrides(
        whole, part, covered, stretch or None,
        _numbers("mean", mean, zero=True), _numbers("std", std, zero=False), grey or None,
    )  # fmt: skip


def _check_fits(size: Size, resize: Size) -> None:
    if size[0] > resize[0] or size[1] > resize[1]:
        raise UsageError(
            f"a photo resized to {_told(resize)} does not fill the network's input of "
            f"{_told(size)}; give a larger --resize or a smaller --crop, or --crop {NO_CROP} to "
            "stretch the photo"
        )


def _told(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def _numbers(name: str, texts: Sequence[str], *, zero: bool) -> tuple[float, ...] | None:
    """Return numbers from 0 to 1; None where there are none."""
    words = [word.strip() for text in texts for word in text.split(",")]
    return tuple(_number(name, word, zero=zero) for word in words) or None


def _number(name: str, word: str, *, zero: bool) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if 0 <= value <= 1 and (zero or value > 0):
        return value
    wanted = f"it is one number{'' if zero else ' above 0 and'} up to 1, or one per channel: "
    wanted += "0.485,0.456,0.406" if zero else "0.229,0.224,0.225"
    if 1 < value <= 255:
        wanted = f"photos have values of 0 to 1, not of 0 to 255: write {value / 255:.3g}"
    raise UsageError(f"{name} {word!r} not understood; {wanted}")
