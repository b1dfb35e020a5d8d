"""`manifest.jsonl`: what is in it survives, and what is cut is not in it."""

import errno
import json
import os
from functools import reduce
from pathlib import Path

import numpy as np
import pytest
import torch

from cnnviz.errors import OutputError
from cnnviz.peaks import Peaks, find_peaks
from cnnviz.photos.images import ImageSource
from cnnviz.runs.journal import Journal, finish_journal, read_journal, start_journal
from cnnviz.runs.tally import Outcome, Progress, merged
from cnnviz.statistics import Statistics, measure

SETTINGS = {"model": "toy"}


def seen(number: int) -> tuple[Statistics, ...]:
    """Return the statistics of two layers for one picture; some channels have no finite value."""
    values = np.random.default_rng(number).normal(size=(2, 1, 3, 2, 2)).astype(np.float32)
    values[0, 0, 0] = np.nan if number % 3 else values[0, 0, 0]
    return tuple(measure(torch.from_numpy(layer))[0][0] for layer in values)


def outcome(out: Path, number: int, error: str | None = None) -> Outcome:
    key = f"sub/{number}.jpg"
    return Outcome(ImageSource(Path("in") / key, key), out, ("a.png", "b.png"), error)


def write(out: Path, numbers: range, *, rank: int = 0) -> None:
    with Journal(out, "run", rank) as journal:
        for number in numbers:
            journal.add(outcome(out, number), seen(number))


def same(found: tuple[Statistics, ...], numbers: list[int]) -> bool:
    """Return whether statistics are, exactly, those of these pictures."""
    layers = zip(*map(seen, numbers), strict=True)
    expected = [reduce(Statistics.merge, layer) for layer in layers]
    return [text(one) for one in found] == [text(one) for one in expected]


def text(found: Statistics) -> str:
    return repr({**vars(found), "low": found.low.tolist(), "high": found.high.tolist()})


def test_what_was_added_is_read_back_exactly(tmp_path: Path) -> None:
    start_journal(tmp_path, "run", SETTINGS)
    write(tmp_path, range(9))
    past = read_journal(tmp_path)
    assert past.settings == SETTINGS
    assert past.files == {f"sub/{i}.jpg": ("a.png", "b.png") for i in range(9)}
    assert same(past.totals, [*range(9)])


def test_a_line_tells_the_photo_its_files_and_only_new_extremes(tmp_path: Path) -> None:
    start_journal(tmp_path, "run", SETTINGS)
    write(tmp_path, range(30))
    written = (tmp_path / "manifest.jsonl").read_text("utf-8")
    lines = [json.loads(line) for line in written.splitlines()]
    assert lines[1]["path"] == "in/sub/0.jpg"
    assert lines[1]["outputs"] == [f"{tmp_path}/sub/0.jpg/{name}" for name in ("a.png", "b.png")]
    counts = [sum(len(entry["low"]) for entry in line["statistics"]) for line in lines[1:]]
    assert counts[0] == 6
    assert sum(counts[10:]) < 10


def peaks(number: int) -> tuple[Peaks, ...]:
    values = np.random.default_rng(number).normal(size=(2, 3, 2, 2)).astype(np.float32)
    values[1, 0] = np.inf if number == 3 else values[1, 0]
    values[1, 0, 0, 1] = 0.1
    return tuple(find_peaks(layer, number, 2) for layer in values)


def ranked(found: tuple[Peaks, ...]) -> str:
    return repr([(p.scores.tolist(), p.photos.tolist(), p.places.tolist()) for p in found])


def test_peaks_are_read_back_exactly_before_and_after_a_run_has_ended(tmp_path: Path) -> None:
    expected = ranked(reduce(merged, map(peaks, range(9))))
    numbers = {f"sub/{i}.jpg": i for i in range(9)}
    start_journal(tmp_path, "run", SETTINGS)
    with Journal(tmp_path, "run", 0) as journal:
        for i in range(9):
            journal.add(outcome(tmp_path, i), seen(i), peaks(i))
    past = read_journal(tmp_path)
    assert ranked(past.best(numbers, (3, 3), 2)) == expected
    kept = [outcome(tmp_path, i) for i in range(9)]
    start_journal(tmp_path, "later", SETTINGS, kept, past.totals, peaks=past.peaks)
    assert ranked(read_journal(tmp_path).best(numbers, (3, 3), 2)) == expected
    finish_journal(tmp_path, SETTINGS, journal.result([one.source for one in kept]))
    past = read_journal(tmp_path)
    assert ranked(past.best(numbers, (3, 3), 2)) == expected
    lines = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text().splitlines()]
    assert sum(len(layer) for line in lines[1:] for layer in line.get("peaks", ())) == 2 * 3 * 2


@pytest.mark.parametrize("cut", [1, 20, 300])
def test_a_line_that_is_cut_is_read_past(tmp_path: Path, cut: int) -> None:
    start_journal(tmp_path, "run", SETTINGS)
    write(tmp_path, range(5))
    path = tmp_path / "manifest.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    past = read_journal(tmp_path)
    assert [*past.files] == [f"sub/{i}.jpg" for i in range(4)]
    assert same(past.totals, [*range(4)])


def test_a_damaged_line_among_others_costs_only_its_photo(tmp_path: Path) -> None:
    start_journal(tmp_path, "run", SETTINGS)
    write(tmp_path, range(5))
    path = tmp_path / "manifest.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = b"\0" * 40 + b"\n"
    path.write_bytes(b"".join(lines))
    assert [*read_journal(tmp_path).files] == [f"sub/{i}.jpg" for i in range(1, 5)]
    write(tmp_path, range(1))
    assert same(read_journal(tmp_path).totals, [*range(5)])


@pytest.mark.parametrize("line", [1, 2, -1])
def test_a_damaged_line_whose_photo_is_counted_in_the_first_is_not_counted_twice(
    tmp_path: Path, line: int
) -> None:
    start_journal(tmp_path, "run", SETTINGS)
    with Journal(tmp_path, "run", 0) as journal:
        for number in range(4):
            journal.add(outcome(tmp_path, number, "broken" if number == 1 else None), seen(number))
    finish_journal(
        tmp_path, SETTINGS, journal.result([outcome(tmp_path, i).source for i in range(4)])
    )
    path = tmp_path / "manifest.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[line] = lines[line][:-9] + (b"\n" if line > 0 else b"")
    path.write_bytes(b"".join(lines))
    past = read_journal(tmp_path)
    assert same(past.totals, [0, 2, 3])
    assert len(past.files) == (3 if line == 2 else 2)
    assert [past.counts(f"sub/{i}.jpg") for i in range(5)] == [True, False, True, True, False]


def test_a_photo_that_failed_is_neither_finished_nor_counted(tmp_path: Path) -> None:
    start_journal(tmp_path, "run", SETTINGS)
    with Journal(tmp_path, "run", 0) as journal:
        journal.add(outcome(tmp_path, 0), seen(0))
        journal.add(outcome(tmp_path, 1, "disk full"), seen(1))
        assert same(journal.totals, [0])
    past = read_journal(tmp_path)
    assert [*past.files] == ["sub/0.jpg"]
    assert same(past.totals, [0])


def test_parts_of_all_processes_count_unless_another_run_left_them(tmp_path: Path) -> None:
    start_journal(tmp_path, "run", SETTINGS)
    write(tmp_path, range(3))
    write(tmp_path, range(3, 5), rank=1)
    (tmp_path / "manifest.2.jsonl").write_text('{"run": "another"}\n{"key": "x", "error": null}\n')
    past = read_journal(tmp_path)
    assert same(past.totals, [*range(5)])
    outcomes = [outcome(tmp_path, i) for i in range(5)]
    start_journal(tmp_path, "later", SETTINGS, outcomes, past.totals)
    assert [path.name for path in tmp_path.glob("*.jsonl")] == ["manifest.jsonl"]
    with Journal(tmp_path, "later", 0, Progress(tuple(outcomes), past.totals)) as journal:
        journal.add(outcome(tmp_path, 5), seen(5))
    assert same(read_journal(tmp_path).totals, [*range(6)])


def test_a_finished_journal_does_not_depend_on_the_order_of_work(tmp_path: Path) -> None:
    texts = []
    for numbers in ([0, 1, 2, 3], [2, 0, 3, 1]):
        start_journal(tmp_path, str(numbers), SETTINGS)
        with Journal(tmp_path, str(numbers), 0) as journal:
            for number in numbers:
                journal.add(outcome(tmp_path, number), seen(number))
        sources = [outcome(tmp_path, i).source for i in range(4)]
        finish_journal(tmp_path, SETTINGS, journal.result(sources))
        texts.append((tmp_path / "manifest.jsonl").read_text())
        assert same(read_journal(tmp_path).totals, [*range(4)])
    assert texts[0] == texts[1]


def test_a_photo_counted_before_is_not_counted_again(tmp_path: Path) -> None:
    start_journal(tmp_path, "run", SETTINGS, [outcome(tmp_path, 0)], seen(0))
    with Journal(tmp_path, "run", 0, Progress((), seen(0), frozenset({"sub/0.jpg"}))) as journal:
        journal.add(outcome(tmp_path, 0), seen(0))
    assert same(journal.totals, [0])
    assert same(read_journal(tmp_path).totals, [0])


def test_nothing_to_go_on_from(tmp_path: Path) -> None:
    assert read_journal(tmp_path) is None
    (tmp_path / "manifest.jsonl").write_text("")
    assert read_journal(tmp_path) is None


def test_a_full_disk_is_an_error_that_names_the_way_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_journal(tmp_path, "run", SETTINGS)
    write_all = os.write
    # A disk with room for a part of the line takes that part, and says so.
    monkeypatch.setattr(os, "write", lambda file, data: write_all(file, data[:50]))
    with Journal(tmp_path, "run", 0) as journal, pytest.raises(OutputError, match="--resume") as e:
        journal.add(outcome(tmp_path, 0), seen(0))
    assert os.strerror(errno.ENOSPC) in str(e.value)
    monkeypatch.undo()
    assert read_journal(tmp_path).files == {}
