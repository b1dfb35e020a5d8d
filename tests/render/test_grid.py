"""Grids of maps, to the pixel."""

import math

import numpy as np
import pytest
from PIL import Image

from cnnviz.choices import Normalize
from cnnviz.errors import UnknownNameError
from cnnviz.render import grid as grid_module
from cnnviz.render import text
from cnnviz.render.canvas import LABEL, MARGIN, Header
from cnnviz.render.grid import draw_grid
from cnnviz.render.palette import MAP_COLOURS, NAN_COLOUR, WHITE

TOP, GAP, STRIP = MAP_COLOURS - 1, 8, text.line_height(LABEL) + 1


def draw(values: np.ndarray, header: Header | None = None, **options: object) -> np.ndarray:
    image = draw_grid(values, [str(i) for i in range(len(values))], header, **options)
    assert image.mode == "P"
    return np.asarray(image)


def body(values: np.ndarray, **options: object) -> np.ndarray:
    """Return a grid without header and margin."""
    return draw(values, **options)[MARGIN:-MARGIN, MARGIN:-MARGIN]


def tile(pixels: np.ndarray, row: int, column: int, height: int, width: int) -> np.ndarray:
    y, x = row * (height + STRIP + GAP) + STRIP, column * (width + GAP)
    return pixels[y : y + height, x : x + width]


def test_one_map_of_four_values_is_four_plain_squares() -> None:
    pixels = body(np.array([[[0, 1], [2, 4]]], dtype=np.float32))
    expected = np.array([[0, 50], [100, TOP]], dtype=np.uint8).repeat(224, 0).repeat(224, 1)
    assert (pixels[STRIP:] == expected).all()
    assert (pixels[:STRIP] != WHITE).any(), "the label is written"
    assert pixels.shape == (448 + STRIP, 448)


def test_maps_stand_in_rows_in_their_order() -> None:
    ramp = np.arange(4, dtype=np.float32).reshape(2, 2)
    values = np.stack([np.roll(ramp.ravel(), i).reshape(2, 2) for i in range(4)])
    pixels = body(values)
    for i in range(4):
        expected = np.rint(values[i] / 3 * TOP).astype(np.uint8).repeat(112, 0).repeat(112, 1)
        assert (tile(pixels, i // 2, i % 2, 224, 224) == expected).all()


@pytest.mark.parametrize(("shape", "count"), [((7, 7), 16), ((13, 20), 64), ((3, 50), 5)])
def test_small_maps_grow_by_whole_factors_without_smoothing(
    shape: tuple[int, int], count: int
) -> None:
    values = np.random.default_rng(0).random((count, *shape)).astype(np.float32)
    factor = grid_module._enlargement(count, max(shape))
    height, width = shape[0] * factor, shape[1] * factor
    first = tile(body(values), 0, 0, height, width)
    low, high = values[0].min(), values[0].max()
    small = first[::factor, ::factor]
    assert (first == small.repeat(factor, 0).repeat(factor, 1)).all()
    assert abs(small - (values[0] - low) / (high - low) * TOP).max() < 0.51


def test_large_maps_keep_every_pixel() -> None:
    values = np.random.default_rng(0).random((2, 300, 200)).astype(np.float32)
    assert body(values).shape == (300 + STRIP, 2 * 200 + GAP)


@pytest.mark.parametrize(
    ("count", "columns", "rows"), [(1, 1, 1), (3, 3, 1), (12, 4, 3), (64, 8, 8), (512, 27, 19)]
)
def test_a_grid_is_near_a_square(count: int, columns: int, rows: int) -> None:
    pixels = body(np.zeros((count, 84, 84), dtype=np.float32))
    factor = grid_module._enlargement(count, 84)
    side = 84 * factor
    assert pixels.shape == (rows * (side + STRIP + GAP) - GAP, columns * (side + GAP) - GAP)


def test_a_grid_is_wider_than_high_and_its_last_row_has_few_holes() -> None:
    for count in range(1, 400):
        columns = grid_module.column_count(count)
        rows = -(-count // columns)
        side = math.ceil(math.sqrt(count))
        assert rows <= side <= columns <= 2 * side
        holes = {c: -count % c for c in range(side, min(count, 2 * side) + 1)}
        assert holes[columns] <= columns // 4 or min(holes.values()) > columns // 4


def test_maps_of_one_pixel_share_a_scale() -> None:
    values = np.array([1.0, 2.0, 3.0], dtype=np.float32)[:, None, None]
    pixels = body(values)
    assert [int(np.median(tile(pixels, 0, i, 224, 224))) for i in range(3)] == [0, 100, TOP]


def test_a_constant_map_is_light_with_a_line_across() -> None:
    pixels = body(np.array([[[5, 5], [5, 5]], [[0, 1], [2, 3]]], dtype=np.float32))
    blank = tile(pixels, 0, 0, 224, 224)
    assert blank.min() >= MAP_COLOURS, "no colour of the map is in it"
    assert len(np.unique(blank)) == 2
    line = blank != blank[0, 0]
    assert line[-1, 0]
    assert line[0, -1]
    assert line.sum() < 2 * 224
    assert tile(pixels, 0, 1, 224, 224).max() <= TOP


def test_a_constant_map_on_a_shared_scale_has_its_colour() -> None:
    values = np.array([[[2, 2]], [[0, 4]]], dtype=np.float32)
    first = tile(body(values, normalize=Normalize.LAYER), 0, 0, 112, 224)
    assert (first == 100).all()


def test_nan_has_its_colour_at_its_place() -> None:
    values = np.array([[[0, np.nan], [1, 2]]], dtype=np.float32)
    pixels = body(values)[STRIP:]
    assert (pixels[:224, 224:] == NAN_COLOUR).all()
    assert (pixels == NAN_COLOUR).sum() == 224 * 224


def test_huge_maps_are_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid_module, "_LARGEST", 3 * 100 * 80 // 4)
    values = np.random.default_rng(0).random((3, 100, 80)).astype(np.float32)
    pixels = body(values)
    factor = grid_module._enlargement(3, 50)
    assert pixels.shape == (50 * factor + STRIP, 3 * 40 * factor + 2 * GAP)
    first = tile(pixels, 0, 0, 50 * factor, 40 * factor)[::factor, ::factor]
    mean = values[0, ::2, ::2] + values[0, 1::2, ::2] + values[0, ::2, 1::2] + values[0, 1::2, 1::2]
    mean = (mean - mean.min()) / (mean.max() - mean.min())
    assert abs(first - mean * TOP).max() < 0.51


def test_the_header_tells_that_maps_were_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    title = grid_module.draw_title

    def spy(header: Header, note: str, span: tuple[float, float] | None) -> np.ndarray:
        notes.append(note)
        return title(header, note, span)

    monkeypatch.setattr(grid_module, "draw_title", spy)
    values = np.random.default_rng(0).random((2, 90, 90)).astype(np.float32)
    draw(values, Header("conv1"))
    monkeypatch.setattr(grid_module, "_LARGEST", 2 * 90 * 90 // 9)
    draw(values, Header("conv1"), normalize=Normalize.NONE)
    assert notes[0] == "each tile on its own scale"
    assert notes[1] == (
        "values as they are, clipped to 0…1 in 0 of 2 tiles · shown at 1/3 of its size"
    )


def test_a_shared_scale_has_a_colour_bar_and_an_own_scale_has_none() -> None:
    values = np.array([[[0, 1], [2, 4]]], dtype=np.float32)
    header = Header("conv1", ("Conv2d",))
    assert not has_bar(draw(values, header))
    assert has_bar(draw(values, header, normalize=Normalize.LAYER))
    assert has_bar(draw(values, header, normalize=Normalize.NONE))


def has_bar(pixels: np.ndarray) -> bool:
    """Tell whether one row of the header holds every colour of the map that fits in 150 pixels."""
    return any(len(set(row.tolist()) & set(range(MAP_COLOURS))) == 150 for row in pixels[:80])


def test_the_header_stands_above_the_same_tiles() -> None:
    values = np.random.default_rng(0).random((4, 5, 5)).astype(np.float32)
    with_header, without = draw(values, Header("conv1")), draw(values)
    high = without.shape[0] - MARGIN
    assert (with_header[-high:, : without.shape[1]] == without[-high:]).all()
    assert (with_header[:-high] != WHITE).any()


def test_every_tile_is_labelled_with_its_own_name() -> None:
    values = np.tile(np.array([[0.0, 1.0]], dtype=np.float32), (3, 1, 1))
    pixels = np.asarray(draw_grid(values, ["7", "7", "31"]))[MARGIN:-MARGIN, MARGIN:-MARGIN]
    strips = [pixels[:STRIP, i * (224 + GAP) : i * (224 + GAP) + 224] for i in range(3)]
    assert (strips[0] == strips[1]).all()
    assert (strips[0] != strips[2]).any()


def test_the_colour_map_is_that_of_the_name_and_a_wrong_one_is_an_error() -> None:
    values = np.array([[[0, 1]]], dtype=np.float32)
    image: Image.Image = draw_grid(values, ["0"], cmap="gray").convert("RGB")
    pixels = np.asarray(image)[MARGIN + STRIP : -MARGIN, MARGIN:-MARGIN]
    assert pixels[0, 0].tolist() == [0, 0, 0]
    assert pixels[0, -1].tolist() == [255, 255, 255]
    with pytest.raises(UnknownNameError, match="did you mean plasma"):
        draw_grid(values, ["0"], cmap="plasm")


def test_red_green_and_blue_make_a_picture_in_full_colour_where_grey_is_zero() -> None:
    values = np.zeros((3, 2, 2, 3), dtype=np.float32)
    values[0, 0, 0] = (3, 0, -3)
    values[1] = 1
    image = draw_grid(values, ["0", "1", "2"])
    assert image.mode == "RGB"
    pixels = np.asarray(image)[MARGIN:-MARGIN, MARGIN:-MARGIN]
    red, bright, zero = (tile(pixels, 0, i, 224, 224) for i in range(3))
    expected = np.full((2, 2, 3), 128, np.uint8)
    expected[0, 0] = (255, 128, 0)
    assert (red == expected.repeat(112, 0).repeat(112, 1)).all()
    assert (bright == 255).all()
    assert (zero > 220).all(axis=2).mean() > 0.99, "nothing to show is light"


def test_notes_take_the_place_of_the_range() -> None:
    values = np.array([[[0, 1]], [[0, 2]]], dtype=np.float32)
    plain, noted = (
        np.asarray(draw_grid(values, ["0", "1"], notes=notes))
        for notes in (None, [("norm 7",), ("norm 7",)])
    )
    strips = [noted[MARGIN : MARGIN + STRIP, MARGIN + i * 232 + 20 :][:, :120] for i in (0, 1)]
    assert (strips[0] == strips[1]).all()
    assert (plain != noted).any()
