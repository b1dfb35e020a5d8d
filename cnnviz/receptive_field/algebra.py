"""How the part of the input that a unit reads grows from layer to layer, in exact numbers.

Everything is per spatial axis. Along one axis, each output of an operator reads some positions of
its input, its *taps*. Following taps back to the network's input gives two answers:

- the `Span` is the theoretical field, as if the input went on forever: unit `i` reads the pixels
  `step*i + low` to `step*i + high`;
- the bounds are what unit `i` of this map really reads, where padding, floor division and crops
  cut the field: exact at the border too.

See Araujo, Norris, Sim, "Computing Receptive Fields of Convolutional Neural Networks", 2019.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, reduce
from math import ceil, floor

import numpy as np

from cnnviz.receptive_field.taps import Exact, Indices, Taps, window

Pairs = tuple[tuple[int, int], ...]

# First and last pixel of a unit that reads nothing but padding.
NO_FIRST, NO_LAST = int(np.iinfo(np.int64).max), -1


@dataclass(frozen=True)
class Span:
    """Unit i reads the input pixels step*i + low to step*i + high, both included.

    Attributes:
        step: Input pixels from one unit to the next; negative in a mirrored map.
        low: First pixel that unit 0 reads; negative inside the padding.
        high: Last pixel that unit 0 reads.
        aligned: False where branches of different steps met; the span is then a hull.
    """

    step: Exact
    low: Exact
    high: Exact
    aligned: bool = True

    @property
    def size(self) -> int:
        """Pixels from the first to the last that a unit reads, for the units that read most."""
        if isinstance(self.step, int):
            return floor(self.high) - ceil(self.low) + 1
        # After upsampling the pixels of a unit depend on its phase; the pattern then repeats.
        phases = (self.step * i for i in range(self.step.denominator))
        return max(floor(at + self.high) - ceil(at + self.low) for at in phases) + 1

    def through(self, taps: "Taps") -> "Span":
        """Return the span after an operator."""
        ends = (self.step * taps.low, self.step * taps.high)
        low, high = self.low + min(ends), self.high + max(ends)
        return Span(self.step * taps.ratio, low, high, self.aligned)

    def union(self, other: "Span", count: int) -> "Span":
        """Return the hull of two branches that meet in a map of `count` units along this axis."""
        if self == other:
            return self
        # A single unit has no next one: its step says nothing.
        step = self.step if self.step**2 >= other.step**2 else other.step
        aligned = self.aligned and other.aligned and (self.step == other.step or count == 1)
        drifts = [(span, (span.step - step) * (count - 1)) for span in (self, other)]
        low = min(span.low + min(drift, 0) for span, drift in drifts)
        high = max(span.high + max(drift, 0) for span, drift in drifts)
        return Span(step, low, high, aligned)


@dataclass(frozen=True, eq=False)
class Reads:
    """What the units of a map read of the input along one spatial axis.

    Rows and columns of square pictures share these, and so do layers that change nothing: what
    was worked out once is kept.

    Attributes:
        span: The theoretical field.
        first: (units,) the first pixel that each unit really reads; NO_FIRST where it reads none.
        last: (units,) the last pixel; NO_LAST where it reads none.
    """

    span: Span
    first: Indices
    last: Indices
    _after: dict[object, "Reads"] = field(default_factory=dict, repr=False)

    def through(self, taps: Taps) -> "Reads":
        """Return what units read after an operator with these taps."""
        if taps not in self._after:
            inside = (taps.table >= 0) & (taps.table < len(self.first))
            place = np.where(inside, taps.table, 0)
            first = np.where(inside, self.first[place], NO_FIRST).min(axis=1, initial=NO_FIRST)
            last = np.where(inside, self.last[place], NO_LAST).max(axis=1, initial=NO_LAST)
            self._after[taps] = Reads(self.span.through(taps), first, last)
        return self._after[taps]

    def union(self, other: "Reads") -> "Reads":
        """Return what units read that read both; lengths are equal."""
        if other is self:
            return self
        if other not in self._after:
            span = self.span.union(other.span, len(self.first))
            first = np.minimum(self.first, other.first)
            self._after[other] = Reads(span, first, np.maximum(self.last, other.last))
        return self._after[other]

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

    @cached_property
    def reach(self) -> int:
        """The last pixel to which a unit reads that reads from the first on."""
        return int(self.last[self.first <= 0].max(initial=NO_LAST))


@dataclass(frozen=True, eq=False)
class Axis:
    """What the units of a map read along the input's rows, or its columns.

    Attributes:
        of: 0 for the input's rows, 1 for its columns.
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
        """Return whether some unit reads from the first to the last of the input's pixels."""
        return self.reads.reach >= pixels - 1


def repeated(axis: Axis, count: int) -> Axis:
    """Return the axis of `count` units that all read what one unit reads."""
    span = Span(axis.span.step, axis.span.low, axis.span.high, aligned=False)
    first, last = axis.first.repeat(count), axis.last.repeat(count)
    return Axis(axis.of, Reads(span, first, last))


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
    place, of = 0, 0
    for part in parts:
        if isinstance(part, int):
            first.append(np.full(part, NO_FIRST))
            last.append(np.full(part, NO_LAST))
            place += part
            continue
        shift, of = part.span.step * place, part.of
        low, high = part.span.low - shift, part.span.high - shift
        spans.append(Span(part.span.step, low, high, part.span.aligned))
        first.append(part.first)
        last.append(part.last)
        place += len(part)
    span = reduce(lambda one, other: one.union(other, total), spans)
    # Maps side by side are several: no span tells where a unit of any of them looks.
    aligned = span.aligned and all((one.low, one.high) == (span.low, span.high) for one in spans)
    span = Span(span.step, span.low, span.high, aligned)
    return Axis(of, Reads(span, np.concatenate(first), np.concatenate(last)))


@dataclass(frozen=True)
class Branch:
    """What the units of a layer read through one of the branches that met in it.

    Attributes:
        rows: (first, last) input row per unit; NO_FIRST, NO_LAST for none.
        columns: The same for input columns.
        besides: (first, last) input row, and column, that every unit whose place reads something
            reads besides, as after attention or squeeze-and-excitation; None where nothing is.
    """

    rows: Pairs
    columns: Pairs
    besides: tuple[tuple[int, int] | None, tuple[int, int] | None] = (None, None)


@dataclass(frozen=True)
class ReceptiveField:
    """What the units of a layer read of the input; all pairs are (rows, columns).

    Attributes:
        size: Input pixels from the first to the last that a unit reads, were there no border.
        stride: Input pixels from one unit to the next; a fraction after upsampling.
        start: The first pixel that unit (0, 0) reads; negative inside the padding.
        is_global: Whether some unit depends on the whole input, through its field or besides it.
        aligned: False where branches of different strides met; `size` is then a hull.
        branches: What units really read. One is enough, but where branches met of which one reads
            nothing at some places.
    """

    size: tuple[int, int]
    stride: tuple[Fraction, Fraction]
    start: tuple[int, int]
    is_global: bool
    aligned: bool
    branches: tuple[Branch, ...] = field(repr=False)

    @property
    def size_text(self) -> str:
        """The size as people write it: `43`, or `1×7` where rows and columns differ."""
        return _written(*self.size)

    @property
    def stride_text(self) -> str:
        """The stride as people write it: `4`, or `1/2` after upsampling."""
        return _written(*self.stride)

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Return the pixels that a unit really reads, (x0, y0, x1, y1), end exclusive.

        What it reads besides its place is not in it. A unit that reads only padding has an empty
        box, (0, 0, 0, 0).
        """
        boxes = []
        for branch in self.branches:
            (top, bottom), (left, right) = branch.rows[row], branch.columns[column]
            if NO_LAST not in (bottom, right):
                boxes.append((left, top, right + 1, bottom + 1))
        if not boxes:
            return 0, 0, 0, 0
        x0, y0, x1, y1 = zip(*boxes, strict=True)
        return min(x0), min(y0), max(x1), max(y1)

    def reach(self, of: int) -> Pairs:
        """Return (first, last) pixel of all that units read, what is besides their place included.

        Args:
            of: 0 for the input's rows, by row of the map; 1 for its columns, by column.
        """
        by_branch = [
            [_hull(pair, branch.besides[of]) for pair in (branch.rows, branch.columns)[of]]
            for branch in self.branches
        ]
        return tuple(
            (min(first for first, _ in pairs), max(last for _, last in pairs))
            for pairs in zip(*by_branch, strict=True)
        )


def _hull(pair: tuple[int, int], besides: tuple[int, int] | None) -> tuple[int, int]:
    if besides is None or pair[1] == NO_LAST:
        return pair
    return min(pair[0], besides[0]), max(pair[1], besides[1])


def _written(rows: Fraction | int, columns: Fraction | int) -> str:
    return str(rows) if rows == columns else f"{rows}×{columns}"


def receptive_field(
    branches: Sequence[tuple[Axis, Axis, Sequence[Axis]]], input_size: tuple[int, int]
) -> ReceptiveField:
    """Return the receptive field of a layer.

    Args:
        branches: (rows, columns, context) of each branch; context is what elements read besides.
        input_size: (rows, columns) of the network's input.
    """
    rows = reduce(Axis.union, (rows for rows, _, _ in branches))
    columns = reduce(Axis.union, (columns for _, columns, _ in branches))
    spans = (rows.span, columns.span)
    seen = [rows, columns, *(axis for _, _, context in branches for axis in context)]
    whole = [any(a.of == of and a.covers(input_size[of]) for a in seen) for of in (0, 1)]
    return ReceptiveField(
        size=(rows.span.size, columns.span.size),
        stride=(Fraction(rows.span.step), Fraction(columns.span.step)),
        start=(ceil(rows.span.low), ceil(columns.span.low)),
        is_global=all(whole),
        aligned=all(span.aligned for span in spans),
        branches=tuple(
            Branch(r.reads.pairs, c.reads.pairs, (_besides(context, 0), _besides(context, 1)))
            for r, c, context in branches
        ),
    )


def _besides(context: Sequence[Axis], of: int) -> tuple[int, int] | None:
    return next((axis.reads.pairs[0] for axis in context if axis.of == of), None)
