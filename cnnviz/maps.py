"""What layers give for pictures: selected feature maps, their means, their statistics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnviz.choices import Precision, Reduce
from cnnviz.errors import ModelError, UsageError, tell_cause
from cnnviz.hooks import observe
from cnnviz.layout import Axes, Layout
from cnnviz.networks.feeding import feed
from cnnviz.networks.models import LoadedModel
from cnnviz.networks.precision import computing_in
from cnnviz.records import LayerRecord
from cnnviz.selection import ChannelSpec, file_stem, select_layers
from cnnviz.statistics import Statistics, measure
from cnnviz.tracer import trace_module

REDUCTIONS: dict[Reduce, Callable[[Tensor], Tensor]] = {
    Reduce.MEAN: lambda maps: maps.mean(dim=1, keepdim=True),
    Reduce.MAX: lambda maps: maps.amax(dim=1, keepdim=True),
    Reduce.SUM: lambda maps: maps.sum(dim=1, keepdim=True),
    Reduce.STD: lambda maps: maps.std(dim=1, keepdim=True, correction=0),
}


@dataclass(frozen=True)
class LayerPlan:
    """One layer to look at.

    Attributes:
        record: The layer.
        channels: The numbers of the channels that are looked at, in this order; all where the
            most active ones are ranked for each picture.
        top: How many of the most active are kept; 0 to keep all of `channels`.
        reduce: How they become one map.
    """

    record: LayerRecord
    channels: tuple[int, ...]
    top: int
    reduce: Reduce

    @property
    def file_name(self) -> str:
        """The name of the layer's picture in a photo's folder."""
        return f"{file_stem(self.record.label)}.png"


@dataclass(frozen=True)
class Skipped:
    """A layer that was asked for and cannot be shown.

    Attributes:
        record: The layer.
        reason: Why.
    """

    record: LayerRecord
    reason: str


@dataclass(frozen=True)
class LayerGradient:
    """How the score of a class depends on what a layer gave for one picture.

    Attributes:
        values: (K, H, W) or (K, T, H, W) float32, the gradient of the score with respect to the
            kept channels, or reduced as they are.
        number: The class.
        relative: The norm over all channels, relative to that at the network's output.
    """

    values: NDArray[np.float32]
    number: int
    relative: float


@dataclass(frozen=True)
class LayerMaps:
    """What one layer gave for one picture.

    Attributes:
        plan: The layer and what was asked of it.
        values: (K, H, W) float32, of a clip (K, T, H, W): the kept channels, or one map where they
            were reduced. For a vector H and W are 1.
        channels: The numbers of the kept channels; empty where they were reduced.
        mean: (H, W) float32, of a clip (T, H, W): the mean over all channels of the layer.
        active: The share of values above zero, over all channels.
        statistics: Over all channels.
        gradient: Where it was asked for.
    """

    plan: LayerPlan
    values: NDArray[np.float32]
    channels: tuple[int, ...]
    mean: NDArray[np.float32]
    active: float
    statistics: Statistics
    gradient: LayerGradient | None = None


def plan_layers(
    model: LoadedModel, patterns: Sequence[str], channels: ChannelSpec, reduce: Reduce
) -> tuple[list[LayerPlan], list[Skipped]]:
    """Return the layers to look at, in order of execution, and those that cannot be shown.

    Raises:
        UnknownNameError: If a pattern matches no layer.
        UsageError: If a layer lacks a channel, or no layer that matches can be shown.
        ModelError: If the network does not run.
    """
    records = trace_module(model.module, model.preprocess.input_size)
    chosen = [records[i] for i in select_layers(patterns, records)]
    plans = [_plan(record, channels, reduce) for record in chosen if record.layout.axes]
    skipped = [Skipped(r, r.layout.reason) for r in chosen if r.layout.reason]
    if not plans:
        reasons = "; ".join(f"{s.record.label}: {s.reason}" for s in skipped[:3])
        raise UsageError(f"no layer of {', '.join(patterns)} can be shown: {reasons}")
    return plans, skipped


def _plan(record: LayerRecord, spec: ChannelSpec, reduce: Reduce) -> LayerPlan:
    count = record.layout.channels
    vector = record.layout.axes is Axes.VECTOR
    # The default number of channels is for grids: a reduced map, or a vector, takes them all.
    whole = spec.clipped and (vector or reduce is not Reduce.NONE)
    try:
        numbers = range(count) if whole else spec.indices(count)
    except UsageError as error:
        raise UsageError(f"layer {record.label}: {error}") from error
    return LayerPlan(
        record, tuple(numbers), min(spec.top, count), Reduce.NONE if vector else reduce
    )


def look(
    model: LoadedModel,
    batch: Tensor,
    plans: Sequence[LayerPlan],
    precision: Precision = Precision.FP32,
) -> list[tuple[LayerMaps, ...]]:
    """Run the network over a batch, as far as needed, and return each picture's layers.

    Args:
        model: The network.
        batch: (N, C, H, W), or (N, C, T, H, W) of clips, float32 on the CPU, preprocessed.
        plans: The layers, in order of execution.
        precision: In which numbers convolutions and matrix products are computed; the device
            must have it.

    Raises:
        ModelError: If the forward pass fails, or a layer does not run.
    """
    by_label = {plan.record.label: plan for plan in plans}

    def keep(layer: str, output: Tensor) -> list[LayerMaps]:
        return _keep(by_label[layer], output, len(batch))

    try:
        with (
            torch.inference_mode(),
            computing_in(precision, model.device),
            observe(model.module, list(by_label), keep, stop=True) as kept,
        ):
            feed(model.module, model.place(batch))
    except Exception as error:
        raise ModelError(
            f"{model.name} failed on a batch of {len(batch)} (--batch-size sets that): "
            f"{tell_cause(error)}"
        ) from error
    if missing := by_label.keys() - kept.keys():
        raise ModelError(f"layers did not run on this batch: {', '.join(sorted(missing))}")
    return [tuple(kept[layer][i] for layer in by_label) for i in range(len(batch))]


def _keep(plan: LayerPlan, output: Tensor, count: int) -> list[LayerMaps]:
    """Return what is wanted of one output, copied, so that later layers may overwrite it."""
    maps = as_maps(output, plan.record.layout)
    if len(maps) not in (1, count):
        raise ModelError(
            f"{plan.record.label} gave {len(maps)} outputs for {count} pictures: it is not known "
            "which belong to which"
        )
    # A table that does not depend on the picture has no batch of its own.
    maps = maps.expand(count, *maps.shape[1:]).float()
    statistics, active = measure(maps, plan.record.bounds)
    mean = maps.mean(dim=1).cpu().numpy()
    values, channels = _pick(maps, plan)
    return [
        LayerMaps(plan, values[i], channels[i], mean[i], active[i], statistics[i])
        for i in range(count)
    ]


def as_maps(output: Tensor, layout: Layout) -> Tensor:
    """Return an output of known layout as (N, C, H, W), or of clips as (N, C, T, H, W).

    A vector has maps of one value.
    """
    if layout.axes in (Axes.MAPS, Axes.CLIPS):
        return output
    if layout.axes in (Axes.MAPS_LAST, Axes.CLIPS_LAST):
        return output.movedim(-1, 1)
    if layout.axes is Axes.PAIRS:
        return output.reshape(2, -1, *output.shape[1:]).movedim(0, 2)
    if layout.axes is Axes.VECTOR or layout.grid is None:
        return output[:, :, None, None]
    tokens = output[:, 1:] if layout.axes is Axes.CLASS_TOKEN else output
    frames = () if layout.frames is None else (layout.frames,)
    return tokens.transpose(1, 2).reshape(len(tokens), -1, *frames, *layout.grid)


def as_stills(output: Tensor, layout: Layout) -> Tensor:
    """Return an output of known layout as (N, C, H, W), of clips the mean over time."""
    maps = as_maps(output, layout)
    return maps.mean(dim=2) if maps.ndim == 5 else maps


def _pick(maps: Tensor, plan: LayerPlan) -> tuple[NDArray[np.float32], list[tuple[int, ...]]]:
    """Return a copy of the wanted maps, (N, K, ...), and the channel numbers of each picture."""
    numbers = list(plan.channels)
    channels = [plan.channels] * len(maps)
    if plan.top:
        best = maps.flatten(2).mean(dim=2).topk(plan.top, dim=1).indices
        maps = torch.stack([picture[numbers] for picture, numbers in zip(maps, best, strict=True)])
        channels = [tuple(row) for row in best.tolist()]
    elif numbers == list(range(len(numbers))):
        maps = maps[:, : len(numbers)]
    else:
        maps = maps[:, numbers]
    if plan.reduce is not Reduce.NONE:
        maps = REDUCTIONS[plan.reduce](maps)
        channels = [()] * len(maps)
    copy = maps.to("cpu", copy=True, memory_format=torch.contiguous_format)
    return copy.numpy(), channels
