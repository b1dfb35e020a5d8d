"""Pictures with a photo in full colour: the overview of a network, and a map laid over a photo."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnnviz.choices import Normalize
from cnnviz.photos.preprocess import Box
from cnnviz.render.canvas import (
    MARGIN,
    Header,
    caption_height,
    compose,
    compose_pictures,
    draw_title,
    fitted_size,
    stack,
    to_rgb,
    write_caption,
)
from cnnviz.render.palette import MAP_COLOURS, NAN_COLOUR, WHITE, Indices, map_colours, rgb_table
from cnnviz.render.scale import Floats, scale

_LONGEST = 760  # pixels of an overlay's longer side
_GAP = 14

# Every index of a palette to one that stands for it where a photo needs most of the colours:
# a hundred of the colour map with both of its ends, every third grey, and what marks NaN.
_COARSER = np.concatenate(
    [
        np.rint(np.rint(np.linspace(0, 99, MAP_COLOURS)) * (MAP_COLOURS - 1) / 99),
        WHITE - np.arange(WHITE - MAP_COLOURS, -1, -1) // 3 * 3,
        [NAN_COLOUR],
    ]
).astype(np.uint8)
_KEPT = np.unique(_COARSER)
_PLACE: Indices = np.searchsorted(_KEPT, _COARSER).astype(np.uint8)


@dataclass(frozen=True)
class Stage:
    """One layer in an overview.

    Attributes:
        mean: (H, W), of a clip (T, H, W): the mean over the layer's channels.
        title: The layer.
        lines: What else is to be known, one line each.
    """

    mean: Floats
    title: str
    lines: tuple[str, ...]


def draw_overview(
    photo: Image.Image, stages: Sequence[Stage], header: Header, *, cmap: str = "viridis"
) -> Image.Image:
    """Return a photo followed by one mean map per layer, each on its own scale.

    One palette holds the colours of the maps, greys, and the photo's: saved, it takes a third of
    the time of a picture in full colour.

    Args:
        photo: What the network sees, RGB.
        stages: The layers, from shallow to deep.
        header: What stands above.
        cmap: A matplotlib colour map.

    Raises:
        UnknownNameError: If there is no such colour map.
    """
    side = 224 if len(stages) <= 11 else 144
    width, height = fitted_size(photo.size, side)
    columns = min(len(stages) + 1, 6 if side == 224 else 10)
    captions: list[tuple[str, tuple[str, ...]]] = [("input", (f"{photo.height} × {photo.width}",))]
    captions += [(stage.title, stage.lines) for stage in stages]
    tiles = [np.full((height, width), WHITE, np.uint8)]
    tiles += [_tile(stage.mean, (width, height)) for stage in stages]
    grid, places = _lay_out(tiles, captions, columns)
    small = photo.resize((width, height), Image.Resampling.LANCZOS)
    return compose_with_photo(draw_title(header), grid, small, places[0], cmap)


def compose_with_photo(
    title: Indices, body: Indices, photo: Image.Image, place: tuple[int, int], cmap: str
) -> Image.Image:
    """Return a body with a photo on it, below a title, as one palette picture.

    Args:
        title: (H, W) palette indices.
        body: (H, W) palette indices.
        photo: RGB.
        place: (left, top) of the photo on the body.
        cmap: A matplotlib colour map.

    Raises:
        UnknownNameError: If there is no such colour map.
    """
    colours = photo.quantize(256 - len(_KEPT), Image.Quantize.FASTOCTREE)
    pixels = photo.quantize(palette=colours, dither=Image.Dither.FLOYDSTEINBERG)
    indices: Indices = _PLACE.take(stack([title, body]))
    left, top = MARGIN + place[0], indices.shape[0] - MARGIN - body.shape[0] + place[1]
    area = indices[top : top + photo.height, left : left + photo.width]
    area[...] = np.asarray(pixels) + len(_KEPT)
    picture = Image.fromarray(indices)
    picture.putpalette(rgb_table(cmap)[_KEPT].tobytes() + bytes(colours.getpalette() or ()))
    return picture


def _tile(values: Floats, size: tuple[int, int]) -> Indices:
    """Return a map enlarged, or reduced, to (width, height) without smoothing."""
    return enlarge(scale(values[None], Normalize.CHANNEL).indices[0], size)


def enlarge(indices: Indices, size: tuple[int, int]) -> Indices:
    """Return (H, W) palette indices enlarged, or reduced, to (width, height), not smoothed."""
    rows = np.arange(size[1]) * indices.shape[0] // size[1]
    columns = np.arange(size[0]) * indices.shape[1] // size[0]
    tile: Indices = indices[rows[:, None], columns]
    return tile


def _lay_out(
    tiles: Sequence[Indices], captions: Sequence[tuple[str, tuple[str, ...]]], columns: int
) -> tuple[Indices, list[tuple[int, int]]]:
    """Return tiles in rows with captions below, and the (x, y) of each tile."""
    height, width = tiles[0].shape
    caption = caption_height(max(len(lines) for _, lines in captions)) + 4
    down, across = height + caption + _GAP, width + _GAP
    rows = -(-len(tiles) // columns)
    canvas = np.full((rows * down - _GAP, columns * across - _GAP), WHITE, dtype=np.uint8)
    places = [(i % columns * across, i // columns * down) for i in range(len(tiles))]
    for tile, (title, lines), (x, y) in zip(tiles, captions, places, strict=True):
        canvas[y : y + height, x : x + width] = tile
        strip = canvas[y + height + 4 : y + height + caption, x : x + width]
        write_caption(strip, title, lines)
    return canvas, places


def draw_photos(
    tiles: Sequence[NDArray[np.uint8]],
    captions: Sequence[tuple[str, tuple[str, ...]]],
    header: Header,
) -> Image.Image:
    """Return parts of photos in rows, in their own colours, as RGB.

    Args:
        tiles: (H, W, 3) RGB, all of one size.
        captions: A title and further lines for each.
        header: What stands above; all there is where there are no tiles.
    """
    if not tiles:
        return to_rgb(stack([draw_title(header, "no photo excites it")]))
    white = [np.full(tile.shape[:2], WHITE, np.uint8) for tile in tiles]
    grid, places = _lay_out(white, captions, min(len(tiles), 6))
    placed = ((y, x, tile) for tile, (x, y) in zip(tiles, places, strict=True))
    return compose(draw_title(header), grid, "gray", placed)


def draw_overlay(
    photo: Image.Image, values: Floats, box: Box, header: Header, *, cmap: str = "viridis"
) -> Image.Image:
    """Return a map laid over the part of the photo that the network saw, as RGB.

    Args:
        photo: The whole photo, RGB, upright.
        values: (H, W) values of the map.
        box: (x0, y0, x1, y1) pixels of the photo that the map covers, end exclusive.
        header: What stands above.
        cmap: A matplotlib colour map.

    Raises:
        UnknownNameError: If there is no such colour map.
    """
    ratio = min(_LONGEST / max(photo.size), 1.0)
    size = max(round(photo.width * ratio), 1), max(round(photo.height * ratio), 1)
    small = np.asarray(photo.resize(size, Image.Resampling.LANCZOS), dtype=np.float32)
    x0, y0, x1, y1 = (round(edge * ratio) for edge in box)
    heat, share = _heat(values, (max(x1 - x0, 1), max(y1 - y0, 1)), cmap)
    # A box may reach beyond the photo, where the preprocessing padded.
    left, top = max(x0, 0), max(y0, 0)
    right, bottom = min(x1, size[0]), min(y1, size[1])
    inside = (slice(top - y0, bottom - y0), slice(left - x0, right - x0))
    result = 255 - (255 - small) * 0.35
    covered = (slice(top, bottom), slice(left, right))
    result[covered] = _blend(small[covered], heat[inside], share[inside])
    title = draw_title(header, span=scale(values[None], Normalize.LAYER).span)
    return compose_pictures(title, [Image.fromarray(result.round().astype(np.uint8))], cmap)


def lay_over(pictures: Sequence[Image.Image], values: Floats, cmap: str) -> list[NDArray[np.uint8]]:
    """Return maps laid over pictures of one size, all on one scale, each (H, W, 3) RGB.

    Args:
        pictures: RGB.
        values: (T, H, W), one map for each.
        cmap: A matplotlib colour map.
    """
    laid = []
    for picture, share in zip(pictures, _shares(values), strict=True):
        heat, smooth = _coloured(share, picture.size, cmap)
        pixels = np.asarray(picture, dtype=np.float32)
        laid.append(_blend(pixels, heat, smooth).round().astype(np.uint8))
    return laid


def _heat(values: Floats, size: tuple[int, int], cmap: str) -> tuple[Floats, Floats]:
    """Return the map's colours, (H, W, 3) in 0 to 255, and its height, (H, W) in 0 to 1."""
    return _coloured(_shares(values), size, cmap)


def _shares(values: Floats) -> NDArray[np.float32]:
    finite = np.nan_to_num(values.astype(np.float32), posinf=0, neginf=0)
    extent = float(finite.max() - finite.min()) or 1.0
    shares: NDArray[np.float32] = (finite - finite.min()) / np.float32(extent)
    return shares


def _coloured(
    shares: NDArray[np.float32], size: tuple[int, int], cmap: str
) -> tuple[Floats, Floats]:
    resized = Image.fromarray(shares).resize(size, Image.Resampling.BICUBIC)
    smooth = np.asarray(resized).clip(0, 1)
    return map_colours(smooth, cmap).astype(np.float32), smooth


def _blend(photo: NDArray[np.float32], heat: Floats, share: Floats) -> Floats:
    """Lay colours over the photo's grey, more of them where the map is high."""
    luma = (photo @ np.array([0.299, 0.587, 0.114], dtype=np.float32))[..., None]
    alpha = (0.3 + 0.35 * share)[..., None]
    return luma * (1 - alpha) + heat * alpha
