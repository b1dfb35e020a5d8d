"""Pictures with the photo in them: the overview, and heat over the photo."""

import numpy as np
import pytest
from PIL import Image

from cnnviz.errors import UnknownNameError
from cnnviz.render.canvas import MARGIN, Header
from cnnviz.render.palette import NAN_RGB, rgb_table
from cnnviz.render.photo import Stage, draw_overlay, draw_overview

HEADER = Header("demo")
RED = (255, 0, 0)


def stages(*maps: list[list[float]]) -> list[Stage]:
    values = [np.array(values, dtype=np.float32) for values in maps]
    return [Stage(value, f"layer {i}", ("1 × 1",)) for i, value in enumerate(values)]


def tiles(image: Image.Image, count: int, side: int = 224) -> list[np.ndarray]:
    """Return what stands in the places of a first row of square tiles."""
    pixels = np.asarray(image.convert("RGB"))
    top = next(y for y in range(len(pixels)) if (pixels[y, MARGIN : MARGIN + side] == RED).all())
    lefts = [MARGIN + i * (side + 14) for i in range(count)]
    return [pixels[top : top + side, x : x + side] for x in lefts]


def test_the_overview_shows_the_photo_and_then_every_layer_in_order() -> None:
    maps = stages([[0, 1], [1, 1]], [[1, 1], [1, 0]], [[0, 1]])
    image = draw_overview(Image.new("RGB", (64, 64), RED), maps, HEADER)
    photo, *layers = tiles(image, 4)
    low, high = rgb_table("viridis")[0], rgb_table("viridis")[199]
    assert (photo == RED).all()
    assert (layers[0][:112, :112] == low).all()
    assert (layers[0][112:] == high).all()
    assert (layers[1][112:, 112:] == low).all()
    assert (layers[1][:112] == high).all()
    assert (layers[2][:, :112] == low).all()
    assert (layers[2][:, 112:] == high).all()


@pytest.mark.parametrize(
    ("count", "columns", "rows", "side"), [(1, 2, 1, 224), (5, 6, 1, 224), (11, 6, 2, 224),
                                           (12, 10, 2, 144), (49, 10, 5, 144)],
)  # fmt: skip
def test_the_overview_breaks_into_rows(count: int, columns: int, rows: int, side: int) -> None:
    maps = stages(*[[[0.0, 1.0]]] * count)
    image = draw_overview(Image.new("RGB", (100, 100)), maps, Header(""))
    assert image.mode == "P"
    assert image.width == columns * (side + 14) - 14 + 2 * MARGIN
    assert rows * side < image.height < rows * (side + 70) + 60


def test_the_overview_keeps_the_proportions_of_the_input() -> None:
    wide = draw_overview(Image.new("RGB", (200, 100), RED), stages([[0, 1]]), HEADER)
    tall = draw_overview(Image.new("RGB", (100, 200), RED), stages([[0, 1]]), HEADER)
    assert (np.asarray(wide.convert("RGB")) == RED).all(axis=2).sum() == 224 * 112
    assert (np.asarray(tall.convert("RGB")) == RED).all(axis=2).sum() == 224 * 112
    assert wide.width > tall.width


def test_nan_is_marked_in_the_overview_and_a_constant_map_has_none() -> None:
    maps = stages([[np.nan, 1], [0, np.inf]], [[3, 3]], [[np.nan]])
    image = draw_overview(Image.new("RGB", (64, 64), RED), maps, HEADER)
    marked = (np.asarray(image.convert("RGB")) == NAN_RGB).all(axis=2)
    assert marked.sum() == 2 * 112 * 112 + 224 * 224


def overlay(values: list[list[float]], box: tuple[float, ...], size: tuple[int, int]) -> np.ndarray:
    photo = Image.new("RGB", size, (100, 100, 100))
    image = draw_overlay(photo, np.array(values, np.float32), box, HEADER)
    pixels = np.asarray(image).astype(int)
    return pixels[-MARGIN - size[1] : -MARGIN, MARGIN : MARGIN + size[0]]


def test_the_heat_lies_where_the_box_is_and_the_rest_is_faded() -> None:
    pixels = overlay([[0, 1]], (20, 10, 60, 30), (100, 50))
    faded = 255 - (255 - 100) * 0.35
    outside = np.ones((50, 100), dtype=bool)
    outside[10:30, 20:60] = False
    assert abs(pixels[outside] - faded).max() <= 1
    inside = pixels[10:30, 20:60]
    assert (abs(inside - faded) > 5).any(axis=2).all()


def test_the_heat_is_hottest_where_the_map_is() -> None:
    values = [[0.0] * 8 for _ in range(8)]
    values[1][6] = 1.0
    pixels = overlay(values, (0, 0, 80, 80), (80, 80))
    yellow = pixels[..., 0] + pixels[..., 1] - pixels[..., 2]
    y, x = np.unravel_index(yellow.argmax(), yellow.shape)
    assert 10 <= y < 20
    assert 60 <= x < 70


def test_a_box_beyond_the_photo_is_cut_at_its_edges() -> None:
    whole = overlay([[0, 1], [1, 0]], (-20, -20, 60, 60), (40, 40))
    assert whole.shape == (40, 40, 3)
    larger = overlay([[0, 1], [1, 0]], (0, 0, 80, 80), (80, 80))
    assert abs(whole - larger[20:60, 20:60]).max() <= 1


@pytest.mark.parametrize(
    "values", [[[np.nan, np.nan]], [[2, 2]], [[np.inf, 0]], [[-np.inf, np.nan]], [[5]]]
)
def test_maps_without_two_numbers_lie_evenly_over_a_photo(values: list[list[float]]) -> None:
    pixels = overlay(values, (0, 0, 40, 40), (40, 40))
    assert (pixels == pixels[0, 0]).all()
    assert tuple(pixels[0, 0]) != (100, 100, 100)


@pytest.mark.parametrize("size", [(3000, 2), (2, 3000), (1, 1)])
def test_odd_photos_can_be_laid_under(size: tuple[int, int]) -> None:
    box = (size[0] / 2 - 0.2, 0, size[0] / 2 + 0.2, size[1])
    image = draw_overlay(Image.new("RGB", size), np.eye(3, dtype=np.float32), box, HEADER)
    assert max(image.size) <= 1000


def test_a_large_photo_is_made_smaller_and_the_box_with_it() -> None:
    photo = Image.new("RGB", (3040, 1520), (100, 100, 100))
    image = draw_overlay(photo, np.ones((2, 2), np.float32), (0, 0, 1520, 1520), HEADER)
    pixels = np.asarray(image)[-MARGIN - 380 : -MARGIN, MARGIN : MARGIN + 760].astype(int)
    faded = abs(pixels - (255 - 155 * 0.35)).max(axis=2) <= 1
    assert faded[:, 380:].all()
    assert not faded[:, :380].any()


def test_the_colour_map_is_checked() -> None:
    with pytest.raises(UnknownNameError):
        draw_overview(Image.new("RGB", (8, 8)), stages([[0, 1]]), HEADER, cmap="nope")
