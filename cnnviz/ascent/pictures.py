"""The picture files of `maximize`: one per unit, one per layer, and one of all layers."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from PIL import Image

from cnnviz.ascent.run import Maximized, Settings
from cnnviz.networks.catalog import tell_weights
from cnnviz.networks.feeding import frame_count
from cnnviz.networks.models import LoadedModel
from cnnviz.records import LayerRecord
from cnnviz.render import text
from cnnviz.render.canvas import Header
from cnnviz.render.png import encode_frames, encode_png
from cnnviz.render.tiles import Shelf, Tile, draw_pictures, draw_shelves
from cnnviz.selection import file_stem

_SECONDS = 3.0


def unit_file(result: Maximized) -> str:
    """Return the path of a unit's own picture in the output folder."""
    return f"{file_stem(result.unit.record.label)}/{result.unit.name}.png"


def unit_png(model: LoadedModel, result: Maximized) -> bytes:
    """Return the PNG of a unit's picture, pixel for pixel as the network sees it."""
    about = _about(model, result.unit.record)
    about |= {"unit": result.unit.objective.text, "start": result.start, "final": result.final}
    return encode_png(result.image, about)


def draw_results(
    model: LoadedModel, results: Sequence[Maximized], settings: Settings
) -> Iterator[tuple[str, bytes]]:
    """Yield file names and PNG bytes: a grid per layer, its animation, then all layers.

    Args:
        model: The network, for names.
        results: By layer.
        settings: How they were made.
    """
    layers = [list(group) for _, group in groupby(results, key=lambda r: r.unit.record.label)]
    for layer in layers:
        record = layer[0].unit.record
        header = Header(record.label, _lines(model, layer, settings))
        picture = draw_pictures([_tile(model, result) for result in layer], header)
        yield f"{file_stem(record.label)}.png", encode_png(picture, _about(model, record))
        if layer[0].frames:
            frames = list(_frames(model, layer, header))
            about = _about(model, record)
            yield f"{file_stem(record.label)}-ascent.png", encode_frames(frames, about, _SECONDS)
    if len(layers) > 1:
        header = Header(f"{model.name}: what units want to see", (tell_weights(model.weights),))
        shelves = [_shelf(model, layer) for layer in layers]
        # A palette takes a third of the space, and the tiles here are small.
        overview = draw_shelves(shelves, header).quantize(256)
        yield "overview.png", encode_png(overview, {"model": model.name, **model.asked})


def _about(model: LoadedModel, record: LayerRecord) -> dict[str, object]:
    return {**model.about, "layer": record.label}


def _lines(model: LoadedModel, layer: Sequence[Maximized], settings: Settings) -> tuple[str, ...]:
    record, unit = layer[0].unit.record, layer[0].unit
    field = record.receptive_field
    sees = f"field {field.size_text}" if field else ""
    frames = frame_count(model.module)
    held = f", held for {frames} frames" if frames > 1 else ""
    size = f"pictures of {unit.size[0]} × {unit.size[1]}{held}"
    how = f"{unit.goal.lstrip('-')} · {max(r.steps for r in layer)} steps · score start → final"
    parts = (record.type, sees, size)
    return (
        " · ".join(part for part in parts if part),
        model.caption,
        f"{how} · start: photo" if settings.init else how,
    )


def _tile(model: LoadedModel, result: Maximized, *, short: bool = False) -> Tile:
    start, final = (
        "NaN" if score is None else text.number(score) for score in (result.start, result.final)
    )
    return Tile(result.image, _name(model, result), final if short else f"{start} → {final}")


def _name(model: LoadedModel, result: Maximized) -> str:
    unit = result.unit
    if unit.class_number is None:
        return unit.name
    number = str(unit.class_number)
    return unit.name.replace(number, model.class_name(unit.class_number) or number, 1)


def _shelf(model: LoadedModel, layer: Sequence[Maximized]) -> Shelf:
    record, unit = layer[0].unit.record, layer[0].unit
    field = record.receptive_field
    sees = f"field {field.size_text} · " if field else ""
    note = f"{sees}pictures of {unit.size[0]} × {unit.size[1]}"
    return Shelf(record.label, note, tuple(_tile(model, r, short=True) for r in layer))


def _frames(
    model: LoadedModel, layer: Sequence[Maximized], header: Header
) -> Iterator[Image.Image]:
    """Yield the grid at each time; the labels are those of the end."""
    count = min(len(result.frames) for result in layer)
    for i in range(count):
        tiles = [_tile(model, result) for result in layer]
        shown = [Tile(r.frames[i], t.label, t.note) for r, t in zip(layer, tiles, strict=True)]
        yield draw_pictures(shown, header)
