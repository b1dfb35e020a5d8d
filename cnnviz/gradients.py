"""How the score of a class depends on each layer: gradients of layers' outputs, and their norms.

Where they shrink from layer to layer towards the input, the first layers do not learn (Hochreiter
1991); where they grow, training diverges.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnviz.choices import Precision, Reduce
from cnnviz.errors import ModelError, UsageError, tell_cause
from cnnviz.hooks import observe
from cnnviz.kernels import is_quantized
from cnnviz.layout import Layout
from cnnviz.maps import REDUCTIONS, LayerGradient, LayerMaps, as_maps
from cnnviz.networks.classes import find_class
from cnnviz.networks.feeding import feed
from cnnviz.networks.models import LoadedModel
from cnnviz.networks.precision import computing_in
from cnnviz.records import first_tensor
from cnnviz.selection import parse_number
from cnnviz.statistics import gradient_norms
from cnnviz.tracer import trace_module

# Photos of one backward pass, which holds on to what every layer gave.
_TOGETHER = 4


@dataclass(frozen=True)
class Target:
    """The score whose gradient is taken.

    Attributes:
        layout: Of the network's output. A class is one of its values; of maps, the mean of one.
        number: The class; None for the strongest of each photo.
    """

    layout: Layout
    number: int | None


def check_differentiable(model: LoadedModel, purpose: str) -> None:
    """Make sure that gradients pass through a network.

    Args:
        model: The network.
        purpose: What they are for, as on the command line.

    Raises:
        ModelError: If its operators are quantized.
    """
    if is_quantized(model.module):
        plain = model.name.removeprefix("quantized_")
        instead = f"; {plain} has the same layers" if plain != model.name else ""
        raise ModelError(
            f"{purpose} needs gradients, and none pass through the quantized operators of "
            f"{model.name}{instead}"
        )


def find_target(model: LoadedModel, wanted: str | None) -> Target:
    """Return the score of a class.

    Args:
        model: The network.
        wanted: Number or name of the class; None for the strongest of each photo.

    Raises:
        UnknownNameError: If no class has that name.
        UsageError: If there is no class of that number, or classes have no names, or the network's
            output has no classes at all.
        ModelError: If no gradients pass through the network.
    """
    check_differentiable(model, "--gradients")
    layout = trace_module(model.module, model.preprocess.input_size)[-1].layout
    if layout.axes is None:
        raise UsageError(f"--gradients needs a network that gives scores: {layout.reason}")
    if wanted is None:
        return Target(layout, None)
    numbers = f"0 to {layout.channels - 1}"
    if wanted.isdecimal():
        number = parse_number(wanted)
        if number is None or number >= layout.channels:
            raise UsageError(f"{model.name} has no class {wanted}: they are {numbers}")
        return Target(layout, number)
    if model.classes is None:
        raise UsageError(f"the classes of {model.name} have no names; give a number, {numbers}")
    return Target(layout, find_class(wanted, model.classes))


def add_gradients(
    model: LoadedModel,
    batch: Tensor,
    pictures: Sequence[tuple[LayerMaps, ...]],
    target: Target,
) -> list[tuple[LayerMaps, ...]]:
    """Return what the layers gave for each picture, with the gradient of its score.

    Args:
        model: The network.
        batch: (N, C, H, W) float32 on the CPU, preprocessed.
        pictures: What its layers gave for each picture of the batch.
        target: The score.

    Raises:
        ModelError: If the network does not let gradients through.
    """
    found: list[tuple[LayerMaps, ...]] = []
    for i in range(0, len(batch), _TOGETHER):
        part = slice(i, i + _TOGETHER)
        try:
            found += _backward(model, batch[part], pictures[part], target)
        except RuntimeError as error:
            raise ModelError(f"{model.name} gives no gradients: {tell_cause(error)}") from error
    return found


def _backward(
    model: LoadedModel,
    batch: Tensor,
    pictures: Sequence[tuple[LayerMaps, ...]],
    target: Target,
) -> list[tuple[LayerMaps, ...]]:
    kept: dict[str, tuple[Sequence[float], list[NDArray[np.float32]]]] = {}
    layers = {same[0].plan.record.label: same for same in zip(*pictures, strict=True)}

    def watch(label: str, output: Tensor) -> None:
        def take(gradient: Tensor) -> None:
            kept[label] = _take(layers[label], gradient)

        # What a later layer does to the output in place comes after this point of the graph.
        if output.requires_grad:
            output.register_hook(take)  # type: ignore[no-untyped-call]

    source = model.place(batch).requires_grad_()
    with (
        torch.enable_grad(),
        computing_in(Precision.FP32, model.device),
        observe(model.module, list(layers), watch),
    ):
        # A copy, because a network may overwrite what it gets in place.
        output = first_tensor(feed(model.module, source.clone()))
        if output is None:
            raise ModelError(f"{model.name} gives no tensor")
        scores = as_maps(output, target.layout).flatten(2).mean(dim=2)
        numbers = scores.argmax(1) if target.number is None else torch.tensor([target.number])
        numbers = numbers.to(scores.device).expand(len(scores))
        score = scores.gather(1, numbers[:, None]).sum()
        torch.autograd.grad(score, source, allow_unused=True)
    at_output = 1 / math.sqrt(math.prod(target.layout.grid or (1,)))
    return [
        tuple(
            _with_gradient(maps, kept.get(maps.plan.record.label), i, int(number), at_output)
            for maps in picture
        )
        for i, (picture, number) in enumerate(zip(pictures, numbers, strict=True))
    ]


def _take(
    same: Sequence[LayerMaps], gradient: Tensor
) -> tuple[Sequence[float], list[NDArray[np.float32]]]:
    """Return the norm of the gradient of each picture, and a copy of the maps that are shown."""
    maps = as_maps(gradient, same[0].plan.record.layout).float()
    # All of it: a class token, through which a score may depend on a layer, is no part of the maps.
    flat = gradient.float().flatten(1)
    # The squares of what is all but vanished would be zero.
    largest = flat.abs().amax(dim=1, keepdim=True)
    norms = largest[:, 0] * torch.linalg.vector_norm(flat / largest.where(largest > 0, 1), dim=1)
    return norms.tolist(), [_pick(one, maps[i]) for i, one in enumerate(same)]


def _pick(maps: LayerMaps, gradient: Tensor) -> NDArray[np.float32]:
    plan = maps.plan
    wanted = gradient[list(maps.channels or plan.channels)]
    if plan.reduce is not Reduce.NONE:
        wanted = REDUCTIONS[plan.reduce](wanted[None])[0]
    return wanted.to("cpu", copy=True, memory_format=torch.contiguous_format).numpy()


def _with_gradient(
    maps: LayerMaps,
    kept: tuple[Sequence[float], list[NDArray[np.float32]]] | None,
    i: int,
    number: int,
    at_output: float,
) -> LayerMaps:
    # A layer that the score does not depend on has a gradient of zero.
    norm, values = (kept[0][i], kept[1][i]) if kept else (0.0, np.zeros_like(maps.values))
    norms = gradient_norms(norm, at_output)
    return replace(
        maps,
        statistics=replace(maps.statistics, gradient=norms),
        gradient=LayerGradient(values, number, norms.relative),
    )
