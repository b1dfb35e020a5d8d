"""The 256 colours of a picture: a colour map, a grey ramp for photos and text, a mark for NaN."""

from functools import cache

import matplotlib
import numpy as np
from numpy.typing import ArrayLike, NDArray

from cnnviz.errors import UnknownNameError

Indices = NDArray[np.uint8]

MAP_COLOURS = 200  # indices 0 to 199, from the lowest value to the highest
_FIRST_GREY, _GREYS = 200, 55  # from black to white
NAN_COLOUR, NAN_RGB = 255, (255, 0, 255)
WHITE = _FIRST_GREY + _GREYS - 1


@cache
def rgb_table(cmap: str) -> Indices:
    """Return the palette as (256, 3) uint8 RGB.

    Args:
        cmap: The name of a matplotlib colour map.

    Raises:
        UnknownNameError: If matplotlib has no such colour map.
    """
    check_cmap(cmap)
    table = np.zeros((256, 3), dtype=np.uint8)
    colours = matplotlib.colormaps[cmap](np.linspace(0, 1, MAP_COLOURS), bytes=True)
    table[:MAP_COLOURS] = np.asarray(colours)[:, :3]
    table[_FIRST_GREY : _FIRST_GREY + _GREYS] = np.linspace(0, 255, _GREYS).round()[:, None]
    table[NAN_COLOUR] = NAN_RGB
    return table


def map_colours(shares: NDArray[np.floating], cmap: str) -> Indices:
    """Return the colours of shares from 0 to 1 of a colour map, (..., 3) uint8 RGB."""
    colours: Indices = rgb_table(cmap)[np.rint(shares * (MAP_COLOURS - 1)).astype(np.uint8)]
    return colours


def check_cmap(cmap: str) -> None:
    """Raise an error where matplotlib has no such colour map.

    Raises:
        UnknownNameError: With the closest names.
    """
    if cmap not in matplotlib.colormaps:
        raise UnknownNameError("colour map", cmap, list(matplotlib.colormaps))


def grey(values: ArrayLike) -> Indices:
    """Return palette indices for grey values of 0 (black) to 255 (white), of any shape."""
    steps = np.asarray(values, np.float32) * np.float32((_GREYS - 1) / 255)
    indices: Indices = (_FIRST_GREY + np.rint(steps)).astype(np.uint8)
    return indices
