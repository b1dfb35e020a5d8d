"""Activations to palette indices, and what was found on the way."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnnviz.choices import Normalize
from cnnviz.render.palette import MAP_COLOURS, NAN_COLOUR, Indices

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Scaled:
    """Maps as colours.

    Attributes:
        indices: (C, H, W) palette indices.
        low: (C,) the smallest finite value of each map; NaN where there is none.
        high: (C,) the largest.
        constant: (C,) whether a map has one value everywhere.
        broken: (C,) whether a map has NaN or infinite values.
        span: The range of values that the colour map spans, where all maps share it.
    """

    indices: Indices
    low: Floats
    high: Floats
    constant: NDArray[np.bool_]
    broken: NDArray[np.bool_]
    span: tuple[float, float] | None


def scale(maps: Floats, normalize: Normalize) -> Scaled:
    """Return maps as palette indices.

    Constant maps never divide by zero: on a scale of their own they get the lowest colour. NaN
    and infinite values get a colour that no colour map has.

    Args:
        maps: (C, H, W) values.
        normalize: CHANNEL spans each map's own range; LAYER the range of all the maps; NONE takes
            the values as they are, from 0 to 1, and clips what lies beyond. Maps of a single
            value have no range of their own and share one.
    """
    count, height, width = maps.shape
    finite = np.isfinite(maps)
    broken: NDArray[np.bool_] = np.logical_not(finite.reshape(count, -1).all(axis=1))
    clean = np.where(finite, maps, np.nan) if broken.any() else maps
    low, high = _ranges(clean)
    constant = (low == high) & ~broken
    if height * width == 1:
        constant = np.zeros(count, dtype=np.bool_)
    span = None
    if normalize is Normalize.NONE:
        span = (0.0, 1.0)
    elif normalize is Normalize.LAYER or height * width == 1:
        seen = np.isfinite(low)
        span = (float(low[seen].min()), float(high[seen].max())) if seen.any() else (0.0, 1.0)
    bottom, top = (low, high) if span is None else (np.full(count, e, low.dtype) for e in span)
    indices = _indices(clean, bottom, top)
    if broken.any():
        indices[~finite] = NAN_COLOUR
    return Scaled(indices, low, high, constant, broken, span)


def _ranges(maps: Floats) -> tuple[Floats, Floats]:
    flat = maps.reshape(len(maps), -1)
    # fmin and fmax pass over NaN, and give NaN, without a warning, where there is nothing else.
    return np.fmin.reduce(flat, axis=1), np.fmax.reduce(flat, axis=1)


def _indices(maps: Floats, bottom: Floats, top: Floats) -> Indices:
    with np.errstate(over="ignore", invalid="ignore"):
        extent = top - bottom
        usable = np.isfinite(extent) & (extent > 0)
        step = np.where(usable, (MAP_COLOURS - 1) / np.where(usable, extent, 1), 0)
        steps = (maps - bottom[:, None, None]) * step[:, None, None].astype(maps.dtype)
        np.rint(steps, out=steps)
        # fmax takes 0 for NaN, which has no index; the caller paints it over.
        np.fmax(steps, 0, out=steps)
        np.minimum(steps, MAP_COLOURS - 1, out=steps)
        return steps.astype(np.uint8)
