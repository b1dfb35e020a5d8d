"""Values to palette indices, against arithmetic done by hand."""

import numpy as np
import pytest

from cnnviz.choices import Normalize
from cnnviz.render.palette import MAP_COLOURS, NAN_COLOUR
from cnnviz.render.scale import scale, scale_colours

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


def test_around_zero_the_middle_is_zero_whatever_the_values() -> None:
    maps = np.array([[[-1, 0, 3]], [[-1e-3, 0, -5e-4]], [[0, 2, 7]]], dtype=np.float32)
    scaled = scale(maps, Normalize.CHANNEL, signed=True)
    assert scaled.indices[:, 0, :].tolist() == [[66, 100, 199], [0, 100, 50], [100, 128, 199]]
    assert scaled.span is None


def test_zero_is_never_a_rounding_error_off_the_middle() -> None:
    sizes = np.random.default_rng(0).random((500, 1, 1)).astype(np.float32) * 10
    maps = np.concatenate([sizes, 0 * sizes, -sizes], axis=2)
    scaled = scale(maps, Normalize.CHANNEL, signed=True)
    assert (scaled.indices[:, 0] == [199, 100, 0]).all()


def test_around_zero_one_scale_reaches_as_far_as_the_largest_value() -> None:
    maps = np.array([[[-4, 1]], [[0, 2]]], dtype=np.float32)
    scaled = scale(maps, Normalize.LAYER, signed=True)
    assert scaled.span == (-4, 4)
    assert scaled.indices[:, 0].tolist() == [[0, 124], [100, 149]]
    assert scale(maps, Normalize.NONE, signed=True).span == (-1, 1)


def test_around_zero_only_zeros_are_constant() -> None:
    maps = np.array([[[0, 0]], [[3, 3]]], dtype=np.float32)
    scaled = scale(maps, Normalize.CHANNEL, signed=True)
    assert scaled.constant.tolist() == [True, False]
    assert scaled.indices[1].tolist() == [[199, 199]]


def test_colours_share_a_scale_and_grey_is_zero() -> None:
    picture = np.array([[[[0, 0, 0], [2, -2, 1]]]], dtype=np.float32)
    scaled = scale_colours(picture, Normalize.CHANNEL)
    assert scaled.indices.tolist() == [[[[128, 128, 128], [255, 0, 191]]]]
    other = np.concatenate([picture, picture / 2])
    halved = scale_colours(other, Normalize.LAYER)
    assert halved.indices[1].tolist() == [[[128, 128, 128], [191, 64, 159]]]
    assert scale_colours(other, Normalize.CHANNEL).indices[1].tolist() == scaled.indices[0].tolist()


def test_colours_with_nan_are_marked_as_a_whole() -> None:
    picture = np.array([[[[0, np.nan, 0], [1, 0, -1]]]], dtype=np.float32)
    scaled = scale_colours(picture, Normalize.CHANNEL)
    assert scaled.indices[0, 0].tolist() == [[255, 0, 255], [255, 128, 0]]
    assert scaled.broken.tolist() == [True]
