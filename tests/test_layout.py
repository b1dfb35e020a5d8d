"""Which axes of an output are rows and columns, told from types and from layers before."""

import pytest

from cnnviz.layout import Axes, Layout, LayoutReader


def read(*outputs: tuple[str, tuple[int, ...]], size: tuple[int, int] = (224, 224)) -> list[Layout]:
    reader = LayoutReader(size)
    return [reader.read(kind, shape) for kind, shape in outputs]


def test_a_convolution_gives_maps() -> None:
    (layout,) = read(("Conv2d", (1, 64, 7, 9)))
    assert layout == Layout(Axes.MAPS, 64, (7, 9))


def test_a_convolution_whose_size_divides_nothing_gives_maps_all_the_same() -> None:
    layouts = read(
        ("Conv2d", (1, 32, 149, 149)), ("ReLU", (1, 32, 149, 149)), ("Conv2d", (1, 32, 147, 147))
    )
    assert [layout.grid for layout in layouts] == [(149, 149), (149, 149), (147, 147)]


def test_a_vector_has_no_grid() -> None:
    (layout,) = read(("Linear", (1, 1000)))
    assert layout == Layout(Axes.VECTOR, 1000)


def test_tokens_take_the_grid_of_the_patches_before_them() -> None:
    layouts = read(("Conv2d", (1, 768, 7, 9)), ("LayerNorm", (1, 63, 768)))
    assert layouts[1] == Layout(Axes.TOKENS, 768, (7, 9))


def test_one_token_more_than_patches_is_a_class_token() -> None:
    layouts = read(("Conv2d", (1, 768, 14, 14)), ("EncoderBlock", (1, 197, 768)))
    assert layouts[1] == Layout(Axes.CLASS_TOKEN, 768, (14, 14))


def test_swin_is_channels_last_and_halves_at_each_merge() -> None:
    layouts = read(
        ("Conv2d", (1, 96, 56, 56)),
        ("Permute", (1, 56, 56, 96)),
        ("LayerNorm", (1, 56, 56, 96)),
        ("Linear", (1, 28, 28, 192)),
        ("SwinTransformerBlock", (1, 28, 28, 192)),
    )
    assert [layout.axes for layout in layouts] == [Axes.MAPS] + [Axes.MAPS_LAST] * 4
    assert layouts[-1].grid == (28, 28)
    assert layouts[-1].channels == 192


def test_an_odd_side_may_be_halved_either_way() -> None:
    for side in (3, 4):
        layouts = read(("Conv2d", (1, 8, 7, 7)), ("Linear", (1, side, side, 16)))
        assert layouts[1].grid == (side, side)


def test_convnext_goes_to_channels_last_and_back() -> None:
    layouts = read(
        ("Conv2d", (1, 96, 56, 56)),
        ("Permute", (1, 56, 56, 96)),
        ("LayerNorm", (1, 56, 56, 96)),
        ("GELU", (1, 56, 56, 384)),
        ("Permute", (1, 96, 56, 56)),
        ("LayerNorm2d", (1, 96, 56, 56)),
    )
    last = [layout.axes is Axes.MAPS_LAST for layout in layouts]
    assert last == [False, True, True, True, False, False]
    assert [layout.channels for layout in layouts] == [96, 96, 96, 384, 96, 96]


def test_a_cube_is_a_map_behind_convolutions_and_unknown_where_axes_are_turned() -> None:
    cube = (1, 96, 96, 96)
    plain = read(("Conv2d", cube), ("ReLU", cube))
    assert [layout.axes for layout in plain] == [Axes.MAPS, Axes.MAPS]
    turned = read(
        ("Conv2d", cube), ("Permute", cube), ("LayerNorm", cube), ("GELU", cube), ("CNBlock", cube)
    )
    axes = [layout.axes for layout in turned]
    assert axes == [Axes.MAPS, None, Axes.MAPS_LAST, None, None]
    assert "as many channels as rows and columns" in (turned[-1].reason or "")


def test_tokens_in_windows_are_no_picture() -> None:
    layouts = read(("Conv2d", (1, 64, 56, 56)), ("Linear", (1, 64, 49, 192)))
    assert layouts[1].axes is None
    assert layouts[1].reason == "output 1x64x49x192 is not a picture: tokens in windows"


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((), "no batch axis"),
        ((5,), "no batch axis"),
        ((2, 3), "no batch axis"),
        ((1, 3, 0, 4), "it is empty"),
        ((1, 3, 4, 4, 4), "no telling which axes are time, rows and columns"),
        ((1, 3, 4, 4, 4, 4), "more than three spatial axes"),
        ((1, 50, 8), "no layer before has a grid of 50"),
        ((1, 50, 13, 8), "no telling which axes"),
    ],
)
def test_what_cannot_be_told_is_unknown_with_a_reason(shape: tuple[int, ...], reason: str) -> None:
    (layout,) = read(("Custom", shape))
    assert layout.axes is None
    assert layout.grid is None
    assert reason in (layout.reason or "")


def test_an_activation_has_the_layout_of_the_same_shape_before() -> None:
    layouts = read(("Conv2d", (1, 6, 5, 5)), ("ReLU", (1, 6, 5, 5)))
    assert layouts[1] == layouts[0]


def test_a_shape_like_the_input_is_a_map_before_any_convolution() -> None:
    layouts = read(("Normalize", (1, 3, 20, 30)), ("Half", (1, 3, 10, 15)), size=(20, 30))
    assert [layout.grid for layout in layouts] == [(20, 30), (10, 15)]


def test_a_convolution_over_time_gives_clips_and_what_follows_has_their_grid() -> None:
    layouts = read(
        ("Conv3d", (1, 64, 8, 56, 57)),
        ("ReLU", (1, 64, 8, 56, 57)),
        ("MaxPool3d", (1, 64, 4, 28, 28)),
        ("Linear", (1, 4, 28, 28, 96)),
        ("SwinTransformerBlock", (1, 4, 28, 28, 96)),
    )
    assert [layout.axes for layout in layouts] == [Axes.CLIPS] * 3 + [Axes.CLIPS_LAST] * 2
    assert [layout.frames for layout in layouts] == [8, 8, 4, 4, 4]
    assert layouts[0] == Layout(Axes.CLIPS, 64, (56, 57), frames=8)
    assert layouts[-1] == Layout(Axes.CLIPS_LAST, 96, (28, 28), frames=4)
