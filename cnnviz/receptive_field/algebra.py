"""How the part of the input that a unit reads grows from layer to layer, in exact numbers.

Everything is per spatial axis. Along one axis, each output of an operator reads some positions of
its input, its *taps*. Following taps back to the network's input gives two answers:

- the `Span` is the theoretical field, as if the input went on forever;
- the bounds are what unit `i` of this map really reads, where padding, floor division and crops
  cut the field: exact at the border too.

See Araujo, Norris, Sim, "Computing Receptive Fields of Convolutional Neural Networks", 2019.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import reduce

from cnnviz.receptive_field.axis import NO_LAST, Axis, Pairs
from cnnviz.receptive_field.span import Span


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
class TimeField:
    """What the units of a layer read of the frames of a clip.

    Attributes:
        size: Frames from the first to the last that a unit reads, were there no border.
        stride: Frames from one unit to the next.
        start: The first frame that unit 0 reads; negative inside the padding.
    """

    size: int
    stride: Fraction
    start: int


@dataclass(frozen=True)
class ReceptiveField:
    """What the units of a layer read of the input; all pairs are (rows, columns).

    In windows of attention some units read more than others: `size` is that of those that read
    most. Keys that a mask hides count as read: their weight is tiny, not zero.

    Attributes:
        size: Input pixels from the first to the last that a unit reads, were there no border.
        stride: Input pixels from one unit to the next; a fraction after upsampling.
        start: The first pixel that unit (0, 0) reads; negative inside the padding.
        is_global: Whether some unit depends on the whole input, through its field or besides it.
        aligned: False where branches of different strides met, or where attention goes over a
            grid; `size` is then a hull.
        spans: The theoretical fields of rows and columns.
        branches: What units really read. One is enough, but where branches met of which one reads
            nothing at some places.
        time: What they read of the frames; None where the input has no axis of time.
    """

    size: tuple[int, int]
    stride: tuple[Fraction, Fraction]
    start: tuple[int, int]
    is_global: bool
    aligned: bool
    spans: tuple[Span, Span] = field(repr=False)
    branches: tuple[Branch, ...] = field(repr=False)
    time: TimeField | None = None

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

    def box_without_border(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Return the pixels that a unit would read, were there no border, as `box` has them.

        After attention over a grid nothing tells them: it is what the unit really reads.
        """
        if any(span.scattered for span in self.spans):
            return self.box(row, column)
        (top, bottom), (left, right) = self.spans[0].of_unit(row), self.spans[1].of_unit(column)
        return left, top, right + 1, bottom + 1

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
    branches: Sequence[tuple[Axis, Axis, Sequence[Axis]]],
    input_size: tuple[int, int],
    time: Axis | None = None,
) -> ReceptiveField:
    """Return the receptive field of a layer.

    Args:
        branches: (rows, columns, context) of each branch; context is what elements read besides.
        input_size: (rows, columns) of the network's input.
        time: What they read of the frames, where there are any.
    """
    rows = reduce(Axis.union, (rows for rows, _, _ in branches))
    columns = reduce(Axis.union, (columns for _, columns, _ in branches))
    spans = (rows.span, columns.span)
    seen = [rows, columns, *(axis for _, _, context in branches for axis in context)]
    whole = [any(a.of == of and a.covers(input_size[of]) for a in seen) for of in (0, 1)]
    return ReceptiveField(
        size=(rows.span.size, columns.span.size),
        stride=(Fraction(rows.span.step), Fraction(columns.span.step)),
        start=(rows.span.start, columns.span.start),
        is_global=all(whole),
        aligned=all(span.aligned for span in spans),
        spans=spans,
        branches=tuple(
            Branch(r.reads.pairs, c.reads.pairs, (_besides(context, 0), _besides(context, 1)))
            for r, c, context in branches
        ),
        time=None if time is None else _time_field(time.span),
    )


def _time_field(span: Span) -> TimeField:
    return TimeField(span.size, Fraction(span.step), span.start)


def _besides(context: Sequence[Axis], of: int) -> tuple[int, int] | None:
    return next((axis.reads.pairs[0] for axis in context if axis.of == of), None)
