"""Which positions of its input each output of an operator reads, along one axis."""

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from math import floor

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

# Whole numbers stay int, which Python adds and multiplies many times faster than fractions.
Exact = int | Fraction

# Of each digit of a position's number: its weight in it, how many values it has, and its weight
# in another number.
Digits = tuple[tuple[int, int, int], ...]


def exact(numerator: int, denominator: int) -> Exact:
    """Return a quotient, as an int where it is whole."""
    whole, rest = divmod(numerator, denominator)
    return Fraction(numerator, denominator) if rest else whole


@dataclass(frozen=True, eq=False)
class Taps:
    """Which positions of its input each output of an operator reads along one axis.

    Attributes:
        ratio: Input positions from one output to the next.
        table: (outputs, taps) positions; those outside of the input are padding.
        low: Output i reads from position ratio*i + low on, were there no border.
        high: To position ratio*i + high.
        phases: (low, high) of outputs that take turns: output i has phases[i % len(phases)], and
            `low` and `high` are their hull. Empty where all outputs are alike.
        gaps: Whether an output, or outputs beside one another, may read the input at both ends
            and nothing between.
    """

    ratio: Exact
    table: Indices
    low: Exact
    high: Exact
    phases: tuple[tuple[Exact, Exact], ...] = ()
    gaps: bool = False


@lru_cache(maxsize=256)
def window(outputs: int, kernel: int, stride: int, padding: int, dilation: int) -> Taps:
    """Return the taps of a convolution or pooling, `padding` in front."""
    starts = np.arange(outputs)[:, None] * stride - padding
    table = starts + dilation * np.arange(kernel)[None]
    return Taps(stride, table, -padding, dilation * (kernel - 1) - padding)


def listed(ratio: Exact, table: Indices) -> Taps:
    """Return the taps of any table of positions, their theoretical span the hull over all outputs.

    Args:
        ratio: Input positions from one output to the next.
        table: (outputs, taps); a tap given twice pads a row that has fewer.
    """
    if not table.size:
        return Taps(ratio, table, 0, 0)
    # Whole numbers until the end: floats would not be exact.
    drift = ratio.denominator * table - ratio.numerator * np.arange(len(table))[:, None]
    low, high = (exact(int(end), ratio.denominator) for end in (drift.min(), drift.max()))
    return Taps(ratio, table, low, high)


@lru_cache(maxsize=64)
def folded(inputs: int, size: int, weight: int) -> Taps:
    """Return the taps where all positions that differ in one digit become one.

    Positions are numbers of several digits, as those of rows that a view cut into windows.

    Args:
        inputs: How many positions there are.
        size: How many values the digit has.
        weight: Positions from one value to the next.
    """
    if weight == 1:
        return window(inputs // size, size, size, 0, 1)
    if size * weight == inputs:
        return replace(window(weight, size, 1, 0, weight), gaps=True)
    place = np.arange(inputs).reshape(-1, size, weight)
    return replace(listed(size, place.swapaxes(1, 2).reshape(-1, size)), gaps=True)


@lru_cache(maxsize=64)
def renumbering(count: int, digits: Digits) -> Indices:
    """Return other numbers of `count` positions.

    Args:
        count: How many positions there are.
        digits: Those that make up the new number.

    Returns:
        (count,) the new number of each position.
    """
    place = np.arange(count)
    return sum((place // old % size * new for old, size, new in digits), np.zeros_like(place))


@lru_cache(maxsize=64)
def spread(inputs: int, size: int) -> Taps:
    """Return the taps where each position is given to `size` outputs in a row."""
    table = (np.arange(inputs * size) // size)[:, None]
    phases = tuple((exact(-i, size), exact(-i, size)) for i in range(size))
    return Taps(exact(1, size), table, phases[-1][0], 0, phases)


@lru_cache(maxsize=64)
def rolled(count: int, shift: int) -> Taps:
    """Return the taps of positions that run on from their end to their beginning."""
    place = np.arange(count) - shift
    # Were there no border, nothing would run on.
    onward = (shift + count // 2) % count - count // 2
    return Taps(1, (place % count)[:, None], -onward, -onward, gaps=True)


@lru_cache(maxsize=64)
def transposed(outputs: int, kernel: int, stride: int, padding: int, dilation: int) -> Taps:
    """Return the taps of a transposed convolution.

    Output o is reached from input i by kernel element j where o = stride*i + dilation*j - padding.
    """
    reached = np.arange(outputs)[:, None] + padding - dilation * np.arange(kernel)[None]
    # Where no whole i fits, the element is not used: a place far outside reads nothing.
    table = np.where(reached % stride == 0, reached // stride, -(10**9))
    used = reached[reached % stride == 0]
    if not used.size:
        return listed(exact(1, stride), table)
    low = exact(padding - dilation * (kernel - 1), stride)
    return Taps(exact(1, stride), table, low, exact(padding, stride))


@lru_cache(maxsize=64)
def adaptive(inputs: int, outputs: int) -> Taps:
    """Return the taps of windows of nearly equal size that just cover the input."""
    if inputs % outputs == 0:
        return window(outputs, inputs // outputs, inputs // outputs, 0, 1)
    index = np.arange(outputs)
    first, end = index * inputs // outputs, -(-(index + 1) * inputs // outputs)
    table = first[:, None] + np.arange(int((end - first).max()))[None]
    return listed(exact(inputs, outputs), np.minimum(table, end[:, None] - 1))


@lru_cache(maxsize=64)
def nearest(inputs: int, outputs: int, scale: float | None, halved: bool) -> Taps:
    """Return the taps of interpolation by the nearest neighbour, that of the centre if `halved`."""
    ratio = _ratio(inputs, outputs, scale)
    shift = Fraction(1, 2) if halved else 0
    places = [min(int((i + shift) * ratio), inputs - 1) for i in range(outputs)]
    return listed(ratio, np.array(places, dtype=np.int64)[:, None])


def _ratio(inputs: int, outputs: int, scale: float | None) -> Exact:
    # torch divides by the scale that it was given, and by the sizes where it was not.
    return 1 / Fraction(scale).limit_denominator(10**6) if scale else exact(inputs, outputs)


@lru_cache(maxsize=64)
def interpolated(inputs: int, outputs: int, scale: float | None, corners: bool, reach: int) -> Taps:
    """Return the taps of linear (reach 1) or cubic (reach 2) interpolation of 2*reach places."""
    if reach == 1 and inputs == outputs:
        # torch copies, whatever the scale.
        return window(outputs, 1, 1, 0, 1)
    if corners:
        ratio = exact(inputs - 1, outputs - 1) if outputs > 1 else 0
        below = [floor(i * ratio) for i in range(outputs)]
    else:
        ratio = _ratio(inputs, outputs, scale)
        below = [floor((ratio * (2 * i + 1) - 1) // 2) for i in range(outputs)]
        if reach == 1:
            below = [max(place, 0) for place in below]
        else:
            # In floats the first pixel's own place may lie a hair before it, as torch has it.
            scaled = Fraction(float(ratio))
            below = [
                -1 if place == 0 and scaled * (2 * i + 1) < 1 else place
                for i, place in enumerate(below)
            ]
    # A neighbour whose weight is zero is still read: zero times NaN is NaN.
    table = np.array(below, dtype=np.int64)[:, None] + np.arange(1 - reach, 1 + reach)[None]
    taps = listed(ratio or 1, table)
    return Taps(taps.ratio, table.clip(0, inputs - 1), taps.low, taps.high)


@lru_cache(maxsize=64)
def antialiased(inputs: int, outputs: int, scale: float | None, corners: bool, reach: int) -> Taps:
    """Return the taps of interpolation over as many places as an output is wide, and more."""
    if inputs == outputs:
        # torch leaves the axis out, whatever the scale.
        return window(outputs, 1, 1, 0, 1)
    if corners:
        ratio = exact(inputs - 1, outputs - 1) if outputs > 1 else 0
    else:
        ratio = _ratio(inputs, outputs, scale)
    # In floats, as torch has it: what lies on the edge of a window is in or out by a hair.
    step = float(ratio)
    support = reach * max(step, 1.0)
    centres = [step * (i + 0.5) for i in range(outputs)]
    first = [floor(centre - support + 0.5) for centre in centres]
    last = [floor(centre + support + 0.5) - 1 for centre in centres]
    reads = np.array(first)[:, None] + np.arange(max(np.subtract(last, first)) + 1)[None]
    reads = np.minimum(reads, np.array(last)[:, None])
    taps = listed(ratio or 1, reads)
    # At the border the window is cut, not moved.
    return Taps(taps.ratio, reads.clip(0, inputs - 1), taps.low, taps.high)
