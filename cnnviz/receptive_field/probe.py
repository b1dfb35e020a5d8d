"""What units read, measured on the network itself.

Not-a-number spreads to whatever reads it: with one row of the input set to NaN, the units that
turn NaN are those that read the row. That is exact, and knows nothing of the algebra.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from cnnviz.errors import ModelError
from cnnviz.hooks import observe
from cnnviz.kernels import is_quantized
from cnnviz.maps import as_stills
from cnnviz.networks.feeding import feed, frame_count, input_channels
from cnnviz.receptive_field.axis import NO_FIRST, NO_LAST
from cnnviz.records import LayerRecord

# Input pixels of one forward pass: as many pictures as fit.
_PIXELS = 8 * 224 * 224

Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Measured:
    """What the units of a layer were seen to read.

    Attributes:
        rows: (first, last) input row per unit row; NO_FIRST, NO_LAST where none.
        columns: The same for columns.
    """

    rows: Pairs
    columns: Pairs


def probe(
    module: nn.Module,
    records: Sequence[LayerRecord],
    input_size: tuple[int, int],
    *,
    on_step: Callable[[], None] = lambda: None,
) -> dict[str, Measured]:
    """Return what the units of layers read, by the layers' labels.

    The network is copied to float64 on the CPU, where an operator computes with what it reads and
    nothing else: faster algorithms mix tiles of the input, and smear NaN.

    Args:
        module: The network, in eval mode.
        records: Layers whose output is a map.
        input_size: (rows, columns) of the input.
        on_step: Called after each forward pass.

    Raises:
        ModelError: If the network computes in 8-bit numbers, which have no NaN.
    """
    if is_quantized(module):
        raise ModelError(
            "the fields of a quantized network cannot be measured: its 8-bit numbers have no NaN. "
            "Measure the same network without quantization"
        )
    # To the CPU first: Apple's GPUs have no float64.
    twin = copy.deepcopy(module).cpu().double()
    by_axis = []
    for dim in (2, 3):
        by_axis.append(_probe_axis(twin, records, input_size, dim, on_step))
    rows, columns = by_axis
    return {record.label: Measured(rows[record.label], columns[record.label]) for record in records}


def steps(module: nn.Module, input_size: tuple[int, int]) -> int:
    """Return how many forward passes a probe takes."""
    return sum(-(-side // _batch(module, input_size)) for side in input_size)


def _batch(module: nn.Module, input_size: tuple[int, int]) -> int:
    return max(_PIXELS // (input_size[0] * input_size[1] * frame_count(module)), 1)


class _OneChannel(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs each convolution on the mean of the channels, with one weight for all.

    A convolution's output is NaN where any channel of its group is NaN under its window, whatever
    the finite weights are: their number only takes time, most of all in float64.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operator."""
        if func is not torch.ops.aten.convolution.default:
            return func(*args, **(kwargs or {}))
        source, weight, _, *options, groups = args
        transposed = options[3]
        mean = source.unflatten(1, (groups, -1)).mean(dim=2)
        window = weight.new_full((groups, 1, *weight.shape[2:]), 1 / weight[0, 0].numel())
        told = func(mean, window, None, *options, groups).unsqueeze(2)
        outputs = weight.shape[1] if transposed else weight.shape[0] // groups
        return told.expand(-1, -1, outputs, *told.shape[3:]).flatten(1, 2).contiguous()


def _probe_axis(
    module: nn.Module,
    records: Sequence[LayerRecord],
    input_size: tuple[int, int],
    dim: int,
    on_step: Callable[[], None],
) -> dict[str, Pairs]:
    by_label = {record.label: record for record in records}
    pixels = input_size[dim - 2]
    seen: dict[str, list[NDArray[np.bool_]]] = {label: [] for label in by_label}

    def keep(label: str, output: Tensor) -> Tensor:
        broken = as_stills(output, by_label[label].layout).isnan()
        return broken.any(dim=1).any(dim=2 if dim == 2 else 1)

    # Noise, because some networks divide by what is zero for an even picture.
    size = (input_channels(module), *input_size)
    noise = torch.rand(size, generator=torch.Generator().manual_seed(0)).double()
    batch = _batch(module, input_size)
    for start in range(0, pixels, batch):
        group = range(start, min(start + batch, pixels))
        pictures = noise.repeat(len(group), 1, 1, 1)
        for i, pixel in enumerate(group):
            pictures[i].select(dim - 1, pixel).fill_(torch.nan)
        with (
            # In inference mode a mode would see whole composite operators.
            torch.no_grad(),
            observe(module, list(by_label), keep, stop=True) as kept,
            _OneChannel(),  # type: ignore[no-untyped-call]
        ):
            feed(module, pictures)
        for label, broken in kept.items():
            seen[label].append(broken.numpy())
        on_step()
    return {label: _pairs(np.concatenate(parts)) for label, parts in seen.items()}


def _pairs(broken: NDArray[np.bool_]) -> Pairs:
    """Return (first, last) pixel per unit from (pixels, units) of who turned NaN."""
    pixels, units = broken.shape
    some = broken.any(axis=0)
    first = np.where(some, broken.argmax(axis=0), NO_FIRST)
    last = np.where(some, pixels - 1 - broken[::-1].argmax(axis=0), NO_LAST)
    return tuple((int(first[i]), int(last[i])) for i in range(units))


def disagreement(record: LayerRecord, measured: Measured) -> str | None:
    """Return where the algebra and the measurement of a layer differ; None where they agree."""
    field = record.receptive_field
    if field is None:
        return None
    for of, (name, found) in enumerate((("row", measured.rows), ("column", measured.columns))):
        for i, (one, other) in enumerate(zip(field.reach(of), found, strict=True)):
            if one != other:
                return f"{name} {i} reads {other[0]} to {other[1]}, not {one[0]} to {one[1]}"
    return None
