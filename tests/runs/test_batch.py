"""Many photos: order, failures among them, nothing half written, the same whatever the batch."""

import errno
import itertools
import os
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from pathlib import Path

import numpy as np
import pytest
import torch
from on_disk import tree
from PIL import Image
from torch import Tensor, nn

from cnnviz.choices import Reduce
from cnnviz.errors import ModelError
from cnnviz.hooks import capture
from cnnviz.maps import plan_layers
from cnnviz.networks.models import LoadedModel
from cnnviz.photos.images import ImageSource, find_images
from cnnviz.pictures import Style
from cnnviz.runs import batch
from cnnviz.runs.batch import MapsJob, run_maps
from cnnviz.runs.ranks import Place
from cnnviz.runs.tally import Outcome, Progress, RunResult, Tally, merged
from cnnviz.selection import parse_channels

LoadToy = Callable[..., LoadedModel]


@pytest.fixture
def model(as_model: LoadToy) -> LoadedModel:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, 5)
    return as_model(nn.Sequential(*layers))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of nine pictures, two of them broken."""
    place = tmp_path / "in"
    place.mkdir()
    for i in range(9):
        pixels = np.random.default_rng(i).integers(0, 256, (10, 9 + i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{i}.png")
    (place / "3.png").write_text("no picture")
    (place / "6.png").write_bytes((place / "5.png").read_bytes()[:100])
    return place


def job(model: LoadedModel, out: Path, channels: str = "0-63", **options: object) -> MapsJob:
    spec = parse_channels(channels, clipped=True)
    plans, _ = plan_layers(model, ["0", "1", "3"], spec, Reduce.NONE)
    return MapsJob(model, plans, Style(), out, **options)


def names(root: Path) -> set[str]:
    return set(tree(root))


def test_outcomes_come_in_the_order_given_with_failures_among_them(
    model: LoadedModel, folder: Path, tmp_path: Path
) -> None:
    sources = [*find_images([folder]), ImageSource(Path("gone"), "gone", "gone does not exist")]
    told: list[Outcome] = []
    result = run_maps(
        job(model, tmp_path / "out"), sources, batch_size=2, workers=2, on_done=told.append
    )
    assert [outcome.source for outcome in result.outcomes] == sources
    assert told == list(result.outcomes)
    errors = {outcome.source.key: outcome.error for outcome in result.outcomes if outcome.error}
    assert errors.keys() == {"3.png", "6.png", "gone"}
    assert "is not a picture" in str(errors["3.png"])
    assert errors["gone"] == "gone does not exist"


def test_files_are_where_outcomes_say_and_nowhere_else(
    model: LoadedModel, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = run_maps(job(model, out), find_images([folder]), batch_size=4)
    written = [path for outcome in result.outcomes for path in outcome.outputs]
    assert {path.relative_to(out).as_posix() for path in written} == names(out)
    good = result.outcomes[0]
    assert [path.name for path in good.outputs] == ["0.png", "1.png", "3.png", "overview.png"]
    assert {path.parent for path in good.outputs} == {out / "0.png"}


def test_statistics_are_those_of_all_good_photos(
    model: LoadedModel, folder: Path, tmp_path: Path
) -> None:
    sources = find_images([folder])
    result = run_maps(job(model, tmp_path / "out"), sources, batch_size=3)
    outputs = []
    for source in sources:
        if source.key not in ("3.png", "6.png"):
            with Image.open(source.path) as image:
                seen = model.preprocess.crop(image.convert("RGB"))
            picture = torch.from_numpy(model.preprocess.normalize(seen)[None])
            outputs.append(model.module[0](picture).detach().numpy())
    values = np.concatenate(outputs).astype(np.float64)
    found = result.statistics[0]
    assert found.values == values.size
    assert found.mean == pytest.approx(values.mean(), abs=1e-6)
    assert found.std == pytest.approx(values.std(), rel=1e-5)
    assert found.min == pytest.approx(values.min())


def test_the_input_is_measured_as_the_network_gets_it(
    model: LoadedModel, folder: Path, tmp_path: Path
) -> None:
    odd = replace(model, preprocess=replace(model.preprocess, mean=(0.4,) * 3, std=(0.2,) * 3))
    found = run_maps(job(odd, tmp_path), find_images([folder / "0.png", folder / "1.png"])).input
    seen = []
    for name in ("0.png", "1.png"):
        with Image.open(folder / name) as image:
            seen.append(np.asarray(model.preprocess.crop(image.convert("RGB"))) / 255)
    values = (np.stack(seen) - 0.4) / 0.2
    assert found is not None
    assert (found.values, found.nan) == (values.size, 0)
    assert found.mean == pytest.approx(values.mean(), rel=1e-5)
    assert found.std == pytest.approx(values.std(), rel=1e-5)


def write_tree(work: MapsJob, folder: Path, **options: int | None) -> dict[str, bytes]:
    run_maps(work, find_images([folder]), **options)
    return tree(work.out)


def test_results_do_not_depend_on_the_number_of_workers(
    model: LoadedModel, folder: Path, tmp_path: Path
) -> None:
    one, many = (
        write_tree(job(model, tmp_path / str(n), save_activations=True), folder, workers=n)
        for n in (1, 5)
    )
    assert len(one) == 7 * 5
    assert one == many


def test_results_do_not_depend_on_the_batch_size(
    as_model: LoadToy, folder: Path, tmp_path: Path
) -> None:
    # Pooling is exact; sums of products may round another way in another batch.
    layers = nn.AvgPool2d(2), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten()
    model = as_model(nn.Sequential(*layers))
    one, two, all_ = (
        write_tree(job(model, tmp_path / str(n), save_activations=True), folder, batch_size=n)
        for n in (1, 2, None)
    )
    assert len(one) == 7 * 5
    assert one == two == all_


@pytest.fixture
def wide(as_model: LoadToy) -> LoadedModel:
    """Return a network whose sums are rounded another way in batches of another size."""
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 40, 3), nn.ReLU(), nn.Flatten(), nn.Linear(1440, 30)
    return as_model(nn.Sequential(*layers))


def test_what_is_left_of_a_batch_gives_the_same_bytes_as_in_the_whole(
    wide: LoadedModel, folder: Path, tmp_path: Path
) -> None:
    sources = find_images([folder])
    options = {"channels": "0-1", "save_activations": True}
    whole = job(wide, tmp_path / "whole", **options)
    told: list[Outcome] = []
    run_maps(whole, sources, batch_size=4, on_done=told.append)
    rest = job(wide, tmp_path / "rest", **options)
    finished = [outcome for outcome in told if outcome.source.key in ("0.png", "2.png", "5.png")]
    result = run_maps(rest, sources, Tally(Progress(tuple(finished))), batch_size=4)
    assert [outcome.source for outcome in result.outcomes] == sources
    expected = {name: data for name, data in tree(whole.out).items() if name[0] not in "025"}
    assert len(expected) == 4 * 5
    assert tree(rest.out) == expected


def test_processes_that_share_a_run_do_each_photo_once_and_give_the_same_bytes(
    wide: LoadedModel, folder: Path, tmp_path: Path
) -> None:
    sources = find_images([folder])
    one, many = job(wide, tmp_path / "one"), job(wide, tmp_path / "many")
    whole = run_maps(one, sources, batch_size=2)
    parts = [run_maps(many, sources, batch_size=2, place=Place(i, 3)) for i in range(3)]
    keys = [outcome.source.key for part in parts for outcome in part.outcomes]
    assert len(keys) == len(set(keys)) == len(sources)
    assert tree(many.out) == tree(one.out)
    totals = reduce(merged, [part.statistics for part in parts])
    for total, expected in zip(totals, whole.statistics, strict=True):
        assert (total.total, total.squares) == (expected.total, expected.squares)
        assert np.array_equal(total.low, expected.low)
    assert run_maps(many, sources[:2], batch_size=2, place=Place(2, 3)).statistics == ()


def test_activations_are_those_of_the_layers(
    model: LoadedModel, folder: Path, tmp_path: Path
) -> None:
    sources = find_images([folder / "2.png"])
    run_maps(job(model, tmp_path / "out", "2,0", save_activations=True), sources)
    with Image.open(folder / "2.png") as image:
        seen = model.preprocess.crop(image.convert("RGB"))
    with torch.no_grad(), capture(model.module, ["0", "1", "3"]) as expected:
        model.module(torch.from_numpy(model.preprocess.normalize(seen)[None]))
    with np.load(tmp_path / "out" / "2.png" / "activations.npz") as saved:
        assert set(saved) == {"0", "0:channels", "1", "1:channels", "3", "3:channels"}
        for layer in ("0", "1"):
            assert np.allclose(saved[layer], expected[layer][0, [2, 0]], atol=1e-6)
            assert saved[f"{layer}:channels"].tolist() == [2, 0]
        assert (saved["0"] < 0).any()
        assert np.allclose(saved["3"], expected["3"][0], atol=1e-6)


def test_a_full_disk_fails_photo_by_photo_and_leaves_no_part_of_a_file(
    model: LoadedModel, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, room = os.replace, threading.Semaphore(6)

    def fill_up(source: Path, target: Path) -> None:
        if not room.acquire(blocking=False):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr(os, "replace", fill_up)
    result = run_maps(job(model, tmp_path / "out"), find_images([folder]), workers=1)
    assert len(result.outcomes) == 9
    full = [o for o in result.outcomes if "No space left on device" in str(o.error)]
    assert len(full) == 6
    assert len(full[0].outputs) == 2, "what was written before is told"
    assert len(names(tmp_path / "out")) == 6
    assert all(name.endswith(".png") for name in names(tmp_path / "out"))


@pytest.mark.slow
def test_a_small_disk_that_is_really_full(model: LoadedModel, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "small"
    out.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(out)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no right to mount")
    try:
        result = run_maps(job(model, out), find_images([folder]), batch_size=2)
        assert any("No space left" in str(outcome.error) for outcome in result.outcomes)
        for path in out.rglob("*.png"):
            if path.is_file():
                Image.open(path).load()
        assert not list(out.rglob("*.tmp"))
    finally:
        subprocess.run(["umount", str(out)], check=True)


def test_an_output_folder_that_is_the_photo_itself_is_an_error_of_that_photo(
    model: LoadedModel, folder: Path
) -> None:
    before = tree(folder)
    result = run_maps(job(model, folder), find_images([folder / "0.png", folder / "1.png"]))
    assert all("cannot write" in str(outcome.error) for outcome in result.outcomes)
    assert tree(folder) == before


def test_a_run_without_a_good_photo_has_no_statistics(model: LoadedModel, tmp_path: Path) -> None:
    sources = [ImageSource(Path("x"), "x", "gone"), ImageSource(tmp_path / "y", "y")]
    result = run_maps(job(model, tmp_path / "out"), sources)
    assert result == RunResult(result.outcomes, ())
    assert all(outcome.error for outcome in result.outcomes)


def test_an_error_of_the_network_ends_the_run(
    as_model: LoadToy, folder: Path, tmp_path: Path
) -> None:
    class OneOnly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 1:
                raise RuntimeError("one at a time")
            return self.conv(x)

    toy = as_model(OneOnly())
    plans, _ = plan_layers(toy, ["conv"], parse_channels("all"), Reduce.NONE)
    work = MapsJob(toy, plans, Style(), tmp_path / "out")
    with pytest.raises(ModelError, match="one at a time"):
        run_maps(work, find_images([folder]), batch_size=2)
    assert not list(tmp_path.rglob("*.tmp"))
    assert run_maps(work, find_images([folder]), batch_size=1).statistics


def test_an_interruption_goes_up_and_leaves_no_part_of_a_file(
    model: LoadedModel, folder: Path, tmp_path: Path
) -> None:
    def interrupt(_: Outcome) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_maps(
            job(model, tmp_path / "out"), find_images([folder]), batch_size=1, on_done=interrupt
        )
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_batch_is_as_large_as_its_copies_allow(
    model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = job(model, tmp_path)
    assert batch._batch_size(work) == 8
    copies = 4 * (2 * 36 * (1 + 4) + (1 + 5))
    monkeypatch.setattr(batch, "_BATCH_BYTES", 5 * copies + 1)
    assert batch._batch_size(work) == 5
    assert batch._batch_size(job(model, tmp_path, earlier=(model,))) == 2
    monkeypatch.setattr(batch, "_BATCH_PIXELS", 4 * 8 * 8 + 1)
    assert batch._batch_size(work) == 4
    monkeypatch.setattr(batch, "_BATCH_BYTES", 1)
    assert batch._batch_size(work) == 1


def test_two_checkpoints_give_the_same_pictures_of_two_networks_side_by_side(
    model: LoadedModel, as_model: LoadToy, folder: Path, tmp_path: Path
) -> None:
    layers = nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, 5)
    before = replace(as_model(nn.Sequential(*layers)), weights="before.pth")
    sources = find_images([folder / "0.png"])
    work = job(model, tmp_path / "both", save_activations=True, earlier=(before,))
    result = run_maps(work, sources)
    alone = [
        run_maps(job(one, tmp_path / str(i), save_activations=True), sources)
        for i, one in enumerate((before, model))
    ]
    assert [s.mean for s in result.statistics] == [s.mean for r in alone for s in r.statistics]
    both = np.load(tmp_path / "both" / "0.png" / "activations.npz")
    for i, name in enumerate(("before", "none")):
        single = np.load(tmp_path / str(i) / "0.png" / "activations.npz")
        assert {key.removeprefix(f"{name}:") for key in both if key.startswith(name)} == {*single}
        for key in single:
            assert np.array_equal(both[f"{name}:{key}"], single[key])


def test_no_more_photos_are_on_their_way_than_fit_into_the_passes_and_one_batch(
    model: LoadedModel, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, done, decode = itertools.count(1), itertools.count(1), batch._decode
    begun, ahead = 0, []

    def start(*given: object) -> object:
        nonlocal begun
        begun = next(started)
        return decode(*given)

    monkeypatch.setattr(batch, "_decode", start)
    sources = [ImageSource(folder / "0.png", f"{i}.png") for i in range(60)]
    run_maps(
        job(model, tmp_path), sources, batch_size=2, workers=2,
        on_done=lambda _: ahead.append(begun - next(done)),
    )  # fmt: skip
    assert len(ahead) == 60
    assert 0 < max(ahead) < 3 * 2


PAIR = threading.Barrier(2)


class Forgetful(nn.Module):
    """A network that keeps things in itself, and whose passes wait for each other."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)
        self.waits = False
        self.threads: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.threads.append(torch.get_num_threads())
        self.seen = x
        if self.waits:
            PAIR.wait(timeout=20)
        return self.conv(self.seen)


@pytest.fixture
def forgetful(as_model: LoadToy) -> LoadedModel:
    torch.manual_seed(0)
    return as_model(Forgetful())


def forgetful_job(model: LoadedModel, out: Path) -> MapsJob:
    plans, _ = plan_layers(model, ["conv"], parse_channels("all"), Reduce.NONE)
    return MapsJob(model, plans, Style(), out, save_activations=True)


def test_two_batches_are_computed_at_the_same_time_and_do_not_mix(
    forgetful: LoadedModel, folder: Path, tmp_path: Path
) -> None:
    good = find_images([folder / f"{i}.png" for i in (0, 1, 2, 4, 5, 7)])
    one, two = (forgetful_job(forgetful, tmp_path / name) for name in ("one", "two"))
    assert run_maps(one, good, batch_size=1, workers=1).statistics
    forgetful.module.waits = True
    assert run_maps(two, good, batch_size=1, workers=2).statistics
    assert len(tree(one.out)) == 6 * 3
    assert tree(one.out) == tree(two.out)


def test_each_batch_is_computed_by_one_thread_however_many_cores_there_are(
    forgetful: LoadedModel, folder: Path, tmp_path: Path
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        run_maps(forgetful_job(forgetful, tmp_path), find_images([folder / "0.png"]), workers=1)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert forgetful.module.threads[-1] == 1
