"""The effective receptive field: how much each input pixel moves a unit.

Luo, Li, Urtasun, Zemel, "Understanding the Effective Receptive Field in Deep Convolutional Neural
Networks", 2016: the gradient of a unit with respect to the input is far from even over the
theoretical field, and mostly much smaller.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnviz.choices import Precision
from cnnviz.gradients import check_differentiable
from cnnviz.hooks import observe
from cnnviz.maps import as_stills
from cnnviz.networks.feeding import feed, frame_count, running
from cnnviz.networks.models import LoadedModel
from cnnviz.networks.precision import computing_in
from cnnviz.records import LayerRecord

SHARES = (0.5, 0.95)
_NOISE_PICTURES = 8
# Of input that is run at once: eight pictures of the usual size, and fewer of larger ones.
_PIXELS = 8 * 224 * 224


@dataclass(frozen=True, eq=False)
class Effective:
    """The effective receptive field of one unit.

    Attributes:
        heat: (H, W) float64, the absolute gradient per input pixel, of sum 1; all zero where the
            unit does not react to the pictures at all.
        centre: (row, column) of the middle of the theoretical field, in input pixels.
    """

    heat: NDArray[np.float64]
    centre: tuple[float, float]

    def mass_side(self, share: float) -> int | None:
        """Return the side of the smallest square around the centre that holds a share of the heat.

        Args:
            share: From 0 to 1.

        Returns:
            Input pixels; None where there is no gradient at all.
        """
        if not self.heat.any():
            return None
        rows, columns = np.indices(self.heat.shape)
        # A pixel is inside a square of side s where its centre is within s/2 of the middle.
        away = np.maximum(abs(rows - self.centre[0]), abs(columns - self.centre[1]))
        order = np.argsort(away, axis=None, kind="stable")
        mass = np.cumsum(self.heat.ravel()[order])
        reached = order[min(int(np.searchsorted(mass, share * mass[-1])), len(order) - 1)]
        return int(2 * away.ravel()[reached]) + 1


def noise(model: LoadedModel, seed: int) -> Tensor:
    """Return pictures of seeded noise, (8, C, H, W) float32, as a normalised photo has values."""
    generator = torch.Generator().manual_seed(seed)
    size = (_NOISE_PICTURES, model.preprocess.channels, *model.preprocess.input_size)
    return torch.randn(size, generator=generator)


def effective_fields(
    model: LoadedModel,
    pictures: Tensor,
    units: Mapping[str, tuple[int, int]],
    records: Sequence[LayerRecord],
) -> dict[str, Effective]:
    """Return the effective receptive field of one unit per layer, averaged over pictures.

    The unit is all channels at one place: their gradients are those of the channels' sum.

    Args:
        model: The network.
        pictures: (N, C, H, W) float32, preprocessed.
        units: (row, column) on the map, by the label of the layer.
        records: The layers.

    Raises:
        ModelError: If no gradients pass through the network.
    """
    check_differentiable(model, "--effective")
    by_label = {record.label: record for record in records}
    total = {label: np.zeros(model.preprocess.input_size) for label in units}
    for batch in torch.split(pictures, _batch(model)):
        source = model.place(batch).requires_grad_()

        def keep(label: str, output: Tensor) -> Tensor:
            # A copy, because a later layer may overwrite the output in place.
            row, column = units[label]
            return as_stills(output, by_label[label].layout)[:, :, row, column].sum()

        with (
            running(model.name),
            torch.enable_grad(),
            computing_in(Precision.FP32, model.device),
        ):
            with observe(model.module, list(units), keep, stop=True) as scores:
                feed(model.module, source)
            for label, score in scores.items():
                (gradient,) = torch.autograd.grad(score, source, retain_graph=True)
                # To the CPU first: Apple's GPUs have no float64.
                total[label] += gradient.abs().cpu().double().sum(dim=(0, 1)).numpy()
    return {
        label: Effective(_shares(heat), _centre(by_label[label], units[label]))
        for label, heat in total.items()
    }


def _batch(model: LoadedModel) -> int:
    """Return how many pictures are run at once."""
    return max(1, _PIXELS // (math.prod(model.preprocess.input_size) * frame_count(model.module)))


def _shares(heat: NDArray[np.float64]) -> NDArray[np.float64]:
    total = heat.sum()
    return heat / total if total > 0 else heat


def _centre(record: LayerRecord, unit: tuple[int, int]) -> tuple[float, float]:
    field = record.receptive_field
    if field is None:
        raise ValueError(f"{record.label} has no receptive field")
    row, column = (
        float(field.stride[i] * unit[i] + field.start[i] + (field.size[i] - 1) / 2) for i in (0, 1)
    )
    return row, column
