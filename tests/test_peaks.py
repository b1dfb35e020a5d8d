"""The best photos of each channel against sorting all of them."""

from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnviz.peaks import Peaks, best_peaks, find_peaks


def brute_force(photos: np.ndarray, most: int) -> list[list[tuple[float, int, int]]]:
    """Return (score, photo, place) of the best photos of each channel of (N, K, H, W)."""
    best = []
    for channel in photos.swapaxes(0, 1):
        entries = []
        for number, values in enumerate(channel):
            flat = [(-v, place) for place, v in enumerate(values.ravel()) if not np.isnan(v)]
            if flat and len({v for v, _ in flat}) + (len(flat) < values.size) > 1:
                score, place = min(flat)
                entries.append((score, number, place))
            elif flat and values.size == 1:
                entries.append((flat[0][0], number, 0))
        best.append([(-score, number, place) for score, number, place in sorted(entries)[:most]])
    return best


def told(peaks: Peaks) -> list[list[tuple[float, int, int]]]:
    return [
        [(float(s), int(n), int(p)) for s, n, p in zip(*row, strict=True) if s > -np.inf]
        for row in zip(peaks.scores, peaks.photos, peaks.places, strict=True)
    ]


@st.composite
def folders(draw: st.DrawFn) -> np.ndarray:
    shape = (draw(st.integers(1, 7)), *draw(st.tuples(*[st.integers(1, 3)] * 3)))
    size = int(np.prod(shape))
    values = st.sampled_from([0.0, 1.0, 2.0, -1.0, 7.5, float("nan")])
    return np.array(draw(st.lists(values, min_size=size, max_size=size)), np.float32).reshape(shape)


@given(folders(), st.integers(1, 5), st.randoms(use_true_random=False))
def test_the_best_are_those_of_a_brute_force_search_in_whatever_order_sets_are_merged(
    photos: np.ndarray, most: int, random: object
) -> None:
    parts = [find_peaks(maps, number, most) for number, maps in enumerate(photos)]
    assert told(reduce(Peaks.merge, parts)) == brute_force(photos, most)
    random.shuffle(parts)
    while len(parts) > 1:
        i = random.randrange(len(parts) - 1)
        parts[i : i + 2] = [parts[i].merge(parts[i + 1])]
    assert told(parts[0]) == brute_force(photos, most)


@given(folders(), st.integers(1, 5))
def test_peaks_that_were_among_the_best_at_their_time_are_enough_to_know_the_best(
    photos: np.ndarray, most: int
) -> None:
    kept, total = [], None
    for number, maps in enumerate(photos):
        found = find_peaks(maps, number, most)
        total = found if total is None else total.merge(found)
        kept += [(number, peak) for peak in total.of(number)]
    assert told(best_peaks(kept[::-1], photos.shape[1], most)) == brute_force(photos, most)


def test_few_photos_are_among_the_best_at_their_time() -> None:
    random = np.random.default_rng(0)
    total = find_peaks(random.random((4, 3, 3)), 0, 5)
    kept = 0
    for number in range(1, 1000):
        total = total.merge(find_peaks(random.random((4, 3, 3)), number, 5))
        kept += len(total.of(number))
    # Of 1000 in any order: 5 (1 + ln(1000 / 5)) = 31 for each channel.
    assert kept < 4 * 50


def test_memory_does_not_grow_with_the_photos() -> None:
    random = np.random.default_rng(0)
    total = find_peaks(random.random((4, 3, 3)), 0, 5)
    for number in range(1, 300):
        total = total.merge(find_peaks(random.random((4, 3, 3)), number, 5))
    assert total.scores.shape == total.photos.shape == total.places.shape == (4, 5)


def test_a_channel_that_is_the_same_everywhere_excites_no_place() -> None:
    maps = np.zeros((2, 2, 2), np.float32)
    maps[1, 1, 0] = 0.5
    assert told(find_peaks(maps, 7, 3)) == [[], [(0.5, 7, 2)]]
    assert told(find_peaks(maps[:1, :1, :1], 7, 3)) == [[(0.0, 7, 0)]], "a map of one place"


@pytest.mark.parametrize("most", [1, 2])
def test_of_equals_the_photo_named_earlier_stands_first(most: int) -> None:
    maps = np.array([[[3.0, 1.0]]], np.float32)
    late, early = find_peaks(maps, 9, most), find_peaks(maps, 2, most)
    assert told(late.merge(early)) == [[(3.0, 2, 0), (3.0, 9, 0)][:most]]
