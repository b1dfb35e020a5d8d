"""The pictures of `maps`: one per layer, and an overview, for one photo."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cnnviz.choices import Normalize, Reduce, choose
from cnnviz.errors import UsageError
from cnnviz.layout import Axes
from cnnviz.maps import LayerGradient, LayerMaps
from cnnviz.networks.catalog import tell_weights
from cnnviz.networks.models import LoadedModel
from cnnviz.render.bars import draw_bars
from cnnviz.render.canvas import Header
from cnnviz.render.grid import draw_grid
from cnnviz.render.photo import Stage, draw_overlay, draw_overview
from cnnviz.render.png import encode_png
from cnnviz.render.strips import draw_clip_overview, draw_overlays, draw_strips

Grey = NDArray[np.uint8]

_GRADIENTS = "RdBu_r"  # blue below zero, red above


def feature_grid(
    maps: Tensor | NDArray[Any], *, normalize: str = "channel", cmap: str = "viridis"
) -> Image.Image:
    """Return the maps of one layer for one picture as a grid, labelled by number and range.

    Args:
        maps: (C, H, W), or (H, W), real numbers of any kind, on any device, with gradients or not.
        normalize: `channel` (each map on its own scale), `layer` (one scale), or `none` (values
            as they are, clipped to 0 to 1).
        cmap: A matplotlib colour map.

    Returns:
        A palette picture, which notebooks show; `.convert("RGB")` turns it into a plain one.

    Raises:
        UsageError: If the maps have another number of axes, are empty, or are complex.
        UnknownNameError: If there is no such colour map or way to normalise.

    Example:
        >>> import cnnviz, torch
        >>> grid = cnnviz.feature_grid(torch.rand(16, 28, 28), normalize="layer")
        >>> grid.mode, grid.convert("RGB").mode
        ('P', 'RGB')
    """
    tensor = torch.as_tensor(maps)
    shape = tuple(tensor.shape)
    if len(shape) not in (2, 3) or 0 in shape:
        batch = "; of a batch take one picture, maps[0]" if len(shape) == 4 else ""
        raise UsageError(f"maps must have the shape (C, H, W), not {shape}{batch}")
    if tensor.is_complex():
        raise UsageError(f"maps must be real numbers, not {tensor.dtype}; take their .abs()")
    values = tensor.detach().cpu().float().reshape(-1, *shape[-2:]).numpy()
    labels = [str(i) for i in range(len(values))]
    return draw_grid(values, labels, normalize=choose(Normalize, normalize), cmap=cmap)


@dataclass(frozen=True)
class Style:
    """How maps are drawn.

    Attributes:
        normalize: Which range of values the colour map spans.
        cmap: A matplotlib colour map.
        overlay: Whether the reduced map is laid over the photo.
        frames: Whether several checkpoints also make an animated picture.
    """

    normalize: Normalize = Normalize.CHANNEL
    cmap: str = "viridis"
    overlay: bool = False
    frames: bool = False


@dataclass(frozen=True)
class Photo:
    """One photo on its way through.

    Attributes:
        key: Its name in the output.
        seen: What the network sees of it, RGB.
        whole: The photo itself, RGB; only where something is laid over it.
        size: (width, height) of the photo.
        frames: What a network sees that takes several at once, RGB; empty for others. The first
            of them is `seen`.
    """

    key: str
    seen: Image.Image
    whole: Image.Image | None
    size: tuple[int, int]
    frames: tuple[Image.Image, ...] = ()

    @cached_property
    def thumbnail(self) -> Grey:
        """What the network sees, (H, W) grey values of 0 to 255."""
        return np.asarray(self.seen.convert("L"))


def draw_layers(
    model: LoadedModel, photo: Photo, layers: Sequence[LayerMaps], style: Style
) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield file names and what makes their PNG bytes: a picture per layer, then the overview.

    The pictures are independent of one another, and may be made at the same time.

    Args:
        model: The network, for names and the place of the crop.
        photo: The photo.
        layers: What the layers gave for it, in order of execution.
        style: How to draw.
    """
    for maps in layers:
        yield maps.plan.file_name, partial(_layer_png, model, photo, maps, style)
        if maps.gradient:
            name = f"{maps.plan.file_name.removesuffix('.png')}.gradient.png"
            yield name, partial(_gradient_png, model, photo, maps, maps.gradient, style)
    yield from draw_overview_of(model, photo, layers, style)


def draw_overview_of(
    model: LoadedModel, photo: Photo, layers: Sequence[LayerMaps], style: Style
) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield the overview's file name and what makes its PNG bytes, where any layer has maps."""
    stages = [_stage(maps) for maps in layers if maps.plan.record.grid]
    if stages:
        yield "overview.png", partial(_overview_png, model, photo, stages, style)


def _layer_png(model: LoadedModel, photo: Photo, maps: LayerMaps, style: Style) -> bytes:
    return encode_png(draw_layer(model, photo, maps, style), _about(model, photo, maps))


def _gradient_png(
    model: LoadedModel, photo: Photo, maps: LayerMaps, gradient: LayerGradient, style: Style
) -> bytes:
    about = {**_about(model, photo, maps), "class": gradient.number}
    return encode_png(draw_gradient(model, photo, maps, gradient, style), about)


def _about(model: LoadedModel, photo: Photo, maps: LayerMaps) -> dict[str, object]:
    return {
        **model.about,
        "image": photo.key,
        "layer": maps.plan.record.label,
        "channels": list(maps.channels),
    }


def _overview_png(model: LoadedModel, photo: Photo, stages: Sequence[Stage], style: Style) -> bytes:
    header = Header(
        f"{model.name}, mean map per layer", (f"{photo.key} · {tell_weights(model.weights)}",)
    )
    overview = (
        draw_clip_overview(photo.frames, stages, header, cmap=style.cmap)
        if photo.frames
        else draw_overview(photo.seen, stages, header, cmap=style.cmap)
    )
    return encode_png(overview, {**model.about, "image": photo.key})


def draw_layer(model: LoadedModel, photo: Photo, maps: LayerMaps, style: Style) -> Image.Image:
    """Return the picture of a layer: a grid, bars of a vector, or one map laid over the photo."""
    thumbnail = photo.thumbnail
    lines = (tell_shape(maps), model.caption, photo.key)
    header = Header(maps.plan.record.label, lines, thumbnail)
    if maps.plan.record.layout.axes is Axes.VECTOR:
        return draw_bars(maps.values[:, 0, 0], _value_names(model, maps), header, cmap=style.cmap)
    if style.overlay and photo.frames:
        header = Header(header.title, lines)
        values = maps.values[0] if maps.values.ndim == 4 else maps.values
        return draw_overlays(photo.frames, values, header, cmap=style.cmap)
    if style.overlay and photo.whole is not None:
        height, width = thumbnail.shape
        box = model.preprocess.to_photo((0, 0, width, height), photo.size)
        header = Header(header.title, lines)
        return draw_overlay(photo.whole, maps.values[0], box, header, cmap=style.cmap)
    draw = draw_grid if maps.values.ndim == 3 else draw_strips
    return draw(maps.values, tile_names(maps), header, normalize=style.normalize, cmap=style.cmap)


def draw_gradient(
    model: LoadedModel, photo: Photo, maps: LayerMaps, gradient: LayerGradient, style: Style
) -> Image.Image:
    """Return the gradient of a class's score at a layer, red where more of it raises the score."""
    label, number = maps.plan.record.label, gradient.number
    name = model.class_name(number)
    lines = (
        f"of the score of class {number}{f' ({name})' if name else ''}",
        f"norm {gradient.relative:.2g} of that at the network's output",
        f"{model.caption} · {photo.key}",
    )
    header = Header(f"Gradient at {label}", lines, photo.thumbnail)
    values = gradient.values
    if maps.plan.record.layout.axes is Axes.VECTOR:
        return draw_bars(values[:, 0, 0], _value_names(model, maps), header, cmap=_GRADIENTS)
    draw = draw_grid if values.ndim == 3 else draw_strips
    return draw(
        values, tile_names(maps), header, normalize=style.normalize, cmap=_GRADIENTS, signed=True
    )


def tile_names(maps: LayerMaps) -> list[str]:
    """Return the numbers of the channels that are shown, or how they became one map."""
    return [str(number) for number in maps.channels] or [maps.plan.reduce.value]


def tell_shape(maps: LayerMaps) -> str:
    """Return in words what is shown of a layer."""
    record, layout = maps.plan.record, maps.plan.record.layout
    total = layout.channels
    size = "".join(f" × {side}" for side in layout.sides)
    if maps.plan.reduce is not Reduce.NONE:
        count = maps.plan.top or len(maps.plan.channels)
        said = f"{maps.plan.reduce.value} over {count} of {total} channels"
    elif maps.plan.top:
        said = f"the {len(maps.channels)} most active of {total} channels"
    else:
        said = f"{len(maps.channels)} of {total} channels" if len(maps.channels) < total else ""
    field = record.receptive_field
    sees = f"field {field.size_text}, stride {field.stride_text}" if field else ""
    return " · ".join(part for part in (record.type, f"{total}{size}", said, sees) if part)


def _value_names(model: LoadedModel, maps: LayerMaps) -> list[str]:
    """Return class names for the output of a classifier, numbers for other vectors."""
    classes = model.classes
    if classes is not None and len(classes) == maps.plan.record.layout.channels:
        return [classes[number] for number in maps.channels]
    return [str(number) for number in maps.channels]


def _stage(maps: LayerMaps) -> Stage:
    layout = maps.plan.record.layout
    shape = " × ".join(map(str, (layout.channels, *layout.sides)))
    return Stage(maps.mean, maps.plan.record.label, (shape, f"{maps.active:.0%} active"))
