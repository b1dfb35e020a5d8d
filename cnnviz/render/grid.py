"""Many maps of one layer in one picture, each with its number and range."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from cnnviz.choices import Normalize
from cnnviz.render import text
from cnnviz.render.canvas import LABEL, Header, compose, draw_title
from cnnviz.render.palette import WHITE, Indices, grey
from cnnviz.render.scale import Floats, Scaled, scale, scale_colours

_GAP = 8
_SMALLEST_TILE = 84
# Pixels of a picture beyond which maps are shown at a fraction of their size.
_LARGEST = 48_000_000

# What may stand behind a label, the first of these that has room.
Note = tuple[str, ...]


def draw_grid(
    maps: Floats,
    labels: Sequence[str],
    header: Header | None = None,
    *,
    normalize: Normalize = Normalize.CHANNEL,
    cmap: str = "viridis",
    signed: bool = False,
    notes: Sequence[Note] | None = None,
) -> Image.Image:
    """Return maps as tiles of one 8-bit palette picture, small ones enlarged without smoothing.

    Args:
        maps: (C, H, W) values, C at least 1; or (C, H, W, 3) signed values of red, green and
            blue, which make an RGB picture where grey is zero.
        labels: One for each map, such as its channel number.
        header: What stands above the tiles.
        normalize: Which range of values the colour map spans.
        cmap: A matplotlib colour map.
        signed: Whether zero has the colour in the middle.
        notes: What stands behind each label, the first of these that has room; None for the range
            of the map's values.

    Raises:
        UnknownNameError: If there is no such colour map.
    """
    columns = column_count(len(maps))
    maps, shrunk = _shrink(maps, columns)
    coloured = maps.ndim == 4
    scaled = scale_colours(maps, normalize) if coloured else scale(maps, normalize, signed=signed)
    factor = _enlargement(len(maps), max(maps.shape[1:3]))
    tiles = scaled.indices.repeat(factor, axis=1).repeat(factor, axis=2)
    places = _places(len(tiles), columns, tiles.shape[1], tiles.shape[2])
    body = _lay_out(tiles, places, scaled)
    for i, place in enumerate(places):
        note = notes[i] if notes else _describe(scaled, i)
        _label(body[place.strip, place.across], labels[i], note)
    said = f"shown at 1/{shrunk} of its size" if shrunk > 1 else ""
    around = coloured or signed
    title = draw_scale_header(header, scaled, normalize, around, said) if header else None
    colours = (
        (place.down.start, place.across.start, tile)
        for i, (place, tile) in enumerate(zip(places, tiles, strict=True))
        if not _is_blank(scaled, i)
    )
    return compose(title, body, cmap, colours if coloured else None)


@dataclass(frozen=True)
class _Place:
    """Where a tile is: its rows and columns, and the rows of its label above it."""

    down: slice
    across: slice
    strip: slice


def column_count(count: int) -> int:
    """Return how many tiles stand side by side: near a square, wider than high, no holes."""
    side = math.ceil(math.sqrt(count))
    candidates = range(side, min(count, 2 * side) + 1)
    return min(candidates, key=lambda columns: (-count % columns > columns // 4, columns))


def _shrink(maps: Floats, columns: int) -> tuple[Floats, int]:
    """Return maps averaged over squares, and their side, where the picture would be huge."""
    count, height, width = maps.shape[:3]
    pixels = math.ceil(count / columns) * columns * height * width
    side = math.ceil(math.sqrt(pixels / _LARGEST))
    if side <= 1:
        return maps, 1
    rows, cols = height // side, width // side
    squares = maps[:, : rows * side, : cols * side]
    squares = squares.reshape(count, rows, side, cols, side, *maps.shape[3:])
    return squares.mean(axis=(2, 4)), side


def _enlargement(count: int, side: int) -> int:
    limits = ((1, 448), (4, 224), (16, 144), (64, 112))
    wanted = next((size for most, size in limits if count <= most), _SMALLEST_TILE)
    return max(round(wanted / side), math.ceil(_SMALLEST_TILE / side), 1)


def _places(count: int, columns: int, height: int, width: int) -> list[_Place]:
    strip = text.line_height(LABEL) + 1
    places = []
    for i in range(count):
        y, x = i // columns * (height + strip + _GAP), i % columns * (width + _GAP)
        down = slice(y + strip, y + strip + height)
        places.append(_Place(down, slice(x, x + width), slice(y, y + strip)))
    return places


def _lay_out(tiles: Indices, places: Sequence[_Place], scaled: Scaled) -> Indices:
    """Return a canvas with the tiles at their places; those in colours are left white."""
    size = (max(p.down.stop for p in places), max(p.across.stop for p in places))
    canvas = np.full(size, WHITE, dtype=np.uint8)
    for i, (tile, place) in enumerate(zip(tiles, places, strict=True)):
        if _is_blank(scaled, i):
            canvas[place.down, place.across] = _blank(*tile.shape[:2])
        elif tile.ndim == 2:
            canvas[place.down, place.across] = tile
    return canvas


def _is_blank(scaled: Scaled, i: int) -> bool:
    """Return whether a map has nothing to show on a scale of its own."""
    return scaled.span is None and bool(scaled.constant[i])


def _blank(height: int, width: int) -> Indices:
    """Return the tile of a map that is the same everywhere: light, with a line across."""
    rows, columns = np.ogrid[:height, :width]
    # The rising diagonal, about one pixel wide whatever the proportions.
    line = abs((rows + 0.5) / height + (columns + 0.5) / width - 1) * min(height, width) < 0.75
    return grey(np.where(line, 150, 238))


def _describe(scaled: Scaled, i: int) -> Note:
    """Return what stands behind a label: the first of these that has room is taken."""
    low, high = text.number(float(scaled.low[i])), text.number(float(scaled.high[i]))
    if scaled.broken[i]:
        return ("NaN",) if low == "NaN" else (f"NaN {low} … {high}", "NaN")
    if scaled.constant[i]:
        return (f"constant {low}", f"= {low}")
    return (f"{low} … {high}", f"{low}…{high}", high) if low != high else (low,)


def _label(strip: Indices, label: str, choices: Note) -> None:
    used = text.write(strip, 0, 0, label, LABEL, weight="bold") + 5
    for choice in choices:
        if used + text.width(choice, LABEL) <= strip.shape[1]:
            text.write(strip, used, 0, choice, LABEL, strength=text.FAINT)
            return


def draw_scale_header(
    header: Header,
    scaled: Scaled,
    normalize: Normalize,
    signed: bool,
    note: str,
    unit: str = "tile",
) -> Indices:
    """Return a header that tells what the colours mean, with a colour bar where all share one.

    Args:
        header: Its text.
        scaled: The maps; red, green and blue together have no bar.
        normalize: How they were scaled.
        signed: Whether the scale lies around zero.
        note: What else is to be said.
        unit: What may have a scale of its own: a tile, or a row of them.
    """
    coloured = scaled.indices.ndim == 4
    said = (_scale_note(scaled, normalize, unit), _zero_note(scaled, signed, coloured), note)
    note = " · ".join(part for part in said if part)
    return draw_title(header, note, None if coloured else scaled.span)


def _scale_note(scaled: Scaled, normalize: Normalize, unit: str) -> str:
    if normalize is Normalize.NONE and scaled.span:
        low, high = scaled.span
        beyond = (scaled.low < low) | (scaled.high > high)
        ends = f"{low:g}…{high:g}".replace("-", "−")
        return (
            f"values as they are, clipped to {ends} in {int(beyond.sum())} of {len(beyond)} {unit}s"
        )
    if len(scaled.low) == 1:
        return ""
    return f"each {unit} on its own scale" if scaled.span is None else "one scale for all tiles"


def _zero_note(scaled: Scaled, signed: bool, coloured: bool) -> str:
    if not signed:
        return ""
    if coloured and scaled.span:
        return f"grey is 0, full colour ±{text.number(scaled.span[1])}"
    return "grey is 0" if coloured else "0 in the middle"
