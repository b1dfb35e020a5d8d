"""Statistics against numpy in double precision, whole and merged."""

from functools import reduce

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnviz.saturation import Bound
from cnnviz.statistics import GradientNorms, Statistics, gradient_norms, measure

NAN, INF = float("nan"), float("inf")


def of(values: np.ndarray) -> Statistics:
    """Return the statistics of one picture's (C, H, W)."""
    (found,), _ = measure(torch.from_numpy(values[None].astype(np.float32)))
    return found


def check(found: Statistics, values: np.ndarray) -> None:
    """Compare with numpy over (N, C, H, W) in double precision."""
    values = values.astype(np.float32).astype(np.float64)
    seen = values[np.isfinite(values)]
    assert found.values == seen.size
    assert found.nan == np.isnan(values).sum()
    assert found.infinite == np.isinf(values).sum()
    assert found.zeros == (seen == 0).sum()
    assert found.zero_fraction == pytest.approx((values == 0).sum() / values.size)
    if seen.size:
        spread = max(abs(seen).max(), 1e-30)
        assert found.min == seen.min()
        assert found.max == seen.max()
        assert found.mean == pytest.approx(seen.mean(), abs=2e-6 * spread)
        assert found.std == pytest.approx(seen.std(), abs=2e-5 * spread)


BOUNDS = (Bound(0.0, 0.01), Bound(1.0, 0.01), Bound(-2.0))


def test_shares_at_bounds_are_counts_of_numpy_whole_and_merged() -> None:
    values = np.random.default_rng(3).normal(0.5, 0.6, (6, 2, 9, 8)).astype(np.float32)
    values[1, 0, 0, :5] = -2.0
    values[2, 0, 0, 0] = NAN  # a picture that is not finite is measured another way
    measured, _ = measure(torch.from_numpy(values), BOUNDS)
    assert [s.at_bounds for s in measured] == [at_bounds(picture) for picture in values]
    whole = reduce(Statistics.merge, measured)
    assert whole.at_bounds == at_bounds(values)
    shares = [count / values.size for _, count in whole.at_bounds]
    assert list(whole.bound_fractions.values()) == pytest.approx(shares)
    assert whole.saturated_fraction == pytest.approx(sum(shares))
    assert whole.health.saturated == whole.saturated_fraction
    assert of(values[0]).saturated_fraction is None


def at_bounds(values: np.ndarray) -> tuple[tuple[float, int], ...]:
    return (
        (0.0, int((abs(values) <= np.float32(0.01)).sum())),
        (1.0, int((abs(values - np.float32(1)) <= np.float32(0.01)).sum())),
        (-2.0, int((values == -2).sum())),
    )


shapes = st.tuples(*[st.integers(1, 4)] * 4)
numbers = st.sampled_from([0.0, 1.0, -2.0, 0.1, 1e4, -1e-3])
broken = st.sampled_from([0.0, 1.0, -2.0, NAN, INF, -INF])


@st.composite
def batches(draw: st.DrawFn, values: st.SearchStrategy[float]) -> np.ndarray:
    shape = draw(shapes)
    size = int(np.prod(shape))
    flat = draw(st.lists(values, min_size=size, max_size=size))
    return np.array(flat).reshape(shape)


@settings(max_examples=60, deadline=None)
@given(st.one_of(batches(numbers), batches(broken)))
def test_statistics_of_any_batch_are_numpys(values: np.ndarray) -> None:
    measured, _ = measure(torch.from_numpy(values.astype(np.float32)))
    for found, picture in zip(measured, values, strict=True):
        check(found, picture[None])
    check(reduce(Statistics.merge, measured), values)


@settings(max_examples=40, deadline=None)
@given(st.one_of(batches(numbers), batches(broken)), st.randoms(use_true_random=False))
def test_merging_in_any_grouping_gives_the_same(values: np.ndarray, random: object) -> None:
    parts = [of(picture) for picture in values]
    whole = reduce(Statistics.merge, parts)
    random.shuffle(parts)
    while len(parts) > 1:
        i = random.randrange(len(parts) - 1)
        parts[i : i + 2] = [parts[i].merge(parts[i + 1])]
    (other,) = parts
    for name in (
        "values", "total", "squares", "zeros", "nan", "infinite", "values_per_channel", "blank"
    ):  # fmt: skip
        assert getattr(other, name) == getattr(whole, name)
    assert np.array_equal(other.low, whole.low, equal_nan=True)
    assert np.array_equal(other.high, whole.high, equal_nan=True)


def gradient_sums(norms: list[float]) -> GradientNorms:
    return reduce(GradientNorms.merge, [gradient_norms(norm, 0.25) for norm in norms])


def test_norms_of_gradients_merge_to_the_same_bit_in_any_order() -> None:
    norms = [float(x) for x in np.random.default_rng(0).normal(size=50) ** 2]
    assert sum(norms) != sum(sorted(norms)), "floats do not"
    one, other = gradient_sums(norms), gradient_sums(sorted(norms))
    assert one == other
    assert one.norm == pytest.approx(np.mean(norms))
    assert one.relative == pytest.approx(np.mean(norms) * 4)


@pytest.mark.parametrize(
    ("norms", "mean"), [([1, 3], 2), ([1, INF], INF), ([INF, NAN, 1], NAN), ([NAN], NAN)]
)
def test_norms_that_are_not_finite_are_told(norms: list[float], mean: float) -> None:
    for order in (norms, norms[::-1]):
        found = gradient_sums(order)
        assert [found.norm, found.relative] == pytest.approx([mean, mean * 4], nan_ok=True)


def test_a_large_mean_does_not_drown_a_small_deviation_in_the_merge() -> None:
    values = 1e4 + np.random.default_rng(0).random((8, 2, 16, 16))
    check(reduce(Statistics.merge, [of(picture) for picture in values]), values)


def test_random_maps_and_half_precision_agree() -> None:
    values = np.random.default_rng(1).normal(3, 2, (5, 7, 11, 13)).astype(np.float32)
    measured, active = measure(torch.from_numpy(values))
    for found, share, picture in zip(measured, active, values, strict=True):
        check(found, picture[None])
        assert share == pytest.approx((picture > 0).mean())


def test_many_values_are_summed_without_loss_however_they_lie_in_memory() -> None:
    values = np.random.default_rng(0).gamma(0.5, size=(2, 3, 300, 400)).astype(np.float32)
    for form in (torch.contiguous_format, torch.channels_last):
        maps = torch.from_numpy(values).contiguous(memory_format=form)
        for found, picture in zip(measure(maps)[0], values.astype(np.float64), strict=True):
            assert found.mean == pytest.approx(picture.mean(), rel=1e-8)
            assert found.std == pytest.approx(picture.std(), rel=1e-6)


def test_active_is_the_share_above_zero_and_not_of_what_is_not_zero() -> None:
    maps = torch.tensor([[[[-1.0, 0.0, 2.0, 3.0]]], [[[0.0, 0.0, 0.0, 3.0]]]])
    assert measure(maps)[1] == [0.5, 0.25]
    assert measure(maps[1:])[1] == [0.25]
    assert measure(torch.tensor([[[[NAN, 1.0]]]]))[1] == [0.5]


def test_a_channel_is_dead_when_it_is_the_same_on_every_picture() -> None:
    first = of(np.array([[[0, 0]], [[1, 1]], [[2, 3]]]))
    assert first.dead_channels == 2
    both = first.merge(of(np.array([[[0, 0]], [[5, 5]], [[2, 3]]])))
    assert both.dead_channels == 1, "another constant on another picture is not dead"


def test_a_channel_with_nan_or_only_nan_is_not_dead_for_that() -> None:
    found = of(np.array([[[NAN, NAN]], [[0, 0]], [[0, 1]]]))
    assert found.dead_channels == 1
    assert np.isnan(found.low[0])
    assert found.min == 0


def test_channels_of_a_single_value_are_dead_only_over_several_pictures() -> None:
    one = of(np.array([[[0.0]], [[1.0]]]))
    assert one.dead_channels == 0
    assert one.merge(of(np.array([[[0.0]], [[2.0]]]))).dead_channels == 1


def test_blank_counts_pictures_with_one_value_in_the_whole_layer() -> None:
    blank, plain = np.full((2, 2, 2), 3.0), np.array([[[3.0, 3.0]], [[4.0, 4.0]]])
    assert of(blank).blank == 1
    assert of(plain).blank == 0, "two values in two channels"
    assert of(np.array([[[7.0]]])).blank == 0, "a single value has nothing to be like"
    assert of(blank).merge(of(blank)).merge(of(plain.repeat(2, 1))).blank == 2


def test_nothing_but_nan_has_no_mean_and_no_range() -> None:
    found = of(np.full((2, 2, 2), NAN))
    assert found.values == 0
    assert np.isnan([found.min, found.max, found.mean, found.std]).all()
    merged = found.merge(of(np.array([[[1.0, 3.0], [1.0, 3.0]]] * 2)))
    assert merged.mean == 2
    assert merged.std == 1
    assert merged.nan == 8
    check(of(np.array([[[1.0, 3.0]]])).merge(of(np.array([[[NAN, NAN]]]))),
          np.array([[[[1.0, 3.0]]], [[[NAN, NAN]]]]))  # fmt: skip


def test_values_whose_squares_overflow_are_measured_all_the_same() -> None:
    found = of(np.array([[[1e30, -1e30, 0.0, 1e30]]]))
    assert found.infinite == found.nan == 0
    assert found.std == pytest.approx(np.std([1e30, -1e30, 0.0, 1e30]))


def test_a_constant_channel_has_a_deviation_of_zero_whatever_rounding_does() -> None:
    for value in np.random.default_rng(0).normal(0, 3, 40):
        found = of(np.full((1, 1, 3137), value))
        assert found.squares >= 0
        assert found.std == pytest.approx(0, abs=1e-6)


def test_a_zero_is_told_the_same_way_whichever_sign_comes_first() -> None:
    minus, plus = of(np.array([[[-0.0, -1.0]]])), of(np.array([[[0.0, -1.0]]]))
    for found in (minus.merge(plus), plus.merge(minus), of(np.array([[[-0.0, -1.0, NAN]]]))):
        assert repr(found.max) == "0.0"
