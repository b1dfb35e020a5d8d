"""Small tiles in rows and columns with names, and matrices."""

import math
from collections.abc import Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnnviz.choices import Normalize
from cnnviz.render import text
from cnnviz.render.block import Block, Caption, Spacing
from cnnviz.render.canvas import LABEL, MARGIN, Header, beside, compose, draw_title
from cnnviz.render.grid import draw_scale_header
from cnnviz.render.palette import Indices
from cnnviz.render.scale import Floats, Scaled, scale, scale_colours

# Pixels: what a plate should not exceed, what a tile's side should be, and room for a name.
_WIDTH, _HEIGHT, _SMALLEST_TILE, _LARGEST_TILE = 1300, 1900, 20, 72
_LARGEST = 48_000_000
_LARGEST_CELL = 16  # side of one number of a matrix
_TYPICAL_NAME = 50
_NARROW, _WIDE, _LARGE_TILE = 2, 5, 30  # gaps of small and of large tiles
# Numbers of a matrix beyond which squares of it are averaged.
_MOST_NUMBERS = 6_000_000


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
    tiles, shrunk = _shrink(tiles)
    rows, columns = rows[::shrunk][: len(tiles)], columns[::shrunk][: tiles.shape[1]]
    scaled = _scale(tiles, normalize, signed, by_row)
    height, width = _tile_size(tiles.shape)
    pixels = scaled.indices.reshape(tiles.shape)
    pixels = pixels.repeat(height // tiles.shape[2], axis=2).repeat(width // tiles.shape[3], axis=3)
    spacing = Spacing(_gap(tiles.shape, width), *together)
    count = _rows_per_block(tiles.shape, (height, width), spacing)
    blocks = [
        Block(pixels[i : i + count], rows[i : i + count], columns, spacing)
        for i in range(0, len(rows), count)
    ]
    coloured = tiles.ndim == 5
    said = f"squares of {shrunk} × {shrunk} averaged" if shrunk > 1 else ""
    around, unit = signed or coloured, "row" if by_row else "tile"
    title = draw_scale_header(header, scaled, normalize, around, said, unit)
    return _compose(title, blocks, cmap, coloured=coloured)


def draw_patches(
    tiles: NDArray[np.uint8], rows: Sequence[Caption], columns: Sequence[str], header: Header
) -> Image.Image:
    """Return pictures in rows and columns, in their own colours, as RGB.

    Args:
        tiles: (R, K, H, W, 3) RGB.
        rows: One for each row.
        columns: One for each column.
        header: What stands above.
    """
    spacing = Spacing(_WIDE)
    count = _rows_per_block(tiles.shape, tiles.shape[2:4], spacing)
    blocks = [
        Block(tiles[i : i + count], rows[i : i + count], columns, spacing)
        for i in range(0, len(rows), count)
    ]
    return _compose(draw_title(header), blocks, "gray", coloured=True)


def _compose(title: Indices, blocks: Sequence[Block], cmap: str, *, coloured: bool) -> Image.Image:
    """Return blocks beside one another below a title."""
    body = reduce(beside, (block.draw() for block in blocks))
    tiles, left = [], 0
    for block in blocks:
        tiles += [(y, left + x, tile) for y, x, tile in block.places()]
        left += block.width + 2 * MARGIN
    return compose(title, body, cmap, tiles if coloured else None)


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


def _tile_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return (height, width) of a tile in pixels, whole multiples of what is in it."""
    rows, columns, height, width = shape[:4]
    if height == width == 1:
        across = min(max(_WIDTH // columns, 1), _LARGEST_CELL)
        down = min(max(_HEIGHT // rows, 1), _LARGEST_CELL)
        # A row is as high as a line of text, where there is room for that, to have a name.
        return max(min(down, across), min(down, text.line_height(LABEL))), across
    side = max(height, width)
    lowest = text.line_height(LABEL) if height == 1 else 1  # slices over time have names, too
    factor = min(
        _LARGEST_TILE // side,
        _WIDTH // (columns * width),
        math.isqrt(_WIDTH * _WIDTH // (rows * columns * height * width)),
    )
    factor = max(factor, math.ceil(_SMALLEST_TILE / side))
    while factor > 1 and rows * columns * (factor * side + _NARROW) ** 2 > _LARGEST:
        factor -= 1
    return max(height * factor, lowest), width * factor


def _gap(shape: tuple[int, ...], width: int) -> int:
    """Return the pixels between tiles; the numbers of a matrix have none."""
    if shape[2] == shape[3] == 1:
        return 0
    return _NARROW if width < _LARGE_TILE else _WIDE


def _rows_per_block(shape: tuple[int, ...], size: Sequence[int], spacing: Spacing) -> int:
    """Return after how many rows the next ones stand beside them, so that no strip is long."""
    rows, columns = shape[:2]
    if not spacing.gap:
        return rows
    high = rows * (size[0] + spacing.gap)
    wide = columns * (size[1] + spacing.gap) + _TYPICAL_NAME
    blocks = max(min(round(math.sqrt(high / wide)), _WIDTH // wide), 1)
    count, together = math.ceil(rows / blocks), max(spacing.rows, 1)
    return math.ceil(count / together) * together
