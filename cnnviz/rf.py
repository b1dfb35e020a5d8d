"""The receptive fields of one unit per layer: which unit that is, and what it reads."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cnnviz.choices import Precision
from cnnviz.errors import UsageError
from cnnviz.hooks import observe
from cnnviz.maps import as_stills
from cnnviz.networks.feeding import feed, running
from cnnviz.networks.models import LoadedModel
from cnnviz.networks.precision import computing_in
from cnnviz.photos.preprocess import Box
from cnnviz.receptive_field.algebra import ReceptiveField
from cnnviz.receptive_field.effective import Effective
from cnnviz.records import LayerRecord


@dataclass(frozen=True)
class Unit:
    """One place on the map of a layer.

    Attributes:
        record: The layer.
        field: Its receptive field.
        at: (row, column) on the map.
        effective: Its effective receptive field, where that was asked for.
        verified: Whether a measurement agreed; None where none was made.
    """

    record: LayerRecord
    field: ReceptiveField
    at: tuple[int, int]
    effective: Effective | None = None
    verified: bool | None = None

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The input pixels that it really reads, (x0, y0, x1, y1), end exclusive."""
        return self.field.box(*self.at)

    @property
    def theoretical_box(self) -> Box:
        """The input pixels that it would read without a border, (x0, y0, x1, y1)."""
        return self.field.box_without_border(*self.at)


def place_unit(record: LayerRecord, place: str | tuple[int, int]) -> tuple[int, int]:
    """Return (row, column) of a unit: the centre, or the one asked for.

    Raises:
        UsageError: If the map has no such unit.
    """
    rows, columns = record.grid or (1, 1)
    if isinstance(place, str):
        return rows // 2, columns // 2
    if place[0] >= rows or place[1] >= columns:
        raise UsageError(
            f"layer {record.label} has no unit {place[0]},{place[1]}: its map is {rows}x{columns}"
        )
    return place


def find_units(
    model: LoadedModel,
    records: Sequence[LayerRecord],
    place: str | tuple[int, int],
    picture: Tensor | None = None,
) -> list[Unit]:
    """Return one unit of each layer whose field is known.

    Args:
        model: The network.
        records: The layers.
        place: `center`, (row, column), or `max` for the largest value of any channel.
        picture: As for `strongest_units`; needed for `max` alone.

    Raises:
        UsageError: If a map has no such unit.
        ModelError: If the network fails on the picture.
    """
    strongest = {} if picture is None else strongest_units(model, picture, records)
    return [
        Unit(
            record, record.receptive_field, strongest.get(record.label) or place_unit(record, place)
        )
        for record in records
        if record.receptive_field
    ]


def strongest_units(
    model: LoadedModel, picture: Tensor, records: Sequence[LayerRecord]
) -> dict[str, tuple[int, int]]:
    """Return (row, column) of the largest value of any channel, by layer.

    Args:
        model: The network.
        picture: (1, C, H, W) float32, preprocessed.
        records: The layers.
    """
    by_label = {record.label: record for record in records}

    def keep(label: str, output: Tensor) -> tuple[int, int]:
        strength = as_stills(output, by_label[label].layout)[0].amax(dim=0)
        place = int(strength.argmax())
        return place // strength.shape[1], place % strength.shape[1]

    with (
        running(model.name),
        torch.inference_mode(),
        computing_in(Precision.FP32, model.device),
        observe(model.module, list(by_label), keep, stop=True) as found,
    ):
        feed(model.module, model.place(picture))
    return found
