"""Parts of a picture, as arrays of palette indices, and how they are put together."""

from collections.abc import Iterable, Sequence
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

# (top, left, (H, W, 3) RGB)
Placed = tuple[int, int, NDArray[np.uint8]]


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


def draw_title(header: Header, note: str = "", span: tuple[float, float] | None = None) -> Indices:
    """Return a header's thumbnail and text as palette indices, (H, W), without margins.

    Args:
        header: What it tells.
        note: A line more.
        span: The range of values that all colours share, for a colour bar; None for no bar.
    """
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
    if header.thumbnail is not None:
        canvas = beside(_thumbnail(header.thumbnail), canvas, gap=MARGIN)
    return beside(canvas, draw_bar(span)) if span else canvas


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


def caption_height(count: int) -> int:
    """Return the pixels of a caption with so many lines below its title."""
    return text.line_height(LINE) + count * text.line_height(LABEL)


def write_caption(canvas: Indices, title: str, lines: Sequence[str]) -> None:
    """Write a title and lines below it at the top of a canvas, cut to its width."""
    room = canvas.shape[1]
    title = text.shorten(title, LINE, room, "bold")
    text.write(canvas, 0, 0, title, LINE, weight="bold")
    for i, line in enumerate(lines):
        line = text.shorten(line, LABEL, room)
        text.write(canvas, 0, caption_height(i), line, LABEL, strength=text.FAINT)


def fitted_size(size: tuple[float, float], side: int) -> tuple[int, int]:
    """Return (width, height) in the same proportions with the longer one at `side` pixels."""
    ratio = side / max(size)
    return max(round(size[0] * ratio), 1), max(round(size[1] * ratio), 1)


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


def compose(
    title: Indices | None, body: Indices, cmap: str, tiles: Iterable[Placed] | None = None
) -> Image.Image:
    """Return a body below a title, where there is one, as a picture with a margin around.

    Args:
        title: (H, W) palette indices.
        body: (H, W) palette indices.
        cmap: A matplotlib colour map.
        tiles: What is put on the body in any colours, which makes an RGB picture; None for a
            palette picture.
    """
    canvas = stack([body] if title is None else [title, body])
    image = to_image(canvas, cmap)
    if tiles is None:
        return image
    pixels = np.array(image.convert("RGB"))
    inside = pixels[canvas.shape[0] - MARGIN - body.shape[0] :, MARGIN:]
    for top, left, tile in tiles:
        inside[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return Image.fromarray(pixels)


def compose_pictures(
    title: Indices, pictures: Sequence[Image.Image], cmap: str = "gray"
) -> Image.Image:
    """Return RGB pictures below one another, and below a title, with a margin around."""
    head = to_rgb(stack([title]), cmap)
    body = stack_pictures(pictures)
    size = max(head.width, body.width + 2 * MARGIN), head.height + body.height + MARGIN
    canvas = Image.new("RGB", size, "white")
    canvas.paste(head, (0, 0))
    canvas.paste(body, (MARGIN, head.height))
    return canvas


def stack_pictures(pictures: Sequence[Image.Image]) -> Image.Image:
    """Return RGB pictures below one another."""
    size = max(one.width for one in pictures), sum(one.height for one in pictures)
    canvas = Image.new("RGB", size, "white")
    top = 0
    for one in pictures:
        canvas.paste(one, (0, top))
        top += one.height
    return canvas


def to_image(canvas: Indices, cmap: str) -> Image.Image:
    """Return palette indices, (H, W), as a palette picture."""
    image = Image.fromarray(canvas)
    image.putpalette(rgb_table(cmap).tobytes())
    return image


def to_rgb(canvas: Indices, cmap: str = "gray") -> Image.Image:
    """Return palette indices, (H, W), as an RGB picture."""
    return Image.fromarray(rgb_table(cmap)[canvas])
