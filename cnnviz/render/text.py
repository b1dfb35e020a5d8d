"""Text as small arrays of ink."""

from functools import cache, lru_cache
from pathlib import Path
from typing import Literal

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import ImageFont

from cnnviz.render.palette import Indices, grey

# Darkness of the ink, 0 to 1: for what is read first, and for what is looked up.
STRONG, FAINT = 0.9, 0.62

Weight = Literal["regular", "bold"]


@cache
def _font(size: int, weight: Weight) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if weight == "bold" else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", name), size)


def line_height(size: int) -> int:
    """Return the pixels from one line of text to the next."""
    return round(size * 1.35)


@lru_cache(maxsize=4096)
def ink(text: str, size: int, weight: Weight = "regular") -> NDArray[np.uint8]:
    """Return the coverage of a line of text, (line_height(size), width) uint8, 255 is full ink."""
    # Names of files may hold anything; fonts refuse bytes that are no text, and line ends.
    shown = text
    if not text.isprintable():
        shown = "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
    mask, (left, top) = _font(size, weight).getmask2(shown, mode="L", anchor="ls")
    width, height = mask.size
    coverage = np.asarray(mask, dtype=np.uint8).reshape(height, width)
    canvas = np.zeros((line_height(size), max(left, 0) + width), dtype=np.uint8)
    # `top` counts from the baseline, which lies so that descenders just fit.
    first = max(round(size * 1.02) + top, 0)
    visible = coverage[: max(canvas.shape[0] - first, 0)]
    canvas[first : first + len(visible), max(left, 0) :] = visible
    return canvas


def write(
    canvas: Indices,
    x: int,
    y: int,
    text: str,
    size: int,
    *,
    weight: Weight = "regular",
    strength: float = STRONG,
) -> int:
    """Write a line of text on white, cut at the canvas's edges, and return its width in pixels.

    Args:
        canvas: (H, W) palette indices, changed in place.
        x: Column of the left edge.
        y: Row of the line's top.
        text: One line.
        size: Pixels of the font.
        weight: Of the font.
        strength: Darkness of the ink, 0 to 1.
    """
    if not text:
        return 0
    written = _written(text, size, weight, strength)
    place = canvas[y : y + written.shape[0], x : x + written.shape[1]]
    np.minimum(place, written[: place.shape[0], : place.shape[1]], out=place)
    return int(written.shape[1])


@lru_cache(maxsize=4096)
def _written(text: str, size: int, weight: Weight, strength: float) -> Indices:
    """Return a line of text as palette indices, (line_height(size), width); none is above white."""
    return _shades(strength)[ink(text, size, weight)]


@cache
def _shades(strength: float) -> Indices:
    """Return the palette index of each coverage, 0 to 255."""
    return grey(255 - np.arange(256) * np.float32(strength))


def width(text: str, size: int, weight: Weight = "regular") -> int:
    """Return the width of a line of text in pixels."""
    return ink(text, size, weight).shape[1] if text else 0


def shorten(text: str, size: int, room: int, weight: Weight = "regular") -> str:
    """Return the text, its middle left out where it is wider than `room` pixels."""
    if width(text, size, weight) <= room:
        return text
    for kept in range(len(text) - 1, 1, -1):
        head = text[: (kept + 1) // 2]
        tail = text[len(text) - kept // 2 :]
        if width(f"{head}…{tail}", size, weight) <= room:
            return f"{head}…{tail}"
    return ""


def number(value: float) -> str:
    """Return a number in at most six characters: 0, 0.31, -12, 4e-5."""
    size = abs(value)
    if not np.isfinite(value):
        return "NaN" if np.isnan(value) else ("−∞" if value < 0 else "∞")
    if size == 0:
        return "0"
    if size >= 99999.5 or size < 0.001:
        mantissa, exponent = f"{value:.0e}".split("e")
        text = f"{mantissa}e{int(exponent)}"
    else:
        places = 0 if size >= 9.95 else 1 if size >= 0.995 else 2 if size >= 0.0995 else 3
        text = f"{value:.{places}f}"
    return text.replace("-", "−")
