"""cnnviz beside torch-lucent: `python benchmarks/maximize.py`.

Both maximise the same channels of the same networks, with one saved set of weights each, in one
run and in turn. torch-lucent has its defaults: a Fourier picture of 128 px, 512 steps, standard
transforms, one unit at a time; only the normalisation is the network's own. Each of its units gets
a fresh copy of the network, because it never removes its hooks. cnnviz has its defaults too, all
channels in one call, whose whole time counts.

One judge for both: the mean of the channel on the untransformed picture, at the size at which the
method optimised it. lucent enlarges its 128 px to 224 inside its loop, so that is judged at 224.
Pictures of cnnviz are judged as they are saved, in 8 bits.

`--only cnnviz` needs no torch-lucent. Where it is wanted, 0.1.8 with kornia 0.4.1 works.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import mean, median
from time import perf_counter

import numpy as np
import torch
from rows import Row, add_rows_option, seconds, write_rows
from torch import Tensor

import cnnviz
from cnnviz.hooks import observe
from cnnviz.networks.models import LoadedModel

LUCENT_SIZE = 224
MARKS = (32, 64, 128, 256, 512)
# Name and weights; an early, a middle and a late layer.
NETWORKS = {
    ("resnet18", "none"): ("layer1.1.conv2", "layer2.1.conv2", "layer3.1.conv2"),
    ("demo", "default"): ("layer1.0.conv2", "layer2.0.conv2", "layer3.0.conv2"),
}
AIMS = {"auto": (50, 20, 20), "224": (10, 10, 10)}


@dataclass
class Curve:
    """What one method reached on one layer.

    Attributes:
        seconds: Per unit, by steps.
        activations: One per channel, by steps.
    """

    seconds: dict[int, float] = field(default_factory=dict)
    activations: dict[int, list[float]] = field(default_factory=dict)


def load(name: str, weights: str) -> LoadedModel:
    return cnnviz.load_model(name, weights, device="cpu")


def judge(model: LoadedModel, layer: str, channel: int, picture: Tensor) -> float:
    """Return the mean of a channel on a picture, (3, H, W) in [0, 1]."""
    prepare = model.preprocess
    mean_, std = (torch.tensor(v)[:, None, None] for v in (prepare.mean, prepare.std))
    with torch.no_grad(), observe(model.module, [layer], lambda _, o: o.clone(), stop=True) as seen:
        model.module(((picture - mean_) / std)[None])
    return float(seen[layer][0, channel].mean())


def with_lucent(name: str, weights: str, layer: str, channels: Sequence[int]) -> Curve:
    """Maximise one channel after another with torch-lucent."""
    from lucent.optvis import render, transform
    from torchvision.transforms import Normalize

    curve = Curve(activations={mark: [] for mark in MARKS})
    took = []
    for channel in channels:
        model = load(name, weights)
        normalise = Normalize(model.preprocess.mean, model.preprocess.std)
        torch.manual_seed(channel)
        np.random.seed(channel)
        start = perf_counter()
        pictures = render.render_vis(
            model.module, f"{layer.replace('.', '_')}:{channel}", thresholds=MARKS,
            transforms=[*transform.standard_transforms, normalise], preprocess=False,
            progress=False, show_image=False,
        )  # fmt: skip
        took.append(perf_counter() - start)
        model = load(name, weights)
        for mark, picture in zip(MARKS, pictures, strict=True):
            enlarged = torch.nn.functional.interpolate(
                torch.from_numpy(picture).permute(0, 3, 1, 2), size=LUCENT_SIZE, mode="bilinear",
                align_corners=True,
            )  # fmt: skip
            curve.activations[mark].append(judge(model, layer, channel, enlarged[0]))
    curve.seconds = {mark: mean(took) * mark / MARKS[-1] for mark in MARKS}
    return curve


def with_cnnviz(
    name: str, weights: str, layer: str, channels: Sequence[int], size: int | None, steps: int
) -> tuple[float, list[float]]:
    """Return seconds per unit and the activations after `steps`, all channels in one call."""
    model = load(name, weights)
    start = perf_counter()
    found = cnnviz.maximize(model, layer, channels, steps=steps, size=size)
    seconds = (perf_counter() - start) / len(channels)
    pictures = [
        torch.from_numpy(np.array(f.image, np.float32) / 255).permute(2, 0, 1) for f in found
    ]
    scores = [judge(model, layer, c, p) for c, p in zip(channels, pictures, strict=True)]
    return seconds, scores


def compare(
    network: tuple[str, str], layer: str, channels: Sequence[int], lucent: bool, sizes: list[str]
) -> dict[str, Curve]:
    """Run both in turn: a part of the channels with lucent, one run of cnnviz, and so on."""
    curves = {f"cnnviz {size}": Curve() for size in sizes}
    runs = [(size, mark) for mark in MARKS for size in sizes]
    theirs: list[Curve] = []
    for i, (size, mark) in enumerate(runs):
        part = channels[i * len(channels) // len(runs) : (i + 1) * len(channels) // len(runs)]
        if lucent and part:
            theirs.append(with_lucent(*network, layer, part))
        side = None if size == "auto" else int(size)
        curve = curves[f"cnnviz {size}"]
        found = with_cnnviz(*network, layer, channels, side, mark)
        curve.seconds[mark], curve.activations[mark] = found
        print(f"  {network[0]} {layer} {size} {mark} steps", file=sys.stderr)
    if theirs:
        curves["lucent"] = joined(theirs)
    return curves


def joined(parts: list[Curve]) -> Curve:
    """Return the curve of all channels from those of some each."""
    weights = [len(part.activations[MARKS[0]]) for part in parts]
    whole = Curve()
    for mark in MARKS:
        whole.activations[mark] = [a for part in parts for a in part.activations[mark]]
        times = sum(part.seconds[mark] * w for part, w in zip(parts, weights, strict=True))
        whole.seconds[mark] = times / sum(weights)
    return whole


def report(title: str, curves: dict[str, Curve], aims: dict[str, int]) -> list[Row]:
    """Print seconds and mean activation by steps, and how soon lucent's end was reached."""
    rows: list[Row] = []
    print(f"\n{title}")
    print(f"{'seconds per unit | mean activation':24}" + "".join(f"{m:>16}" for m in MARKS))
    for name, curve in curves.items():
        cells = (f"{curve.seconds[m]:7.2f} {mean(curve.activations[m]):8.2f}" for m in MARKS)
        print(f"{name:24}" + "".join(f"{cell:>16}" for cell in cells))
    if "lucent" not in curves:
        return rows
    theirs = curves["lucent"]
    end = theirs.activations[MARKS[-1]]
    for name, curve in curves.items():
        if name == "lucent":
            continue
        ratios = [
            theirs.seconds[MARKS[-1]] / curve.seconds[mark]
            for i in range(len(end))
            if (mark := next((m for m in MARKS if curve.activations[m][i] >= end[i]), None))
        ]
        default = curve.activations[256]
        higher = sum(a >= b for a, b in zip(default, end, strict=True))
        said = f"{median(ratios):.0f} (worst {min(ratios):.0f})" if ratios else "never"
        aim = aims[name.removeprefix("cnnviz ")]
        print(f"{name}: lucent's end reached so many times sooner: {said}; aim: {aim}")
        print(f"{name}: at least lucent's end after 256 steps: {higher} of {len(end)} units")
        size = name.removeprefix("cnnviz ")
        took = (seconds(c.seconds[m]) for c, m in ((theirs, MARKS[-1]), (curve, 256)))
        work = f"`maximize`: a unit of {title}, size {size}, to lucent's end (worst unit)"
        rows.append(Row(work, "torch-lucent", *took, said.replace("worst ", ""), str(aim)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--channels", type=int, default=8, help="units per layer (default: 8)")
    parser.add_argument("--networks", nargs="*", default=[n for n, _ in NETWORKS])
    parser.add_argument("--sizes", nargs="*", default=["auto", "224"])
    parser.add_argument("--only", choices=["cnnviz"], help="leave torch-lucent out")
    parser.add_argument("--threads", type=int, help="of torch (default: its own choice)")
    parser.add_argument("--json", help="where to write all numbers")
    add_rows_option(parser)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    kept, rows = {}, []
    for network, layers in NETWORKS.items():
        if network[0] not in options.networks:
            continue
        for i, layer in enumerate(layers):
            curves = compare(
                network, layer, range(options.channels), options.only is None, options.sizes
            )
            aims = {size: AIMS.get(size, AIMS["224"])[i] for size in options.sizes}
            title = f"{network[0]}, weights {network[1]}, {layer}"
            rows += report(title, curves, aims)
            sys.stdout.flush()
            kept[title] = {name: vars(curve) for name, curve in curves.items()}
    write_rows(options.rows, rows)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(kept, file, indent=1)


if __name__ == "__main__":
    main()
