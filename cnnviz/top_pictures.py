"""What excites channels most: patches of photos, as large as the units' receptive fields."""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnnviz.errors import InputError
from cnnviz.files import remove_leftovers, write_atomically
from cnnviz.maps import LayerPlan
from cnnviz.networks.models import LoadedModel
from cnnviz.peaks import Peaks
from cnnviz.photos.images import ImageSource, open_image
from cnnviz.photos.preprocess import Box
from cnnviz.render import text
from cnnviz.render.block import Caption
from cnnviz.render.canvas import Header, fitted_size
from cnnviz.render.photo import draw_photos
from cnnviz.render.plate import draw_patches
from cnnviz.render.png import encode_png

Colours = NDArray[np.uint8]
# Of a patch on the sheet: the row of its channel, and its rank there.
Cell = tuple[int, int]

_FOLDER = "top"
_TILE = 144
_SHEET_TILE, _FEW, _LARGE_SHEET_TILE = 48, 16, 72  # a sheet of few channels has larger ones
_GROUND = 232  # grey beside patches that are not square
_TOGETHER = 64  # channels whose patches are held at the same time


@dataclass(frozen=True)
class Patch:
    """A part of a photo that excites a channel.

    Attributes:
        source: The photo.
        at: (row, column) of the unit on the layer's map.
        score: Its value.
        box: (x0, y0, x1, y1) pixels of the network's input that the unit reads, end exclusive.
        photo_box: The same on the photo; None where it could not be read again.
    """

    source: ImageSource
    at: tuple[int, int]
    score: float
    box: tuple[int, int, int, int]
    photo_box: Box | None = None


@dataclass(frozen=True)
class TopChannel:
    """What excites one channel most.

    Attributes:
        plan: Its layer.
        channel: Its number.
        patches: The strongest first; one per photo.
        output: Its picture.
    """

    plan: LayerPlan
    channel: int
    patches: tuple[Patch, ...]
    output: Path


def write_top_images(
    model: LoadedModel,
    found: Sequence[tuple[LayerPlan, Peaks]],
    sources: Sequence[ImageSource],
    out: Path,
) -> list[TopChannel]:
    """Write a picture for each channel and a sheet for each layer, and return what they show.

    A layer without maps, or of which it is not known what its units read, has none.

    Args:
        model: The network.
        found: Layers, and the photos that excite their channels most.
        sources: The photos, by their numbers.
        out: The output folder.

    Raises:
        OutputError: If a picture cannot be written.
    """
    channels: list[TopChannel] = []
    columns = min(max((peaks.most for _, peaks in found), default=0), len(sources))
    remove_leftovers(out / _FOLDER)
    with ThreadPoolExecutor() as pool:
        for plan, peaks in found:
            if plan.record.grid is None or plan.record.receptive_field is None:
                continue
            layer = list(_write_layer(model, plan, peaks, sources, columns, out, pool))
            channels += [channel for channel, _ in layer]
            write_atomically(out / _FOLDER / plan.file_name, _sheet(model, plan, columns, layer))
    return channels


def _write_layer(
    model: LoadedModel,
    plan: LayerPlan,
    peaks: Peaks,
    sources: Sequence[ImageSource],
    columns: int,
    out: Path,
    pool: ThreadPoolExecutor,
) -> Iterator[tuple[TopChannel, Colours]]:
    """Write the picture of each channel; yield what it shows, with small tiles for the sheet."""
    folder = out / _FOLDER / plan.file_name.removesuffix(".png")
    remove_leftovers(folder)
    side = _SHEET_TILE if len(plan.channels) > _FEW else _LARGE_SHEET_TILE
    for i in range(0, len(plan.channels), _TOGETHER):
        rows = range(i, min(i + _TOGETHER, len(plan.channels)))
        patches = {
            (row, rank): patch
            for row in rows
            for rank, patch in _patches(plan, peaks, row, sources)
        }
        tiles = _cut(model, patches, pool)
        written = []
        for row in rows:
            mine = [tiles[cell] for cell in patches if cell[0] == row]
            channel = TopChannel(
                plan,
                plan.channels[row],
                tuple(patch for patch, _ in mine),
                folder / f"{plan.channels[row]}.png",
            )
            pictures = [tile for _, tile in mine]
            written.append(pool.submit(_write_channel, model, channel, pictures))
            yield channel, _small(pictures, columns, side)
        for future in written:
            future.result()


def _patches(
    plan: LayerPlan, peaks: Peaks, row: int, sources: Sequence[ImageSource]
) -> Iterator[tuple[int, Patch]]:
    field, (_, columns) = plan.record.receptive_field, plan.record.grid or (1, 1)
    for rank, score in enumerate(peaks.scores[row]):
        if field is not None and score > -np.inf:
            place = divmod(int(peaks.places[row, rank]), columns)
            source = sources[peaks.photos[row, rank]]
            yield rank, Patch(source, place, float(score), field.box(*place))


def _cut(
    model: LoadedModel, patches: dict[Cell, Patch], pool: ThreadPoolExecutor
) -> dict[Cell, tuple[Patch, Colours]]:
    """Return patches with their tiles; each photo is read once."""
    by_photo: dict[Path, list[Cell]] = {}
    for cell, patch in patches.items():
        by_photo.setdefault(patch.source.path, []).append(cell)

    def read(path: Path) -> list[tuple[Cell, tuple[Patch, Colours]]]:
        try:
            photo: Image.Image | None = model.preprocess.in_colour(open_image(path))
        except InputError:
            photo = None  # it was there a moment ago
        return [(cell, _cut_one(model, patches[cell], photo)) for cell in by_photo[path]]

    return dict(entry for entries in pool.map(read, by_photo) for entry in entries)


def _cut_one(model: LoadedModel, patch: Patch, photo: Image.Image | None) -> tuple[Patch, Colours]:
    tile = Image.new("RGB", (_TILE, _TILE), (_GROUND,) * 3)
    if photo is None:
        return patch, np.asarray(tile)
    box = model.preprocess.to_photo(patch.box, photo.size)
    cut = replace(patch, photo_box=box)
    # A network may see more than the photo, where its input is larger.
    x0, y0, x1, y1 = (min(max(edge, 0), photo.size[i % 2]) for i, edge in enumerate(box))
    if x0 >= x1 or y0 >= y1:
        return cut, np.asarray(tile)
    size = fitted_size((x1 - x0, y1 - y0), _TILE)
    corner = (_TILE - size[0]) // 2, (_TILE - size[1]) // 2
    # Cut out first: the filter would blend in pixels around the box, which the unit does not read.
    left, top = math.floor(x0), math.floor(y0)
    part = photo.crop((left, top, math.ceil(x1), math.ceil(y1)))
    inside = (x0 - left, y0 - top, x1 - left, y1 - top)
    tile.paste(part.resize(size, Image.Resampling.BICUBIC, box=inside), corner)
    return cut, np.asarray(tile)


def _small(tiles: Sequence[Colours], count: int, side: int) -> Colours:
    """Return tiles for the sheet, (count, side, side, 3); white where there are fewer."""
    row = np.full((count, side, side, 3), 255, dtype=np.uint8)
    for i, tile in enumerate(tiles):
        row[i] = np.asarray(Image.fromarray(tile).resize((side, side), Image.Resampling.BOX))
    return row


def _write_channel(model: LoadedModel, channel: TopChannel, tiles: Sequence[Colours]) -> None:
    plan = channel.plan
    title = f"What excites channel {channel.channel} of {plan.record.label}"
    header = _header(model, plan, title, f"the best {len(tiles)} photos")
    captions = [
        (text.number(patch.score), (patch.source.key, f"unit {patch.at[0]},{patch.at[1]}"))
        for patch in channel.patches
    ]
    about = {**_about(model, plan), "channel": channel.channel}
    write_atomically(channel.output, encode_png(draw_photos(tiles, captions, header), about))


def _sheet(
    model: LoadedModel,
    plan: LayerPlan,
    count: int,
    layer: Sequence[tuple[TopChannel, Colours]],
) -> bytes:
    title = f"What excites the channels of {plan.record.label}"
    shown = f"{len(layer)} of {plan.record.layout.channels} channels"
    header = _header(model, plan, title, shown)
    rows = [
        Caption(
            str(channel.channel),
            text.number(channel.patches[0].score) if channel.patches else "never",
        )
        for channel, _ in layer
    ]
    tiles = np.stack([tiles for _, tiles in layer])
    return encode_png(draw_patches(tiles, rows, [""] * count, header), _about(model, plan))


def _header(model: LoadedModel, plan: LayerPlan, title: str, said: str) -> Header:
    field = plan.record.receptive_field
    size = f"patches of up to {field.size_text} input pixels" if field else ""
    return Header(title, (f"{plan.record.type} · {said} · {size}", model.caption))


def _about(model: LoadedModel, plan: LayerPlan) -> dict[str, object]:
    return {**model.about, "layer": plan.record.label}
