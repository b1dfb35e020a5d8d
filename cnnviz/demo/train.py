"""Trains the bundled network: `python -m cnnviz.demo.train`.

A seed and a number of threads determine the weights on one kind of processor. Pictures are drawn
as they are needed; each is used twice, the second time in other colours. The whole takes less
than an hour on two cores that nothing else uses, and saves what it has on the way.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors import torch as safetensors
from torch import Tensor, nn
from torch.nn import functional

from cnnviz.demo.network import MEAN, STD, WEIGHTS, demo
from cnnviz.demo.patterns import CLASSES, draw

SIZES = {64: 128, 96: 64, 128: 44, 224: 18}  # pixels along a side -> pictures per step
# Shares of the sizes from a point of the training on. Many small pictures teach fastest; large
# ones come when the rate has fallen, because the network is mostly used at 224.
SHARES = ((0.0, (0.85, 0.15, 0, 0)), (0.5, (0.45, 0.15, 0.25, 0.15)), (0.8, (0.3, 0.1, 0.25, 0.35)))
ROUND = 8  # steps for which pictures are drawn at once: drawing has a cost per call
SAVED = 500  # steps after which the weights are saved, should the training be interrupted
UNSEEN = 2**32  # seeds from here on are never used for training
JUDGED = (64, 128, 224)  # pixels along a side of the pictures for the final figures


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes:
        steps: updates of the weights.
        seed: determines the first weights and all pictures; below `UNSEEN`.
        rate: peak learning rate.
        decay: weight decay of convolutions and the last layer.
        smoothing: label smoothing; keeps the logits small enough to have gradients.
        smoothness: weight of the penalty on differences of neighbours in the first layer.
        average: decay of the running average of the weights, which is what is saved.
    """

    steps: int = 10000
    seed: int = 0
    rate: float = 0.15
    decay: float = 5e-4
    smoothing: float = 0.05
    smoothness: float = 5e-4
    average: float = 0.998


def normalise(pictures: Tensor) -> Tensor:
    """Return (N, 3, H, W) float32 in [0, 1] as the network's input."""
    mean = torch.tensor(MEAN).view(1, 3, 1, 1)
    return (pictures - mean) / torch.tensor(STD).view(1, 3, 1, 1)


def batches(settings: Settings) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield `settings.steps` pairs of inputs (N, 3, size, size) float32 and labels (N,) int64."""
    rng = torch.Generator().manual_seed(settings.seed)
    for start in range(0, settings.steps, ROUND):
        shares = [share for begin, share in SHARES if start >= begin * settings.steps][-1]
        pick = int(torch.multinomial(torch.tensor(shares), 1, generator=rng))
        size, count = list(SIZES.items())[pick]
        labels = torch.randint(len(CLASSES), (ROUND * count // 2,), generator=rng)
        inputs, labels = _twice(normalise(draw(labels, size, rng)), labels, rng)
        pairs = zip(torch.split(inputs, count), torch.split(labels, count), strict=True)
        yield from islice(pairs, settings.steps - start)


def _twice(inputs: Tensor, labels: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return twice as many pictures, in random order: the second half as negatives of mixed hue.

    Drawing a picture takes as long as learning from it, and no class is told by its colours.
    """
    channels = torch.randperm(3, generator=rng)
    order = torch.randperm(2 * len(labels), generator=rng)
    return torch.cat([inputs, -inputs[:, channels]])[order], labels.repeat(2)[order]


def fresh_network(seed: int) -> nn.Module:
    """Return the network with random weights, those of the first layer blurred.

    From white noise a 7x7 filter never becomes quite smooth: nothing pulls at what no picture
    excites. A blurred start leaves nothing there to be pulled at.
    """
    torch.manual_seed(seed)
    network = demo()
    weight = network.get_parameter("conv1.weight")
    with torch.no_grad():
        smooth: Tensor = weight
        for _ in range(2):
            rough = functional.pad(smooth, (1, 1, 1, 1), mode="replicate")
            smooth = functional.avg_pool2d(rough, 3, stride=1)
        weight.copy_(smooth * (weight.std() / smooth.std()))
    return network.to(memory_format=torch.channels_last)


def rate_at(step: int, settings: Settings) -> float:
    """Return the learning rate: a linear rise over the first twentieth, then a half cosine."""
    progress = (step + 0.5) / settings.steps
    if progress < 0.05:
        return settings.rate * progress / 0.05
    return settings.rate * (1 + math.cos(math.pi * (progress - 0.05) / 0.95)) / 2


def optimiser(network: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """Return SGD with Nesterov's momentum; scales and biases do not decay."""
    decaying = [p for p in network.parameters() if p.ndim > 1]
    free = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": decaying, "weight_decay": settings.decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=settings.rate, momentum=0.9, nesterov=True)


class Average:
    """A running average of a network's parameters and batch statistics."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.values = {key: value.clone() for key, value in network.state_dict().items()}

    def update(self, network: nn.Module) -> None:
        """Move a little towards the network; early on more, to forget the random start."""
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 10))
        current = network.state_dict()
        floating = [key for key, value in current.items() if value.is_floating_point()]
        ours, theirs = [self.values[k] for k in floating], [current[k] for k in floating]
        torch._foreach_lerp_(ours, theirs, 1 - decay)
        for key in current.keys() - set(floating):
            self.values[key].copy_(current[key])


def roughness(filters: Tensor) -> Tensor:
    """Return half the sum of squared differences of neighbouring weights, a scalar.

    Its gradient is a diffusion: it wears off what is left of the random start in filters that few
    pictures pull at, and leaves edges and gratings.
    """
    across, down = filters.diff(dim=3), filters.diff(dim=2)
    return (across.square().sum() + down.square().sum()) / 2


def step(network: nn.Module, inputs: Tensor, labels: Tensor, settings: Settings) -> Tensor:
    """Add the gradients of one batch and return its loss, a scalar."""
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(inputs)
    loss = functional.cross_entropy(logits.float(), labels, label_smoothing=settings.smoothing)
    rough = settings.smoothness * roughness(network.get_parameter("conv1.weight"))
    (loss + rough).backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def train(
    settings: Settings, out: Path, console: Console, keep_every: int | None = None
) -> nn.Module:
    """Train a network, save its average to `out` now and then, and return it in eval mode.

    Args:
        settings: How to train.
        out: Where the weights go.
        console: Where progress is told.
        keep_every: Steps after which a copy is kept beside `out`, named after the step, from step
            0 on; None to keep none.
    """
    network = fresh_network(settings.seed).train()
    average = Average(network, settings.average)
    descent = optimiser(network, settings)
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("train", total=settings.steps, loss=math.nan)
        if keep_every:
            save(average.values, copy_of(out, 0))
        for number, (inputs, labels) in enumerate(batches(settings)):
            for group in descent.param_groups:
                group["lr"] = rate_at(number, settings)
            loss = step(network, inputs, labels, settings)
            descent.step()
            descent.zero_grad()
            average.update(network)
            progress.update(task, advance=1, loss=float(loss))
            if (number + 1) % SAVED == 0:
                save(average.values, out)
            if keep_every and (number + 1) % keep_every == 0:
                save(average.values, copy_of(out, number + 1))
    save(average.values, out)
    network.load_state_dict({k: _halve(v) for k, v in average.values.items()})
    return network.eval()


def copy_of(out: Path, step: int) -> Path:
    """Return where the weights after so many steps are kept, as `weights-00100.safetensors`."""
    return out.with_name(f"{out.stem}-{step:05d}{out.suffix}")


def _halve(value: Tensor) -> Tensor:
    return value.half() if value.is_floating_point() else value


def save(state: dict[str, Tensor], path: Path) -> None:
    """Write a state dict as safetensors, floating-point values in float16, all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    halves = {key: _halve(value).contiguous() for key, value in state.items()}
    # Not `save_file`, which makes files that only their owner can read.
    partial.write_bytes(safetensors.save(halves))
    partial.replace(path)


@torch.inference_mode()
def confusion(network: nn.Module, size: int, count: int, seed: int) -> Tensor:
    """Count guesses on fresh pictures.

    Args:
        network: takes normalised pictures; in eval mode.
        size: pixels along a side.
        count: pictures per class.
        seed: of the pictures; from `UNSEEN` on they differ from all that were trained on.

    Returns:
        (classes, classes) int64; row: what was drawn, column: what the network took it for.
    """
    rng = torch.Generator().manual_seed(seed)
    total = torch.zeros(len(CLASSES), len(CLASSES), dtype=torch.int64)
    labels = torch.arange(len(CLASSES)).repeat(4)
    for _ in range(math.ceil(count / 4)):
        guesses = network(normalise(draw(labels, size, rng))).argmax(1)
        total.index_put_((labels, guesses), torch.ones_like(labels), accumulate=True)
    return total


def autocorrelation(filters: Tensor) -> Tensor:
    """Return how alike neighbouring weights are: (N,) float32 in [-1, 1], 0 for noise.

    Args:
        filters: (N, C, H, W) float32. Each H x W plane is centred; pairs of neighbours, side by
            side and one above the other, count equally, over all planes of a filter.
    """
    plane = filters - filters.mean((2, 3), keepdim=True)
    across, down = (plane[..., 1:], plane[..., :-1]), (plane[:, :, 1:], plane[:, :, :-1])
    total = [sum(((a * b).sum((1, 2, 3)) for a, b in (across, down)), torch.tensor(0.0))]
    for side in (0, 1):
        energy = (pair[side].square().sum((1, 2, 3)) for pair in (across, down))
        total.append(sum(energy, torch.tensor(0.0)))
    return total[0] / (total[1] * total[2]).sqrt().clamp(min=1e-12)


def judge(network: nn.Module, console: Console, count: int = 40) -> None:
    """Print accuracies on fresh pictures and the smoothness of the first layer."""
    for size in JUDGED:
        table = confusion(network, size, count, UNSEEN + size)
        share = table.diagonal() / table.sum(1)
        worst = int(share.argmin())
        console.print(
            f"{size:4d} px: accuracy {table.diagonal().sum() / table.sum():.4f}, "
            f"worst {share[worst]:.3f} ({CLASSES[worst]})"
        )
    filters = network.get_parameter("conv1.weight").detach()
    smooth = autocorrelation(filters)
    console.print(f"first layer: autocorrelation {smooth.mean():.3f}, least {smooth.min():.3f}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m cnnviz.demo.train", description=__doc__)
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="where to write the weights")
    parser.add_argument("--seed", type=int, default=Settings.seed)
    parser.add_argument("--steps", type=int, default=Settings.steps)
    parser.add_argument("--rate", type=float, default=Settings.rate, help="peak learning rate")
    parser.add_argument("--threads", type=int, default=2, help="part of what a seed determines")
    parser.add_argument(
        "--save-every", type=int, metavar="STEPS",
        help="also keep the weights at the start and after every so many steps, as OUT-STEP",
    )  # fmt: skip
    parser.add_argument("--count", type=int, default=40, help="pictures per class and size at last")
    return parser.parse_args()


def main() -> None:
    """Train, save and judge the network as the command line says."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    console = Console()
    settings = Settings(steps=arguments.steps, seed=arguments.seed, rate=arguments.rate)
    network = train(settings, arguments.out, console, arguments.save_every)
    judge(network, console, arguments.count)


if __name__ == "__main__":
    main()
