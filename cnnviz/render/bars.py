"""A vector, such as a classifier's output, as bars: all of its values, and the largest by name."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnnviz.render import text
from cnnviz.render.canvas import LABEL, LINE, Header, draw_title, stack, to_image
from cnnviz.render.palette import MAP_COLOURS, NAN_COLOUR, WHITE, Indices, grey

_WIDTH, _PROFILE_HEIGHT = 640, 120
_NAME_WIDTH, _VALUE_WIDTH = 210, 60
_TOP = 10


def draw_bars(
    values: NDArray[np.floating],
    labels: Sequence[str],
    header: Header,
    *,
    cmap: str = "viridis",
) -> Image.Image:
    """Return a palette picture of a vector: every value in order, and the ten largest named.

    Args:
        values: (C,) values, C at least 1.
        labels: One for each value, such as a class name.
        header: What stands above.
        cmap: A matplotlib colour map.

    Raises:
        UnknownNameError: If there is no such colour map.
    """
    finite = np.isfinite(values)
    seen = values[finite] if finite.any() else np.zeros(1, values.dtype)
    low, high = min(float(seen.min()), 0.0), max(float(seen.max()), 0.0)
    note = f"{len(values)} values, {text.number(seen.min())} … {text.number(seen.max())}"
    if not finite.all():
        note += f" · {int((~finite).sum())} NaN or infinite"
    parts = [
        draw_title(header, note),
        _draw_profile(values, low, high),
        _draw_top(values, labels, low, high),
    ]
    return to_image(stack(parts), cmap)


def _draw_profile(values: NDArray[np.floating], low: float, high: float) -> Indices:
    """Return all values from left to right as bars up and down from zero."""
    canvas = np.full((_PROFILE_HEIGHT, _WIDTH), WHITE, dtype=np.uint8)
    extent = (high - low) or 1.0
    zero = round(high / extent * (_PROFILE_HEIGHT - 1))
    edges = np.linspace(0, _WIDTH, len(values) + 1).round().astype(int)
    for value, left, right in zip(values, edges[:-1], edges[1:], strict=True):
        column = canvas[:, left : max(right - (right - left > 3), left + 1)]
        if not np.isfinite(value):
            column[:] = NAN_COLOUR
            continue
        end = round((high - float(value)) / extent * (_PROFILE_HEIGHT - 1))
        first, last = min(zero, end), max(zero, end)
        # Several values may share a column of pixels: a bar never hides a longer one.
        column[first : last + 1] = _colour(float(value), low, high)
    canvas[zero] = grey(110)
    return canvas


def _draw_top(
    values: NDArray[np.floating], labels: Sequence[str], low: float, high: float
) -> Indices:
    order = np.argsort(-np.where(np.isfinite(values), values, -np.inf), kind="stable")[:_TOP]
    line = text.line_height(LINE) + 3
    canvas = np.full((len(order) * line, _WIDTH), WHITE, dtype=np.uint8)
    start, room = _NAME_WIDTH + 8, _WIDTH - _NAME_WIDTH - _VALUE_WIDTH - 8
    largest = max(abs(low), abs(high)) or 1.0
    for row, i in enumerate(order):
        strip = canvas[row * line : (row + 1) * line]
        name = text.shorten(labels[i], LINE, _NAME_WIDTH)
        text.write(strip, _NAME_WIDTH - text.width(name, LINE), 0, name, LINE)
        value = float(values[i])
        long = round(max(value, 0.0) / largest * room) if np.isfinite(value) else 0
        strip[2:-3, start : start + max(long, 1)] = _colour(value, low, high)
        text.write(strip, start + long + 6, 1, text.number(value), LABEL, strength=text.FAINT)
    return canvas


def _colour(value: float, low: float, high: float) -> int:
    share = (value - low) / ((high - low) or 1.0) if np.isfinite(value) else 0.0
    # The lightest and darkest ends of many colour maps do not show on white.
    return round((0.1 + 0.75 * share) * (MAP_COLOURS - 1))
