"""The weights of layers as filters: which layers have any, and what is shown of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cnnviz.choices import ReduceInputs, Sort
from cnnviz.diagnosis import Diagnosis, diagnose, spectral_peaks
from cnnviz.errors import ModelError, UsageError
from cnnviz.kernels import as_filters, groups_of, is_transposed, type_of, used_weight
from cnnviz.networks.models import LoadedModel
from cnnviz.selection import ChannelSpec, LayerCall, file_stem, select_layers
from cnnviz.tracer import trace_module

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class LayerFilters:
    """The filters of one layer.

    Attributes:
        name: The layer.
        type: The module's class name.
        weight_shape: The shape of the weight as the module has it.
        groups: How many groups of channels it keeps apart.
        transposed: Whether it is a transposed convolution.
        classes: What each filter stands for, where they are those of a classifier.
        weights: Which weights they are: "none", torchvision's name, or a checkpoint's path.
        values: (N, C, *S) float32 on the CPU, one filter per output channel; S has 1 to 3 axes.
        diagnosis: What they are like.
    """

    name: str
    type: str
    weight_shape: tuple[int, ...]
    groups: int
    transposed: bool
    classes: tuple[str, ...] | None
    weights: str
    values: Tensor
    diagnosis: Diagnosis

    @property
    def is_matrix(self) -> bool:
        """Whether each filter has a single weight per input channel."""
        return self.values[0, 0].numel() == 1

    @property
    def file_name(self) -> str:
        """The name of the layer's picture."""
        return f"{file_stem(self.name)}.png"


@dataclass(frozen=True)
class _Registered:
    """A module of a network that does not run on a picture."""

    name: str
    type: str
    leaf: bool
    call: int = 1
    grid: tuple[int, int] | None = None


class Found(NamedTuple):
    """The layers that match patterns.

    Attributes:
        layers: Those that have filters.
        skipped: Why others have none, by name.
        note: Why the layers are not in order of execution; empty where they are.
    """

    layers: list[LayerFilters]
    skipped: dict[str, str]
    note: str


def read_filters(model: LoadedModel, patterns: Sequence[str]) -> Found:
    """Return the filters of the layers that match.

    The layers are in order of execution; those of a network that does not run on a picture in the
    order in which they were registered. A module that runs several times is there once.

    Raises:
        UnknownNameError: If a pattern matches no layer.
        UsageError: If no layer that matches has filters.
    """
    calls, note = _layer_calls(model)
    names = dict.fromkeys(calls[i].name for i in select_layers(patterns, calls))
    found: list[LayerFilters] = []
    skipped: dict[str, str] = {}
    modules = dict(model.module.named_modules())
    for name in names:
        layer = _read(model, name, modules[name])
        if layer is None:
            skipped[name] = f"{type_of(modules[name])} has no filters of its own"
        else:
            found.append(layer)
    if not found:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(skipped.items())[:3])
        raise UsageError(
            f"no layer of {', '.join(patterns)} has filters: {reasons}; try -l conv or -l all"
        )
    return Found(found, skipped, note)


def _layer_calls(model: LoadedModel) -> tuple[Sequence[LayerCall], str]:
    """Return the layers in order, and why that is not the order of execution."""
    try:
        return trace_module(model.module, model.preprocess.input_size), ""
    except ModelError as error:
        registered = [
            _Registered(name, type_of(module), leaf=not any(module.children()))
            for name, module in model.module.named_modules()
        ]
        return registered, f"layers are in order of registration, as {error}"


def _read(model: LoadedModel, name: str, module: nn.Module) -> LayerFilters | None:
    weight = used_weight(module)
    values = None if weight is None else as_filters(module, weight)
    if weight is None or values is None or not values.numel():
        return None
    classes = model.classes if model.classes and len(model.classes) == len(values) else None
    return LayerFilters(
        name=name,
        type=type_of(module),
        weight_shape=tuple(weight.shape),
        groups=groups_of(module),
        transposed=is_transposed(module),
        classes=classes,
        weights=model.weights,
        values=values,
        diagnosis=diagnose(values),
    )


def join(snapshots: Sequence[Sequence[LayerFilters]]) -> list[tuple[LayerFilters, ...]]:
    """Return the same layers of several checkpoints together: one tuple per layer.

    Args:
        snapshots: The layers of each checkpoint.

    Raises:
        UsageError: If a layer has not the same shape in all of them.
    """
    layers = list(zip(*snapshots, strict=True))
    for first, *others in layers:
        for other in others:
            if other.weight_shape != first.weight_shape:
                raise UsageError(
                    f"{first.name} cannot be compared: {_shape(first)} in {first.weights}, "
                    f"{_shape(other)} in {other.weights}"
                )
    return layers


def _shape(layer: LayerFilters) -> str:
    return "x".join(map(str, layer.weight_shape))


@dataclass(frozen=True)
class Choice:
    """What is to be shown of each layer.

    Attributes:
        channels: Which filters.
        in_channels: Which input channels of each.
        reduce: How input channels become one.
        sort: The order of the filters.
    """

    channels: ChannelSpec
    in_channels: ChannelSpec
    reduce: ReduceInputs = ReduceInputs.NONE
    sort: Sort = Sort.INDEX


@dataclass(frozen=True)
class FilterView:
    """What is shown of one layer.

    Attributes:
        layers: The layer in each checkpoint.
        reduce: How input channels became one.
        sort: The order of the filters; INDEX where kernels lack what they were to be sorted by.
        numbers: (K,) of the filters, in this order in all checkpoints.
        inputs: (J,) of the input channels, those that became one too.
        tiles: One for each checkpoint, (K, J, T, H, W); J is 1 where they were reduced. What an
            axis is missing for is 1.
        shares: One for each checkpoint, (K,) how much of a filter's energy its principal
            component has; empty unless `reduce` is PCA.
        frequencies: (K,) of the last checkpoint, see `spectral_peaks`.
        orientations: (K,) likewise.
    """

    layers: tuple[LayerFilters, ...]
    reduce: ReduceInputs
    sort: Sort
    numbers: tuple[int, ...]
    inputs: tuple[int, ...]
    tiles: tuple[Floats, ...]
    shares: tuple[Floats, ...]
    frequencies: Floats
    orientations: Floats

    @property
    def last(self) -> LayerFilters:
        """The layer in the last checkpoint, which says how filters are ranked and sorted."""
        return self.layers[-1]


def view(layers: Sequence[LayerFilters], choice: Choice) -> FilterView:
    """Return what is shown of a layer.

    Args:
        layers: The layer in each checkpoint; the last says how filters are ranked and sorted.
        choice: What to show.

    Raises:
        UsageError: If the layer lacks a channel.
    """
    last = layers[-1]
    strength = torch.from_numpy(last.diagnosis.norms)
    # The defaults are for tiles: a matrix is shown whole, and a reduction takes all inputs.
    reduced = choice.reduce is not ReduceInputs.NONE
    numbers = _pick(last, "filter", choice.channels, strength, whole=last.is_matrix)
    inputs = _pick(
        last, "input", choice.in_channels, _input_norms(last.values),
        whole=last.is_matrix or reduced,
    )  # fmt: skip
    frequencies, orientations = spectral_peaks(last.values[numbers])
    keys = {
        Sort.NORM: -last.diagnosis.norms[numbers],
        Sort.FREQUENCY: frequencies,
        Sort.ORIENTATION: orientations,
    }
    # A sort by what kernels do not have leaves them as they are.
    sort = (
        choice.sort if choice.sort in keys and np.isfinite(keys[choice.sort]).any() else Sort.INDEX
    )
    order = np.argsort(keys[sort], kind="stable") if sort in keys else np.arange(len(numbers))
    numbers = [numbers[i] for i in order]
    results = [_REDUCTIONS[choice.reduce](layer.values[numbers][:, inputs]) for layer in layers]
    return FilterView(
        layers=tuple(layers),
        reduce=choice.reduce,
        sort=sort,
        numbers=tuple(numbers),
        inputs=tuple(inputs),
        tiles=tuple(_with_all_axes(values).numpy() for values, _ in results),
        shares=tuple(shares.numpy() for _, shares in results if shares is not None),
        frequencies=frequencies[order],
        orientations=orientations[order],
    )


def _pick(
    layer: LayerFilters, what: str, spec: ChannelSpec, strength: Tensor, *, whole: bool
) -> list[int]:
    count = len(strength)
    try:
        numbers = list(range(count)) if spec.clipped and whole else spec.indices(count)
    except UsageError as error:
        raise UsageError(f"layer {layer.name}, {what} channels: {error}") from error
    if spec.top:
        return list(strength.nan_to_num(-1).topk(min(spec.top, count)).indices.tolist())
    return numbers


def _input_norms(values: Tensor) -> Tensor:
    norms: Tensor = values.transpose(0, 1).flatten(1).norm(dim=1)
    return norms


def _with_all_axes(values: Tensor) -> Tensor:
    """Return (K, J, *S) as (K, J, T, H, W)."""
    missing = 5 - values.ndim
    return values.reshape(*values.shape[:2], *[1] * missing, *values.shape[2:])


Reduced = tuple[Tensor, Tensor | None]


def _principal(values: Tensor) -> Reduced:
    """Return the kernel that slices have most in common, and its share of their energy.

    It is the first right singular vector of the (C, weights) matrix of a filter's slices, times
    its singular value, with the sign of the slice that it is strongest in.
    """
    slices = values.flatten(2)
    broken = ~slices.isfinite().flatten(1).all(dim=1)
    left, sizes, right = torch.linalg.svd(slices.nan_to_num(0, 0, 0), full_matrices=False)
    loads = left[:, :, 0]
    strongest = loads.gather(1, loads.abs().argmax(dim=1, keepdim=True))
    pattern = right[:, 0] * sizes[:, :1] * strongest.sign()
    pattern[broken] = torch.nan
    shares = sizes[:, 0].square() / sizes.square().sum(dim=1)
    return pattern.reshape(len(values), 1, *values.shape[2:]), shares


_REDUCTIONS: dict[ReduceInputs, Callable[[Tensor], Reduced]] = {
    ReduceInputs.NONE: lambda values: (values, None),
    ReduceInputs.MEAN: lambda values: (values.mean(dim=1, keepdim=True), None),
    ReduceInputs.NORM: lambda values: (values.norm(dim=1, keepdim=True), None),
    ReduceInputs.PCA: _principal,
}
