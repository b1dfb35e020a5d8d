"""One palette for colour map, greys and the mark for NaN."""

import matplotlib
import numpy as np
import pytest

from cnnviz.errors import UnknownNameError
from cnnviz.render.palette import MAP_COLOURS, NAN_COLOUR, WHITE, check_cmap, grey, rgb_table


@pytest.mark.parametrize("cmap", ["viridis", "gray", "RdBu_r", "tab10"])
def test_the_map_runs_from_end_to_end(cmap: str) -> None:
    colours = matplotlib.colormaps[cmap]
    table = rgb_table(cmap)
    assert table.shape == (256, 3)
    for index in (0, 57, MAP_COLOURS - 1):
        expected = colours(index / (MAP_COLOURS - 1), bytes=True)[:3]
        assert tuple(table[index]) == tuple(expected)


def test_white_and_black_are_exact_in_every_palette() -> None:
    table = rgb_table("viridis")
    assert tuple(table[WHITE]) == tuple(table[grey(255)]) == (255, 255, 255)
    assert tuple(table[grey(0)]) == (0, 0, 0)


def test_greys_are_near_their_values() -> None:
    values = np.arange(256)
    assert abs(rgb_table("magma")[grey(values)].astype(int) - values[:, None]).max() <= 3


def test_nan_has_a_colour_that_no_perceptual_map_has() -> None:
    for cmap in ("viridis", "magma", "gray", "coolwarm"):
        table = rgb_table(cmap).astype(int)
        assert tuple(table[NAN_COLOUR]) == (255, 0, 255)
        assert abs(table[:NAN_COLOUR] - table[NAN_COLOUR]).sum(axis=1).min() > 60


def test_an_unknown_colour_map_suggests_the_closest() -> None:
    with pytest.raises(UnknownNameError, match="unknown colour map 'virdis'; did you mean viridis"):
        check_cmap("virdis")
    with pytest.raises(UnknownNameError, match="did you mean RdBu"):
        rgb_table("rdbu")
