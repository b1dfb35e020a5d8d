"""The receptive fields of one unit per layer: where they lie, and their pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cnnviz.catalog import checkpoint_names
from cnnviz.choices import Precision
from cnnviz.errors import UsageError
from cnnviz.feeding import feed, running
from cnnviz.hooks import observe
from cnnviz.maps import as_stills, computing_in
from cnnviz.models import LoadedModel
from cnnviz.preprocess import Box
from cnnviz.receptive_field.algebra import ReceptiveField
from cnnviz.receptive_field.effective import SHARES, Effective
from cnnviz.render.boxes import FieldBox, draw_boxes
from cnnviz.render.canvas import Header, stack_pictures
from cnnviz.render.png import encode_frames, encode_png
from cnnviz.selection import file_stem
from cnnviz.tracer import LayerRecord


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
        y0, x0 = (float(self.field.stride[i] * self.at[i] + self.field.start[i]) for i in (0, 1))
        return x0, y0, x0 + self.field.size[1], y0 + self.field.size[0]


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


def draw_units(
    model: LoadedModel, units: Sequence[Unit], photo: Image.Image, key: str
) -> Iterator[tuple[str, bytes]]:
    """Yield file names and PNG bytes: a picture per layer, then all boxes nested.

    Args:
        model: The network.
        units: From shallow to deep.
        photo: RGB, upright.
        key: The photo's name.
    """
    about = {"model": model.name, "weights": model.weights, **model.asked, "image": key}
    for unit in units:
        picture = _draw_unit(model, unit, photo, f"{model.name} · {key}")
        label = unit.record.label
        yield f"{file_stem(label)}.png", encode_png(picture, {**about, "layer": label})
    yield _overview(model, units, photo, key)


def draw_development(
    models: Sequence[LoadedModel],
    snapshots: Sequence[Sequence[Unit]],
    photo: Image.Image,
    key: str,
    *,
    frames: bool = False,
) -> Iterator[tuple[str, bytes]]:
    """Yield file names and PNG bytes: a row per checkpoint for each layer, then all boxes nested.

    Args:
        models: The network with each of its weights.
        snapshots: The units with each of them, from shallow to deep.
        photo: RGB, upright.
        key: The photo's name.
        frames: Whether each layer has an animated picture, too.
    """
    weights = [model.weights for model in models]
    for same in zip(*snapshots, strict=True):
        pictures = [
            _draw_unit(model, unit, photo, f"{model.name} · {name} · {key}")
            for model, name, unit in zip(models, checkpoint_names(weights), same, strict=True)
        ]
        label = same[-1].record.label
        about = {
            "model": models[-1].name, "weights": weights, **models[-1].asked, "image": key,
            "layer": label,
        }  # fmt: skip
        yield f"{file_stem(same[-1].record.label)}.png", encode_png(stack_pictures(pictures), about)
        if frames:
            yield f"{file_stem(same[-1].record.label)}.frames.png", encode_frames(pictures, about)
    yield _overview(models[-1], snapshots[-1], photo, key)


def _seen(model: LoadedModel, photo: Image.Image) -> Box:
    rows, columns = model.preprocess.input_size
    return model.preprocess.to_photo((0, 0, columns, rows), photo.size)


def _draw_unit(model: LoadedModel, unit: Unit, photo: Image.Image, line: str) -> Image.Image:
    header = Header(f"What a unit of {unit.record.label} sees", (line,))
    heat = unit.effective.heat if unit.effective else None
    fields = [_field_box(model, unit, photo), *_mass_boxes(model, unit, photo)]
    return draw_boxes(photo, fields, header, seen=_seen(model, photo), heat=heat)


def _overview(
    model: LoadedModel, units: Sequence[Unit], photo: Image.Image, key: str
) -> tuple[str, bytes]:
    boxes = [_field_box(model, unit, photo) for unit in units]
    header = Header(f"{model.name}: what one unit of each layer sees", (key,))
    about = {"model": model.name, "weights": model.weights, **model.asked, "image": key}
    picture = draw_boxes(photo, _told_once(boxes), header, seen=_seen(model, photo))
    return "overview.png", encode_png(picture, about)


def _told_once(boxes: Sequence[FieldBox]) -> list[FieldBox]:
    """Return one box for layers in a row that see the same, as an activation sees what it gets."""
    groups = groupby(boxes, key=lambda box: (box.box, box.note))
    return [_joined(list(group)) for _, group in groups]


def _joined(alike: Sequence[FieldBox]) -> FieldBox:
    first, last = alike[0], alike[-1]
    label = first.label if first is last else f"{first.label} … {last.label}"
    return replace(first, label=label)


def _field_box(model: LoadedModel, unit: Unit, photo: Image.Image) -> FieldBox:
    box = model.preprocess.to_photo(unit.theoretical_box, photo.size)
    note = f"{unit.field.size_text} pixels, unit {unit.at[0]},{unit.at[1]}"
    return FieldBox(unit.record.label, note + (", global" if unit.field.is_global else ""), box)


def _mass_boxes(model: LoadedModel, unit: Unit, photo: Image.Image) -> list[FieldBox]:
    if unit.effective is None:
        return []
    boxes = []
    row, column = unit.effective.centre
    for share in reversed(SHARES):
        side = unit.effective.mass_side(share)
        if side is not None:
            # A pixel's centre lies half a pixel from its edge.
            x, y = column + 0.5 - side / 2, row + 0.5 - side / 2
            box = model.preprocess.to_photo((x, y, x + side, y + side), photo.size)
            boxes.append(FieldBox(f"{share:.0%} of the gradient", f"{side} pixels", box))
    return boxes


def blank_photo(size: tuple[int, int]) -> Image.Image:
    """Return a grey picture of (rows, columns) to draw boxes on where there is no photo."""
    rows, columns = np.indices(size)
    squares = (rows * 8 // size[0] + columns * 8 // size[1]) % 2
    return Image.fromarray(np.where(squares, 205, 220).astype(np.uint8)).convert("RGB")
