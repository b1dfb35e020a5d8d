"""Many maps of one layer in one picture, each with its number and range."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from cnnviz.choices import Normalize
from cnnviz.render import text
from cnnviz.render.canvas import LABEL, Header, beside, draw_bar, draw_title, stack, to_image
from cnnviz.render.palette import WHITE, Indices, grey
from cnnviz.render.scale import Floats, Scaled, scale

_GAP = 8
_SMALLEST_TILE = 84
# Pixels of a picture beyond which maps are shown at a fraction of their size.
_LARGEST = 48_000_000


def draw_grid(
    maps: Floats,
    labels: Sequence[str],
    header: Header | None = None,
    *,
    normalize: Normalize = Normalize.CHANNEL,
    cmap: str = "viridis",
) -> Image.Image:
    """Return maps as tiles of one 8-bit palette picture, small ones enlarged without smoothing.

    Args:
        maps: (C, H, W) values, C at least 1.
        labels: One for each map, such as its channel number.
        header: What stands above the tiles.
        normalize: Which range of values the colour map spans.
        cmap: A matplotlib colour map.

    Raises:
        UnknownNameError: If there is no such colour map.
    """
    columns = column_count(len(maps))
    maps, shrunk = _shrink(maps, columns)
    scaled = scale(maps, normalize)
    factor = _enlargement(len(maps), max(maps.shape[1:]))
    tiles = scaled.indices.repeat(factor, axis=1).repeat(factor, axis=2)
    body = _lay_out(tiles, columns, labels, scaled)
    note = f"shown at 1/{shrunk} of its size" if shrunk > 1 else ""
    top = _draw_header(header, scaled, normalize, note) if header else None
    return to_image(stack([top, body] if top is not None else [body]), cmap)


def column_count(count: int) -> int:
    """Return how many tiles stand side by side: near a square, wider than high, no holes."""
    side = math.ceil(math.sqrt(count))
    candidates = range(side, min(count, 2 * side) + 1)
    return min(candidates, key=lambda columns: (-count % columns > columns // 4, columns))


def _shrink(maps: Floats, columns: int) -> tuple[Floats, int]:
    """Return maps averaged over squares, and their side, where the picture would be huge."""
    count, height, width = maps.shape
    pixels = math.ceil(count / columns) * columns * height * width
    side = math.ceil(math.sqrt(pixels / _LARGEST))
    if side <= 1:
        return maps, 1
    rows, cols = height // side, width // side
    squares = maps[:, : rows * side, : cols * side].reshape(count, rows, side, cols, side)
    return squares.mean(axis=(2, 4)), side


def _enlargement(count: int, side: int) -> int:
    limits = ((1, 448), (4, 224), (16, 144), (64, 112))
    wanted = next((size for most, size in limits if count <= most), _SMALLEST_TILE)
    return max(round(wanted / side), math.ceil(_SMALLEST_TILE / side), 1)


def _lay_out(tiles: Indices, columns: int, labels: Sequence[str], scaled: Scaled) -> Indices:
    count, height, width = tiles.shape
    strip = text.line_height(LABEL) + 1
    down, across = height + strip + _GAP, width + _GAP
    rows = math.ceil(count / columns)
    size = (rows * down - _GAP, min(columns, count) * across - _GAP)
    canvas = np.full(size, WHITE, dtype=np.uint8)
    own_scale = scaled.span is None
    for i, tile in enumerate(tiles):
        y, x = i // columns * down, i % columns * across
        shown = _blank(height, width) if own_scale and scaled.constant[i] else tile
        canvas[y + strip : y + strip + height, x : x + width] = shown
        _label(canvas[y : y + strip, x : x + width], labels[i], _describe(scaled, i))
    return canvas


def _blank(height: int, width: int) -> Indices:
    """Return the tile of a map that is the same everywhere: light, with a line across."""
    rows, columns = np.ogrid[:height, :width]
    # The rising diagonal, about one pixel wide whatever the proportions.
    line = abs((rows + 0.5) / height + (columns + 0.5) / width - 1) * min(height, width) < 0.75
    return grey(np.where(line, 150, 238))


def _describe(scaled: Scaled, i: int) -> tuple[str, ...]:
    """Return what stands behind a label: the first of these that has room is taken."""
    low, high = text.number(float(scaled.low[i])), text.number(float(scaled.high[i]))
    if scaled.broken[i]:
        return ("NaN",) if low == "NaN" else (f"NaN {low} … {high}", "NaN")
    if scaled.constant[i]:
        return (f"constant {low}", f"= {low}")
    return (f"{low} … {high}", f"{low}…{high}", high) if low != high else (low,)


def _label(strip: Indices, label: str, choices: tuple[str, ...]) -> None:
    used = text.write(strip, 0, 0, label, LABEL, weight="bold") + 5
    for choice in choices:
        if used + text.width(choice, LABEL) <= strip.shape[1]:
            text.write(strip, used, 0, choice, LABEL, strength=text.FAINT)
            return


def _draw_header(header: Header, scaled: Scaled, normalize: Normalize, note: str) -> Indices:
    left = draw_title(header, note=_scale_note(scaled, normalize, note))
    if scaled.span is None:
        return left
    return beside(left, draw_bar(scaled.span))


def _scale_note(scaled: Scaled, normalize: Normalize, note: str) -> str:
    if normalize is Normalize.NONE:
        beyond = (scaled.low < 0) | (scaled.high > 1)
        said = f"values as they are, clipped to 0…1 in {int(beyond.sum())} of {len(beyond)} tiles"
    elif scaled.span is not None:
        said = "one scale for all tiles" if len(scaled.low) > 1 else ""
    else:
        said = "each tile on its own scale" if len(scaled.low) > 1 else ""
    return " · ".join(part for part in (said, note) if part)
