"""Activation maximization for Python."""

import math
from collections.abc import Sequence
from dataclasses import replace

from PIL import Image
from torch import nn

from cnnviz.ascent import DEFAULT_CHANNELS
from cnnviz.ascent.objectives import Objective
from cnnviz.ascent.run import Maximized, Settings, Watch, maximize_units
from cnnviz.ascent.score import frozen
from cnnviz.ascent.units import (
    Unit,
    Wanted,
    fitting_size,
    plan_units,
    relu_before,
)
from cnnviz.choices import Goal, Parameterization, Transforms, choose
from cnnviz.errors import UnknownNameError, UsageError
from cnnviz.networks.compiled import original
from cnnviz.networks.models import LoadedModel, as_loaded
from cnnviz.records import LayerRecord
from cnnviz.selection import ChannelSpec, parse_channels
from cnnviz.tracer import trace_module


def maximize(
    model: LoadedModel | nn.Module,
    layer: str | Objective | Sequence[Objective],
    channels: Sequence[int | str] | None = None,
    *,
    input_size: int | tuple[int, int] | None = None,
    objective: str = "channel",
    steps: int = 256,
    lr: float = 0.05,
    size: int | None = None,
    parameterization: str = "fourier",
    transforms: str = "robust",
    init: Image.Image | None = None,
    negative: bool = False,
    seed: int = 0,
    batch_size: int | None = None,
    frames: int = 0,
) -> tuple[Maximized, ...]:
    """Return a picture for each unit that makes its score as large as gradient ascent can.

    Args:
        model: The network, where it is, and in training or not; it is left as it was. Of an
            nn.Module it is taken that pictures are normalised by ImageNet's mean and std.
        layer: A layer as `trace` labels it, or objectives of `cnnviz.ascent.objectives`, sums and
            differences of them too.
        channels: Numbers of channels, or numbers or names of classes; None for the first nine.
            Not used where `layer` is an objective.
        input_size: Side, or (rows, columns) in pixels, of the network's input; None for what a
            loaded model was made for, and 224 for a module.
        objective: `channel`, `neuron`, `class` or `layer`, as on the command line.
        steps: Of the ascent.
        lr: Length of a step.
        size: Side of the pictures in pixels; None to follow the layer's receptive field, or the
            network's input where a photo is the start.
        parameterization: `fourier` or `pixel`.
        transforms: `robust` or `none`.
        init: A photo to start from.
        negative: Whether each unit is also minimised.
        seed: Of all that is random. On a CPU the same seed gives the same bits.
        batch_size: Units optimised together; None for what fits into memory.
        frames: How many pictures of the way are kept.

    Returns:
        A result per unit, in the order of `channels`: its `image`, and `start` and `final`, the
        score of the picture as it is, before and after.

    Raises:
        UnknownNameError: If a layer, a class or a choice does not exist.
        UsageError: If the layer lacks a channel, or a number is out of range.
        ModelError: If the network fails.

    Example:
        >>> import cnnviz
        >>> model = cnnviz.load_model("demo", device="cpu")
        >>> first, second = cnnviz.maximize(model, "conv1", channels=[7, 8], steps=16)
        >>> first.image.size, first.final > first.start
        ((32, 32), True)
    """
    for name, value in {"steps": steps, "size": size, "batch_size": batch_size}.items():
        if value is not None and value < 1:
            raise UsageError(f"{name} is {value}; it must be at least 1")
    if not 0 < lr < math.inf:
        raise UsageError(f"lr is {lr}; it must be above 0, such as 0.05")
    settings = Settings(
        steps, lr, choose(Parameterization, parameterization), choose(Transforms, transforms),
        init and init.convert("RGB"), seed, batch_size, frames,
    )  # fmt: skip
    goal = choose(Goal, objective)
    model = _loaded(model, input_size)
    whole = model.preprocess.input_size if init else None
    sides = (size, size) if size else whole
    found: dict[int, Maximized] = {}
    watch = Watch(on_done=lambda result: found.update({id(result.unit): result}))
    # In training mode a look at the layers would count as a batch.
    with frozen(model.module):
        records = trace_module(model.module, model.preprocess.input_size)
        if isinstance(layer, str):
            wanted = Wanted((layer,), _channels(channels), goal, negative, sides)
            units, _ = plan_units(model, records, wanted)
        else:
            scores = [layer] if isinstance(layer, Objective) else layer
            both = [score for one in scores for score in ((one, -one) if negative else (one,))]
            units = [_unit(model, records, score, i, sides) for i, score in enumerate(both)]
        maximize_units(model, records, units, settings, watch)
    return tuple(found[id(unit)] for unit in units)


def _loaded(
    model: LoadedModel | nn.Module, input_size: int | tuple[int, int] | None
) -> LoadedModel:
    if isinstance(model, nn.Module):
        return as_loaded(original(model), input_size)
    if input_size is None:
        return model
    size = (input_size, input_size) if isinstance(input_size, int) else input_size
    return replace(model, preprocess=model.preprocess.with_input_size(size))


def _channels(channels: Sequence[int | str] | None) -> ChannelSpec | tuple[str, ...]:
    if channels is None:
        return parse_channels(DEFAULT_CHANNELS, clipped=True)
    return tuple(map(str, channels))


def _unit(
    model: LoadedModel,
    records: Sequence[LayerRecord],
    objective: Objective,
    number: int,
    sides: tuple[int, int] | None,
) -> Unit:
    """Return the unit of an objective of one's own, as large as its largest layer needs."""
    labels = [record.label for record in records]
    for label in objective.layers:
        if label not in labels:
            raise UnknownNameError("layer", label, labels)
    places = sorted(map(labels.index, objective.layers))
    sizes = [sides or fitting_size(model, records, records[place]) for place in places]
    # A penalty alone reads no layer.
    sizes = sizes or [sides or model.preprocess.input_size]
    size = max(rows for rows, _ in sizes), max(columns for _, columns in sizes)
    relu = relu_before(records, places[0]) if len(places) == 1 else None
    last = records[places[-1]] if places else records[-1]
    return Unit(last, None, str(number), objective.text, objective, size, relu)
