"""The pictures of `rf`: boxes on the photo, of one checkpoint or of several."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
from PIL import Image

from cnnviz.networks.catalog import checkpoint_names
from cnnviz.networks.models import LoadedModel
from cnnviz.photos.preprocess import Box
from cnnviz.receptive_field.effective import SHARES
from cnnviz.render.boxes import FieldBox, draw_boxes
from cnnviz.render.canvas import Header, stack_pictures
from cnnviz.render.png import encode_frames, encode_png
from cnnviz.rf import Unit
from cnnviz.selection import file_stem


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
    for unit in units:
        picture = _draw_unit(model, unit, photo, f"{model.name} · {key}")
        label = unit.record.label
        about = {**model.about, "image": key, "layer": label}
        yield f"{file_stem(label)}.png", encode_png(picture, about)
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
        about = {**models[-1].about, "weights": weights, "image": key, "layer": label}
        yield f"{file_stem(label)}.png", encode_png(stack_pictures(pictures), about)
        if frames:
            yield f"{file_stem(label)}.frames.png", encode_frames(pictures, about)
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
    picture = draw_boxes(photo, _told_once(boxes), header, seen=_seen(model, photo))
    return "overview.png", encode_png(picture, {**model.about, "image": key})


def _told_once(boxes: Sequence[FieldBox]) -> list[FieldBox]:
    """Return one box for layers in a row that see the same, as an activation sees what it gets."""
    groups = groupby(boxes, key=lambda box: (box.box, box.note))
    return [_joined(list(group)) for _, group in groups]


def _joined(alike: Sequence[FieldBox]) -> FieldBox:
    first, last = alike[0], alike[-1]
    label = first.label if first is last else f"{first.label} … {last.label}"
    return replace(first, label=label)


def _field_box(model: LoadedModel, unit: Unit, photo: Image.Image) -> FieldBox:
    x0, y0, x1, y1 = unit.theoretical_box
    box = model.preprocess.to_photo((x0, y0, x1, y1), photo.size)
    # The unit's own, which in windows of attention may be less than its layer's.
    size = f"{y1 - y0:g}" if y1 - y0 == x1 - x0 else f"{y1 - y0:g}×{x1 - x0:g}"
    note = f"{size} pixels, unit {unit.at[0]},{unit.at[1]}"
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
