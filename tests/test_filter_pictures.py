"""Pictures of hand-made kernels, to the pixel."""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from cnnviz.choices import Normalize, ReduceInputs, Sort
from cnnviz.filter_pictures import FilterStyle, draw_filters, draw_frames
from cnnviz.filters import Choice, FilterView, read_filters, view
from cnnviz.networks.models import LoadedModel
from cnnviz.render import text
from cnnviz.render.canvas import LABEL, MARGIN
from cnnviz.render.palette import MAP_COLOURS, rgb_table
from cnnviz.selection import parse_channels

LoadToy = Callable[..., LoadedModel]
STRIP = text.line_height(LABEL) + 1
STYLE = FilterStyle("toy")
EVERY = parse_channels("all")


def shown(as_model: LoadToy, *weights: Tensor, **choice: object) -> FilterView:
    """Return a layer with these weights, one for each checkpoint."""
    layers = []
    for weight in weights:
        spatial = weight.ndim - 2
        kind = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)[spatial]
        module = kind(weight.shape[1], len(weight), *[weight.shape[2:]] * bool(spatial))
        module.weight.data = weight
        layers.append(read_filters(as_model(nn.Sequential(module)), ["0"])[0][0])
    return view(layers, Choice(EVERY, EVERY, **choice))


def bottom(image: Image.Image, height: int, width: int, left: int = 0) -> np.ndarray:
    """Return what stands in the lower left corner, as RGB."""
    pixels = np.asarray(image.convert("RGB"))
    x = MARGIN + left
    return pixels[-MARGIN - height : -MARGIN, x : x + width]


def test_a_kernel_of_2_x_2_in_colours(as_model: LoadToy) -> None:
    weight = torch.zeros(1, 3, 2, 2)
    weight[0, :, 0, 0] = torch.tensor([2.0, 0, 0])  # red
    weight[0, :, 0, 1] = torch.tensor([-2.0, -2, -2])  # black
    weight[0, :, 1, 0] = torch.tensor([1.0, 1, -1])
    image = draw_filters(shown(as_model, weight), STYLE)
    assert image.mode == "RGB"
    expected = np.array([[(255, 128, 128), (0, 0, 0)], [(191, 191, 64), (128, 128, 128)]], np.uint8)
    assert (bottom(image, 448, 448) == expected.repeat(224, 0).repeat(224, 1)).all()


def test_colours_of_a_layer_share_a_scale_on_request(as_model: LoadToy) -> None:
    weight = torch.ones(2, 3, 2, 2)
    weight[0] = 0.5
    apart = draw_filters(shown(as_model, weight), STYLE)
    together = draw_filters(shown(as_model, weight), FilterStyle("toy", Normalize.LAYER))
    assert (bottom(apart, 224, 224) == 255).all()
    assert (bottom(together, 224, 224) == 191).all()


def test_a_kernel_of_3_x_3_in_a_diverging_colour_map(as_model: LoadToy) -> None:
    kernel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    image = draw_filters(shown(as_model, kernel[None, None]), STYLE)
    assert image.mode == "P"
    indices = np.array([[50, 100, 149], [0, 100, 199], [50, 100, 149]])
    expected = rgb_table("RdBu_r")[indices].repeat(149, 0).repeat(149, 1)
    assert (bottom(image, 447, 447) == expected).all()
    negative, zero, positive = (rgb_table("RdBu_r")[i].astype(int) for i in (0, 100, 199))
    assert np.ptp(zero) < 5
    assert negative[2] > negative[0]
    assert positive[0] > positive[2]


def test_norms_have_no_sign(as_model: LoadToy) -> None:
    weight = torch.tensor([[3.0, 0], [0, 1]])[None, None].repeat(1, 4, 1, 1)
    image = draw_filters(shown(as_model, weight, reduce=ReduceInputs.NORM), STYLE)
    low, high = rgb_table("viridis")[[0, MAP_COLOURS - 1]]
    tile = bottom(image, 448, 448)
    assert (tile[:224, :224] == high).all()
    assert (tile[:224, 224:] == low).all()


def test_a_linear_layer_is_a_matrix_whose_rows_are_filters(as_model: LoadToy) -> None:
    weight = torch.tensor([[1.0, -1, 0], [0, 1, -1]])
    image = draw_filters(shown(as_model, weight), STYLE)
    body = np.asarray(image)[-MARGIN - 32 : -MARGIN]
    columns = np.flatnonzero((body < MAP_COLOURS).any(axis=0))
    assert len(columns) == 48
    cells = body[:, columns[0] : columns[0] + 48]
    expected = np.array([[199, 0, 100], [100, 199, 0]]).repeat(16, 0).repeat(16, 1)
    assert (cells == expected).all()


def test_moments_of_3_d_kernels_stand_side_by_side(as_model: LoadToy) -> None:
    weight = torch.zeros(1, 1, 2, 3, 3)
    weight[0, 0, 0] = 1
    weight[0, 0, 1] = -1
    body = np.asarray(draw_filters(shown(as_model, weight), STYLE))[-MARGIN - 72 : -MARGIN]
    columns = np.flatnonzero((body < MAP_COLOURS).all(axis=0))
    assert len(columns) == 2 * 72
    assert (body[:, columns[:72]] == 199).all()
    assert (body[:, columns[72:]] == 0).all()
    assert columns[72] - columns[71] > 1


def test_one_row_for_each_checkpoint(as_model: LoadToy) -> None:
    weights = [torch.zeros(2, 3, 2, 2), torch.zeros(2, 3, 2, 2)]
    weights[0][0] = weights[1][1] = 1
    weights[0][1, 0] = 5
    weights[1][0, 2] = 5
    image = draw_filters(shown(as_model, *weights), STYLE)
    area = np.asarray(image)[-MARGIN - 2 * 72 - 5 : -MARGIN]
    colours = {(255, 255, 255), (255, 128, 128), (128, 128, 255)}
    second = area[80]
    starts = [x for x in range(area.shape[1]) if tuple(second[x]) == (128, 128, 255)]
    assert len(starts) == 72
    assert tuple(area[10, starts[0]]) == (255, 255, 255)
    assert tuple(area[10, starts[0] + 77]) == (255, 128, 128)
    assert {tuple(p) for p in area[:, starts[0] : starts[0] + 72].reshape(-1, 3)} <= colours


def test_slices_of_checkpoints_stand_below_one_another(as_model: LoadToy) -> None:
    early, late = torch.ones(2, 6, 3, 3), -torch.ones(2, 6, 3, 3)
    image = draw_filters(shown(as_model, early, late), STYLE)
    body = np.asarray(image)[100:]
    column = body[:, np.flatnonzero((body < MAP_COLOURS).any(axis=0))[0]]
    runs = [int(c) for c, before in zip(column[1:], column, strict=False) if c != before]
    assert [c for c in runs if c < MAP_COLOURS] == [199, 0] * 2


def test_frames_show_the_same_filters_in_the_same_places(as_model: LoadToy) -> None:
    weights = [torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(i)) for i in (0, 1)]
    frames = draw_frames(shown(as_model, *weights, sort=Sort.NORM), STYLE)
    order = weights[1].flatten(1).norm(dim=1).argsort(descending=True)
    for weight, frame in zip(weights, frames, strict=True):
        alone = draw_filters(shown(as_model, weight[order]), STYLE)
        size = 2 * (144 + STRIP) + 8
        assert (bottom(frame, size, size) == bottom(alone, size, size)).mean() > 0.99
