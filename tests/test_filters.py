"""Which layers have filters, and what is shown of them."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cnnviz.choices import ReduceInputs, Sort
from cnnviz.errors import UnknownNameError, UsageError
from cnnviz.filters import Choice, FilterView, join, read_filters, view
from cnnviz.networks.models import LoadedModel
from cnnviz.selection import parse_channels

LoadToy = Callable[..., LoadedModel]


class Twice(nn.Module):
    """Calls one convolution twice, and another one in between."""

    def __init__(self) -> None:
        super().__init__()
        self.late = nn.Conv2d(4, 4, 3, padding=1)
        self.first = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x))
        return self.late(self.late(x))


def names_of(model: LoadedModel, *patterns: str) -> list[str]:
    return [layer.name for layer in read_filters(model, patterns)[0]]


def test_layers_are_in_order_of_execution_and_a_module_is_there_once(as_model: LoadToy) -> None:
    model = as_model(Twice())
    assert names_of(model, "conv") == ["first", "late"]
    assert names_of(model, "first") == ["first"]
    assert names_of(model, "last") == ["late"]
    assert names_of(model, "late#2") == ["late"]


def test_layers_without_filters_are_skipped_with_a_reason(as_model: LoadToy) -> None:
    model = as_model(Twice())
    found, skipped, note = read_filters(model, ["all"])
    assert [layer.name for layer in found] == ["first", "late"]
    assert note == ""
    assert skipped == {"norm": "BatchNorm2d has no filters of its own"}
    with pytest.raises(UsageError, match="no layer of norm has filters: norm: BatchNorm2d has no"):
        read_filters(model, ["norm"])
    with pytest.raises(UnknownNameError, match="did you mean first"):
        read_filters(model, ["fist"])


def test_a_network_that_takes_no_picture_has_its_layers_in_order_of_registration(
    as_model: LoadToy,
) -> None:
    audio = as_model(nn.Sequential(nn.Conv1d(1, 4, 9), nn.ReLU(), nn.Conv1d(4, 2, 5)))
    assert names_of(audio, "conv") == ["0", "2"]
    assert names_of(audio, "first") == ["0"]
    assert "order of registration, as the network does not run" in read_filters(audio, ["0"]).note


def test_a_parametrized_convolution_is_the_first_one(as_model: LoadToy) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    nn.utils.parametrizations.weight_norm(network[0])
    (layer,) = read_filters(as_model(network), ["first"])[0]
    assert (layer.name, layer.type, layer.weight_shape) == ("0", "Conv2d", (4, 3, 3, 3))


def seen(
    as_model: LoadToy,
    weight: Tensor,
    *,
    channels: str = "all",
    in_channels: str = "all",
    clipped: bool = False,
    **choice: object,
) -> FilterView:
    """Return what is shown of one convolution with this weight."""
    kernel = tuple(weight.shape[2:])
    padding = tuple(side // 2 for side in kernel)
    network = (
        nn.Conv2d(3, weight.shape[1], 1),
        nn.Conv2d(weight.shape[1], len(weight), kernel, padding=padding),
    )
    network[1].weight.data = weight
    layers, *_ = read_filters(as_model(nn.Sequential(*network)), ["1"])
    specs = (parse_channels(text, clipped=clipped) for text in (channels, in_channels))
    return view(layers, Choice(*specs, **choice))


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def test_channels_pick_filters_and_inputs_in_the_order_typed(as_model: LoadToy) -> None:
    weight = random(5, 4, 2, 3)
    shown = seen(as_model, weight, channels="3,0-1", in_channels="2,1")
    assert (shown.numbers, shown.inputs) == ((3, 0, 1), (2, 1))
    expected = weight[[3, 0, 1]][:, [2, 1]][:, :, None]
    assert np.array_equal(shown.tiles[0], expected.numpy())


def test_channels_that_are_not_there_are_wrong_usage(as_model: LoadToy) -> None:
    with pytest.raises(UsageError, match="layer 1, filter channels: channel 5 does not exist"):
        seen(as_model, random(5, 4, 3, 3), channels="5")
    with pytest.raises(UsageError, match="layer 1, input channels: channel 4 does not exist"):
        seen(as_model, random(5, 4, 3, 3), in_channels="4")


def test_the_default_spares_tiles_only(as_model: LoadToy) -> None:
    usual = {"channels": "0-1", "in_channels": "0-1", "clipped": True}
    assert seen(as_model, random(5, 4, 3, 3), **usual).tiles[0].shape == (2, 2, 1, 3, 3)
    assert seen(as_model, random(5, 4, 1, 1), **usual).tiles[0].shape == (5, 4, 1, 1, 1)
    mean = seen(as_model, random(5, 4, 3, 3), **usual, reduce=ReduceInputs.MEAN)
    assert mean.inputs == (0, 1, 2, 3)


def test_top_is_the_largest_norms(as_model: LoadToy) -> None:
    weight = random(5, 4, 3, 3)
    weight[3] *= 9
    weight[1] *= 5
    weight[:, 2] *= 20
    shown = seen(as_model, weight, channels="top:2", in_channels="top:1")
    assert (shown.numbers, shown.inputs) == ((3, 1), (2,))


def test_mean_and_norm_go_over_the_inputs_that_are_chosen(as_model: LoadToy) -> None:
    weight = random(2, 3, 2, 2)
    chosen = weight[:, [0, 2]].numpy()
    mean = seen(as_model, weight, in_channels="0,2", reduce=ReduceInputs.MEAN).tiles[0]
    norm = seen(as_model, weight, in_channels="0,2", reduce=ReduceInputs.NORM).tiles[0]
    assert mean[:, 0, 0] == pytest.approx((chosen[:, 0] + chosen[:, 1]) / 2)
    assert norm[:, 0, 0] == pytest.approx(np.hypot(chosen[:, 0], chosen[:, 1]))


def test_pca_finds_the_kernel_that_all_slices_share(as_model: LoadToy) -> None:
    pattern = torch.tensor([[1.0, 2, 1], [0, 0, 0], [-1, -2, -1]])
    loads = torch.tensor([0.5, -2.0, 1.0])
    weight = (loads[:, None, None] * pattern)[None]
    shown = seen(as_model, weight, reduce=ReduceInputs.PCA)
    # All of it, with the sign of the strongest slice.
    expected = -pattern * loads.norm()
    assert shown.tiles[0][0, 0, 0] == pytest.approx(expected.numpy(), abs=1e-5)
    assert shown.shares[0][0] == pytest.approx(1)


def test_pca_tells_what_share_it_shows(as_model: LoadToy) -> None:
    weight = torch.zeros(1, 2, 1, 2)
    weight[0, 0, 0, 0] = 3
    weight[0, 1, 0, 1] = 1
    shown = seen(as_model, weight, reduce=ReduceInputs.PCA)
    assert shown.tiles[0].ravel() == pytest.approx([3, 0])
    assert shown.shares[0][0] == pytest.approx(0.9)


def test_pca_of_a_filter_with_nan_is_nan_and_of_the_others_is_not(as_model: LoadToy) -> None:
    weight = random(3, 2, 3, 3)
    weight[1, 0, 0, 0] = torch.nan
    tiles = seen(as_model, weight, reduce=ReduceInputs.PCA).tiles[0]
    assert np.isnan(tiles[1]).all()
    assert np.isfinite(tiles[[0, 2]]).all()


def striped(degrees: float, cycles: float) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(7.0), torch.arange(7.0), indexing="ij")
    angle = torch.deg2rad(torch.tensor(degrees + 90))
    phase = cycles * (columns * torch.cos(angle) - rows * torch.sin(angle))
    return torch.cos(2 * torch.pi * phase).expand(2, 7, 7)


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        (Sort.INDEX, (0, 1, 2)),
        (Sort.NORM, (1, 2, 0)),
        (Sort.FREQUENCY, (2, 0, 1)),
        (Sort.ORIENTATION, (1, 2, 0)),
    ],
)
def test_filters_are_sorted(as_model: LoadToy, sort: Sort, order: tuple[int, ...]) -> None:
    weight = torch.stack([0.1 * striped(130, 0.22), 4 * striped(20, 0.34), striped(75, 0.15)])
    shown = seen(as_model, weight, sort=sort)
    assert shown.numbers == order
    assert np.array_equal(shown.tiles[0][:, :, 0], weight[list(order)].numpy())
    assert shown.orientations[order.index(0)] == pytest.approx(130, abs=6)


def test_kernels_without_an_orientation_stay_in_order(as_model: LoadToy) -> None:
    shown = seen(as_model, random(4, 2, 1, 1), sort=Sort.ORIENTATION)
    assert (shown.numbers, shown.sort) == ((0, 1, 2, 3), Sort.INDEX)
    by_norm = seen(as_model, torch.tensor([1.0, 3, 2])[:, None, None, None], sort=Sort.NORM)
    assert by_norm.numbers == (1, 2, 0)


def test_checkpoints_are_joined_layer_by_layer_and_must_fit(as_model: LoadToy) -> None:
    early, late = (read_filters(as_model(Twice()), ["conv"])[0] for _ in range(2))
    assert [[layer.name for layer in same] for same in join([early, late])] == [
        ["first", "first"], ["late", "late"],
    ]  # fmt: skip
    other = nn.Sequential()
    other.add_module("first", nn.Conv2d(3, 4, 5))
    with pytest.raises(UsageError, match="first cannot be compared: 4x3x3x3 in none, 4x3x5x5"):
        join([early[:1], read_filters(as_model(other), ["conv"])[0]])


def test_the_last_checkpoint_says_which_filters_are_shown(as_model: LoadToy) -> None:
    snapshots = []
    for strongest in (0, 2):
        network = nn.Conv2d(3, 4, 3)
        network.weight.data = random(4, 3, 3, 3)
        network.weight.data[strongest] *= 10
        snapshots.append(read_filters(as_model(nn.Sequential(network)), ["0"])[0])
    every = parse_channels("all")
    (same,) = join(snapshots)
    shown = view(same, Choice(parse_channels("top:1"), every))
    assert shown.numbers == (2,)
    assert [tiles.shape for tiles in shown.tiles] == [(1, 3, 1, 3, 3)] * 2
    assert np.array_equal(shown.tiles[0][0, :, 0], same[0].values[2].numpy())
