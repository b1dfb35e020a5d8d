"""Gradients at layers against torch.autograd on the same network written without hooks."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from cnnviz.choices import Reduce
from cnnviz.errors import ModelError, UnknownNameError, UsageError
from cnnviz.gradients import add_gradients, find_target
from cnnviz.maps import LayerMaps, look, plan_layers
from cnnviz.networks.models import LoadedModel
from cnnviz.selection import parse_channels

LoadToy = Callable[..., LoadedModel]


class Network(nn.Module):
    """Overwrites what layers gave, as a module and as a function, and calls one module twice."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.conv = nn.Conv2d(3, 5, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.deep = nn.Conv2d(5, 6, 3)
        self.beside = nn.Conv2d(3, 2, 1)
        self.head = nn.Linear(6, 4)
        self.head.weight.data -= self.head.weight.data.mean(1, keepdim=True)
        self.head.bias.data.zero_()

    def forward(self, x: Tensor) -> Tensor:
        self.beside(x)
        x = self.relu(self.conv(x))
        x = F.relu(self.deep(x), inplace=True)
        x = self.relu((x * 2).sub_(0.3))
        return self.head(x.mean((2, 3)))


def by_hand(network: Network, picture: Tensor, number: int | None) -> dict[str, Tensor]:
    """Return the gradient at each layer for one picture, nothing overwritten."""
    kept = {"conv": network.conv(picture[None].requires_grad_())}
    kept["relu"] = kept["conv"].relu()
    kept["deep"] = network.deep(kept["relu"])
    kept["relu#2"] = (kept["deep"].relu() * 2 - 0.3).relu()
    kept["head"] = network.head(kept["relu#2"].mean((2, 3)))
    score = kept["head"][0].max() if number is None else kept["head"][0, number]
    found = torch.autograd.grad(score, list(kept.values()))
    return {label: one[0] for label, one in zip(kept, found, strict=True)}


def pictures(count: int = 6, side: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    colours = 3 * torch.randn(count, 3, 1, 1, generator=generator)
    return colours + torch.randn(count, 3, side, side, generator=generator)


def gradients(
    model: LoadedModel,
    batch: Tensor,
    wanted: str | None = None,
    layers: str = "all",
    channels: str = "all",
    reduce: Reduce = Reduce.NONE,
) -> list[dict[str, LayerMaps]]:
    plans, _ = plan_layers(model, [layers], parse_channels(channels), reduce)
    seen = add_gradients(model, batch, look(model, batch, plans), find_target(model, wanted))
    return [{maps.plan.record.label: maps for maps in picture} for picture in seen]


@pytest.mark.parametrize("number", [None, 2])
def test_gradients_are_those_of_autograd_also_where_layers_are_overwritten(
    as_model: LoadToy, number: int | None
) -> None:
    model = as_model(Network(), (7, 7))
    batch = pictures()
    wanted = None if number is None else str(number)
    for picture, found in zip(batch, gradients(model, batch, wanted), strict=True):
        expected = by_hand(model.module, picture.clone(), number)
        for label, gradient in expected.items():
            values = found[label].gradient.values
            assert np.allclose(values, gradient.reshape(values.shape), atol=1e-6), label
            norms = found[label].statistics.gradient
            assert norms.norm == pytest.approx(float(gradient.norm()), rel=1e-4)
            assert norms.relative == pytest.approx(norms.norm), "the score is an output itself"


def test_a_layer_that_the_score_does_not_depend_on_has_a_gradient_of_zero(
    as_model: LoadToy,
) -> None:
    (found,) = gradients(as_model(Network(), (7, 7)), pictures(1))
    assert found["beside"].statistics.gradient.norm == 0
    assert found["beside"].gradient.values.shape == (2, 7, 7)
    assert not found["beside"].gradient.values.any()


def test_the_strongest_class_is_that_of_each_photo(as_model: LoadToy) -> None:
    model = as_model(Network(), (7, 7))
    with torch.no_grad():
        strongest = model.module(pictures()).argmax(1).tolist()
    assert len(set(strongest)) > 1, "else the test tells nothing"
    found = gradients(model, pictures())
    assert [one["conv"].gradient.number for one in found] == strongest


def test_channels_are_those_that_are_shown(as_model: LoadToy) -> None:
    model = as_model(Network(), (7, 7))
    whole, top, mean = (
        gradients(model, pictures(2), layers="conv", **options)[1]["conv"]
        for options in ({}, {"channels": "top:2"}, {"reduce": Reduce.MEAN})
    )
    assert np.array_equal(top.gradient.values, whole.gradient.values[list(top.channels)])
    assert np.allclose(mean.gradient.values, whole.gradient.values.mean(0, keepdims=True))
    assert top.statistics.gradient == whole.statistics.gradient


def test_the_score_of_maps_is_their_mean_and_norms_are_relative_to_the_output(
    as_model: LoadToy,
) -> None:
    model = as_model(nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Conv2d(2, 3, 3)), (6, 6))
    (found,) = gradients(model, pictures(1, 6), "1")
    assert found["2"].gradient.values[1] == pytest.approx(np.full((4, 4), 1 / 16))
    assert not found["2"].gradient.values[[0, 2]].any()
    assert found["2"].statistics.gradient.relative == pytest.approx(1)
    inner = found["0"].statistics.gradient
    assert inner.relative == pytest.approx(inner.norm * 4)


def test_gradients_that_all_but_vanish_are_measured_all_the_same(as_model: LoadToy) -> None:
    class Shrinks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 1e-30

    network = nn.Sequential(nn.Identity(), Shrinks(), nn.Flatten())
    (found,) = gradients(as_model(network, (2, 2)), pictures(1, 2))
    assert found["0"].statistics.gradient.relative == pytest.approx(1e-30, rel=1e-3)


def test_the_norm_is_that_of_all_tokens_also_where_maps_leave_out_the_class_token(
    as_model: LoadToy,
) -> None:
    torch.manual_seed(0)
    network = VisionTransformer(
        image_size=32, patch_size=8, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=16,
        num_classes=3,
    )  # fmt: skip
    nn.init.normal_(network.heads.head.weight)
    (found,) = gradients(as_model(network, (32, 32)), pictures(1, 32), "2", "encoder.ln")
    last = found["encoder.ln"]
    assert last.gradient.values.shape == (8, 4, 4)
    assert not last.gradient.values.any(), "the score is read off the class token alone"
    expected = float(network.heads.head.weight[2].detach().norm())
    assert last.statistics.gradient.norm == pytest.approx(expected, rel=1e-5)


def test_a_network_may_overwrite_its_own_input(as_model: LoadToy) -> None:
    network = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten())
    (found,) = gradients(as_model(network, (2, 2)), pictures(1, 2))
    assert found["0"].statistics.gradient.norm == pytest.approx(1)


def test_norms_of_several_pictures_are_averaged(as_model: LoadToy) -> None:
    found = [one["conv"].statistics for one in gradients(as_model(Network(), (7, 7)), pictures(3))]
    merged = found[0].merge(found[1]).merge(found[2])
    norms = [one.gradient.norm for one in found]
    assert len(set(norms)) == 3
    assert merged.gradient.norm == pytest.approx(sum(norms) / 3)
    assert merged.health.gradient == pytest.approx(sum(norms) / 3)


def test_the_network_is_left_as_it_was(as_model: LoadToy) -> None:
    model = as_model(Network(), (7, 7))
    model.module.requires_grad_(False)
    batch = pictures(2)
    before = batch.clone()
    gradients(model, batch)
    assert torch.equal(batch, before)
    assert not batch.requires_grad
    for module in model.module.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert all(p.grad is None and not p.requires_grad for p in model.module.parameters())


def test_a_network_that_lets_no_gradient_through_is_an_error(as_model: LoadToy) -> None:
    class Cuts(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.detach().mean((2, 3))

    with pytest.raises(ModelError, match="toy gives no gradients"):
        gradients(as_model(nn.Sequential(nn.Identity(), Cuts()), (2, 2)), pictures(1, 2))


def test_classes_are_found_by_number_and_name(as_model: LoadToy) -> None:
    model = as_model(Network(), (7, 7))
    named = replace(model, classes=("tabby", "Tiger cat", "lynx", "puma"))
    assert find_target(named, "tiger CAT").number == 1
    assert find_target(named, "3").number == 3
    assert find_target(named, None).number is None
    with pytest.raises(UnknownNameError, match="unknown class 'tabi'; did you mean tabby"):
        find_target(named, "tabi")
    with pytest.raises(UsageError, match="toy has no class 4: they are 0 to 3"):
        find_target(model, "4")
    with pytest.raises(UsageError, match="have no names; give a number, 0 to 3"):
        find_target(model, "tabby")


def test_gradients_of_a_clip_are_those_of_autograd_at_each_moment(as_model: LoadToy) -> None:
    torch.manual_seed(0)
    first, last = nn.Conv3d(3, 4, 3, padding=1), nn.Linear(4, 2)
    network = nn.Sequential(first, nn.AdaptiveAvgPool3d(1), nn.Flatten(), last)
    model = as_model(network)
    clips = torch.rand(2, 3, 16, 8, 8)
    plans, _ = plan_layers(model, ["0"], parse_channels("all"), Reduce.NONE)
    target = find_target(model, "1")
    found = add_gradients(model, clips, look(model, clips, plans), target)
    # Each of the places has the same share of the mean.
    expected = last.weight[1].detach().numpy()[:, None, None, None] / (16 * 8 * 8)
    for (maps,) in found:
        assert maps.gradient is not None
        np.testing.assert_allclose(
            maps.gradient.values, np.broadcast_to(expected, (4, 16, 8, 8)), rtol=1e-4
        )
