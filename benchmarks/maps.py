"""cnnviz beside how it is done by hand: `python benchmarks/maps.py`.

Two comparisons, each contender in a process of its own, several times in turn:

grid    One photo, VGG-16, four layers of 64 channels. By hand: forward hooks that store
        `output.detach()`, `plt.subplots(8, 8)`, `imshow` for each channel, `savefig`, as tutorials
        have it. cnnviz also draws labels, ranges and an overview, which the other does not.
folder  200 photos through resnet18, the last layer of each resolution, 16 channels. By hand: a
        bare loop that only decodes and runs the truncated forward pass, in batches of the same
        size; it draws and writes nothing. The same loop with decoding in threads is for context.

Weights are random, so that nothing is downloaded; that changes no timing but the loading.
"""

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from time import perf_counter

from rows import Row, add_rows_option, seconds, write_rows

PROJECT = Path(__file__).parents[1]
VGG_LAYERS = (0, 5, 10, 17)
CHANNELS = 64
BATCH_SIZE = 16  # what cnnviz takes by itself

Times = dict[str, float]


class Clock:
    """Seconds of named parts, one after another, from the end of the imports."""

    def __init__(self) -> None:
        self.times: Times = {}
        self._start = self._last = perf_counter()

    def stop(self, part: str) -> None:
        """Count the time since the last stop as that of `part`."""
        now = perf_counter()
        self.times[part] = now - self._last
        self.times["after imports"] = now - self._start
        self._last = now


def usual_preprocess() -> Callable:
    """Return what tutorials do to a photo."""
    from torchvision import transforms

    return transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )


def draw_by_hand(maps: Sequence, side: int, path: Path) -> None:
    """Draw the first maps of a layer as tutorials do: `side` rows of as many axes."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(side, side, figsize=(16, 16))
    for channel, axis in enumerate(axes.flat):
        axis.imshow(maps[channel], cmap="viridis")
        axis.axis("off")
    figure.savefig(path)
    plt.close(figure)


def grid_by_hand(photos: Path, out: Path) -> Times:
    import matplotlib
    import torch
    from PIL import Image
    from torchvision import models

    matplotlib.use("Agg")
    import matplotlib.pyplot  # here, so that it does not count as drawing

    clock = Clock()
    torch.manual_seed(0)
    model = models.vgg16(weights=None).eval()
    clock.stop("model")

    activations = {}

    def save_output(name: int) -> Callable[..., None]:
        def hook(_module: object, _inputs: object, output: torch.Tensor) -> None:
            activations[name] = output.detach()

        return hook

    for i in VGG_LAYERS:
        model.features[i].register_forward_hook(save_output(i))
    picture = usual_preprocess()(Image.open(photos).convert("RGB")).unsqueeze(0)
    with torch.no_grad():
        model(picture)
    clock.stop("forward")

    for i in VGG_LAYERS:
        draw_by_hand(activations[i][0].numpy(), 8, out / f"features.{i}.png")
    clock.stop("rendering")
    return clock.times


def grid_with_cnnviz(photos: Path, out: Path) -> Times:
    import numpy as np
    import torch

    from cnnviz.choices import Reduce
    from cnnviz.files import write_atomically
    from cnnviz.maps import look, plan_layers
    from cnnviz.networks.models import load_model
    from cnnviz.photos.images import open_image
    from cnnviz.pictures import Photo, Style, draw_layers
    from cnnviz.selection import parse_channels

    import_torchvision()
    clock = Clock()
    model = load_model("vgg16", "none", device="cpu")
    clock.stop("model")

    names = [f"features.{i}" for i in VGG_LAYERS]
    plans, _ = plan_layers(model, names, parse_channels(f"0-{CHANNELS - 1}"), Reduce.NONE)
    picture = open_image(photos)
    seen = model.preprocess.crop(picture)
    pixels = torch.from_numpy(np.stack([model.preprocess.normalize(seen)]))
    (layers,) = look(model, pixels, plans)
    clock.stop("forward")

    photo = Photo(photos.name, seen, None, picture.size)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # as the command does
        for name, make in draw_layers(model, photo, layers, Style()):
            pool.submit(lambda name=name, make=make: write_atomically(out / name, make()))
    clock.stop("rendering")
    return clock.times


def import_torchvision() -> None:
    """Import what cnnviz imports only once it is needed, so that it counts as an import."""
    import torchvision.models  # noqa: F401


def folder_by_hand(photos: Path, out: Path, *, threads: int = 0) -> Times:
    import torch
    from PIL import Image
    from torchvision import models

    clock = Clock()
    torch.manual_seed(0)
    # Without the pooling and the classifier behind the last stage.
    model = torch.nn.Sequential(*list(models.resnet18(weights=None).eval().children())[:-2])
    preprocess = usual_preprocess()
    clock.stop("model")

    def decode(path: Path) -> torch.Tensor:
        return preprocess(Image.open(path).convert("RGB"))

    paths = sorted(photos.iterdir())
    with torch.inference_mode():
        for batch in in_batches(decode, paths, threads):
            model(torch.stack(batch))
    clock.stop("photos")
    return clock.times


def in_batches(decode: Callable, paths: list[Path], threads: int) -> Iterator[list]:
    """Yield decoded batches; with threads, the next one is decoded while this one is used."""
    batches = [paths[i : i + BATCH_SIZE] for i in range(0, len(paths), BATCH_SIZE)]
    if not threads:
        yield from ([decode(path) for path in batch] for batch in batches)
        return
    with ThreadPoolExecutor(threads) as pool:
        ahead = [pool.submit(decode, path) for path in batches[0]]
        for following in [*batches[1:], []]:
            ready, ahead = ahead, [pool.submit(decode, path) for path in following]
            yield [future.result() for future in ready]


def folder_by_hand_in_threads(photos: Path, out: Path) -> Times:
    return folder_by_hand(photos, out, threads=os.cpu_count() or 1)


def folder_with_cnnviz(photos: Path, out: Path) -> Times:
    from cnnviz.cli import app

    import_torchvision()
    words = ["maps", str(photos), "-m", "resnet18", "-w", "none", "--device", "cpu", "-q"]
    words += ["-l", "stages", "--channels", "0-15", "-o", str(out)]
    clock = Clock()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        app(words)
    clock.stop("photos")
    if not (out / "manifest.json").is_file():
        raise RuntimeError("cnnviz did not finish")
    return clock.times


Contender = Callable[[Path, Path], Times]
COMPARISONS: dict[str, dict[str, Contender]] = {
    "grid": {"by hand": grid_by_hand, "cnnviz": grid_with_cnnviz},
    "folder": {
        "by hand": folder_by_hand,
        "by hand, threads": folder_by_hand_in_threads,
        "cnnviz": folder_with_cnnviz,
    },
}


def make_photos(folder: Path, count: int) -> None:
    """Fill a folder with crops of the sample photos, 800 x 600 pixels, some of them mirrored."""
    import numpy as np
    from PIL import Image, ImageOps

    random = np.random.default_rng(0)
    sources = [Image.open(path) for path in sorted((PROJECT / "sample_images").glob("*.jpg"))]
    for i in range(count):
        source = sources[i % len(sources)].convert("RGB")
        share = random.uniform(0.6, 1.0)
        width, height = round(source.width * share), round(source.width * share * 3 / 4)
        height = min(height, source.height)
        x = int(random.integers(0, source.width - width + 1))
        y = int(random.integers(0, source.height - height + 1))
        crop = source.crop((x, y, x + width, y + height)).resize((800, 600))
        crop = ImageOps.mirror(crop) if random.random() < 0.5 else crop
        crop.save(folder / f"{i:03}.jpg", quality=90)


def run(comparison: str, contender: str, photos: Path) -> Times:
    """Run one contender in a process of its own."""
    with tempfile.TemporaryDirectory() as out:
        words = ["--run", comparison, contender, str(photos), out]
        start = perf_counter()
        done = subprocess.run(
            [sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True, check=True
        )
        return {**json.loads(done.stdout), "whole process": perf_counter() - start}


def compare(comparison: str, photos: Path, repeat: int) -> dict[str, list[Times]]:
    """Run the contenders in turn, every second time in the opposite order."""
    contenders = list(COMPARISONS[comparison])
    results: dict[str, list[Times]] = {name: [] for name in contenders}
    for i in range(repeat):
        for name in contenders if i % 2 == 0 else reversed(contenders):
            results[name].append(run(comparison, name, photos))
            print(f"  {comparison} {i + 1}/{repeat} {name}", file=sys.stderr)
    return results


def print_seconds(results: dict[str, list[Times]]) -> None:
    """Print the median seconds of each part."""
    parts = list(next(iter(results.values()))[0])
    print(f"{'seconds':24}" + "".join(f"{part:>16}" for part in parts))
    for name, runs in results.items():
        cells = (median(times.get(part, 0.0) for times in runs) for part in parts)
        print(f"{name:24}" + "".join(f"{cell:16.2f}" for cell in cells))


def print_ratio(said: str, over: list[Times], under: list[Times], part: str) -> float:
    """Print the median of the ratios of runs in the same round, and their range; return it."""
    ratios = [a[part] / b[part] for a, b in zip(over, under, strict=True)]
    print(f"{said:52} {median(ratios):6.2f}   ({min(ratios):.2f} to {max(ratios):.2f})")
    return median(ratios)


def row(work: str, peer: str, theirs: list[Times], ours: list[Times], part: str,
        ratio: float, aim: str) -> Row:  # fmt: skip
    """Return a comparison as a row of the table of all."""
    took = (seconds(median(times[part] for times in runs)) for runs in (theirs, ours))
    return Row(work, peer, *took, f"{ratio:.1f}", aim)


def report_grid(results: dict[str, list[Times]]) -> Row:
    print("\nOne photo, VGG-16, 4 layers of 64 channels")
    print_seconds(results)
    hand, ours = results["by hand"], results["cnnviz"]
    said = "rendering: by hand / cnnviz (aim: at least 30)"
    ratio = print_ratio(said, hand, ours, "rendering")
    print_ratio("after imports: by hand / cnnviz", hand, ours, "after imports")
    print_ratio("whole process: by hand / cnnviz", hand, ours, "whole process")
    work = "`maps`: drawing 4 layers of 64 channels of VGG-16"
    return row(work, "matplotlib, by hand", hand, ours, "rendering", ratio, "30")


def report_folder(results: dict[str, list[Times]], count: int) -> Row:
    print(f"\n{count} photos, resnet18, 5 layers of 16 channels; by hand nothing is drawn")
    print_seconds(results)
    hand, threads, ours = results.values()
    aim = "after imports: cnnviz / by hand (aim: at most 1.7)"
    ratio = print_ratio(aim, ours, hand, "after imports")
    print_ratio("after imports: cnnviz / by hand, threads", ours, threads, "after imports")
    print_ratio("whole process: cnnviz / by hand", ours, hand, "whole process")
    work = f"`maps`: {count} photos through ResNet-18, all drawn, over a loop that draws nothing"
    return row(work, "loop, by hand", hand, ours, "after imports", ratio, "at most 1.7")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("which", nargs="*", help="grid, folder; both unless said")
    parser.add_argument("--repeat", type=int, default=5, help="rounds (default: 5)")
    parser.add_argument("--photos", type=int, default=200, help="in the folder (default: 200)")
    parser.add_argument("--run", nargs=4, help=argparse.SUPPRESS)
    add_rows_option(parser)
    options = parser.parse_args()
    if options.run:
        comparison, contender, photos, out = options.run
        print(json.dumps(COMPARISONS[comparison][contender](Path(photos), Path(out))))
        return
    if unknown := set(options.which) - set(COMPARISONS):
        parser.error(f"unknown: {', '.join(unknown)}; choose from {', '.join(COMPARISONS)}")
    which = options.which or list(COMPARISONS)
    rows = []
    if "grid" in which:
        photo = PROJECT / "sample_images" / "grace_hopper.jpg"
        rows.append(report_grid(compare("grid", photo, options.repeat)))
    if "folder" in which:
        with tempfile.TemporaryDirectory() as folder:
            make_photos(Path(folder), options.photos)
            results = compare("folder", Path(folder), options.repeat)
        rows.append(report_folder(results, options.photos))
    write_rows(options.rows, rows)


if __name__ == "__main__":
    main()
