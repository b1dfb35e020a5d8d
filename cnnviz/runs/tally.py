"""What became of the photos of a run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from cnnviz.peaks import Peaks
from cnnviz.photos.images import ImageSource
from cnnviz.statistics import Statistics

Merged = TypeVar("Merged", Statistics, Peaks)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one photo.

    Attributes:
        source: The photo.
        folder: The output folder.
        files: The names of the files written for it, in its own folder below that.
        error: Why it failed; None where it did not.
    """

    source: ImageSource
    folder: Path = Path()
    files: tuple[str, ...] = ()
    error: str | None = None

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The files written for it."""
        return tuple(self.folder / self.source.key / name for name in self.files)


@lru_cache(maxsize=64)
def same_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return one tuple for all photos that have files of these names, as nearly all have."""
    return names


@dataclass(frozen=True)
class RunResult:
    """What became of all photos.

    Attributes:
        outcomes: One per photo, in the order given.
        statistics: One per layer plan, over all photos that did not fail, the plans of one
            checkpoint after those of the other; empty where there is no such photo.
        input: Of what the network got, all those photos together; None likewise.
        peaks: Which photos excite the channels of each layer most, where that was asked for.
    """

    outcomes: tuple[Outcome, ...]
    statistics: tuple[Statistics, ...]
    input: Statistics | None = None
    peaks: tuple[Peaks, ...] = ()

    @property
    def totals(self) -> tuple[Statistics, ...]:
        """Statistics of the input, and those of the layers."""
        return (self.input, *self.statistics) if self.input else ()


@dataclass(frozen=True)
class Progress:
    """How far earlier runs came.

    Attributes:
        outcomes: Of photos that are finished.
        totals: Their statistics, and those of `counted`, as `Tally` has them.
        counted: Keys of photos that are in `totals` though they are not finished.
        peaks: Where the finished ones excite channels most.
    """

    outcomes: tuple[Outcome, ...] = ()
    totals: tuple[Statistics, ...] = ()
    counted: frozenset[str] = frozenset()
    peaks: tuple[Peaks, ...] = ()


class Tally:
    """What became of the photos so far.

    Attributes:
        outcomes: By the photo's key.
        totals: Statistics of the network's input, and then one per layer plan, as in `RunResult`.
        peaks: As in `RunResult`.
    """

    def __init__(self, progress: Progress | None = None) -> None:
        """Start, or go on from what earlier runs did."""
        progress = progress or Progress()
        self.outcomes = {outcome.source.key: outcome for outcome in progress.outcomes}
        self.totals = progress.totals
        self.peaks = progress.peaks
        self._counted = progress.counted

    def add(
        self, outcome: Outcome, found: Sequence[Statistics], peaks: Sequence[Peaks] = ()
    ) -> None:
        """Take in a photo; and where it did not fail, its statistics and peaks."""
        self.outcomes[outcome.source.key] = outcome
        if self.counts(outcome):
            self.totals = merged(self.totals, found)
        if outcome.error is None:
            self.peaks = merged(self.peaks, peaks)

    def counts(self, outcome: Outcome) -> bool:
        """Return whether a photo's statistics are to be added."""
        return outcome.error is None and outcome.source.key not in self._counted

    def result(self, sources: Iterable[ImageSource]) -> RunResult:
        """Return what became of those of the photos that were taken in."""
        keys = [source.key for source in sources if source.key in self.outcomes]
        outcomes = tuple(self.outcomes[key] for key in keys)
        first = self.totals[0] if self.totals else None
        return RunResult(outcomes, self.totals[1:], first, self.peaks)


def merged(totals: Sequence[Merged], more: Sequence[Merged]) -> tuple[Merged, ...]:
    """Return what is told of two sets of photos, either of which may be empty."""
    if not totals or not more:
        return tuple(totals or more)
    return tuple(one.merge(other) for one, other in zip(totals, more, strict=True))
