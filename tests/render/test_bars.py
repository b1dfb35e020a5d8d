"""A vector as bars, whatever is in it."""

import numpy as np
import pytest
from PIL import Image

from cnnviz.errors import UnknownNameError
from cnnviz.render.bars import draw_bars
from cnnviz.render.canvas import MARGIN, Header
from cnnviz.render.palette import NAN_COLOUR, WHITE, grey

NAN, INF = float("nan"), float("inf")
LEFT, WIDTH, HEIGHT = MARGIN, 640, 120


def draw(values: list[float], **options: str) -> Image.Image:
    labels = [f"class {i}" for i in range(len(values))]
    return draw_bars(np.array(values, dtype=np.float32), labels, Header("fc"), **options)


def profile(values: list[float]) -> np.ndarray:
    """Return the part with a bar for each value: between the title and the ten largest."""
    pixels = np.asarray(draw(values))
    line = grey(110)
    zero = next(y for y in range(len(pixels)) if (pixels[y, LEFT : LEFT + WIDTH] == line).all())
    finite = [v for v in values if np.isfinite(v)] or [0.0]
    low, high = min(*finite, 0.0), max(*finite, 0.0)
    top = zero - round(high / ((high - low) or 1) * (HEIGHT - 1))
    return pixels[top : top + HEIGHT, LEFT : LEFT + WIDTH]


def heights(values: list[float]) -> list[int]:
    """Return how many pixels of ink each value has, the zero line aside."""
    bars = profile(values)
    edges = np.linspace(0, WIDTH, len(values) + 1).round().astype(int)
    return [int((bars[:, x] != WHITE).sum()) - 1 for x in edges[:-1]]


def test_bars_are_as_high_as_their_values() -> None:
    assert heights([1.0, 0.5, 0.0]) == [119, 59, 0]


def test_negative_values_hang_below_zero() -> None:
    bars = profile([-1.0, 1.0])
    zero = int(np.flatnonzero((bars == grey(110)).all(axis=1))[0])
    left, right = bars[:, 0] != WHITE, bars[:, WIDTH // 2] != WHITE
    assert not left[:zero].any()
    assert left[zero:].all()
    assert right[: zero + 1].all()
    assert not right[zero + 1 :].any()


def test_all_negative_values_have_zero_at_the_top() -> None:
    assert heights([-2.0, -1.0]) == [119, 60]


def test_nan_and_infinity_are_marked_and_counted_out() -> None:
    bars = profile([1.0, NAN, INF, 0.5])
    for i, broken in enumerate([False, True, True, False]):
        column = np.delete(bars[:, i * 160], np.flatnonzero((bars == grey(110)).all(axis=1)))
        assert (column == NAN_COLOUR).all() == broken


@pytest.mark.parametrize(
    "values", [[0.0], [5.0], [-5.0], [NAN], [0.0] * 20, [3e38, -3e38], [1e-45] * 3, [NAN, INF]]
)
def test_odd_vectors_can_be_drawn(values: list[float]) -> None:
    image = draw(values)
    assert image.mode == "P"
    assert image.width == WIDTH + 2 * MARGIN


def test_the_ten_largest_stand_below_in_order() -> None:
    few, ten, many = (draw([float(i) for i in range(n)]).height for n in (5, 10, 500))
    assert few < ten == many


def test_the_longest_bar_belongs_to_the_largest_value() -> None:
    pixels = np.asarray(draw([0.1, 4.0, 2.0]))[-(3 * 19 + MARGIN) : -MARGIN]
    bars = pixels[9::19, LEFT + 218 : LEFT + 218 + 362]
    long = [int((row < 200).sum()) for row in bars]
    assert long[0] > long[1] > long[2] >= 1
    assert long[1] == pytest.approx(long[0] / 2, abs=1)


def test_thousands_of_values_share_columns() -> None:
    assert draw([float(np.sin(i)) for i in range(3000)]).width == WIDTH + 2 * MARGIN


def test_the_colour_map_is_checked() -> None:
    with pytest.raises(UnknownNameError):
        draw([1.0], cmap="virdis")
