"""Parts put together on white, to the pixel."""

import numpy as np

from cnnviz.render.canvas import MARGIN, Header, beside, draw_bar, draw_title, stack, to_image
from cnnviz.render.palette import MAP_COLOURS, WHITE, grey, rgb_table


def part(height: int, width: int, value: int) -> np.ndarray:
    return np.full((height, width), value, dtype=np.uint8)


def test_parts_beside_one_another_start_at_the_top() -> None:
    both = beside(part(2, 3, 1), part(4, 2, 2), gap=5)
    expected = part(4, 10, WHITE)
    expected[:2, :3] = 1
    expected[:, 8:] = 2
    assert (both == expected).all()


def test_parts_below_one_another_have_a_margin_around() -> None:
    both = stack([part(2, 3, 1), part(4, 7, 2)])
    expected = part(2 + 4 + 3 * MARGIN, 7 + 2 * MARGIN, WHITE)
    expected[MARGIN : MARGIN + 2, MARGIN : MARGIN + 3] = 1
    expected[2 * MARGIN + 2 : 2 * MARGIN + 6, MARGIN : MARGIN + 7] = 2
    assert (both == expected).all()


def test_the_colour_bar_runs_through_the_whole_map() -> None:
    bar = draw_bar((0.0, 1.0))
    row = bar[0].astype(int)
    assert row[0] == 0
    assert row[-1] == MAP_COLOURS - 1
    assert (np.diff(row) >= 0).all()
    assert (bar[12:, :40] != WHITE).any(), "the lower end is named"
    assert (bar[12:, -40:] != WHITE).any(), "the upper end is named"


def test_a_title_names_the_layer_and_every_line() -> None:
    bare = draw_title(Header("conv1"))
    full = draw_title(Header("conv1", ("one", "two")), note="three")
    assert (bare != WHITE).any()
    line = (full.shape[0] - bare.shape[0]) // 3
    for i in range(3):
        top = bare.shape[0] + i * line
        assert (full[top : top + line] != WHITE).any()


def test_a_title_with_a_very_long_name_stays_on_the_page() -> None:
    assert draw_title(Header("x" * 99, ("y" * 120,))).shape[1] <= 620


def test_the_thumbnail_is_the_photo_in_grey() -> None:
    plain = draw_title(Header("conv1"))
    values = np.full((144, 144), 128, dtype=np.uint8)
    shown = draw_title(Header("conv1", thumbnail=values))
    assert (shown[:72, :72] == grey(128)).all()
    assert (shown[: plain.shape[0], 72 + MARGIN :] == plain).all()


def test_the_image_is_a_palette_picture_of_the_same_indices() -> None:
    canvas = np.array([[0, 199], [WHITE, 255]], dtype=np.uint8)
    image = to_image(canvas, "magma")
    assert image.mode == "P"
    assert (np.asarray(image) == canvas).all()
    assert (np.asarray(image.convert("RGB")) == rgb_table("magma")[canvas]).all()
