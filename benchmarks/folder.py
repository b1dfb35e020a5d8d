"""How near a folder run comes to what the machine allows: `python benchmarks/folder.py`.

Photos through resnet18, the last layer of each resolution, 16 channels. Weights are random, so
that nothing is downloaded; that changes no timing but the loading. Four figures:

allowed   The CPU time of the three stages, each run alone by one thread, added up and divided by
          the cores; on a GPU, the slowest stage, decoding and drawing by a thread per core. It is
          compared with what the run takes, from the first photo to the last line of the manifest
          (aim: at least 0.8).
tutorial  By hand, photo by photo: hooks that keep everything, the whole network, and a figure of
          16 axes for each layer (aim: at least 20 times as long). The median of some photos.
memory    What is resident around a tenth of the photos and towards the end (aim: within 5 %).
decoding  JPEGs of 12 megapixels, whole and at a reduced scale; in threads and in processes.

Each is measured in a process of its own. Nothing else should run on the machine.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

from maps import draw_by_hand, make_photos, usual_preprocess
from rows import Row, add_rows_option, seconds, write_rows

Figures = dict[str, float]
KEPT = 16


def make_job(out: Path, device: str):
    from cnnviz.choices import Reduce
    from cnnviz.maps import plan_layers
    from cnnviz.networks.models import load_model
    from cnnviz.pictures import Style
    from cnnviz.runs.batch import MapsJob
    from cnnviz.selection import parse_channels

    model = load_model("resnet18", "none", device=device)
    plans, _ = plan_layers(model, ["stages"], parse_channels(f"0-{KEPT - 1}"), Reduce.NONE)
    return MapsJob(model, plans, Style(), out)


def run_job(job, sources, on_done: Callable[[], None] = lambda: None) -> float:
    """Return the seconds that a folder run takes, once the network is loaded."""
    from cnnviz.runs.folder import describe, run_folder
    from cnnviz.runs.ranks import ALONE
    from cnnviz.runs.team import Team

    start = perf_counter()
    result = run_folder(job, describe(job), sources, Team(ALONE), on_done=on_done)
    if result is None or any(outcome.error for outcome in result.outcomes):
        raise RuntimeError("the run failed")
    return perf_counter() - start


def measure_run(photos: Path, out: Path, device: str) -> Figures:
    """Measure the run, and then each of its stages alone, in the same process."""
    import torch

    from cnnviz.photos.images import find_images
    from cnnviz.runs import batch

    job, sources = make_job(out, device), find_images([photos])
    size = batch._batch_size(job)
    run_job(job, sources[: 4 * size])  # fonts, colour maps and kernels are ready
    start = process_time()
    figures = {"run": run_job(job, sources) / len(sources)}
    figures["work"] = (process_time() - start) / len(sources)
    torch.set_num_threads(1)  # so that CPU time is work, and not waiting for other threads
    seconds = {"decode": 0.0, "network": 0.0, "draw": 0.0}
    clock, threads = (process_time, 1) if device == "cpu" else (perf_counter, os.cpu_count())

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        start = clock()
        yield
        seconds[name] += clock() - start

    for i in range(0, len(sources), 8 * size):
        with stage("decode"), ThreadPoolExecutor(threads) as pool:
            items = [*pool.map(partial(batch._decode, job), sources[i : i + 8 * size])]
        with stage("network"):
            parts = [items[j : j + size] for j in range(0, len(items), size)]
            found = [seen for part in parts for seen in batch._look(job, job.models, part)]
        with stage("draw"), ThreadPoolExecutor(threads) as pool:
            for item, snapshots in zip(items, found, strict=True):
                batch._start_drawing(pool, job, item, snapshots)
    return figures | {name: total / len(sources) for name, total in seconds.items()}


def measure_tutorial(photos: Path, out: Path, device: str) -> Figures:
    """Measure the loop that tutorials have."""
    import matplotlib
    import torch
    from PIL import Image
    from torchvision import models

    matplotlib.use("Agg")
    import matplotlib.pyplot  # here, so that it does not count as drawing

    model = models.resnet18(weights=None).eval().to(device)
    kept: dict[str, torch.Tensor] = {}
    for name in ("relu", "layer1", "layer2", "layer3", "layer4"):

        def keep(_module: object, _inputs: object, output: torch.Tensor, name=name) -> None:
            kept[name] = output.detach().cpu()

        model.get_submodule(name).register_forward_hook(keep)
    preprocess = usual_preprocess()
    paths = sorted(photos.iterdir())[:20]
    laps = []
    for path in paths:
        start = perf_counter()
        with torch.no_grad():
            model(preprocess(Image.open(path).convert("RGB")).unsqueeze(0).to(device))
        for name, maps in kept.items():
            draw_by_hand(maps[0].numpy(), 4, out / f"{path.stem}.{name}.png")
        laps.append(perf_counter() - start)
    return {"photo": median(laps)}


def measure_memory(photos: Path, out: Path, device: str) -> Figures:
    """Measure what is resident around a tenth of the photos, and towards the end.

    It goes up and down by a tenth with the batches that are under way, so each is a median.
    """
    from cnnviz.photos.images import find_images

    job, sources = make_job(out, device), find_images([photos])
    seen: list[float] = []

    def look() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        seen.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)

    run_job(job, sources, look)
    tenth = len(seen) // 10
    return {"tenth": median(seen[tenth // 2 : tenth * 3 // 2]), "all": median(seen[-tenth:])}


def decode(path: Path, least: int | None = 512) -> object:
    from cnnviz.photos.images import open_reduced
    from cnnviz.photos.preprocess import Preprocess

    preprocess = Preprocess((224, 224), (256, 256))
    return preprocess.normalize(preprocess.crop(open_reduced(path, least)[0]))


def measure_decoding(photos: Path, out: Path, device: str) -> Figures:
    """Measure decoding of large photos, and of those of the folder by several at a time."""
    from cnnviz.photos.images import open_image

    large = []
    for i, path in enumerate(sorted(photos.iterdir())[:8]):
        large.append(out / f"{i}.jpg")
        open_image(path).resize((4000, 3000)).save(large[-1], quality=90)
    figures = {}
    for name, least in (("whole", None), ("reduced", 512)):
        start = process_time()
        for path in large:
            decode(path, least)
        figures[name] = (process_time() - start) / len(large)
    paths = sorted(photos.iterdir())
    cores = os.cpu_count() or 1
    pools: dict[str, Executor] = {
        "one thread": ThreadPoolExecutor(1),
        "threads": ThreadPoolExecutor(cores),
        "processes": ProcessPoolExecutor(cores, get_context("forkserver")),
    }
    for name, pool in pools.items():
        with pool:
            list(pool.map(decode, paths[: 4 * cores]))  # processes have to start
            start = perf_counter()
            list(pool.map(decode, paths))
            figures[name] = (perf_counter() - start) / len(paths)
    return figures


PARTS = {
    "run": measure_run,
    "tutorial": measure_tutorial,
    "memory": measure_memory,
    "decoding": measure_decoding,
}


def measure(part: str, photos: Path, device: str) -> Figures:
    """Run one part in a process of its own."""
    print(f"  {part} ...", file=sys.stderr)
    with tempfile.TemporaryDirectory() as out:
        words = [sys.executable, __file__, "--part", part, str(photos), out, "--device", device]
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def many(photos: Path, count: int, folder: Path) -> Path:
    """Return a folder of `count` links to photos."""
    folder.mkdir()
    for i, path in zip(range(count), itertools.cycle(sorted(photos.iterdir()))):
        os.link(path, folder / f"{i:06}.jpg")
    return folder


def report(found: dict[str, Figures], device: str, count: int, memory: int) -> list[Row]:
    run, tutorial = found["run"], found["tutorial"]["photo"]
    stages = [run[name] for name in ("decode", "network", "draw")]
    allowed = sum(stages) / (os.cpu_count() or 1) if device == "cpu" else max(stages)
    print(f"\n{count} photos, resnet18, 5 layers of {KEPT} channels; milliseconds a photo")
    print(f"  decode {1e3 * stages[0]:.1f}, network {1e3 * stages[1]:.1f}, draw", end=" ")
    print(f"{1e3 * stages[2]:.1f}; allowed {1e3 * allowed:.1f}, run {1e3 * run['run']:.1f}")
    print(f"  allowed / run (aim: at least 0.8)        {allowed / run['run']:8.2f}")
    if device == "cpu":
        print(f"  CPU time of the stages / of the run          {sum(stages) / run['work']:8.2f}")
    print(f"  tutorial / run (aim: at least 20)        {tutorial / run['run']:8.1f}")
    one, all_ = found["memory"]["tenth"], found["memory"]["all"]
    print(f"resident around {memory // 10} and {memory} photos: {one:.0f} and {all_:.0f} MB")
    print(f"  all / a tenth (aim: at most 1.05)        {all_ / one:8.3f}")
    decoding = found["decoding"]
    print("decoding")
    print(
        f"  12 megapixels, whole / reduced           {decoding['whole'] / decoding['reduced']:8.2f}"
    )
    for name in ("threads", "processes"):
        print(f"  one thread / {name:27} {decoding['one thread'] / decoding[name]:8.2f}")
    work = f"`maps`: a photo of a run of {count} through ResNet-18, all drawn"
    ours = seconds(run["run"])
    ratio = f"{allowed / run['run']:.2f}"
    return [
        Row(work, "what the cores allow", seconds(allowed), ours, ratio, "0.8"),
        Row(work, "tutorial", seconds(tutorial), ours, f"{tutorial / run['run']:.1f}", "20"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=1000, help="in the folder (default: 1000)")
    parser.add_argument("--memory", type=int, default=5000, help="photos for memory (5000)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--part", nargs=3, help=argparse.SUPPRESS)
    add_rows_option(parser)
    options = parser.parse_args()
    if options.part:
        part, photos, out = options.part
        print(json.dumps(PARTS[part](Path(photos), Path(out), options.device)))
        return
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder, "photos")
        photos.mkdir()
        make_photos(photos, options.photos)
        links = many(photos, options.memory, Path(folder, "many"))
        found = {
            part: measure(part, links if part == "memory" else photos, options.device)
            for part in PARTS
        }
    write_rows(options.rows, report(found, options.device, options.photos, options.memory))


if __name__ == "__main__":
    main()
