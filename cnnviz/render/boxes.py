"""Receptive fields drawn over a photo: boxes, nested from shallow to deep, and heat."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from PIL import Image, ImageDraw

from cnnviz.photos.preprocess import Box
from cnnviz.render import text
from cnnviz.render.canvas import (
    LABEL,
    LINE,
    MARGIN,
    Header,
    caption_height,
    compose_pictures,
    draw_title,
    to_rgb,
    write_caption,
)
from cnnviz.render.palette import WHITE, map_colours
from cnnviz.render.scale import Floats

_SIDE = 520  # pixels of the longer side of what is shown
_COLOURS = "turbo"
_GROUND, _WIDTH = 2, 3


@dataclass(frozen=True)
class FieldBox:
    """One layer's field.

    Attributes:
        label: The layer.
        note: What else is to be known.
        box: (x0, y0, x1, y1) pixels of the photo that a unit reads in theory, end exclusive; it
            may reach beyond the photo.
    """

    label: str
    note: str
    box: Box


def draw_boxes(
    photo: Image.Image,
    fields: Sequence[FieldBox],
    header: Header,
    *,
    seen: Box,
    heat: Floats | None = None,
    cmap: str = "inferno",
) -> Image.Image:
    """Return a photo with one box per field in a colour of its own, and a legend, as RGB.

    Where a box is larger than the photo, the photo is small and stands inside the box.

    Args:
        photo: RGB, upright.
        fields: From shallow to deep.
        header: What stands above.
        seen: (x0, y0, x1, y1) pixels of the photo that the network sees.
        heat: (H, W) shares over `seen`, drawn over the photo, or None.
        cmap: A matplotlib colour map, for the heat.
    """
    frame = _frame(photo.size, [field.box for field in fields])
    scale = _SIDE / max(frame[2] - frame[0], frame[3] - frame[1])
    picture = _ground(frame, scale)
    _paste_photo(picture, photo, frame, scale, seen)
    if heat is not None:
        _lay_heat(picture, heat, frame, scale, seen, cmap)
    draw = ImageDraw.Draw(picture)
    colours = _colours(len(fields))
    for field, colour in reversed(list(zip(fields, colours, strict=True))):
        _outline(draw, _to_frame(field.box, frame, scale), colour)
    legend = _legend(fields, colours, picture.height)
    return compose_pictures(draw_title(header), [_beside(picture, legend)])


def _frame(size: tuple[int, int], boxes: Sequence[Box]) -> Box:
    """Return the part of the plane to show: the photo and every box, and a little more."""
    corners = [(0.0, 0.0, float(size[0]), float(size[1])), *boxes]
    x0, y0 = (min(corner[i] for corner in corners) for i in (0, 1))
    x1, y1 = (max(corner[i] for corner in corners) for i in (2, 3))
    # Room for the line of a box that goes round all.
    rim = 0.01 * max(x1 - x0, y1 - y0)
    inside = (x0, y0, x1, y1) == corners[0]
    rim = 0 if inside else rim
    return x0 - rim, y0 - rim, x1 + rim, y1 + rim


def _to_frame(box: Box, frame: Box, scale: float) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = box
    left, top = frame[0], frame[1]
    return (
        round((x0 - left) * scale),
        round((y0 - top) * scale),
        round((x1 - left) * scale),
        round((y1 - top) * scale),
    )


def _ground(frame: Box, scale: float) -> Image.Image:
    """Return the plane outside of the photo: light, with fine diagonal lines."""
    width, height = _size(frame, scale)
    rows, columns = np.ogrid[:height, :width]
    grey = np.where((rows + columns) % 9 < 1, 226, 242).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def _size(box: Box, scale: float) -> tuple[int, int]:
    return max(round((box[2] - box[0]) * scale), 1), max(round((box[3] - box[1]) * scale), 1)


def _paste_photo(
    picture: Image.Image, photo: Image.Image, frame: Box, scale: float, seen: Box
) -> None:
    """Paste the photo, pale where the network does not see it."""
    size = _size((0, 0, *photo.size), scale)
    small = photo.resize(size, Image.Resampling.LANCZOS)
    pale = Image.blend(small, Image.new("RGB", size, "white"), 0.65)
    x0, y0, x1, y1 = _to_frame(seen, (0, 0, 0, 0), scale)
    area = (max(x0, 0), max(y0, 0), min(x1, size[0]), min(y1, size[1]))
    pale.paste(small.crop(area), area[:2])
    place = _to_frame((0, 0, 0, 0), frame, scale)
    picture.paste(pale, place[:2])


def _lay_heat(
    picture: Image.Image, heat: Floats, frame: Box, scale: float, seen: Box, cmap: str
) -> None:
    """Lay the heat over what the network sees: the photo's grey where cold, colours where hot."""
    x0, y0, x1, y1 = _to_frame(seen, frame, scale)
    size = (max(x1 - x0, 1), max(y1 - y0, 1))
    top = float(heat.max()) or 1.0
    # The square root shows the faint rim; the gradient falls off like a bell.
    share = Image.fromarray(np.sqrt(heat / top).astype(np.float32))
    smooth = np.asarray(share.resize(size, Image.Resampling.BILINEAR)).clip(0, 1)
    colours = map_colours(smooth, cmap).astype(np.float32)
    below = np.asarray(picture.crop((x0, y0, x0 + size[0], y0 + size[1])).convert("L"))
    grey = (0.35 * below.astype(np.float32) + 20)[..., None]
    alpha = smooth[..., None] ** 0.7
    mixed = grey * (1 - alpha) + colours * alpha
    picture.paste(Image.fromarray(mixed.round().astype(np.uint8)), (x0, y0))


def _colours(count: int) -> list[tuple[int, int, int]]:
    # The darkest ends of the colour map are left out: they do not stand off a photo.
    places = np.linspace(0.12, 0.9, count) if count != 1 else [0.85]
    table = matplotlib.colormaps[_COLOURS](places, bytes=True)
    return [(int(r), int(g), int(b)) for r, g, b, _ in table]


def _outline(
    draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], colour: tuple[int, int, int]
) -> None:
    """Draw a box in colour on a dark ground, visible on any photo; at least one pixel large."""
    x0, y0, x1, y1 = box
    x1, y1 = max(x1 - 1, x0), max(y1 - 1, y0)
    draw.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=(20, 20, 20), width=_WIDTH + _GROUND)
    draw.rectangle((x0, y0, x1, y1), outline=colour, width=_WIDTH)


def _legend(
    fields: Sequence[FieldBox], colours: Sequence[tuple[int, int, int]], height: int
) -> Image.Image:
    """Return what the colours stand for, in columns of about this height."""
    row = caption_height(1) + 6
    most = max(height // row, 1)
    entries = list(zip(fields, colours, strict=True))
    columns = [_legend_column(entries[i : i + most], row) for i in range(0, len(entries), most)]
    widths = [column.width for column in columns]
    tallest = max((column.height for column in columns), default=0)
    legend = Image.new("RGB", (sum(widths), tallest), "white")
    for i, column in enumerate(columns):
        legend.paste(column, (sum(widths[:i]), 0))
    return legend


def _legend_column(
    entries: Sequence[tuple[FieldBox, tuple[int, int, int]]], row: int
) -> Image.Image:
    wide = max(
        max(text.width(f.label, LINE, "bold"), text.width(f.note, LABEL)) for f, _ in entries
    )
    canvas = np.full((row * len(entries), wide + 24 + MARGIN), WHITE, dtype=np.uint8)
    for i, (field, _) in enumerate(entries):
        write_caption(canvas[i * row :, 24:], field.label, [field.note])
    picture = to_rgb(canvas)
    draw = ImageDraw.Draw(picture)
    for i, (_, colour) in enumerate(entries):
        draw.rectangle((0, i * row + 2, 14, i * row + 16), fill=colour, outline=(20, 20, 20))
    return picture


def _beside(picture: Image.Image, legend: Image.Image) -> Image.Image:
    size = picture.width + MARGIN + legend.width, max(picture.height, legend.height)
    canvas = Image.new("RGB", size, "white")
    canvas.paste(picture, (0, 0))
    canvas.paste(legend, (picture.width + MARGIN, 0))
    return canvas
