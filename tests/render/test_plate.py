"""Plates of small tiles, to the pixel."""

import numpy as np
import pytest
from PIL import Image

from cnnviz.choices import Normalize
from cnnviz.render import block as block_module
from cnnviz.render import plate as plate_module
from cnnviz.render.block import Caption
from cnnviz.render.canvas import MARGIN, Header
from cnnviz.render.palette import MAP_COLOURS, WHITE
from cnnviz.render.plate import draw_plate

LINE = int(block_module._LINE)


def draw(tiles: np.ndarray, **options: object) -> Image.Image:
    rows = [Caption(str(i)) for i in range(len(tiles))]
    columns = [str(i) for i in range(tiles.shape[1])]
    return draw_plate(tiles.astype(np.float32), rows, columns, Header("layer"), **options)


def coloured_area(image: Image.Image) -> np.ndarray:
    """Return the smallest rectangle below the header that holds all colours of the map."""
    pixels = np.asarray(image)
    body = pixels[60:] if image.mode == "P" else np.asarray(image.convert("L"))
    inside = (body < MAP_COLOURS) & (body != WHITE)
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return body[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def test_a_matrix_has_no_gaps_and_each_number_its_colour() -> None:
    values = np.array([[-2.0, 0, 1], [2, 1, -1]])[:, :, None, None]
    area = coloured_area(draw(values, normalize=Normalize.LAYER))
    side = plate_module._LARGEST_CELL
    expected = np.array([[0, 100, 149], [199, 149, 50]]).repeat(side, 0).repeat(side, 1)
    assert (area == expected).all()


def test_each_row_or_each_tile_has_a_scale_of_its_own() -> None:
    tiles = np.array([[[[1.0, 0]], [[2, 0]]], [[[40.0, 0]], [[20, 0]]]])
    by_row = coloured_area(draw(tiles))
    by_tile = coloured_area(draw(tiles, by_row=False))
    assert set(np.unique(by_row)) - {LINE, WHITE} == {100, 149, 199}
    assert set(np.unique(by_tile)) - {LINE, WHITE} == {100, 199}
    assert (by_row[0, 0], by_row[-1, 0]) == (149, 199)


def test_colours_are_a_picture_of_their_own_kind() -> None:
    tiles = np.zeros((1, 2, 2, 2, 3))
    tiles[0, 0, 0, 0] = (1, 0, -1)
    image = draw(tiles)
    pixels = np.asarray(image)
    assert image.mode == "RGB"
    side = plate_module._LARGEST_TILE // 2
    assert (pixels == (255, 128, 0)).all(axis=2).sum() == side * side
    assert (pixels == (128, 128, 128)).all(axis=2).sum() >= 7 * side * side


def test_long_strips_are_folded_into_blocks_in_order() -> None:
    tiles = np.arange(64.0).repeat(18).reshape(64, 2, 3, 3) + 1
    image = draw(tiles, normalize=Normalize.LAYER)
    area = coloured_area(image)
    assert image.width < 2 * image.height
    assert image.height < 2 * image.width
    colours = [int(c) for c in area[0] if c < MAP_COLOURS]
    firsts = list(dict.fromkeys(colours))
    assert len(firsts) > 1
    assert firsts == sorted(firsts)
    seen = set(np.unique(area)) - {WHITE, LINE}
    assert seen >= {round(99.5 + (i + 1) / 64 * 99.5) for i in (0, 30, 63)}


def test_coloured_blocks_stand_where_plain_ones_do() -> None:
    values = np.random.default_rng(0).random((30, 2, 5, 5)) + 0.5
    plain = draw(values, normalize=Normalize.LAYER)
    colour = draw(np.stack([values] * 3, axis=-1), normalize=Normalize.LAYER)
    tiles = np.asarray(plain)[100:] < MAP_COLOURS
    greys = np.asarray(colour)[100:].astype(int)
    # The first has a colour bar in its header, and both have the same size.
    assert plain.size == colour.size
    lit = (greys[..., 0] > 128) & (greys[..., 0] < 254) & (np.ptp(greys, axis=2) == 0)
    assert (lit[tiles]).mean() > 0.9


def test_a_huge_matrix_is_averaged_over_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plate_module, "_MOST_NUMBERS", 16)
    values = np.kron(np.array([[1.0, -1], [0, 1]]), np.ones((4, 4)))
    values += np.tile([[0.5, -0.5], [-0.5, 0.5]], (4, 4))  # gone on average
    area = coloured_area(draw(values[:, :, None, None], normalize=Normalize.LAYER))
    side = 16 * 2
    assert (area == np.array([[199, 0], [100, 199]]).repeat(side, 0).repeat(side, 1)).all()


@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1), (1, 1, 3, 3), (3, 1, 1, 9), (300, 2, 1, 7), (2, 300, 3, 3)]
)
def test_every_shape_can_be_drawn(shape: tuple[int, ...]) -> None:
    image = draw(np.random.default_rng(0).standard_normal(shape))
    assert image.mode == "P"
    assert image.width > MARGIN
    assert image.height > MARGIN
