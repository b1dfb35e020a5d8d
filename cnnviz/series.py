"""The pictures of `maps` for one photo and several checkpoints: how features develop."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from PIL import Image

from cnnviz.maps import LayerMaps
from cnnviz.networks.catalog import checkpoint_names
from cnnviz.networks.models import LoadedModel
from cnnviz.pictures import Photo, Style, draw_layer, draw_overview_of, tell_shape, tile_names
from cnnviz.render.block import Caption
from cnnviz.render.canvas import Header
from cnnviz.render.plate import draw_plate
from cnnviz.render.png import encode_frames, encode_png


def draw_series(
    models: Sequence[LoadedModel],
    photo: Photo,
    snapshots: Sequence[Sequence[LayerMaps]],
    style: Style,
) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield file names and what makes their PNG bytes: layers, animations, and the overview.

    A layer's picture has one row for each checkpoint; the overview is that of the last.

    Args:
        models: The network with each of its weights.
        photo: The photo.
        snapshots: What the layers gave for it with each of them.
        style: How to draw.
    """
    for same in zip(*snapshots, strict=True):
        name = same[-1].plan.file_name
        yield name, partial(_layer_png, models, photo, same, style)
        if style.frames:
            animated = f"{name.removesuffix('.png')}.frames.png"
            yield animated, partial(_frames_png, models, photo, same, style)
    yield from draw_overview_of(models[-1], photo, snapshots[-1], style)


def _layer_png(
    models: Sequence[LoadedModel], photo: Photo, same: Sequence[LayerMaps], style: Style
) -> bytes:
    last = same[-1]
    names = checkpoint_names([model.weights for model in models])
    rows = [
        Caption(name, f"{maps.active:.0%} active") for name, maps in zip(names, same, strict=True)
    ]
    about = f"{models[-1].name} · {len(models)} checkpoints"
    header = Header(last.plan.record.label, (tell_shape(last), about, photo.key), photo.thumbnail)
    picture = draw_plate(
        np.stack([maps.values for maps in same]), rows, tile_names(last), header,
        normalize=style.normalize, cmap=style.cmap, signed=False, by_row=False,
    )  # fmt: skip
    return encode_png(picture, _about(models, photo, last))


def _frames_png(
    models: Sequence[LoadedModel], photo: Photo, same: Sequence[LayerMaps], style: Style
) -> bytes:
    frames: list[Image.Image] = [
        draw_layer(model, photo, maps, style) for model, maps in zip(models, same, strict=True)
    ]
    return encode_frames(frames, _about(models, photo, same[-1]))


def _about(models: Sequence[LoadedModel], photo: Photo, last: LayerMaps) -> dict[str, object]:
    return {
        **models[-1].about,
        "weights": [model.weights for model in models],
        "image": photo.key,
        "layer": last.plan.record.label,
        "channels": list(last.channels),
    }
