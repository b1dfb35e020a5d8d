"""Small pictures in full colour, each with its name and a line about it, in one picture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from cnnviz.render import text
from cnnviz.render.canvas import (
    LABEL,
    LINE,
    MARGIN,
    Header,
    compose_pictures,
    draw_title,
    fitted_size,
    to_rgb,
)
from cnnviz.render.grid import column_count
from cnnviz.render.palette import WHITE, Indices

_GAP = 8
_SIDES = ((1, 448), (4, 224), (16, 144))
_SMALLEST = 112


@dataclass(frozen=True)
class Tile:
    """One picture among others.

    Attributes:
        image: RGB or grey.
        label: Its name.
        note: What else is to be known, one line.
    """

    image: Image.Image
    label: str
    note: str = ""


@dataclass(frozen=True)
class Shelf:
    """Pictures that stand side by side, under a title.

    Attributes:
        title: What they have in common.
        note: What else is to be known, one line.
        tiles: From left to right.
    """

    title: str
    note: str
    tiles: tuple[Tile, ...]


def draw_pictures(tiles: Sequence[Tile], header: Header) -> Image.Image:
    """Return pictures as tiles of one RGB picture, small ones enlarged smoothly.

    Args:
        tiles: At least one.
        header: What stands above.
    """
    side = next((side for most, side in _SIDES if len(tiles) <= most), _SMALLEST)
    side = max(side, *(max(tile.image.size) for tile in tiles))
    grid = _grid(tiles, side, column_count(len(tiles)))
    return compose_pictures(draw_title(header), [grid])


def draw_shelves(shelves: Sequence[Shelf], header: Header) -> Image.Image:
    """Return rows of pictures, one below the other, all tiles of one size, as RGB."""
    columns = max(len(shelf.tiles) for shelf in shelves)
    parts = []
    for shelf in shelves:
        parts += [_title(shelf), _grid(shelf.tiles, _SMALLEST, columns)]
    return compose_pictures(draw_title(header), parts)


def _title(shelf: Shelf) -> Image.Image:
    wide = text.width(shelf.title, LINE, "bold") + MARGIN + text.width(shelf.note, LINE)
    # Nearer to its own pictures than to those above.
    canvas = np.full((MARGIN + text.line_height(LINE), wide), WHITE, np.uint8)
    used = text.write(canvas, 0, MARGIN, shelf.title, LINE, weight="bold")
    text.write(canvas, used + MARGIN, MARGIN, shelf.note, LINE, strength=text.FAINT)
    return to_rgb(canvas)


def _grid(tiles: Sequence[Tile], side: int, columns: int) -> Image.Image:
    """Return tiles in rows, their labels above them."""
    strips = _strips(tiles, side)
    high = strips[0].height
    down, across = side + high + _GAP, side + _GAP
    rows = math.ceil(len(tiles) / columns)
    columns = min(columns, len(tiles))
    canvas = Image.new("RGB", (columns * across - _GAP, rows * down - _GAP), "white")
    for i, (tile, strip) in enumerate(zip(tiles, strips, strict=True)):
        x, y = i % columns * across, i // columns * down
        canvas.paste(strip, (x, y))
        canvas.paste(_fitted(tile.image, side), (x, y + high))
    return canvas


def _fitted(image: Image.Image, side: int) -> Image.Image:
    """Return a picture with its longer side at `side` pixels, as RGB."""
    enlarged = side > max(image.size)
    way = Image.Resampling.BICUBIC if enlarged else Image.Resampling.LANCZOS
    return image.convert("RGB").resize(fitted_size(image.size, side), way)


def _strips(tiles: Sequence[Tile], side: int) -> list[Image.Image]:
    """Return the labels, all of one height: notes stand behind them, or below where one is long."""
    room = [side - text.width(tile.label, LABEL, "bold") - 5 for tile in tiles]
    behind = all(text.width(t.note, LABEL) <= r for t, r in zip(tiles, room, strict=True))
    line = text.line_height(LABEL)
    found = []
    for tile in tiles:
        canvas: Indices = np.full((line * (1 if behind else 2) + 1, side), WHITE, np.uint8)
        label = text.shorten(tile.label, LABEL, side, "bold")
        used = text.write(canvas, 0, 0, label, LABEL, weight="bold")
        x, y = (used + 5, 0) if behind else (0, line)
        note = text.shorten(tile.note, LABEL, side)
        text.write(canvas, x, y, note, LABEL, strength=text.FAINT)
        found.append(to_rgb(canvas))
    return found
