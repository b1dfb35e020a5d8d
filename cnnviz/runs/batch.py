"""Many photos: decode, run, draw and write at the same time; one bad photo stops none."""

import io
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from cnnviz.choices import Precision
from cnnviz.errors import InputError, OutputError
from cnnviz.files import remove_leftovers, write_atomically
from cnnviz.gradients import Target, add_gradients
from cnnviz.maps import LayerMaps, LayerPlan, look
from cnnviz.networks.catalog import checkpoint_names
from cnnviz.networks.feeding import Form, form_of, frame_count
from cnnviz.networks.models import LoadedModel
from cnnviz.peaks import find_peaks
from cnnviz.photos.clips import open_frames
from cnnviz.photos.images import ImageSource
from cnnviz.pictures import Photo, Style, draw_layers
from cnnviz.runs.lanes import Lanes, open_lanes
from cnnviz.runs.ranks import ALONE, Place
from cnnviz.runs.tally import Outcome, RunResult, Tally, same_names
from cnnviz.series import draw_series
from cnnviz.statistics import Statistics, measure

# What the layers gave for one photo, with each of the weights.
In = TypeVar("In")
Out = TypeVar("Out")
Snapshots = tuple[tuple[LayerMaps, ...], ...]

# Copies of activations that one batch may hold; larger batches gain no speed.
_BATCH_BYTES, _LARGEST_BATCH = 256 * 2**20, 8
# Pixels of one batch: what the network itself needs of memory goes with them.
_BATCH_PIXELS = _LARGEST_BATCH * 224 * 224
# More than this many batches at a time would compute faster than Python can draw.
_MOST_LANES = 8


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
        precision: In which numbers the network computes.
        target: The score whose gradients are also taken.
        top_images: How many photos are kept that excite each channel most.
    """

    model: LoadedModel
    plans: Sequence[LayerPlan]
    style: Style
    out: Path
    save_activations: bool = False
    earlier: Sequence[LoadedModel] = ()
    precision: Precision = Precision.FP32
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


# A photo, what the layers gave for it, and its files that are being made.
_Drawn = tuple[Outcome | _Decoded, Snapshots, list[Future[Path]]]


def run_maps(
    job: MapsJob,
    sources: Sequence[ImageSource],
    tally: Tally | None = None,
    *,
    batch_size: int | None = None,
    workers: int | None = None,
    place: Place = ALONE,
    on_done: Callable[[Outcome], None] = lambda _: None,
) -> RunResult:
    """Write the pictures of every photo that is not finished.

    A photo's place in its batch, and the size of that, depend only on its place in `sources`:
    its pictures are the same to the bit when a run is interrupted, or shared among processes.

    Args:
        job: What to do with each.
        sources: The photos.
        tally: Knows those that are finished, and takes in the others.
        batch_size: Photos per forward pass; None for as many as 256 MB of copied activations
            allow, and no more pixels than 8 photos of 224x224 have.
        workers: Threads, each of which decodes a photo, runs a batch, or draws a picture; None
            for one per core.
        place: Which of several processes this one is; each takes its share of the batches.
        on_done: Called for each photo, in order, once its files are written or it failed.

    Raises:
        ModelError: If the network fails on a batch.
    """
    tally = tally or Tally()
    size = batch_size or _batch_size(job)
    groups = _unfinished(tally, sources, size)[place.rank :: place.world]
    numbers = {source.key: i for i, source in enumerate(sources)}
    running: deque[Future[list[_Drawn]]] = deque()

    def collect(leave: int) -> None:
        while len(running) > leave:
            for item, snapshots, files in running.popleft().result():
                outcome = item if isinstance(item, Outcome) else _outcome(job, item.source, files)
                _take_in(tally, job, numbers[item.source.key], item, snapshots, outcome)
                on_done(outcome)

    workers = workers or max(1, (os.cpu_count() or 1) // place.neighbours)
    with _one_torch_thread(), ThreadPoolExecutor(workers) as pool:
        try:
            lanes = open_lanes(job.models, min(workers, len(groups), _MOST_LANES))
            most = lanes.qsize()
            for group in groups:
                decoding = [pool.submit(_decode, job, source) for source in group]
                running.append(pool.submit(_pass, pool, job, lanes, decoding))
                # One batch is drawn, or waits, while others are in the network.
                collect(leave=most)
            collect(leave=0)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return tally.result(sources)


def _unfinished(
    tally: Tally, sources: Sequence[ImageSource], size: int
) -> list[list[ImageSource | None]]:
    """Return the batches that have a photo to be done, with None in place of the finished ones."""
    batches = [
        [None if source.key in tally.outcomes else source for source in sources[i : i + size]]
        for i in range(0, len(sources), size)
    ]
    return [batch for batch in batches if any(batch)]


def _take_in(
    tally: Tally,
    job: MapsJob,
    number: int,
    item: "Outcome | _Decoded",
    snapshots: Snapshots,
    outcome: Outcome,
) -> None:
    """Count a photo that is done with, and rank it among those that excite each channel."""
    if isinstance(item, Outcome):
        tally.add(outcome, [])
        return
    layers = snapshots[-1] if job.top_images else ()
    tally.add(
        outcome,
        [item.statistics, *(maps.statistics for one in snapshots for maps in one)],
        [find_peaks(maps.values, number, job.top_images) for maps in layers],
    )


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Compute each batch in the thread that has it.

    Torch's own threads wait for one another, and how sums are rounded depends on their number.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _batch_size(job: MapsJob) -> int:
    kept = 0
    for plan in job.plans:
        rows, columns = plan.record.grid or (1, 1)
        size = 4 * rows * columns * (plan.record.layout.frames or 1)
        kept += size * (1 + (plan.top or len(plan.channels))) * len(job.models)
    rows, columns = job.model.preprocess.input_size
    pixels = rows * columns * frame_count(job.model.module)
    return max(1, min(_LARGEST_BATCH, _BATCH_BYTES // kept, _BATCH_PIXELS // pixels))


def _pass(
    pool: ThreadPoolExecutor,
    job: MapsJob,
    lanes: Lanes,
    decoding: Sequence[Future[_Decoded | Outcome | None]],
) -> list[_Drawn]:
    """Run a batch through the network, and have its pictures drawn."""
    items = [photo.result() for photo in decoding]
    models = lanes.get()
    try:
        found = _look(job, models, items)
    finally:
        lanes.put(models)
    return [
        (item, snapshots, _start_drawing(pool, job, item, snapshots))
        for item, snapshots in zip(items, found, strict=True)
        if item is not None
    ]


def _decode(job: MapsJob, source: ImageSource | None) -> _Decoded | Outcome | None:
    if source is None:
        return None
    if source.error:
        return Outcome(source, error=source.error)
    preprocess = job.model.preprocess
    # Twice what is needed: the resize still averages, and gives what it gives of the whole photo.
    least = None if job.style.overlay else 2 * max(preprocess.resize)
    form = form_of(job.model.module)
    count = frame_count(job.model.module)
    try:
        frames, size = open_frames(source, count, least, pairs=form is Form.PAIR)
        seen = _once_each(preprocess.crop, frames)
    except InputError as error:
        return Outcome(source, error=str(error))
    whole = frames[0] if job.style.overlay else None
    photo = Photo(source.key, seen[0], whole, size, tuple(seen) if count > 1 else ())
    pixels = np.stack(_once_each(preprocess.normalize, seen), axis=1)
    pixels = pixels if count > 1 else pixels[:, 0]
    (statistics,), _ = measure(torch.from_numpy(pixels[None]))
    return _Decoded(source, photo, pixels, statistics)


def _once_each(work: Callable[[In], Out], items: Sequence[In]) -> list[Out]:
    """Return `work(item)` of each item; a still stands in the place of many frames."""
    done = {id(item): item for item in items}
    made = {key: work(item) for key, item in done.items()}
    return [made[id(item)] for item in items]


def _look(
    job: MapsJob, models: Sequence[LoadedModel], items: Sequence[_Decoded | Outcome | None]
) -> list[Snapshots]:
    """Return what the layers gave for each; nothing, where there is no photo."""
    photos = {i: item for i, item in enumerate(items) if isinstance(item, _Decoded)}
    found: list[Snapshots] = [()] * len(items)
    if photos:
        batch = np.zeros((len(items), *photos[min(photos)].pixels.shape), np.float32)
        for i, item in photos.items():
            batch[i] = item.pixels
        pixels = torch.from_numpy(batch)
        views = [look(model, pixels, job.plans, job.precision) for model in models]
        if job.target:
            views[-1] = add_gradients(models[-1], pixels, views[-1], job.target)
        for i in photos:
            found[i] = tuple(view[i] for view in views)
    return found


def _start_drawing(
    pool: ThreadPoolExecutor, job: MapsJob, item: _Decoded | Outcome, snapshots: Snapshots
) -> list[Future[Path]]:
    """Have each of a photo's files made and written; the results are their paths."""
    if isinstance(item, Outcome):
        return []
    folder = job.out / item.source.key
    remove_leftovers(folder)
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


def _outcome(job: MapsJob, source: ImageSource, files: Sequence[Future[Path]]) -> Outcome:
    """Wait for a photo's files, and tell which were written."""
    names: list[str] = []
    errors: list[str] = []
    for file in files:
        try:
            names.append(file.result().name)
        except OutputError as error:
            errors.append(str(error))
    return Outcome(source, job.out, same_names(tuple(names)), errors[0] if errors else None)


def _pack(job: MapsJob, snapshots: Snapshots) -> bytes:
    """Return the kept maps as `.npz`: per layer (K, H, W), or (K,), and the channel numbers.

    Those of clips are (K, T, H, W). With several checkpoints a layer's name has that of the
    checkpoint in front: `epoch5:conv1`.
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
