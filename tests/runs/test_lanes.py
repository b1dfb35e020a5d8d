"""Networks for passes at the same time: apart, but for their weights."""

import threading
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from cnnviz.networks.models import LoadedModel
from cnnviz.runs.lanes import open_lanes

LoadToy = Callable[..., LoadedModel]


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def test_lanes_share_weights_and_nothing_else(as_model: LoadToy) -> None:
    model, other = as_model(network()), as_model(network())
    lanes = open_lanes([model, other], 3)
    first, second, third = (lanes.get() for _ in range(3))
    assert lanes.empty()
    assert first == (model, other)
    for copies in (second, third):
        for one, copy in zip(first, copies, strict=True):
            assert copy.module is not one.module
            assert not copy.module.training
            weights = zip(one.module.parameters(), copy.module.parameters(), strict=True)
            assert all(weight is same for weight, same in weights)
            assert all(
                torch.equal(mine, yours) and mine is not yours
                for mine, yours in zip(one.module.buffers(), copy.module.buffers(), strict=True)
            )
            assert (copy.preprocess, copy.name) == (one.preprocess, one.name)


def test_a_hook_of_one_lane_is_not_called_in_another(as_model: LoadToy) -> None:
    lanes = open_lanes([as_model(network())], 2)
    (first,), (second,) = lanes.get(), lanes.get()
    called = []
    first.module[0].register_forward_hook(lambda *_: called.append(1))
    second.module(torch.zeros(1, 3, 8, 8))
    assert not called
    first.module(torch.zeros(1, 3, 8, 8))
    assert called


def test_a_network_that_cannot_be_copied_has_one_lane(as_model: LoadToy) -> None:
    model = as_model(network())
    model.module.lock = threading.Lock()
    lanes = open_lanes([model], 4)
    assert lanes.qsize() == 1
    assert lanes.get() == (model,)


def test_a_device_that_does_one_thing_at_a_time_has_one_lane(as_model: LoadToy) -> None:
    model = replace(as_model(network()), device=torch.device("meta"))
    assert open_lanes([model], 4).qsize() == 1
