"""Values to palette indices or colours, and what was found on the way."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cnnviz.choices import Normalize
from cnnviz.render.palette import MAP_COLOURS, NAN_COLOUR, NAN_RGB, Indices

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Scaled:
    """Maps as colours.

    Attributes:
        indices: (C, H, W) palette indices; (C, H, W, 3) uint8 RGB where maps are colours.
        low: (C,) the smallest finite value of each map; NaN where there is none.
        high: (C,) the largest.
        constant: (C,) whether a map has one value everywhere; around zero, whether that is zero.
        broken: (C,) whether a map has NaN or infinite values.
        span: The range of values that the colour map spans, where all maps share it.
    """

    indices: Indices
    low: Floats
    high: Floats
    constant: NDArray[np.bool_]
    broken: NDArray[np.bool_]
    span: tuple[float, float] | None


def scale(
    maps: Floats, normalize: Normalize, *, signed: bool = False, levels: int = MAP_COLOURS
) -> Scaled:
    """Return maps as palette indices.

    Constant maps never divide by zero: on a scale of their own they get the lowest colour. NaN
    and infinite values get a colour that no colour map has.

    Args:
        maps: (C, H, W) values.
        normalize: CHANNEL spans each map's own range; LAYER the range of all the maps; NONE takes
            the values as they are, from 0 to 1, and clips what lies beyond. Maps of a single
            value have no range of their own and share one.
        signed: Whether a range reaches as far below zero as above, so that zero always has the
            colour in the middle; the values as they are then go from -1 to 1.
        levels: How many indices there are, from 0 on.
    """
    count, height, width = maps.shape
    finite = np.isfinite(maps)
    broken: NDArray[np.bool_] = np.logical_not(finite.reshape(count, -1).all(axis=1))
    clean = np.where(finite, maps, np.nan) if broken.any() else maps
    low, high = _ranges(clean)
    bottom, top = _around_zero(low, high) if signed else (low, high)
    constant = (bottom == top) & ~broken
    if height * width == 1:
        constant = np.zeros(count, dtype=np.bool_)
    span = None
    if normalize is Normalize.NONE:
        span = (-1.0 if signed else 0.0, 1.0)
    elif normalize is Normalize.LAYER or height * width == 1:
        seen = np.isfinite(low)
        span = (float(bottom[seen].min()), float(top[seen].max())) if seen.any() else (0.0, 1.0)
    if span is not None:
        bottom, top = (np.full(count, end, low.dtype) for end in span)
    indices = _indices(clean, bottom, top, levels - 1, signed)
    if broken.any():
        indices[~finite] = NAN_COLOUR
    return Scaled(indices, low, high, constant, broken, span)


def scale_colours(pictures: Floats, normalize: Normalize) -> Scaled:
    """Return pictures of three signed values per pixel as RGB, grey (128) where they are zero.

    A picture's three colours share one scale around zero.

    Args:
        pictures: (C, H, W, 3) values.
        normalize: As for `scale`.
    """
    count, height, width, _ = pictures.shape
    flat = pictures.reshape(count, height, width * 3)
    scaled = scale(flat, normalize, signed=True, levels=256)
    colours = scaled.indices.reshape(pictures.shape)
    colours[~np.isfinite(pictures).all(axis=3)] = NAN_RGB
    return replace(scaled, indices=colours)


def _around_zero(low: Floats, high: Floats) -> tuple[Floats, Floats]:
    size = np.maximum(np.abs(low), np.abs(high))
    return -size, size


def _ranges(maps: Floats) -> tuple[Floats, Floats]:
    flat = maps.reshape(len(maps), -1)
    # fmin and fmax pass over NaN, and give NaN, without a warning, where there is nothing else.
    return np.fmin.reduce(flat, axis=1), np.fmax.reduce(flat, axis=1)


def _indices(maps: Floats, bottom: Floats, top: Floats, most: int, signed: bool) -> Indices:
    # Around zero, steps are counted from the middle: zero itself is never a rounding error off.
    start = np.zeros_like(bottom) if signed else bottom
    with np.errstate(over="ignore", invalid="ignore"):
        extent = top - bottom
        usable = np.isfinite(extent) & (extent > 0)
        step = np.where(usable, most / np.where(usable, extent, 1), 0)
        steps = (maps - start[:, None, None]) * step[:, None, None].astype(maps.dtype)
        if signed:
            steps += most / 2
        np.rint(steps, out=steps)
        # fmax takes 0 for NaN, which has no index; the caller paints it over.
        np.fmax(steps, 0, out=steps)
        np.minimum(steps, most, out=steps)
        return steps.astype(np.uint8)
