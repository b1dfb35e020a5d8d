"""Maps over time: a row of small maps for each channel, and an overview of a network's layers."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from cnnviz.choices import Normalize
from cnnviz.photos.clips import frame_numbers
from cnnviz.render import text
from cnnviz.render.block import Caption
from cnnviz.render.canvas import (
    LABEL,
    Header,
    caption_height,
    compose,
    draw_title,
    fitted_size,
    write_caption,
)
from cnnviz.render.palette import WHITE, Indices
from cnnviz.render.photo import Stage, compose_with_photo, enlarge, lay_over
from cnnviz.render.plate import draw_plate
from cnnviz.render.scale import Floats, scale

# Of more moments than these, some evenly over time are drawn.
MOST_MOMENTS = 8
# Pixels that all tiles together may have, of which a tile's side follows, within these; the last
# is for few channels.
_PIXELS, _SMALLEST, _LARGE, _LARGEST = 2_200_000, 40, 88, 144
_FEW = 8
_GAP, _CAPTION = 6, 190


def draw_strips(
    maps: Floats,
    labels: Sequence[str],
    header: Header,
    *,
    normalize: Normalize = Normalize.CHANNEL,
    cmap: str = "viridis",
    signed: bool = False,
) -> Image.Image:
    """Return a row of small maps over time for each channel, all of a row on one scale.

    Args:
        maps: (K, T, H, W) values, K and T at least 1.
        labels: One for each channel, such as its number.
        header: What stands above.
        normalize: CHANNEL gives each row a scale of its own.
        cmap: A matplotlib colour map.
        signed: Whether zero has the colour in the middle.

    Raises:
        UnknownNameError: If there is no such colour map.
    """
    moments = _moments(maps.shape[1])
    rows = [
        Caption(label, _range(values)) for label, values in zip(labels, maps, strict=True)
    ]  # of all moments, drawn or not
    shown, said = _fitted(maps[:, moments])
    told = f"rows: channels and their range · columns: {_tell_moments(moments, maps.shape[1])}"
    header = replace(header, lines=(*header.lines, " · ".join((told, *said))))
    return draw_plate(
        shown, rows, [f"t {t}" for t in moments], header, normalize=normalize, cmap=cmap,
        signed=signed,
    )  # fmt: skip


def _moments(there: int) -> list[int]:
    return frame_numbers(there, min(there, MOST_MOMENTS))


def _tell_moments(moments: Sequence[int], there: int) -> str:
    if len(moments) < there:
        return f"{len(moments)} of {there} moments"
    return f"{there} moments" if there > 1 else "one moment"


def _range(values: Floats) -> str:
    seen = values[np.isfinite(values)]
    if not len(seen):
        return "NaN"
    low, high = text.number(float(seen.min())), text.number(float(seen.max()))
    broken = "NaN " if len(seen) < values.size else ""
    return f"{broken}{low} … {high}" if low != high else f"{broken}= {low}"


def _fitted(maps: Floats) -> tuple[Floats, tuple[str, ...]]:
    """Return (K, T, H, W) maps enlarged, or averaged over squares, to the size of their tiles."""
    count, moments, height, width = maps.shape
    side = math.isqrt(_PIXELS // (count * moments))
    side = min(max(side, _SMALLEST), _LARGEST if count <= _FEW else _LARGE)
    longer = max(height, width)
    factor = min(round(longer / side), height, width)
    if factor <= 1:
        factor = max(side // longer, 1)
        return maps.repeat(factor, axis=2).repeat(factor, axis=3), ()
    cut = maps[:, :, : height // factor * factor, : width // factor * factor]
    squares = cut.reshape(count, moments, height // factor, factor, width // factor, factor)
    return squares.mean(axis=(3, 5)), (f"shown at 1/{factor} of its size",)


def draw_overlays(
    frames: Sequence[Image.Image], values: Floats, header: Header, *, cmap: str = "viridis"
) -> Image.Image:
    """Return a map over time laid over what the network saw at those times, as RGB.

    Args:
        frames: What the network saw, RGB.
        values: (T, H, W), on one scale; T need not be the number of frames.
        header: What stands above.
        cmap: A matplotlib colour map.
    """
    moments = _moments(len(values))
    size = fitted_size(frames[0].size, _LARGEST)
    laid = lay_over(
        [_at(frames, t, len(values)).resize(size, Image.Resampling.LANCZOS) for t in moments],
        values[moments],
        cmap,
    )
    line, (width, height) = text.line_height(LABEL), size
    body = np.full((height + line, len(moments) * (width + _GAP) - _GAP), WHITE, np.uint8)
    for i, t in enumerate(moments):
        text.write(body, i * (width + _GAP), 0, f"t {t}", LABEL, strength=text.FAINT)
    span = scale(values.reshape(1, -1, values.shape[-1]), Normalize.LAYER).span
    title = draw_title(header, _tell_moments(moments, len(values)), span)
    tiles = ((line, i * (width + _GAP), tile) for i, tile in enumerate(laid))
    return compose(title, body, cmap, tiles)


def _at(frames: Sequence[Image.Image], moment: int, there: int) -> Image.Image:
    """Return the frame in the middle of the time that one moment of a layer stands for."""
    return frames[(2 * moment + 1) * len(frames) // (2 * there)]


def draw_clip_overview(
    frames: Sequence[Image.Image], stages: Sequence[Stage], header: Header, *, cmap: str = "viridis"
) -> Image.Image:
    """Return frames, and below them a row of mean maps per layer; time runs to the right.

    A map stands in the middle of the time that it is of. Each layer is on its own scale.

    Args:
        frames: What the network sees, RGB.
        stages: The layers, from shallow to deep; a mean map of (H, W) has no time.
        header: What stands above.
        cmap: A matplotlib colour map.

    Raises:
        UnknownNameError: If there is no such colour map.
    """
    side = 112 if len(stages) <= 11 else 72
    width, height = fitted_size(frames[0].size, side)
    columns = min(len(frames), MOST_MOMENTS)
    across, down = width + _GAP, height + _GAP
    high = max(down, caption_height(max(len(stage.lines) for stage in stages)) + _GAP)
    body = np.full((high * (len(stages) + 1) - _GAP, _CAPTION + columns * across), WHITE, np.uint8)
    seen = frame_numbers(len(frames), columns)
    first = frames[0]
    room = _CAPTION - 2 * _GAP
    write_caption(body[:, :room], "input", (f"{len(frames)} × {first.height} × {first.width}",))
    for i, stage in enumerate(stages):
        write_caption(body[(i + 1) * high :, :room], stage.title, stage.lines)
        _row(body[(i + 1) * high :], stage.mean, (width, height), columns * across)
    shown = [frames[n].resize((width, height), Image.Resampling.LANCZOS) for n in seen]
    strip = Image.new("RGB", (columns * across - _GAP, height), "white")
    for i, picture in enumerate(shown):
        strip.paste(picture, (i * across, 0))
    return compose_with_photo(draw_title(header), body, strip, (_CAPTION, 0), cmap)


def _row(canvas: Indices, mean: Floats, size: tuple[int, int], total: int) -> None:
    """Put the maps of one layer where their times are, at the top of a canvas."""
    maps = mean if mean.ndim == 3 else mean[None]
    moments = _moments(len(maps))
    # One scale over time: what changes is seen to change.
    indices = scale(maps.reshape(1, -1, maps.shape[2]), Normalize.CHANNEL).indices[0]
    tiles = indices.reshape(maps.shape)
    for t, share in zip(moments, range(len(moments)), strict=True):
        x = _CAPTION + round((share + 0.5) / len(moments) * total - (size[0] + _GAP) / 2)
        canvas[: size[1], x : x + size[0]] = enlarge(tiles[t], size)
