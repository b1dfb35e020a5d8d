"""`manifest.jsonl`: a line for each finished photo, written at once, so that runs can be resumed.

    {"run": ..., "settings": {...}, "counted": "...", "statistics": [...]}            the first line
    {"path": ..., "key": ..., "outputs": [...], "error": null, "statistics": [...]}

The statistics of the first line are those of lines without any. In case that one of these is
damaged, `counted` has a mark for each of their photos, a hash of its key. A line's `low` and `high`
hold only what no line before it had: a photo seldom has a new extreme. Likewise `peaks`, where
photos are ranked by how they excite channels, has only those that were among the best at the time:
others never will be. Of several processes each writes a part of its own, `manifest.1.jsonl` and so
on, whose first line has the same `run`.
"""

import dataclasses
import errno
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np

from cnnviz.errors import OutputError
from cnnviz.files import write_atomically
from cnnviz.peaks import Peak, Peaks, best_peaks
from cnnviz.runs.tally import Outcome, Progress, RunResult, Tally, merged, same_names
from cnnviz.statistics import GradientNorms, Statistics

# Digits of a mark: two photos of billions seldom have the same.
_MARK = 16
_PART = re.compile(r"manifest\.\d+\.jsonl")

Settings = Mapping[str, object]


@dataclass(frozen=True)
class Past:
    """What earlier runs wrote.

    Attributes:
        settings: What they were given.
        totals: The statistics of all photos in `files`, per layer plan.
        files: The names of each photo's files, by its key; photos that failed are left out.
        unlisted: The marks of photos that are in `totals`, and not in `files`.
        peaks: By the same keys, the peaks of each layer that may be among the best.
    """

    settings: Settings
    totals: tuple[Statistics, ...]
    files: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    unlisted: frozenset[str] = frozenset()
    peaks: Mapping[str, Sequence[Sequence[Peak]]] = dataclasses.field(default_factory=dict)

    def counts(self, key: str) -> bool:
        """Return whether a photo is in `totals`."""
        return key in self.files or (bool(self.unlisted) and _mark(key) in self.unlisted)

    def best(
        self, numbers: Mapping[str, int], channels: Sequence[int], most: int
    ) -> tuple[Peaks, ...]:
        """Return the best peaks of all photos, one per layer.

        Args:
            numbers: Numbers of photos, by their keys; others are left out.
            channels: How many channels each layer has.
            most: How many photos are kept for each.
        """
        photos = [(numbers[key], self.peaks[key]) for key in numbers.keys() & self.peaks.keys()]
        return tuple(
            best_peaks(((photo, peak) for photo, layers in photos for peak in layers[i]), *sizes)
            for i, sizes in enumerate((count, most) for count in channels)
        )


class Journal(Tally):
    """A tally that is on disk as soon as a photo is in it."""

    def __init__(self, out: Path, run: str, rank: int, progress: Progress | None = None) -> None:
        """Open this process's part for what comes.

        Args:
            out: The output folder, where `start_journal` was called.
            run: What that was called with.
            rank: The number of this process; the first one goes on with `manifest.jsonl`.
            progress: What earlier runs did; it is in `manifest.jsonl` already.

        Raises:
            OutputError: If it cannot be written.
        """
        super().__init__(progress)
        self._path = _part(out, rank)
        if rank:
            write_atomically(self._path, _line({"run": run}))
        try:
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        except OSError as error:
            raise OutputError(f"cannot write {self._path}: {error.strerror}") from error

    def __enter__(self) -> Self:
        """Return the journal."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        os.close(self._file)

    def add(
        self, outcome: Outcome, found: Sequence[Statistics], peaks: Sequence[Peaks] = ()
    ) -> None:
        """Take in a photo, and write its line.

        Raises:
            OutputError: If the disk is full or the file cannot be written.
        """
        before = self.totals or [None] * len(found)
        super().add(outcome, found, peaks)
        entries, best = [], []
        if self.counts(outcome):
            entries = [_entry(*one) for one in zip(found, before, self.totals, strict=True)]
        if peaks and outcome.error is None:
            number = peaks[0].photos[0, 0]
            best = [layer.of(number) for layer in self.peaks]
        line = _line({**_about(outcome, best), "statistics": entries})
        try:
            # In one piece: whatever happens then, at most the last line is cut.
            if os.write(self._file, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise OutputError(
                f"cannot write {self._path}: {error.strerror}; go on later with --resume"
            ) from error


def start_journal(
    out: Path,
    run: str,
    settings: Settings,
    outcomes: Iterable[Outcome] = (),
    totals: Sequence[Statistics] = (),
    counted: Iterable[str] = (),
    peaks: Mapping[str, Sequence[Sequence[Peak]]] = MappingProxyType({}),
) -> None:
    """Begin a run's `manifest.jsonl`, and remove what an earlier run ended with.

    Args:
        out: The output folder.
        run: What no other run has.
        settings: What the pictures depend on.
        outcomes: What is kept of earlier runs.
        totals: The statistics of those.
        counted: As for `Progress`.
        peaks: As for `Past`.

    Raises:
        OutputError: If the file cannot be written.
    """
    _write(out, {"run": run, "settings": settings}, totals, outcomes, counted, peaks)
    _remove(out, "manifest.json")


def finish_journal(
    out: Path, settings: Settings, result: RunResult, counted: Iterable[str] = ()
) -> None:
    """Make one `manifest.jsonl` of all parts, in the order of the photos.

    Args:
        out: The output folder.
        settings: What the pictures depend on.
        result: What became of all photos.
        counted: As for `Progress`.

    Raises:
        OutputError: If the file cannot be written.
    """
    ranked = {number for layer in result.peaks for number in np.unique(layer.photos).tolist()}
    peaks = {
        outcome.source.key: [layer.of(number) for layer in result.peaks]
        for number, outcome in enumerate(result.outcomes)
        if number in ranked
    }
    _write(out, {"settings": settings}, result.totals, result.outcomes, counted, peaks)


def read_journal(out: Path) -> Past | None:
    """Return what earlier runs left in a folder; None where there is nothing to go on from.

    A line that is cut or damaged is read past: its photo is not among the result.
    """
    head, *lines = [*_lines(_part(out, 0))] or [{}]
    if "settings" not in head:
        return None
    totals = tuple(map(_statistics, head["statistics"]))
    for part in sorted(_parts(out)):
        first, *more = [*_lines(part)] or [{}]
        # A part of a run before that one is in the totals already.
        lines += more if first.get("run") == head.get("run") else []
    files, peaks = {}, {}
    for line in lines:
        if line["error"] is None:
            totals = merged(totals, [*map(_statistics, line.get("statistics", ()))])
            names = tuple(output.rpartition("/")[2] for output in line["outputs"])
            files[line["key"]] = same_names(names)
            if "peaks" in line:
                peaks[line["key"]] = [*map(_peaks, line["peaks"])]
    marks = head["counted"]
    counted = {marks[i : i + _MARK] for i in range(0, len(marks), _MARK)}
    return Past(head["settings"], totals, files, frozenset(counted - {*map(_mark, files)}), peaks)


def _write(
    out: Path,
    head: Mapping[str, object],
    totals: Sequence[Statistics],
    outcomes: Iterable[Outcome],
    counted: Iterable[str],
    peaks: Mapping[str, Sequence[Sequence[Peak]]],
) -> None:
    """Replace all parts by one file, whose first line has the statistics."""
    outcomes = tuple(outcomes)
    keys = {one.source.key for one in outcomes if one.error is None}.union(counted)
    entries = [_entry(total, None, total) for total in totals]
    marks = "".join(sorted(map(_mark, keys)))
    first = _line({**head, "counted": marks, "statistics": entries})
    lines = (_line(_about(one, peaks.get(one.source.key, ()))) for one in outcomes)
    write_atomically(_part(out, 0), b"".join((first, *lines)))
    for part in _parts(out):
        _remove(out, part.name)


def _mark(key: str) -> str:
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:_MARK]


def _part(out: Path, rank: int) -> Path:
    return out / (f"manifest.{rank}.jsonl" if rank else "manifest.jsonl")


def _parts(out: Path) -> list[Path]:
    return [path for path in out.glob("manifest.*.jsonl") if _PART.fullmatch(path.name)]


def _remove(out: Path, name: str) -> None:
    try:
        (out / name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot remove {out / name}: {error.strerror}") from error


def _about(outcome: Outcome, peaks: Sequence[Sequence[Peak]]) -> dict[str, object]:
    # Scores as text, because JSON has no infinity; and so they have as few digits as they need.
    told = [{str(row): [str(score), place] for row, score, place in layer} for layer in peaks]
    return {
        "path": str(outcome.source.path),
        "key": outcome.source.key,
        "outputs": [path.as_posix() for path in outcome.outputs],
        "error": outcome.error,
        **({"peaks": told} if any(told) else {}),
    }


def _peaks(told: Mapping[str, Any]) -> list[Peak]:
    """Return the peaks of a layer that `_about` was given."""
    return [(int(row), np.float32(score), place) for row, (score, place) in told.items()]


def _line(content: Mapping[str, object]) -> bytes:
    return json.dumps(content, allow_nan=False).encode() + b"\n"


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the whole lines of a file that may not exist."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror}") from error
    for line in data.split(b"\n")[:-1]:
        try:
            content = json.loads(line)
        except ValueError:
            continue
        if isinstance(content, dict):
            yield content


def _entry(found: Statistics, before: Statistics | None, after: Statistics) -> dict[str, object]:
    """Return what `found` adds to the statistics `before` it, which then are `after`."""
    entry: dict[str, object] = {"channels": len(found.low)}
    for field in dataclasses.fields(Statistics):
        value = getattr(found, field.name)
        if isinstance(value, np.ndarray):
            now = getattr(after, field.name)
            new = ~np.isnan(now)
            if before is not None:
                new &= now != getattr(before, field.name)
            entry[field.name] = {str(i): float(now[i]) for i in np.flatnonzero(new)}
        elif isinstance(value, GradientNorms):
            norms, relatives = str(value.norms), str(value.relatives)
            entry[field.name] = [value.pictures, norms, relatives, value.nan, value.infinite]
        else:
            entry[field.name] = str(value) if isinstance(value, Fraction) else value
    return entry


def _statistics(entry: Mapping[str, Any]) -> Statistics:
    """Return what `_entry` was given, with NaN for extremes that others have."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Statistics):
        value = entry[field.name]
        if isinstance(value, dict):
            array = np.full(entry["channels"], np.nan)
            array[[int(i) for i in value]] = [*value.values()]
            value = array
        elif field.name == "gradient" and value:
            pictures, norms, relatives, *broken = value
            value = GradientNorms(pictures, Fraction(norms), Fraction(relatives), *broken)
        elif isinstance(value, list):
            value = tuple((bound, count) for bound, count in value)
        values[field.name] = Fraction(value) if isinstance(value, str) else value
    return Statistics(**values)
