"""Parts put together on white, to the pixel."""

import numpy as np
from PIL import Image

from cnnviz.render.canvas import (
    MARGIN,
    Header,
    beside,
    caption_height,
    compose,
    compose_pictures,
    draw_bar,
    draw_title,
    fitted_size,
    stack,
    to_image,
    write_caption,
)
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


def test_a_body_stands_below_its_title_and_tiles_in_colours_on_the_body() -> None:
    title, body = part(4, 30, 7), part(5, 6, WHITE)
    body[2, 3] = 9
    plain = compose(title, body, "magma")
    assert plain.mode == "P"
    assert (np.asarray(plain) == stack([title, body])).all()
    tile = np.full((2, 3, 3), (1, 2, 3), np.uint8)
    pixels = np.asarray(compose(title, body, "magma", [(1, 2, tile)]))
    expected = rgb_table("magma")[stack([title, body])]
    top = MARGIN + 4 + MARGIN + 1
    expected[top : top + 2, MARGIN + 2 : MARGIN + 5] = (1, 2, 3)
    assert (pixels == expected).all()
    assert (np.asarray(compose(None, body, "magma")) == stack([body])).all()


def test_pictures_stand_below_a_title_and_one_another() -> None:
    pictures = [Image.new("RGB", (50, 3), "red"), Image.new("RGB", (20, 2), "blue")]
    page = np.asarray(compose_pictures(part(4, 30, 7), pictures))
    top = MARGIN + 4 + MARGIN
    assert page.shape == (top + 5 + MARGIN, 50 + 2 * MARGIN, 3)
    assert (page[top : top + 3, MARGIN:-MARGIN] == (255, 0, 0)).all()
    assert (page[top + 3 : top + 5, MARGIN : MARGIN + 20] == (0, 0, 255)).all()
    assert (page[MARGIN : MARGIN + 4, MARGIN : MARGIN + 30] == rgb_table("gray")[7]).all()
    assert (page[-MARGIN:] == 255).all()


def test_a_caption_is_as_high_as_it_says_and_cut_to_its_width() -> None:
    high = caption_height(2)
    canvas = part(high + 20, 40, WHITE)
    write_caption(canvas, "a very long title of a layer", ["one", "two that is long as well"])
    lines = (canvas != WHITE).any(axis=1)
    assert lines[: caption_height(0)].any()
    assert lines[caption_height(1) : high].any()
    assert not lines[high:].any()
    short = part(high + 20, 40, WHITE)
    write_caption(short, "a very long title of a layer and more of it", ["one", "two"])
    assert (short[:, -1] == WHITE).all(), "it is not cut in the middle of a letter"


def test_proportions_are_kept_and_no_side_is_empty() -> None:
    assert fitted_size((200, 100), 50) == (50, 25)
    assert fitted_size((3, 4), 8) == (6, 8)
    assert fitted_size((1, 1000), 10) == (1, 10)
