"""Spans and bounds along one axis: published numbers, hand-made cases, and torch as an oracle."""

from collections.abc import Callable
from fractions import Fraction
from functools import reduce

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from cnnviz.receptive_field.algebra import receptive_field
from cnnviz.receptive_field.axis import (
    NO_FIRST,
    NO_LAST,
    Axis,
    input_axis,
    joined,
    renumbered,
)
from cnnviz.receptive_field.span import Span
from cnnviz.receptive_field.taps import (
    Taps,
    adaptive,
    folded,
    interpolated,
    listed,
    nearest,
    rolled,
    spread,
    transposed,
    window,
)

START = Span(Fraction(1), Fraction(0), Fraction(0))
Window = tuple[int, int, int]  # kernel, stride, padding

# Layers as the published tables and torchvision have them.
ALEXNET = [(11, 4, 2), (3, 2, 0), (5, 1, 2), (3, 2, 0), *3 * [(3, 1, 1)], (3, 2, 0)]
VGG16 = [w for n in (2, 2, 3, 3, 3) for w in (*n * [(3, 1, 1)], (2, 2, 0))]
RESNET18 = [(7, 2, 3), (3, 2, 1), *4 * [(3, 1, 1)], *3 * [(3, 2, 1), *3 * [(3, 1, 1)]]]
# torchvision strides in the 3x3 of the first block of a stage, TF-Slim in that of the last.
RESNET50 = [(7, 2, 3), (3, 2, 1), *3 * [(3, 1, 1)]] + [
    w for n in (4, 6, 3) for w in ((3, 2, 1), *(n - 1) * [(3, 1, 1)])
]
RESNET50_SLIM = [
    (7, 2, 3), (3, 2, 1), *2 * [(3, 1, 1)], (3, 2, 1), *3 * [(3, 1, 1)], (3, 2, 1),
    *5 * [(3, 1, 1)], (3, 2, 1), *3 * [(3, 1, 1)],
]  # fmt: skip
MOBILENET_V1 = [(3, 2, 1)] + [(3, stride, 1) for stride in (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)]


def through(layers: list[Window]) -> Span:
    taps = [window(1, kernel, stride, padding, 1) for kernel, stride, padding in layers]
    return reduce(Span.through, taps, START)


@pytest.mark.parametrize(
    ("layers", "size", "step", "padding"),
    [
        (ALEXNET, 195, 32, 66),
        (VGG16, 212, 32, 90),
        (RESNET18[:6], 43, 4, 21),
        (RESNET18[:10], 99, 8, 49),
        (RESNET18[:14], 211, 16, 105),
        (RESNET18, 435, 32, 217),
        (RESNET50, 427, 32, 213),
        (RESNET50_SLIM, 483, 32, 241),
        (MOBILENET_V1, 315, 32, 157),
    ],
)
def test_published_numbers(layers: list[Window], size: int, step: int, padding: int) -> None:
    # TF pads an even map at its end only, which moves the field and leaves size and step.
    span = through(layers)
    assert (span.size, span.step, -span.low) == (size, step, padding)
    assert span.aligned


def test_pads_as_published_for_the_tensorflow_alexnet() -> None:
    # alexnet_v2 pads nothing in front of its first two poolings, and has VALID convolutions.
    span = through([(11, 4, 0), (3, 2, 0), (5, 1, 2), (3, 2, 0), *3 * [(3, 1, 1)], (3, 2, 0)])
    assert (span.size, span.step, -span.low) == (195, 32, 64)


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(0, 3), st.integers(1, 3)))
)
def test_a_chain_of_windows_is_the_closed_formula(layers: list[tuple[int, int, int, int]]) -> None:
    span, size, step, start = START, 1, 1, 0
    for kernel, stride, padding, dilation in layers:
        span = span.through(window(1, kernel, stride, padding, dilation))
        size += step * dilation * (kernel - 1)
        start -= step * padding
        step *= stride
    assert (span.size, span.step, span.low) == (size, step, start)


def span(step: object, low: object, high: object) -> Span:
    return Span(Fraction(step), Fraction(low), Fraction(high))  # type: ignore[arg-type]


def test_union_of_equal_steps_is_the_hull_and_aligned() -> None:
    assert span(2, -1, 1).union(span(2, 0, 4), 9) == span(2, -1, 4)


def test_union_of_different_steps_takes_the_larger_and_holds_all_units() -> None:
    both = span(2, 0, 0).union(span(3, 0, 0), 5)
    assert (both.step, both.low, both.high, both.aligned) == (3, -4, 0, False)
    for i in range(5):
        for one in (2 * i, 3 * i):
            assert both.step * i + both.low <= one <= both.step * i + both.high


def test_a_single_unit_has_no_step_to_be_misaligned_with() -> None:
    assert span(8, 0, 7).union(span(1, 2, 4), 1) == span(8, 0, 7)


_SPANS = st.builds(
    lambda step, low, length: span(step, low, low + length),
    st.sampled_from([Fraction(1, 2), 1, 2, 3]), st.integers(-9, 9), st.integers(0, 9),
)  # fmt: skip


def in_windows(axis: Axis, side: int) -> Axis:
    """All places of a window read what the window reads, as after attention."""
    count = len(axis) // side
    cut = axis.read(window(count * side, 1, 1, 0, 1))
    return cut.read(folded(len(cut), side, 1)).read(spread(count, side))


def test_places_in_a_window_read_as_much_as_the_window() -> None:
    axis = in_windows(input_axis(0, 224).read(window(56, 4, 4, 0, 1)), 7)
    # Not 52, the hull of where the seven look.
    assert (axis.span.size, axis.span.step, axis.span.start) == (28, 4, 0)
    assert [axis.span.of_unit(i) for i in (0, 6, 7, 55)] == [(0, 27), (0, 27), (28, 55), (196, 223)]
    assert axis.span.aligned


_STEPS = st.one_of(
    st.builds(lambda side: lambda axis: in_windows(axis, side), st.integers(2, 7)),
    st.builds(
        lambda by: lambda axis: axis.read(rolled(len(axis), by)), st.integers(-4, 4)
    ),
    st.builds(
        lambda kernel, stride, padding: lambda axis: axis.read(
            window(len(axis) // stride, kernel, stride, padding, 1)
        ),
        st.integers(1, 4), st.integers(1, 3), st.integers(0, 2),
    ),
    st.just(lambda axis: axis.union(in_windows(joined([axis, 12 - len(axis) % 12]), 6).read(
        window(len(axis), 1, 1, 0, 1)
    ))),
    st.just(
        lambda axis: axis.read(
            Taps(-1, np.arange(len(axis))[::-1, None], len(axis) - 1, len(axis) - 1)
        )
    ),
)  # fmt: skip


@given(st.lists(_STEPS, max_size=5))
def test_units_far_from_the_border_read_just_what_the_span_says(
    steps: list[Callable[[Axis], Axis]],
) -> None:
    axis = input_axis(0, 900)
    for step in steps:
        axis = step(axis)
    assert axis.span.aligned
    told = [axis.span.of_unit(i) for i in range(len(axis))]
    widest = max(last - first + 1 for first, last in told)
    assert axis.span.size == widest
    inside = [i for i, (first, last) in enumerate(told) if first >= 150 and last < 750]
    assert inside
    assert [axis.reads.pairs[i] for i in inside] == [told[i] for i in inside]


def test_attention_over_a_grid_is_as_wide_as_its_widest_unit() -> None:
    axis = input_axis(0, 12)
    alike = axis.read(folded(12, 3, 4))
    assert alike.reads.pairs == ((0, 8), (1, 9), (2, 10), (3, 11))
    # Unit 4 * i + j has the digit j in common with its mates.
    spread_out = renumbered(alike, 12, ((1, 4, 1),), 1)
    assert spread_out.reads.pairs == 3 * alike.reads.pairs
    assert (spread_out.span.size, spread_out.span.aligned) == (9, False)
    # Beside a padded convolution, which the grid sees whole, the border does not count.
    wide = axis.read(window(12, 5, 1, 2, 1))
    seen = renumbered(wide.read(folded(12, 3, 4)), 12, ((1, 4, 1),), 1)
    both = wide.union(seen)
    assert both.span.size == max(last - first + 1 for first, last in both.reads.pairs) == 12


def test_pixels_between_are_known_where_windows_run_on_around_the_border() -> None:
    axis = in_windows(input_axis(0, 12).read(rolled(12, -2)), 4)
    back = axis.read(rolled(12, 2))
    assert back.reads.pairs[0] == back.reads.pairs[11] == (0, 11)
    assert back.reads.pixels[0] == 0b110000000011
    assert not back.covers(12)
    assert back.read(window(1, 12, 1, 0, 1)).covers(12)


@given(_SPANS, _SPANS, st.integers(1, 9))
def test_a_union_holds_both_and_does_not_mind_the_order(one: Span, other: Span, count: int) -> None:
    both = one.union(other, count)
    for i in range(count):
        for part in (one, other):
            assert both.step * i + both.low <= part.step * i + part.low
            assert both.step * i + both.high >= part.step * i + part.high
    swapped = other.union(one, count)
    assert (both.size, both.aligned) == (swapped.size, swapped.aligned)


def test_upsampling_by_nearest_makes_a_step_of_a_half_and_reads_one_pixel() -> None:
    axis = input_axis(0, 4).read(nearest(4, 8, None, halved=False))
    assert axis.span.step == Fraction(1, 2)
    assert axis.span.size == 1
    assert axis.first.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    after = axis.read(window(6, 3, 1, 0, 1))
    # Three neighbours are two pixels, whatever the phase.
    assert after.span.size == 2
    assert (after.last - after.first + 1).max() == 2


def test_the_size_after_upsampling_is_that_of_the_widest_phase() -> None:
    axis = input_axis(0, 8).read(nearest(8, 16, None, halved=False)).read(window(15, 2, 1, 0, 1))
    assert axis.span.size == 2
    assert set((axis.last - axis.first + 1).tolist()) == {1, 2}


def test_a_mirrored_map_has_a_negative_step() -> None:
    mirror = Taps(Fraction(-1), np.arange(6)[::-1, None], Fraction(5), Fraction(5))
    axis = input_axis(1, 6).read(mirror)
    assert (axis.span.step, axis.span.low, axis.span.high) == (-1, 5, 5)
    assert axis.first.tolist() == [5, 4, 3, 2, 1, 0]
    after = axis.read(window(3, 2, 2, 0, 1))
    assert (after.span.step, after.span.low, after.span.high) == (-2, 4, 5)
    assert after.read(Taps(Fraction(-1), np.arange(3)[::-1, None], Fraction(2), Fraction(2))
                      ).span == Span(Fraction(2), Fraction(0), Fraction(1))  # fmt: skip


def test_padding_and_the_border_cut_what_a_unit_reads() -> None:
    axis = input_axis(0, 6).read(window(3, 3, 2, 1, 1))
    assert list(zip(axis.first.tolist(), axis.last.tolist(), strict=True)) == [
        (0, 1), (1, 3), (3, 5),
    ]  # fmt: skip
    assert (axis.span.size, axis.span.low) == (3, -1)


def test_a_unit_in_the_padding_reads_nothing() -> None:
    axis = input_axis(0, 3).read(window(3, 1, 3, 3, 1))
    assert axis.first.tolist() == [NO_FIRST, 0, NO_FIRST]
    assert axis.last.tolist() == [NO_LAST, 0, NO_LAST]


def test_joined_maps_are_no_longer_one_lattice() -> None:
    part = input_axis(0, 3)
    both = joined([part, part])
    assert not both.span.aligned
    # Unit i of the first reads pixel i, and of the second, which begins at 3, pixel i - 3.
    assert (both.span.step, both.span.low, both.span.high) == (1, -3, 0)
    assert both.first.tolist() == [0, 1, 2, 0, 1, 2]


def test_units_that_read_nothing_can_be_joined_in_front() -> None:
    both = joined([2, input_axis(0, 3)])
    assert both.span == span(1, -2, -2)
    assert both.first.tolist() == [NO_FIRST, NO_FIRST, 0, 1, 2]
    assert both.span.aligned


def test_covers_asks_for_one_unit_that_reaches_from_end_to_end() -> None:
    axis = input_axis(0, 5)
    assert axis.whole().covers(5)
    assert not axis.covers(5)
    assert axis.read(window(1, 5, 1, 0, 1)).covers(5)
    assert not axis.read(window(2, 4, 1, 0, 1)).covers(5)


def test_a_field_is_global_only_where_rows_and_columns_are_both_covered() -> None:
    rows, columns = input_axis(0, 4), input_axis(1, 6)
    sizes = (4, 6)
    assert not receptive_field([(rows, columns, [])], sizes).is_global
    assert not receptive_field([(rows.whole(), columns, [])], sizes).is_global
    assert receptive_field([(rows.whole(), columns.whole(), [])], sizes).is_global
    beside = receptive_field([(rows, columns, [rows.whole(), columns.whole()])], sizes)
    assert beside.is_global
    assert beside.size == (1, 1)
    assert beside.branches[0].besides == ((0, 3), (0, 5))


def test_boxes_are_in_x_and_y_end_exclusive_and_empty_for_padding() -> None:
    rows = input_axis(0, 8).read(window(4, 2, 2, 0, 1))
    columns = input_axis(1, 3).read(window(3, 1, 3, 3, 1))
    field = receptive_field([(rows, columns, [])], (8, 3))
    assert field.box(1, 1) == (0, 2, 1, 4)
    assert field.box(1, 0) == (0, 0, 0, 0)


# What torch reads, for every size: one picture per input place, with NaN there.


def read_by(function: Callable[[Tensor], Tensor], inputs: int) -> list[tuple[int, int]]:
    pictures = torch.zeros(inputs, 1, inputs, dtype=torch.float64)
    pictures[torch.arange(inputs), 0, torch.arange(inputs)] = torch.nan
    broken = function(pictures)[:, 0].isnan().numpy()
    found = []
    for unit in broken.T:
        places = np.flatnonzero(unit)
        found.append((int(places[0]), int(places[-1])) if len(places) else (NO_FIRST, NO_LAST))
    return found


def bounds(taps: Taps, inputs: int) -> list[tuple[int, int]]:
    axis = input_axis(0, inputs).read(taps)
    for i, (first, last) in enumerate(zip(axis.first.tolist(), axis.last.tolist(), strict=True)):
        if last != NO_LAST and len(axis) > 1 and taps.low <= taps.high:
            # No unit reads beyond its theoretical span but where an edge is repeated.
            reach = axis.span.step * i
            inside = reach + axis.span.low >= 0 and reach + axis.span.high <= inputs - 1
            assert not inside or (first >= reach + axis.span.low and last <= reach + axis.span.high)
    return list(zip(axis.first.tolist(), axis.last.tolist(), strict=True))


def resized(mode: str, **options: object) -> Callable[[Tensor], Tensor]:
    if mode != "bicubic":
        return lambda x: F.interpolate(x, mode=mode, **options)  # type: ignore[arg-type]
    options["size"] = (1, options["size"])
    return lambda x: F.interpolate(x[:, :, None], mode=mode, **options)[:, :, 0]  # type: ignore[arg-type]


def pooled(outputs: int) -> Callable[[Tensor], Tensor]:
    return lambda x: F.adaptive_avg_pool1d(x, outputs)


@pytest.mark.parametrize("inputs", [1, 2, 3, 5, 7, 8, 12, 20])
def test_interpolation_and_adaptive_pooling_read_what_torch_reads(inputs: int) -> None:
    for outputs in range(1, 26):
        for mode, exact in (("nearest", False), ("nearest-exact", True)):
            told = bounds(nearest(inputs, outputs, None, exact), inputs)
            assert told == read_by(resized(mode, size=outputs), inputs), mode
        for mode, reach in (("linear", 1), ("bicubic", 2)):
            for corners in (False, True):
                told = bounds(interpolated(inputs, outputs, None, corners, reach), inputs)
                found = read_by(resized(mode, size=outputs, align_corners=corners), inputs)
                assert told == found, (mode, outputs, corners)
        told = bounds(adaptive(inputs, outputs), inputs)
        assert told == read_by(pooled(outputs), inputs)


@pytest.mark.parametrize("scale", [0.3, 0.5, 0.7, 1.1, 1.5, 1.7, 2.0, 2.9, 3.0])
@pytest.mark.parametrize("inputs", [4, 7, 10, 19])
def test_interpolation_by_a_scale_reads_what_torch_reads(inputs: int, scale: float) -> None:
    outputs = int(inputs * scale)
    for mode, exact in (("nearest", False), ("nearest-exact", True)):
        told = bounds(nearest(inputs, outputs, scale, exact), inputs)
        assert told == read_by(resized(mode, scale_factor=scale), inputs), mode
    told = bounds(interpolated(inputs, outputs, scale, False, 1), inputs)
    assert told == read_by(resized("linear", scale_factor=scale), inputs)


@given(
    st.integers(1, 8), st.integers(1, 5), st.integers(1, 4), st.integers(0, 2), st.integers(1, 3)
)
def test_transposed_convolution_reads_what_torch_reads(
    inputs: int, kernel: int, stride: int, padding: int, dilation: int
) -> None:
    outputs = (inputs - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1
    if outputs < 1:
        return
    weight = torch.ones(1, 1, kernel, dtype=torch.float64)
    told = bounds(transposed(outputs, kernel, stride, padding, dilation), inputs)
    assert told == read_by(
        lambda x: F.conv_transpose1d(x, weight, None, stride, padding, 0, 1, dilation), inputs
    )


def test_any_table_can_be_listed() -> None:
    taps = listed(Fraction(1, 2), np.array([[0, 1], [0, 2], [1, 1]]))
    assert (taps.low, taps.high) == (Fraction(-1, 2), Fraction(3, 2))
    assert listed(Fraction(1), np.empty((0, 0), dtype=np.int64)).low == 0


def test_an_axis_knows_its_length() -> None:
    axis = input_axis(0, 5)
    assert isinstance(axis, Axis)
    assert len(axis) == 5
