"""Which units are maximised, and how large a picture each of them needs."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from cnnviz.ascent import objectives
from cnnviz.ascent.objectives import Objective
from cnnviz.ascent.transforms import JITTER
from cnnviz.choices import Goal
from cnnviz.errors import UsageError
from cnnviz.gradients import check_differentiable
from cnnviz.hooks import observe
from cnnviz.layout import Axes
from cnnviz.networks.classes import find_class
from cnnviz.networks.feeding import Form, feed, form_of, input_channels, unresized
from cnnviz.networks.models import LoadedModel
from cnnviz.records import LayerRecord
from cnnviz.selection import ChannelSpec, parse_number, select_layers

SMALLEST = 32
# Sides are multiples of this: whole strides of most layers, and quick Fourier transforms.
_STEP = 8
# Networks that tell where things are read pictures of 800 x 800, on which a step takes seconds.
_SIDES = (128, 256)
# Layers that pass values on, or choose among them, so that a channel keeps its number.
_PASSING = ("Pool", "Dropout", "Identity", "Flatten")


@dataclass(frozen=True)
class Unit:
    """One thing to maximise, with a picture of its own.

    Attributes:
        record: Its layer; the last one where the objective reads several.
        channel: Number of its channel or class; None where the objective has none.
        name: How its picture is called.
        goal: What is maximised, as on the command line.
        objective: The score.
        size: (rows, columns) of the picture.
        relu: The ReLU through which the layer's values came, where there is one; what stands
            before it has a gradient where the layer has none.
    """

    record: LayerRecord = field(repr=False)
    channel: int | None
    name: str
    goal: str
    objective: Objective
    size: tuple[int, int]
    relu: str | None = None

    @property
    def class_number(self) -> int | None:
        """The number of its class; None where it is none."""
        return self.channel if self.goal.endswith("class") else None

    def generator(self, seed: int, purpose: str) -> torch.Generator:
        """Return a generator of the unit's own: its picture depends on no other unit.

        Args:
            seed: Of the run.
            purpose: What is drawn, so that two purposes draw different numbers.
        """
        words = f"{seed}/{self.objective.text}/{purpose}".encode()
        own = int.from_bytes(hashlib.sha256(words).digest()[:7])
        return torch.Generator().manual_seed(own)


def picture_size(
    record: LayerRecord, input_size: tuple[int, int], *, any_size: bool = False
) -> tuple[int, int]:
    """Return (rows, columns) of a picture that a unit of the layer needs.

    Beyond the receptive field the gradient is zero, so pictures are as large as the field, with a
    margin for the jitter, at least 32 and at most the network's input. Where the field is unknown
    or global they are as large as the input.

    Args:
        record: The layer.
        input_size: (rows, columns) of the network's input.
        any_size: Whether the network takes pictures of any size; 256 is then the most, and 128
            where the field is unknown.
    """
    field = record.receptive_field
    tokens = record.layout.axes in (Axes.TOKENS, Axes.CLASS_TOKEN)
    unknown = field is None or field.is_global or tokens
    if any_size:
        most = _SIDES[0] if unknown else _SIDES[-1]
        input_size = (min(input_size[0], most), min(input_size[1], most))
    if field is None or unknown:
        return input_size
    rows, columns = (
        min(max(_round_up(length + 2 * math.ceil(JITTER)), SMALLEST), most)
        for length, most in zip(field.size, input_size, strict=True)
    )
    return rows, columns


def fitting_size(
    model: LoadedModel, records: Sequence[LayerRecord], record: LayerRecord
) -> tuple[int, int]:
    """Return the size that a layer needs, or the network's input where it takes no other.

    Vision transformers take one size only; most others care no sooner than at their end.

    Args:
        model: The network.
        records: Its layers.
        record: The one of them that it is for.
    """
    whole = model.preprocess.input_size
    # One that tells where things are gives no list of classes in the end.
    any_size = records[-1].layout.axes is not Axes.VECTOR
    size = picture_size(record, whole, any_size=any_size)
    # Optical flow compares maps that are an eighth of its pictures four times halved.
    larger = [(side, side) for side in _SIDES if any_size and side > max(size)]
    return next((one for one in (size, *larger) if _takes(model, record, one)), whole)


def _takes(model: LoadedModel, record: LayerRecord, size: tuple[int, int]) -> bool:
    blank = model.place(torch.zeros((1, input_channels(model.module), *size)))
    try:
        with (
            torch.no_grad(),
            unresized(model.module),
            observe(model.module, [record.label], _nothing, stop=True) as found,
        ):
            feed(model.module, blank)
    except (RuntimeError, ValueError, AssertionError):
        # Whatever else is wrong fails with the whole input too, and is told.
        return False
    return record.label in found


def _nothing(_layer: str, _output: Tensor) -> None:
    """Keep nothing of what a layer gave."""


def _round_up(length: int) -> int:
    return -(-length // _STEP) * _STEP


@dataclass(frozen=True)
class Wanted:
    """What a user asks for.

    Attributes:
        patterns: Layers; not used for classes.
        channels: Numbers of channels; or, written out, numbers of channels and classes, and
            names of classes.
        goal: What to maximise.
        negative: Whether each unit is also minimised.
        size: (rows, columns) of the pictures; None to follow the receptive field.
    """

    patterns: tuple[str, ...]
    channels: ChannelSpec | tuple[str, ...]
    goal: Goal = Goal.CHANNEL
    negative: bool = False
    size: tuple[int, int] | None = None


def plan_units(
    model: LoadedModel, records: Sequence[LayerRecord], wanted: Wanted
) -> tuple[list[Unit], list[LayerRecord]]:
    """Return the units to maximise, by layer, and the layers that have no channels to tell apart.

    Raises:
        UnknownNameError: If a pattern matches no layer, or a name no class.
        UsageError: If a layer lacks a channel, or nothing can be maximised.
        ModelError: If no gradients pass through the network.
    """
    check_differentiable(model, "maximize")
    if wanted.goal is Goal.CLASS:
        if form_of(model.module) is Form.PAIR:
            raise UsageError(f"{model.name} tells no classes: it gives motion")
        places = [last_layer(records)]
    else:
        places = select_layers(wanted.patterns, records)
    known = [place for place in places if records[place].layout.axes]
    skipped = [records[place] for place in places if place not in known]
    units = [unit for place in known for unit in _units(model, records, place, wanted)]
    if not units:
        reasons = "; ".join(f"{record.label}: {record.layout.reason}" for record in skipped[:3])
        raise UsageError(f"no layer of {', '.join(wanted.patterns)} can be maximised: {reasons}")
    return units, skipped


def last_layer(records: Sequence[LayerRecord]) -> int:
    """Return the position of the layer that tells classes apart: the last that gives a value each.

    Segmentation gives a map each.

    Raises:
        UsageError: If the network does not end in one value, or one map, per class.
    """
    last, output = records[-1].layout, records[-1].output_shape
    for place in reversed(range(len(records))):
        record, layout = records[place], records[place].layout
        # What helps in training only tells the same classes apart, from layers in the middle.
        aside = "Softmax" in record.type or record.name.startswith("aux_")
        # A block may add up several maps; of vectors it is the layer that gives the scores.
        fitting = record.leaf if last.axes is Axes.VECTOR else bool(record.name)
        alike = (layout.axes, layout.channels) == (last.axes, last.channels)
        if fitting and alike and not aside and last.axes in (Axes.VECTOR, Axes.MAPS):
            return place
    raise UsageError(
        f"the network's output {'x'.join(map(str, output))} is no list of classes; name a layer "
        "with -l and maximise its channels with --objective channel"
    )


def _units(
    model: LoadedModel, records: Sequence[LayerRecord], place: int, wanted: Wanted
) -> Iterator[Unit]:
    record = records[place]
    size = wanted.size or fitting_size(model, records, record)
    relu = relu_before(records, place)
    for number in _numbers(model, record, wanted):
        objective = _objective(record.label, number, wanted.goal)
        name = "layer" if number is None else str(number)
        unit = Unit(record, number, name, wanted.goal.value, objective, size, relu)
        yield unit
        if wanted.negative:
            yield replace(unit, name=f"{name}-negative", goal=f"-{unit.goal}", objective=-objective)


def _objective(label: str, number: int | None, goal: Goal) -> Objective:
    if number is None:
        return objectives.whole_layer(label)
    if goal is Goal.CLASS:
        return objectives.class_score(label, number)
    if goal is Goal.NEURON:
        return objectives.neuron(label, number)
    return objectives.channel(label, number)


def _numbers(
    model: LoadedModel, record: LayerRecord, wanted: Wanted
) -> Sequence[int] | Sequence[None]:
    count = record.layout.channels
    if wanted.goal is Goal.LAYER:
        return [None]
    if isinstance(wanted.channels, ChannelSpec):
        spec = wanted.channels
    else:
        classes = model.classes if wanted.goal is Goal.CLASS else None
        numbers = [_number(name, classes) for name in wanted.channels]
        spec = ChannelSpec(",".join(wanted.channels), tuple((n, n) for n in numbers))
    try:
        return spec.indices(count)
    except UsageError as error:
        raise UsageError(f"layer {record.label}: {error}") from error


def _number(word: str, classes: tuple[str, ...] | None) -> int:
    if (number := parse_number(word)) is not None:
        return number
    if classes is None:
        raise UsageError(f"channel {word!r} must be a number: only classes have names")
    return find_class(word, classes)


def relu_before(records: Sequence[LayerRecord], place: int) -> str | None:
    """Return the ReLU that a layer's values came through last, None where there is none."""
    channels = records[place].layout.channels
    for record in reversed(records[: place + 1]):
        if not record.leaf:
            continue
        if "ReLU" in record.type and record.layout.channels == channels:
            return record.label
        if not any(word in record.type for word in _PASSING):
            return None
    return None
