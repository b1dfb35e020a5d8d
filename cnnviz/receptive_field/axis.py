"""What the units of a map read of the input along one axis: exact at the border, too."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from operator import or_

import numpy as np

from cnnviz.receptive_field.span import Span
from cnnviz.receptive_field.taps import Digits, Exact, Indices, Taps, renumbering, spread, window

Pairs = tuple[tuple[int, int], ...]

# First and last pixel of a unit that reads nothing but padding.
NO_FIRST, NO_LAST = int(np.iinfo(np.int64).max), -1


@dataclass(frozen=True, eq=False)
class Reads:
    """What the units of a map read of the input along one spatial axis.

    Rows and columns of square pictures share these, and so do layers that change nothing: what
    was worked out once is kept.

    Attributes:
        span: The theoretical field.
        first: (units,) the first pixel that each unit really reads; NO_FIRST where it reads none.
        last: (units,) the last pixel; NO_LAST where it reads none.
        pixels: (units,) the pixels that each unit reads, as the bits of a number, where it may read
            both ends and nothing between, as in windows that run on from the end to the beginning;
            empty where all units read from the first to the last.
    """

    span: Span
    first: Indices
    last: Indices
    pixels: tuple[int, ...] = ()
    _after: dict[object, "Reads"] = field(default_factory=dict, repr=False)

    def through(self, taps: Taps) -> "Reads":
        """Return what units read after an operator with these taps."""
        if taps not in self._after:
            inside = (taps.table >= 0) & (taps.table < len(self.first))
            place = np.where(inside, taps.table, 0)
            first = np.where(inside, self.first[place], NO_FIRST).min(axis=1, initial=NO_FIRST)
            last = np.where(inside, self.last[place], NO_LAST).max(axis=1, initial=NO_LAST)
            pixels: list[int] = []
            if taps.gaps or self.pixels:
                rows = zip(place.tolist(), inside.tolist(), strict=True)
                pixels = [
                    reduce(or_, (self._bits[at] for at, real in zip(*row, strict=True) if real), 0)
                    for row in rows
                ]
            self._after[taps] = _with_pixels(self.span.through(taps), first, last, pixels)
        return self._after[taps]

    def union(self, other: "Reads") -> "Reads":
        """Return what units read that read both; lengths are equal."""
        if other is self:
            return self
        if other not in self._after:
            if other.span.scattered and self.within(other):
                span = other.span
            elif self.span.scattered and other.within(self):
                span = self.span
            else:
                span = self.span.union(other.span, len(self.first))
            first, last = np.minimum(self.first, other.first), np.maximum(self.last, other.last)
            pixels: list[int] = []
            if self.pixels or other.pixels:
                pixels = list(map(or_, self._bits, other._bits))
            self._after[other] = _with_pixels(span, first, last, pixels)
        return self._after[other]

    @cached_property
    def _bits(self) -> tuple[int, ...]:
        """The pixels that each unit reads, also where all from the first to the last are read."""
        if self.pixels:
            return self.pixels
        return tuple(0 if b == NO_LAST else (2 << b) - (1 << a) for a, b in self.pairs)

    def at(self, places: Indices, span: Span) -> "Reads":
        """Return what units read that each read what a unit of these reads.

        Args:
            places: (units,) which one.
            span: The theoretical field.
        """
        bits = [self._bits[place] for place in places.tolist()]
        return _with_pixels(span, self.first[places], self.last[places], bits)

    @cached_property
    def pairs(self) -> Pairs:
        """(first, last) pixel of each unit."""
        return tuple(zip(self.first.tolist(), self.last.tolist(), strict=True))

    @cached_property
    def nothing(self) -> bool:
        """Whether no unit reads anything: all is padding."""
        return bool((self.last == NO_LAST).all())

    @cached_property
    def everywhere(self) -> bool:
        """Whether each unit reads something."""
        return bool((self.last != NO_LAST).all())

    def same(self, other: "Reads") -> bool:
        """Return whether each unit really reads what that of the other reads."""
        return bool((self.first == other.first).all() and (self.last == other.last).all())

    def within(self, other: "Reads") -> bool:
        """Return whether each unit really reads no more than that of the other."""
        return bool((self.first >= other.first).all() and (self.last <= other.last).all())

    def covers(self, pixels: int) -> bool:
        """Return whether some unit reads all of the input's pixels."""
        if self.pixels:
            return any(bits.bit_count() == pixels for bits in self.pixels)
        return bool(self.last[self.first <= 0].max(initial=NO_LAST) >= pixels - 1)


def _with_pixels(span: Span, first: Indices, last: Indices, pixels: Sequence[int]) -> Reads:
    """Return reads that keep the pixels of their units only where first and last do not tell."""
    if pixels:
        some = last != NO_LAST
        counts = np.array([bits.bit_count() for bits in pixels])
        gapless = (counts == last - first + 1)[some].all()
        # Units beside one another are merged by what comes after.
        in_order = (np.diff(first[some]) >= 0).all() and (np.diff(last[some]) >= 0).all()
        if not (gapless and in_order):
            return Reads(span, first, last, tuple(pixels))
    return Reads(span, first, last)


@dataclass(frozen=True, eq=False)
class Axis:
    """What the units of a map read along the input's rows, its columns, or its frames.

    Attributes:
        of: 0 for the input's rows, 1 for its columns, 2 for its frames.
        reads: What each unit reads.
    """

    of: int
    reads: Reads

    def __len__(self) -> int:
        """Return the number of units."""
        return len(self.reads.first)

    @property
    def span(self) -> Span:
        """The theoretical field."""
        return self.reads.span

    @property
    def first(self) -> Indices:
        """(units,) the first pixel that each unit really reads."""
        return self.reads.first

    @property
    def last(self) -> Indices:
        """(units,) the last pixel."""
        return self.reads.last

    def read(self, taps: Taps) -> "Axis":
        """Return the axis after an operator with these taps."""
        return Axis(self.of, self.reads.through(taps))

    def union(self, other: "Axis") -> "Axis":
        """Return the axis of a map where each unit reads what both read; lengths are equal."""
        reads = self.reads.union(other.reads)
        return self if reads is self.reads else Axis(self.of, reads)

    def whole(self) -> "Axis":
        """Return the axis of one unit that reads all units."""
        return self.read(window(1, len(self), 1, 0, 1))

    def covers(self, pixels: int) -> bool:
        """Return whether some unit reads all of the input's pixels."""
        return self.reads.covers(pixels)


def repeated(axis: Axis, count: int) -> Axis:
    """Return the axis of `count` units that all read what one unit reads."""
    span, places = replace(axis.span, aligned=False), np.zeros(count, dtype=np.int64)
    return Axis(axis.of, axis.reads.at(places, span))


def renumbered(axis: Axis, count: int, digits: Digits, step: Exact) -> Axis:
    """Return the axis of units that each read what a unit of another axis reads.

    Args:
        axis: The other axis.
        count: How many units there are.
        digits: Which unit of `axis` each of them reads, by the digits of its number.
        step: What is said to lead from one unit to the next where no span tells.
    """
    places, turn = renumbering(count, digits), count // len(axis)
    if np.array_equal(places, np.arange(count) // turn):
        return axis if turn == 1 else axis.read(spread(len(axis), turn))
    return _picked(axis, places, step)


def _picked(axis: Axis, places: Indices, step: Exact) -> Axis:
    # No span tells where they look; this one is as wide as what the widest reads.
    first, last = axis.first[places], axis.last[places]
    some = last != NO_LAST
    low = int(first[some][0]) if some.any() else 0
    width = int((last - first)[some].max(initial=0))
    return Axis(
        axis.of, axis.reads.at(places, Span(step, low, low + width, aligned=False, scattered=True))
    )


def input_axis(of: int, pixels: int) -> Axis:
    """Return the axis of the network's input."""
    here = np.arange(pixels)
    return Axis(of, Reads(Span(1, 0, 0), here, here))


def joined(parts: Sequence[Axis | int]) -> Axis:
    """Return maps put one after another along this axis.

    Args:
        parts: Axes, at least one, and counts of units that read nothing.
    """
    total = sum(part if isinstance(part, int) else len(part) for part in parts)
    spans: list[Span] = []
    first: list[Indices] = []
    last: list[Indices] = []
    pixels: list[int] = []
    place, of = 0, 0
    for part in parts:
        if isinstance(part, int):
            first.append(np.full(part, NO_FIRST))
            last.append(np.full(part, NO_LAST))
            pixels += [0] * part
            place += part
            continue
        of = part.of
        spans.append(part.span.through(window(1, 1, 1, place, 1)))
        first.append(part.first)
        last.append(part.last)
        pixels += part.reads._bits
        place += len(part)
    span = reduce(lambda one, other: one.union(other, total), spans)
    # Maps side by side are several: no span tells where a unit of any of them looks.
    alike = all(
        (one.low, one.high, one.phases) == (span.low, span.high, span.phases) for one in spans
    )
    span = replace(span, aligned=span.aligned and alike)
    kept = any(not isinstance(part, int) and part.reads.pixels for part in parts)
    ends = np.concatenate(first), np.concatenate(last)
    return Axis(of, _with_pixels(span, *ends, pixels if kept else ()))
