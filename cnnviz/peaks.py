"""Where a channel is most active, over any number of photos: the best few, one place per photo."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
# Of one photo: a channel's row, its largest value, and where on the map that is.
Peak = tuple[int, np.float32, int]


@dataclass(frozen=True, eq=False)
class Peaks:
    """The photos that excite each channel of a layer most; those of two sets can be merged.

    The better one stands first; of equals, the photo that was named earlier.

    Attributes:
        most: How many photos are kept for each channel.
        scores: (K, n) the largest value on each photo, n at most `most`; -inf where there is none.
        photos: (K, n) numbers of the photos.
        places: (K, n) where on the map that value is: row times columns plus column.
    """

    most: int
    scores: Floats
    photos: Integers
    places: Integers

    def merge(self, other: "Peaks") -> "Peaks":
        """Return the best of both sets of photos together."""
        scores = np.concatenate((self.scores, other.scores), axis=1)
        photos = np.concatenate((self.photos, other.photos), axis=1)
        places = np.concatenate((self.places, other.places), axis=1)
        best = np.lexsort((photos, -scores), axis=1)[:, : self.most]
        rows = np.arange(len(scores))[:, None]
        return Peaks(self.most, scores[rows, best], photos[rows, best], places[rows, best])

    def of(self, photo: int | np.int64) -> list[Peak]:
        """Return the peaks of one photo that are among the best."""
        rows, ranks = np.nonzero((self.photos == photo) & (self.scores > -np.inf))
        scores, places = self.scores[rows, ranks], self.places[rows, ranks]
        return list(zip(rows.tolist(), scores, places.tolist(), strict=True))


def best_peaks(found: Iterable[tuple[int, Peak]], channels: int, most: int) -> Peaks:
    """Return the best of many peaks.

    Args:
        found: (photo, peak) in any order.
        channels: How many the layer has, K.
        most: How many photos are kept for each.
    """
    entries = sorted(found, key=lambda entry: (entry[1][0], -entry[1][1], entry[0]))
    shape = channels, most
    scores = np.full(shape, -np.inf, np.float32)
    photos, places = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    filled = [0] * channels
    for photo, (row, score, place) in entries:
        if (rank := filled[row]) < most:
            at = row, rank
            scores[at], photos[at], places[at] = score, photo, place
            filled[row] += 1
    return Peaks(most, scores, photos, places)


def find_peaks(maps: Floats, photo: int, most: int) -> Peaks:
    """Return where each channel is largest on one photo, the first place in reading order.

    A channel that is the same everywhere on a map has no place there, and none is told of it.

    Args:
        maps: (K, H, W) values; NaN is passed over.
        photo: The photo's number.
        most: How many photos are kept for each channel.
    """
    flat = maps.reshape(len(maps), -1)
    places = flat.argmax(axis=1)[:, None]
    scores = np.take_along_axis(flat, places, axis=1)
    # NaN is the largest to numpy; few maps have any, and a search for it takes as long again.
    if np.isnan(scores).any():
        return find_peaks(np.where(np.isnan(maps), -np.inf, maps), photo, most)
    if flat.shape[1] > 1:
        scores[flat.min(axis=1) == scores[:, 0]] = -np.inf
    return Peaks(most, scores, np.full_like(places, photo), places)
