"""Text as ink, and numbers short enough for a label."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnviz.render import text
from cnnviz.render.palette import WHITE


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0"), (-0.0, "0"), (1.0, "1.0"), (0.31, "0.31"), (-12.3, "−12"), (9.94, "9.9"),
        (9.96, "10"), (0.996, "1.0"), (0.994, "0.99"), (0.001, "0.001"), (0.0005, "5e−4"),
        (4.2e-5, "4e−5"),
        (99999.0, "99999"), (123456.0, "1e5"), (float("nan"), "NaN"), (float("inf"), "∞"),
        (float("-inf"), "−∞"),
    ],
)  # fmt: skip
def test_a_number_is_written_short(value: float, expected: str) -> None:
    assert text.number(value) == expected


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_every_number_fits_and_stays_near_its_value(value: float) -> None:
    said = text.number(value)
    assert len(said) <= 6
    back = float(said.replace("−", "-"))
    assert back == pytest.approx(value, rel=0.5)
    if 0.001 <= abs(value) < 99999:
        assert back == pytest.approx(value, rel=0.06, abs=0.0006)


def canvas(height: int = 20, width: int = 60) -> np.ndarray:
    return np.full((height, width), WHITE, dtype=np.uint8)


def test_text_leaves_ink_and_returns_its_width() -> None:
    page = canvas()
    used = text.write(page, 5, 3, "abc", 12)
    assert used == text.width("abc", 12) > 0
    inked = np.argwhere(page != WHITE)
    assert inked[:, 1].min() >= 5
    assert inked[:, 1].max() < 5 + used
    assert inked[:, 0].min() >= 3
    assert inked[:, 0].max() < 3 + text.line_height(12)


def test_nothing_to_write_leaves_the_page() -> None:
    page = canvas()
    assert text.write(page, 0, 0, "", 12) == 0
    assert text.width("", 12) == 0
    assert (page == WHITE).all()


def test_text_is_cut_at_the_edges_of_the_page() -> None:
    page = canvas(12, 10)
    text.write(page, 4, 2, "a long line of text", 12)
    assert (page != WHITE).any()
    text.write(page, 40, 40, "outside", 12)


def test_faint_text_is_lighter_than_strong_text() -> None:
    strong, faint = canvas(), canvas()
    text.write(strong, 0, 0, "M", 16)
    text.write(faint, 0, 0, "M", 16, strength=text.FAINT)
    assert strong.min() < faint.min() < WHITE


def test_bold_is_not_regular() -> None:
    assert text.ink("a", 16, "bold").sum() > text.ink("a", 16).sum()


@pytest.mark.parametrize("size", [10, 12, 16])
@pytest.mark.parametrize("letters", ["Ågjpqy|_()", "layer1.0.conv1#2", "…−×·∞", "Ünïcödé"])
def test_no_letter_is_cut_at_the_line(size: int, letters: str) -> None:
    ink = text.ink(letters, size)
    assert ink.shape[0] == text.line_height(size)
    assert not ink[-1].any(), "descenders must fit"
    higher = text._font(size, "regular").getbbox(letters, anchor="ls")
    rows = np.flatnonzero(ink.any(axis=1))
    assert rows[-1] - rows[0] + 1 == higher[3] - higher[1]


@pytest.mark.parametrize(
    "letters", ["line\nbreak", "\udcff.jpg", "tab\t", "\x00", "猫.jpg", "مرحبا", "👀"]
)
def test_whatever_a_file_may_be_called_can_be_written(letters: str) -> None:
    assert text.width(letters, 12) > 0
    text.write(canvas(), 0, 0, letters, 12)


@given(st.text(min_size=1, max_size=40), st.integers(0, 300))
def test_shortened_text_fits_and_keeps_both_ends(letters: str, room: int) -> None:
    short = text.shorten(letters, 12, room)
    assert text.width(short, 12) <= room
    if short not in ("", letters):
        head, _, tail = short.partition("…") if "…" not in letters else (short[0], "", "")
        assert letters.startswith(head)
        assert letters.endswith(tail)


def test_text_that_fits_is_not_shortened() -> None:
    assert text.shorten("conv1", 12, text.width("conv1", 12)) == "conv1"
    assert text.shorten("conv1", 12, text.width("conv1", 12) - 1) == "co…1"
