"""Parts of a picture, as arrays of palette indices, and how they are put together."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnnviz.render import text
from cnnviz.render.palette import MAP_COLOURS, WHITE, Indices, grey, rgb_table

MARGIN = 12
TITLE, LINE, LABEL = 16, 12, 10  # font sizes in pixels
_THUMBNAIL = 72
_BAR_WIDTH, _BAR_HEIGHT = 150, 10
_WIDEST_TEXT = 620


@dataclass(frozen=True)
class Header:
    """What stands at the top of a picture.

    Attributes:
        title: The layer.
        lines: What else is to be known, one line each.
        thumbnail: The network's input as (H, W) grey values of 0 to 255, or None.
    """

    title: str
    lines: tuple[str, ...] = ()
    thumbnail: NDArray[np.uint8] | None = None


def draw_title(header: Header, note: str = "") -> Indices:
    """Return a header's thumbnail and text as palette indices, (H, W), without margins."""
    lines = [line for line in (*header.lines, note) if line]
    title = text.shorten(header.title, TITLE, _WIDEST_TEXT, "bold")
    lines = [text.shorten(line, LINE, _WIDEST_TEXT) for line in lines]
    wide = max([text.width(title, TITLE, "bold"), *(text.width(line, LINE) for line in lines)])
    high = text.line_height(TITLE) + len(lines) * text.line_height(LINE)
    canvas = np.full((high, wide), WHITE, dtype=np.uint8)
    text.write(canvas, 0, 0, title, TITLE, weight="bold")
    for i, line in enumerate(lines):
        y = text.line_height(TITLE) + i * text.line_height(LINE)
        text.write(canvas, 0, y, line, LINE, strength=text.FAINT)
    if header.thumbnail is None:
        return canvas
    return beside(_thumbnail(header.thumbnail), canvas, gap=MARGIN)


def _thumbnail(values: NDArray[np.uint8]) -> Indices:
    image = Image.fromarray(values)
    image.thumbnail((2 * _THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)
    return grey(np.asarray(image))


def draw_bar(span: tuple[float, float]) -> Indices:
    """Return the colour bar with its two ends named."""
    strip = text.line_height(LABEL)
    canvas = np.full((_BAR_HEIGHT + 3 + strip, _BAR_WIDTH), WHITE, dtype=np.uint8)
    canvas[:_BAR_HEIGHT] = np.linspace(0, MAP_COLOURS - 1, _BAR_WIDTH).round()
    low, high = (text.number(value) for value in span)
    text.write(canvas, 0, _BAR_HEIGHT + 3, low, LABEL, strength=text.FAINT)
    x = _BAR_WIDTH - text.width(high, LABEL)
    text.write(canvas, x, _BAR_HEIGHT + 3, high, LABEL, strength=text.FAINT)
    return canvas


def beside(left: Indices, right: Indices, gap: int = 2 * MARGIN) -> Indices:
    """Return two parts beside one another, both at the top, `gap` pixels apart."""
    size = (max(left.shape[0], right.shape[0]), left.shape[1] + gap + right.shape[1])
    canvas = np.full(size, WHITE, dtype=np.uint8)
    canvas[: left.shape[0], : left.shape[1]] = left
    canvas[: right.shape[0], left.shape[1] + gap :] = right
    return canvas


def stack(parts: list[Indices]) -> Indices:
    """Return parts below one another, with a margin around and between them."""
    wide = max(part.shape[1] for part in parts) + 2 * MARGIN
    high = sum(part.shape[0] + MARGIN for part in parts) + MARGIN
    canvas = np.full((high, wide), WHITE, dtype=np.uint8)
    y = MARGIN
    for part in parts:
        canvas[y : y + part.shape[0], MARGIN : MARGIN + part.shape[1]] = part
        y += part.shape[0] + MARGIN
    return canvas


def to_image(canvas: Indices, cmap: str) -> Image.Image:
    """Return palette indices, (H, W), as a palette picture."""
    image = Image.fromarray(canvas)
    image.putpalette(rgb_table(cmap).tobytes())
    return image


def paste_colours(
    image: Image.Image, tiles: Iterable[tuple[int, int, NDArray[np.uint8]]]
) -> Image.Image:
    """Return a picture as RGB, with tiles of any colours in it.

    Args:
        image: A palette picture.
        tiles: (top, left, (H, W, 3) RGB) each.
    """
    pixels = np.array(image.convert("RGB"))
    for top, left, tile in tiles:
        pixels[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return Image.fromarray(pixels)
