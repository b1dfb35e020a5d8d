"""What became of the photos of a run."""

from pathlib import Path

import torch

from cnnviz.photos.images import ImageSource
from cnnviz.runs.tally import Outcome, Progress, Tally, merged, same_names
from cnnviz.statistics import Statistics, measure


def seen(value: float) -> tuple[Statistics, ...]:
    return (measure(torch.full((1, 1, 2, 2), float(value)))[0][0],)


def outcome(key: str, error: str | None = None) -> Outcome:
    return Outcome(ImageSource(Path(key), key), Path("out"), ("a.png",), error)


def test_outputs_are_in_the_photos_own_folder() -> None:
    assert outcome("sub/x.jpg").outputs == (Path("out/sub/x.jpg/a.png"),)


def test_names_of_files_are_kept_once_for_all_photos() -> None:
    names = [same_names(tuple(f"{i}.png" for i in range(3))) for _ in range(2)]
    assert names[0] is names[1]


def test_only_photos_that_did_not_fail_count_and_each_once() -> None:
    tally = Tally(Progress((outcome("old"),), seen(1), frozenset({"lost"})))
    for key, value, error in (("new", 3, None), ("bad", 50, "broken"), ("lost", 70, None)):
        tally.add(outcome(key, error), seen(value))
    assert tally.totals[0].values == 8
    assert tally.totals[0].mean == 2
    result = tally.result([outcome(key).source for key in ("lost", "nowhere", "bad", "old")])
    assert [one.source.key for one in result.outcomes] == ["lost", "bad", "old"]


def test_nothing_merges_with_anything() -> None:
    assert merged((), ()) == ()
    assert merged((), seen(2))[0].mean == merged(seen(2), ())[0].mean == 2
