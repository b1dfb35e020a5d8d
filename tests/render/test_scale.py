"""Values to palette indices, against arithmetic done by hand."""

import numpy as np
import pytest

from cnnviz.choices import Normalize
from cnnviz.render.palette import MAP_COLOURS, NAN_COLOUR
from cnnviz.render.scale import scale

TOP = MAP_COLOURS - 1
NAN, INF = float("nan"), float("inf")


def maps(*tiles: list[list[float]]) -> np.ndarray:
    return np.array(tiles, dtype=np.float32)


def test_each_channel_spans_its_own_range() -> None:
    scaled = scale(maps([[0, 1], [2, 4]], [[-10, -10], [-20, -15]]), Normalize.CHANNEL)
    assert scaled.indices.tolist() == [[[0, 50], [100, TOP]], [[TOP, TOP], [0, 100]]]
    assert scaled.indices.dtype == np.uint8
    assert scaled.low.tolist() == [0, -20]
    assert scaled.high.tolist() == [4, -10]
    assert scaled.span is None


def test_a_layer_shares_the_range_of_all_its_maps() -> None:
    scaled = scale(maps([[0, 1]], [[2, 4]]), Normalize.LAYER)
    assert scaled.indices.tolist() == [[[0, 50]], [[100, TOP]]]
    assert scaled.span == (0, 4)


def test_values_as_they_are_clip_at_zero_and_one() -> None:
    scaled = scale(maps([[-1, 0, 0.5, 1, 7]]), Normalize.NONE)
    assert scaled.indices.tolist() == [[[0, 0, 100, TOP, TOP]]]
    assert scaled.span == (0, 1)


@pytest.mark.parametrize("normalize", list(Normalize))
@pytest.mark.parametrize("value", [0.0, 3.5, -2.0, 1e30])
def test_a_constant_map_is_marked_and_does_not_divide_by_zero(
    normalize: Normalize, value: float
) -> None:
    scaled = scale(np.full((1, 2, 2), value, dtype=np.float32), normalize)
    assert scaled.constant.tolist() == [True]
    assert not scaled.broken.any()
    assert len(np.unique(scaled.indices)) == 1
    if normalize is Normalize.CHANNEL:
        assert (scaled.indices == 0).all()


def test_nan_and_infinity_get_their_own_colour_and_leave_the_rest_alone() -> None:
    scaled = scale(maps([[0, NAN], [INF, 2]], [[0, 1], [1, 2]]), Normalize.CHANNEL)
    assert scaled.indices.tolist() == [[[0, NAN_COLOUR], [NAN_COLOUR, TOP]], [[0, 100], [100, TOP]]]
    assert scaled.broken.tolist() == [True, False]
    assert scaled.low.tolist() == [0, 0]
    assert scaled.high.tolist() == [2, 2]


@pytest.mark.parametrize("normalize", list(Normalize))
def test_a_map_of_nothing_but_nan_is_all_mark(normalize: Normalize) -> None:
    scaled = scale(maps([[NAN, -INF], [INF, NAN]]), normalize)
    assert (scaled.indices == NAN_COLOUR).all()
    assert scaled.broken.tolist() == [True]
    assert scaled.constant.tolist() == [False]
    assert np.isnan(scaled.low[0])


def test_a_constant_map_with_one_nan_is_broken_and_not_constant() -> None:
    scaled = scale(maps([[1, 1], [1, NAN]]), Normalize.CHANNEL)
    assert scaled.broken.tolist() == [True]
    assert scaled.constant.tolist() == [False]


def test_maps_of_a_single_value_share_one_range() -> None:
    scaled = scale(maps([[1]], [[2]], [[3]]), Normalize.CHANNEL)
    assert scaled.indices.ravel().tolist() == [0, 100, TOP]
    assert scaled.span == (1, 3)
    assert not scaled.constant.any()


def test_extremes_of_float32_do_not_overflow_into_warnings() -> None:
    largest = np.finfo(np.float32).max
    scale(maps([[-largest, largest]]), Normalize.CHANNEL)
    tiny = np.finfo(np.float32).smallest_subnormal
    assert scale(maps([[0, tiny]]), Normalize.CHANNEL).indices.tolist() == [[[0, TOP]]]


def test_the_maps_are_not_changed() -> None:
    values = maps([[0, NAN], [1, 2]])
    before = values.copy()
    scale(values, Normalize.CHANNEL)
    assert np.array_equal(values, before, equal_nan=True)


def test_random_maps_agree_with_double_precision() -> None:
    values = np.random.default_rng(0).normal(size=(5, 9, 7)).astype(np.float32)
    low, high = values.min(axis=(1, 2), keepdims=True), values.max(axis=(1, 2), keepdims=True)
    exact = (values.astype(np.float64) - low) / (high.astype(np.float64) - low) * TOP
    indices = scale(values, Normalize.CHANNEL).indices
    assert abs(indices - exact).max() < 0.501
