"""Small tiles in rows and columns, rows named at the left and columns on top."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnnviz.choices import Normalize
from cnnviz.render import text
from cnnviz.render.canvas import LABEL, MARGIN, Header, paste_colours, stack, to_image
from cnnviz.render.grid import draw_scale_header
from cnnviz.render.palette import WHITE, Indices, grey
from cnnviz.render.scale import Floats, Scaled, scale, scale_colours

# Pixels: what a plate should not exceed, what a tile's side should be, and gaps.
_WIDTH, _HEIGHT, _SMALLEST_TILE, _LARGEST_TILE = 1300, 1900, 20, 72
_LARGEST = 48_000_000
_LARGEST_CELL = 16  # side of one number of a matrix
_GAP, _GROUP_GAP = 2, 8
_WIDEST_NAME = 150
_LINE = grey(200)
# Numbers of a matrix beyond which squares of it are averaged.
_MOST_NUMBERS = 4_000_000


@dataclass(frozen=True)
class Caption:
    """The name of a row.

    Attributes:
        label: What is read first, such as the number of a filter.
        note: What stands behind it.
    """

    label: str
    note: str = ""


@dataclass(frozen=True)
class _Track:
    """Where the tiles of one direction lie.

    Attributes:
        starts: (count,) the first pixel of each tile.
        side: Pixels of a tile.
        total: Pixels of all of them with their gaps.
        together: How many stand together before a wider gap; 0 for all.
    """

    starts: NDArray[np.intp]
    side: int
    total: int
    together: int

    @property
    def pixels(self) -> NDArray[np.intp]:
        """(count * side,) the pixels of all tiles."""
        return (self.starts[:, None] + np.arange(self.side)).ravel()

    def every(self, room: int) -> int:
        """Return how many tiles share a name that takes so many pixels."""
        count = math.ceil(room * len(self.starts) / max(self.total, 1))
        if count > 1 and self.together > 1:
            # Whole groups, so that the first of each is named.
            count = math.ceil(count / self.together) * self.together
        return max(count, 1)


def draw_plate(
    tiles: Floats,
    rows: Sequence[Caption],
    columns: Sequence[str],
    header: Header,
    *,
    normalize: Normalize = Normalize.CHANNEL,
    cmap: str = "RdBu_r",
    signed: bool = True,
    by_row: bool = True,
    together: tuple[int, int] = (0, 0),
) -> Image.Image:
    """Return tiles in rows and columns; those of one number each stand close, as a matrix.

    Args:
        tiles: (R, K, H, W) values, R and K at least 1; or (R, K, H, W, 3) signed values of red,
            green and blue, which make an RGB picture where grey is zero.
        rows: One for each row.
        columns: One for each column.
        header: What stands above.
        normalize: CHANNEL gives each row, or each tile, a scale of its own.
        cmap: A matplotlib colour map.
        signed: Whether zero has the colour in the middle.
        by_row: Whether the tiles of a row share a scale.
        together: How many rows, and how many columns, stand together before a wider gap; 0 for
            all.

    Raises:
        UnknownNameError: If there is no such colour map.
    """
    coloured = tiles.ndim == 5
    tiles, shrunk = _shrink(tiles)
    scaled = _scale(tiles, normalize, signed, by_row)
    down, across = _tracks(tiles.shape, together)
    names = _Names.fit(rows[::shrunk], columns[::shrunk], down, across)
    body = np.full((names.top + down.total, names.left + across.total), WHITE, dtype=np.uint8)
    names.write(body, down, across)
    factor = down.side // tiles.shape[2]
    pixels = scaled.indices.reshape(tiles.shape).repeat(factor, axis=2).repeat(factor, axis=3)
    if not coloured:
        _fill(body[names.top :, names.left :], pixels, down, across)
    said = f"squares of {shrunk} × {shrunk} averaged" if shrunk > 1 else ""
    around, unit = signed or coloured, "row" if by_row else "tile"
    title = draw_scale_header(header, scaled, normalize, around, said, unit)
    canvas = stack([title, body])
    image = to_image(canvas, cmap)
    if not coloured:
        return image
    top, left = canvas.shape[0] - MARGIN - body.shape[0] + names.top, MARGIN + names.left
    return paste_colours(
        image,
        (
            (top + y, left + x, tile)
            for y, row in zip(down.starts, pixels, strict=True)
            for x, tile in zip(across.starts, row, strict=True)
        ),
    )


def _shrink(tiles: Floats) -> tuple[Floats, int]:
    """Return a huge matrix averaged over squares, and their side; all else as it is."""
    rows, columns = tiles.shape[:2]
    side = math.ceil(math.sqrt(rows * columns / _MOST_NUMBERS))
    if side <= 1 or tiles[0, 0].size > 1:
        return tiles, 1
    side = min(side, rows, columns)
    cut = tiles[: rows // side * side, : columns // side * side]
    squares = cut.reshape(rows // side, side, columns // side, side, 1, 1)
    return squares.mean(axis=(1, 3)), side


def _scale(tiles: Floats, normalize: Normalize, signed: bool, by_row: bool) -> Scaled:
    rows, columns, height, width = tiles.shape[:4]
    shape = (rows, columns * height, width) if by_row else (rows * columns, height, width)
    if tiles.ndim == 5:
        return scale_colours(tiles.reshape(*shape, 3), normalize)
    return scale(tiles.reshape(shape), normalize, signed=signed)


def _tracks(shape: tuple[int, ...], together: tuple[int, int]) -> tuple[_Track, _Track]:
    rows, columns, height, width = shape[:4]
    matrix = height == width == 1
    gap = 0 if matrix else _GAP
    room = min(_WIDTH // (columns * width), _HEIGHT // (rows * height))
    if matrix:
        factor = min(max(room, 1), _LARGEST_CELL)
    else:
        side = max(height, width)
        room = min(room, _LARGEST_TILE // side)
        factor = max(room, math.ceil(_SMALLEST_TILE / side))
        while factor > 1 and rows * columns * (factor * side + gap) ** 2 > _LARGEST:
            factor -= 1
    return (
        _track(rows, height * factor, gap, together[0]),
        _track(columns, width * factor, gap, together[1]),
    )


def _track(count: int, side: int, gap: int, together: int) -> _Track:
    numbers = np.arange(count)
    groups = numbers // together if together else np.zeros_like(numbers)
    starts = numbers * (side + gap) + groups * _GROUP_GAP
    return _Track(starts, side, int(starts[-1]) + side, together)


def _between(track: _Track) -> NDArray[np.bool_]:
    """Return which pixels lie in the wider gaps between groups."""
    wide = np.zeros(track.total, dtype=np.bool_)
    firsts = track.starts[track.together :: track.together] if track.together else []
    for first in firsts:
        wide[first - _GROUP_GAP : first] = True
    return wide


def _fill(body: Indices, pixels: Indices, down: _Track, across: _Track) -> None:
    """Put tiles, (R, K, h, w), into their places, with light lines between those of a group."""
    if len(down.starts) * down.side < down.total:
        body[...] = np.where(_between(down)[:, None] | _between(across), WHITE, _LINE)
    flat = pixels.transpose(0, 2, 1, 3).reshape(len(down.pixels), len(across.pixels))
    body[np.ix_(down.pixels, across.pixels)] = flat


@dataclass(frozen=True)
class _Names:
    """The names of rows and columns, as many as can be read, and the room that they take.

    Attributes:
        rows: (number of the row, its caption).
        columns: (number of the column, its name).
        notes_at: Column of pixels where the notes of rows begin.
        left: Pixels left of the tiles.
        top: Pixels above the tiles.
    """

    rows: Sequence[tuple[int, Caption]]
    columns: Sequence[tuple[int, str]]
    notes_at: int
    left: int
    top: int

    @classmethod
    def fit(
        cls, rows: Sequence[Caption], columns: Sequence[str], down: _Track, across: _Track
    ) -> "_Names":
        """Choose which rows and columns are named."""
        line = text.line_height(LABEL)
        labels = [text.shorten(row.label, LABEL, _WIDEST_NAME, "bold") for row in rows]
        widest = max(text.width(name, LABEL) for name in columns)
        named = list(zip(labels, rows, strict=True))[: len(down.starts)]
        captions = [(i, Caption(label, row.note)) for i, (label, row) in enumerate(named)]
        notes_at = max(text.width(label, LABEL, "bold") for label in labels) + 5
        notes = max(text.width(row.note, LABEL) for row in rows)
        return cls(
            captions[:: down.every(line)],
            list(enumerate(columns[: len(across.starts)]))[:: across.every(widest + 6)],
            notes_at,
            notes_at + notes + (5 if notes else 0),
            line + 2 if widest else 0,
        )

    def write(self, body: Indices, down: _Track, across: _Track) -> None:
        """Write the names at the left of the tiles and above them."""
        line = text.line_height(LABEL)
        for i, caption in self.rows:
            # Beside the middle of its tile; where many rows share the height of a line, below.
            y = self.top + int(down.starts[i]) + max((down.side - line) // 2, 0)
            text.write(body, 0, y, caption.label, LABEL, weight="bold")
            text.write(body, self.notes_at, y, caption.note, LABEL, strength=text.FAINT)
        for i, name in self.columns:
            room = max(across.side - text.width(name, LABEL), 0)
            x = self.left + int(across.starts[i]) + room // 2
            text.write(body, x, 0, name, LABEL, strength=text.FAINT)
