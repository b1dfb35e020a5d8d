"""The pictures of `filters`: tiles, plates and matrices, of one checkpoint or of several."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from cnnviz.choices import Normalize, ReduceInputs, Sort
from cnnviz.filters import FilterView, Floats, LayerFilters
from cnnviz.networks.catalog import checkpoint_names, tell_weights
from cnnviz.networks.models import LoadedModel
from cnnviz.render import text
from cnnviz.render.block import Caption
from cnnviz.render.canvas import Header
from cnnviz.render.grid import Note, draw_grid
from cnnviz.render.plate import draw_plate
from cnnviz.render.png import encode_frames, encode_png

_SIGNED, _UNSIGNED = "RdBu_r", "viridis"


@dataclass(frozen=True)
class FilterStyle:
    """How filters are drawn.

    Attributes:
        model: What stands above: the name of the network.
        normalize: Which weights share a scale; None for one per filter, and one for a matrix.
        cmap: A matplotlib colour map; None for a diverging one, or an even one for norms.
    """

    model: str
    normalize: Normalize | None = None
    cmap: str | None = None


def draw_view(
    model: LoadedModel, view: FilterView, style: FilterStyle, *, frames: bool = False
) -> Iterator[tuple[str, bytes]]:
    """Yield file names and PNG bytes: the picture of a layer, and its animation.

    Args:
        model: The network.
        view: What is shown of the layer.
        style: How.
        frames: Whether there is an animation, with a frame for each checkpoint.
    """
    about = {
        **model.about,
        "weights": [layer.weights for layer in view.layers],
        "layer": view.last.name,
        "channels": list(view.numbers),
        "in_channels": list(view.inputs),
    }
    name = view.last.file_name
    yield name, encode_png(draw_filters(view, style), about)
    if frames:
        animated = f"{name.removesuffix('.png')}.frames.png"
        yield animated, encode_frames(draw_frames(view, style), about)


def draw_filters(view: FilterView, style: FilterStyle) -> Image.Image:
    """Return one picture of a layer: RGB where it reads red, green and blue.

    With several checkpoints there is one row for each of them.
    """
    if len(view.layers) > 1:
        return _draw_series(view, style)
    tiles = _as_columns(view, view.tiles[0])
    norms = view.last.diagnosis.norms
    # Strips of one row of weights, of layers over time, are higher on a plate.
    if tiles.shape[1] == 1 and tiles.shape[2] > 1:
        labels = [str(number) for number in view.numbers]
        notes = [_note(view, i) for i in range(len(view.numbers))]
        return draw_grid(
            tiles[:, 0], labels, _header(view, style), notes=notes, signed=_is_signed(view),
            normalize=_normalize(view, style), cmap=_cmap(view, style),
        )  # fmt: skip
    rows = [Caption(_name(view, n), text.number(float(norms[n]))) for n in view.numbers]
    more = f"rows: filters with number and norm · columns: {_told_columns(view)}"
    return _draw_plate(view, style, tiles, rows, (0, _moments(view)), more)


def draw_frames(view: FilterView, style: FilterStyle) -> list[Image.Image]:
    """Return a picture for each checkpoint, in the same places and the same order of filters."""
    pictures = []
    for i, layer in enumerate(view.layers):
        one = replace(
            view, layers=(layer,), tiles=view.tiles[i : i + 1], shares=view.shares[i : i + 1]
        )
        pictures.append(draw_filters(one, style))
    return pictures


def _draw_series(view: FilterView, style: FilterStyle) -> Image.Image:
    names = checkpoint_names([layer.weights for layer in view.layers])
    tiles = [_as_columns(view, tiles) for tiles in view.tiles]
    count = len(view.layers)
    if view.last.is_matrix:
        rows = [Caption(_name(view, n), name) for name in names for n in view.numbers]
        return _draw_plate(view, style, np.concatenate(tiles), rows, (len(view.numbers), 0))
    if tiles[0].shape[1] > 1:
        rows = [Caption(str(n), name) for n in view.numbers for name in names]
        mixed = np.stack(tiles, axis=1).reshape(-1, *tiles[0].shape[1:])
        return _draw_plate(view, style, mixed, rows, (count, _moments(view)))
    rows = [Caption(name, _noise(layer)) for name, layer in zip(names, view.layers, strict=True)]
    return draw_plate(
        np.stack([one[:, 0] for one in tiles]), rows, [str(n) for n in view.numbers],
        _header(view, style), normalize=_normalize(view, style), cmap=_cmap(view, style),
        signed=_is_signed(view), by_row=False,
    )  # fmt: skip


def _draw_plate(
    view: FilterView,
    style: FilterStyle,
    tiles: Floats,
    rows: Sequence[Caption],
    together: tuple[int, int],
    more: str = "",
) -> Image.Image:
    return draw_plate(
        tiles, rows, _columns(view), _header(view, style, more), normalize=_normalize(view, style),
        cmap=_cmap(view, style), signed=_is_signed(view), together=together,
    )  # fmt: skip


def _reads_colours(view: FilterView) -> bool:
    layer = view.last
    channels = layer.values.shape[1] * layer.groups
    whole = view.reduce is ReduceInputs.NONE and view.inputs == (0, 1, 2)
    return whole and channels == 3 and layer.groups == 1 and not layer.is_matrix


def _as_columns(view: FilterView, tiles: Floats) -> Floats:
    """Return (K, J, T, H, W) as (K, columns, H, W), or (K, T, H, W, 3) for red, green and blue."""
    if _reads_colours(view):
        return np.moveaxis(tiles, 1, 4)
    return tiles.reshape(len(tiles), -1, *tiles.shape[3:])


def _moments(view: FilterView) -> int:
    """Return how many columns belong to one input channel: the slices over time."""
    slices = view.tiles[0].shape[2]
    return slices if slices > 1 and view.tiles[0].shape[1] > 1 and not _reads_colours(view) else 0


def _columns(view: FilterView) -> list[str]:
    _, channels, slices, *_ = view.tiles[0].shape
    colours = _reads_colours(view)
    sign = "+" if view.last.groups > 1 else ""
    inputs = [f"{sign}{n}" for n in view.inputs] if channels > 1 and not colours else [""]
    moments = [f"t{t}" for t in range(slices)] if slices > 1 else [""]
    return [f"{n} {t}".strip() for n in inputs for t in moments]


def _told_columns(view: FilterView) -> str:
    _, channels, slices, *_ = view.tiles[0].shape
    if slices > 1:
        alone = channels == 1 or _reads_colours(view)
        return "moments" if alone else "moments of each input channel"
    return "input channels"


def _is_signed(view: FilterView) -> bool:
    return view.reduce is not ReduceInputs.NORM


def _normalize(view: FilterView, style: FilterStyle) -> Normalize:
    return style.normalize or (Normalize.LAYER if view.last.is_matrix else Normalize.CHANNEL)


def _cmap(view: FilterView, style: FilterStyle) -> str:
    return style.cmap or (_SIGNED if _is_signed(view) else _UNSIGNED)


def _name(view: FilterView, number: int) -> str:
    classes = view.last.classes
    return f"{number} {classes[number]}" if classes and view.last.is_matrix else str(number)


def _note(view: FilterView, i: int) -> Note:
    """Return what stands behind the number of a filter: its norm, and what it was sorted by."""
    norm = text.number(float(view.last.diagnosis.norms[view.numbers[i]]))
    more = ""
    if view.sort is Sort.ORIENTATION and np.isfinite(view.orientations[i]):
        more = f"{view.orientations[i]:.0f}°"
    elif view.sort is Sort.FREQUENCY and np.isfinite(view.frequencies[i]):
        more = f"f {view.frequencies[i]:.2f}"
    elif view.shares and np.isfinite(view.shares[-1][i]):
        more = f"{view.shares[-1][i]:.0%}"
    if more:
        return (f"norm {norm} · {more}", f"{norm} · {more}", more)
    return (f"norm {norm}", norm)


def _noise(layer: LayerFilters) -> str:
    noise = layer.diagnosis.noise
    return "" if noise is None else f"noise {text.number(noise)}"


def _header(view: FilterView, style: FilterStyle, more: str = "") -> Header:
    layer = view.last
    weights = (
        tell_weights(layer.weights) if len(view.layers) == 1 else f"{len(view.layers)} checkpoints"
    )
    lines = [_tell_shape(view), f"{style.model} · {weights}"]
    if len(view.layers) == 1:
        lines.append(_tell_diagnosis(layer))
    return Header(layer.name, tuple(line for line in (*lines, more) if line))


def _tell_shape(view: FilterView) -> str:
    layer = view.last
    count, channels, *kernel = layer.values.shape
    filters = f"{len(view.numbers)} of {count}" if len(view.numbers) < count else str(count)
    inputs = f"{len(view.inputs)} of {channels}" if len(view.inputs) < channels else str(channels)
    shown = f"{filters} filters" + (f" × {inputs} inputs" if channels > 1 else "")
    size = "" if layer.is_matrix else f" of {' × '.join(map(str, kernel))}"
    ordered = "" if view.sort is Sort.INDEX else f"sorted by {view.sort.value}"
    parts = (layer.type, shown + size, _tell_groups(layer), _REDUCED[view.reduce], ordered)
    return " · ".join(part for part in parts if part)


_REDUCED = {
    ReduceInputs.NONE: "",
    ReduceInputs.MEAN: "mean over inputs",
    ReduceInputs.NORM: "norm over inputs",
    ReduceInputs.PCA: "principal component over inputs and its share",
}


def _tell_groups(layer: LayerFilters) -> str:
    if layer.groups == 1:
        return ""
    if layer.values.shape[1] > 1:
        return f"{layer.groups} groups: +0 is a filter's own first input"
    return "depthwise" if layer.groups == len(layer.values) else f"{layer.groups} groups"


def _tell_diagnosis(layer: LayerFilters) -> str:
    found = layer.diagnosis
    finite = found.finite_norms
    norms = (
        f"norms {text.number(finite.min())} … {text.number(finite.max())}" if len(finite) else ""
    )
    dead = f"{len(found.dead)} dead" if found.dead else ""
    alike = f"{found.duplicates} near-duplicates" if found.duplicates else ""
    return " · ".join(part for part in (norms, _noise(layer), dead, alike) if part)
