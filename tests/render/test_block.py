"""Tiles in rows and columns, to the pixel."""

import numpy as np

from cnnviz.render import block as block_module
from cnnviz.render.block import Block, Caption, Spacing
from cnnviz.render.palette import WHITE

LINE = int(block_module._LINE)


def block(pixels: np.ndarray, spacing: Spacing) -> np.ndarray:
    """Return the tiles of a block without names."""
    rows = [Caption(str(i)) for i in range(len(pixels))]
    made = Block(pixels.astype(np.uint8), rows, [""] * pixels.shape[1], spacing)
    return made.draw()[made.top :, made.left :]


def test_tiles_stand_in_rows_and_columns_with_lines_between() -> None:
    pixels = np.arange(2 * 3).reshape(2, 3, 1, 1).repeat(20, axis=2).repeat(20, axis=3)
    drawn = block(pixels, Spacing(gap=2))
    assert drawn.shape == (2 * 20 + 2, 3 * 20 + 4)
    for row in range(2):
        for column in range(3):
            y, x = row * 22, column * 22
            assert (drawn[y : y + 20, x : x + 20] == 3 * row + column).all()
    assert (drawn[20:22] == LINE).all()
    assert (drawn[:, 20:22] == LINE).all()


def test_groups_are_a_white_gap_apart() -> None:
    pixels = np.full((4, 1, 20, 20), 7)
    drawn = block(pixels, Spacing(gap=2, rows=2))
    assert drawn.shape == (4 * 20 + 2 + 12 + 2, 20)
    kinds = [int(row[0]) for row in drawn]
    group = [7] * 20 + [LINE] * 2 + [7] * 20
    assert kinds == [*group, *[WHITE] * 12, *group]


def test_large_tiles_have_white_between_them() -> None:
    drawn = block(np.full((1, 2, 40, 40), 7), Spacing(gap=5))
    assert (drawn[:, 40:45] == WHITE).all()
    assert drawn.shape == (40, 85)


def test_names_are_left_out_where_they_would_overlap() -> None:
    made = Block(
        np.zeros((60, 200, 4, 4), np.uint8),
        [Caption(str(i)) for i in range(60)],
        [str(i) for i in range(200)],
        Spacing(gap=0),
    )
    names = [i for i, _ in made._names]
    assert names == list(range(0, 60, 4))
    assert made.draw().shape[1] == made.left + 200 * 4
