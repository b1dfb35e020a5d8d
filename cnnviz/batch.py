"""Many photos: decode, run, draw and write at the same time; one bad photo stops none."""

import io
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from cnnviz.catalog import checkpoint_names
from cnnviz.errors import InputError, OutputError
from cnnviz.files import write_atomically
from cnnviz.gradients import Target, add_gradients
from cnnviz.images import ImageSource, open_image
from cnnviz.maps import LayerMaps, LayerPlan, look
from cnnviz.models import LoadedModel
from cnnviz.peaks import Peaks, find_peaks
from cnnviz.pictures import Photo, Style, draw_layers
from cnnviz.series import draw_series
from cnnviz.statistics import Statistics, measure

In = TypeVar("In")
Out = TypeVar("Out")
Merged = TypeVar("Merged", Statistics, Peaks)
# What the layers gave for one photo, with each of the weights.
Snapshots = tuple[tuple[LayerMaps, ...], ...]

# Copies of activations that one batch may hold; larger batches gain no speed.
_BATCH_BYTES, _LARGEST_BATCH = 256 * 2**20, 16
# Of the work on a photo, about this share is the network's.
_NETWORK_SHARE = 0.6


@dataclass(frozen=True)
class Outcome:
    """What became of one photo.

    Attributes:
        source: The photo.
        outputs: The files written for it.
        error: Why it failed; None where it did not.
    """

    source: ImageSource
    outputs: tuple[Path, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class RunResult:
    """What became of all photos.

    Attributes:
        outcomes: One per photo, in the order given.
        statistics: One per layer plan, over all photos, the plans of one checkpoint after those of
            the other; empty where no photo got that far.
        input: Of what the network got, all photos together; None likewise.
        peaks: Which photos excite the channels of each layer most, where that was asked for.
    """

    outcomes: tuple[Outcome, ...]
    statistics: tuple[Statistics, ...]
    input: Statistics | None = None
    peaks: tuple[Peaks, ...] = ()


@dataclass(frozen=True)
class MapsJob:
    """What is done with every photo.

    Attributes:
        model: The network.
        plans: The layers, in order of execution.
        style: How maps are drawn.
        out: The output folder.
        save_activations: Whether the kept maps are also saved as numbers.
        earlier: The network with other weights, whose maps stand above those of `model`.
        target: The score whose gradients are also taken.
        top_images: How many photos are kept that excite each channel most.
    """

    model: LoadedModel
    plans: Sequence[LayerPlan]
    style: Style
    out: Path
    save_activations: bool = False
    earlier: Sequence[LoadedModel] = ()
    target: Target | None = None
    top_images: int = 0

    @property
    def models(self) -> tuple[LoadedModel, ...]:
        """The network with each of its weights."""
        return (*self.earlier, self.model)


@dataclass(frozen=True)
class _Decoded:
    source: ImageSource
    photo: Photo
    pixels: NDArray[np.float32]
    statistics: Statistics


def run_maps(
    job: MapsJob,
    sources: Sequence[ImageSource],
    *,
    batch_size: int | None = None,
    workers: int | None = None,
    on_done: Callable[[Outcome], None] = lambda _: None,
) -> RunResult:
    """Write the pictures of every photo.

    Args:
        job: What to do with each.
        sources: The photos.
        batch_size: Photos per forward pass; None for as many as 256 MB of copied activations
            allow, 16 at most.
        workers: Threads that decode and draw; None for one per core.
        on_done: Called for each photo, in order, once its files are written or it failed.

    Raises:
        ModelError: If the network fails on a batch.
    """
    size = batch_size or _batch_size(job)
    outcomes: list[Outcome] = []
    totals: list[Statistics] = []
    peaks: list[Peaks] = []
    numbers = {source.key: i for i, source in enumerate(sources)}
    drawing: deque[Outcome | tuple[ImageSource, list[Future[Path]]]] = deque()

    def collect(leave: int) -> None:
        while len(drawing) > leave:
            item = drawing.popleft()
            outcomes.append(item if isinstance(item, Outcome) else _outcome(*item))
            on_done(outcomes[-1])

    busy = len(sources) > size
    with _torch_threads(busy), ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        try:
            decoded = _ahead(pool, lambda source: _decode(job, source), sources, 2 * size)
            while group := list(islice(decoded, size)):
                views = iter(_look(job, group))
                for item in group:
                    if isinstance(item, Outcome):
                        drawing.append(item)
                        continue
                    snapshots = next(views)
                    layers = [maps.statistics for one in snapshots for maps in one]
                    totals = _add_up(totals, [item.statistics, *layers])
                    if job.top_images:
                        new = [
                            find_peaks(maps.values, numbers[item.source.key], job.top_images)
                            for maps in snapshots[-1]
                        ]
                        peaks = _add_up(peaks, new)
                    files = _start_drawing(pool, job, item, snapshots)
                    drawing.append((item.source, files))
                # The next batch runs while these are drawn.
                collect(leave=size)
            collect(leave=0)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    first = totals[0] if totals else None
    return RunResult(tuple(outcomes), tuple(totals[1:]), first, tuple(peaks))


@contextmanager
def _torch_threads(share: bool) -> Iterator[None]:
    """Leave cores to the threads that draw, while they and the network run at the same time.

    Without, torch's threads spin while they wait for a core: a fifth more work for nothing.
    """
    before = torch.get_num_threads()
    if share:
        torch.set_num_threads(max(1, round(before * _NETWORK_SHARE)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _batch_size(job: MapsJob) -> int:
    kept = 0
    for plan in job.plans:
        rows, columns = plan.record.grid or (1, 1)
        kept += 4 * rows * columns * (1 + (plan.top or len(plan.channels))) * len(job.models)
    return max(1, min(_LARGEST_BATCH, _BATCH_BYTES // kept))


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[In], Out], items: Iterable[In], depth: int
) -> Iterator[Out]:
    """Yield `work(item)` of each item in order, at most `depth` of them being worked on ahead."""
    waiting: deque[Future[Out]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > depth:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _decode(job: MapsJob, source: ImageSource) -> _Decoded | Outcome:
    if source.error:
        return Outcome(source, error=source.error)
    try:
        whole = open_image(source.path)
        seen = job.model.preprocess.crop(whole)
    except InputError as error:
        return Outcome(source, error=str(error))
    photo = Photo(source.key, seen, whole if job.style.overlay else None, whole.size)
    pixels = job.model.preprocess.normalize(seen)
    (statistics,), _ = measure(torch.from_numpy(pixels[None]))
    return _Decoded(source, photo, pixels, statistics)


def _look(job: MapsJob, group: Sequence[_Decoded | Outcome]) -> list[Snapshots]:
    pixels = [item.pixels for item in group if isinstance(item, _Decoded)]
    if not pixels:
        return []
    batch = torch.from_numpy(np.stack(pixels))
    views = [look(model, batch, job.plans) for model in job.models]
    if job.target:
        views[-1] = add_gradients(job.model, batch, views[-1], job.target)
    return list(zip(*views, strict=True))


def _add_up(totals: list[Merged], new: list[Merged]) -> list[Merged]:
    if not totals:
        return new
    return [total.merge(one) for total, one in zip(totals, new, strict=True)]


def _start_drawing(
    pool: ThreadPoolExecutor, job: MapsJob, item: _Decoded, snapshots: Snapshots
) -> list[Future[Path]]:
    """Have each of a photo's files made and written; the results are their paths."""
    folder = job.out / item.source.key
    files: list[tuple[str, Callable[[], bytes]]] = [
        *(
            draw_series(job.models, item.photo, snapshots, job.style)
            if job.earlier
            else draw_layers(job.model, item.photo, snapshots[0], job.style)
        )
    ]
    if job.save_activations:
        files.append(("activations.npz", lambda: _pack(job, snapshots)))
    return [pool.submit(_write, folder / name, make) for name, make in files]


def _write(path: Path, make: Callable[[], bytes]) -> Path:
    write_atomically(path, make())
    return path


def _outcome(source: ImageSource, files: Sequence[Future[Path]]) -> Outcome:
    """Wait for a photo's files, and tell which were written."""
    outputs: list[Path] = []
    errors: list[str] = []
    for file in files:
        try:
            outputs.append(file.result())
        except OutputError as error:
            errors.append(str(error))
    return Outcome(source, tuple(outputs), errors[0] if errors else None)


def _pack(job: MapsJob, snapshots: Snapshots) -> bytes:
    """Return the kept maps as `.npz`: per layer (K, H, W), or (K,), and the channel numbers.

    With several checkpoints a layer's name has that of the checkpoint in front: `epoch5:conv1`.
    """
    arrays: dict[str, NDArray[np.generic]] = {}
    names = checkpoint_names([model.weights for model in job.models])
    for name, layers in zip(names, snapshots, strict=True):
        for maps in layers:
            record = maps.plan.record
            key = f"{name}:{record.label}" if job.earlier else record.label
            arrays[key] = maps.values if record.grid else maps.values[:, 0, 0]
            arrays[f"{key}:channels"] = np.array(maps.channels, dtype=np.int64)
    data = io.BytesIO()
    np.savez(data, **arrays)  # type: ignore[arg-type]
    return data.getvalue()
