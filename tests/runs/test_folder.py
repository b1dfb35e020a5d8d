"""What a run is told apart by; what it does is in `cli/test_resume.py` and `cli/test_kill.py`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from cnnviz.choices import Reduce
from cnnviz.maps import plan_layers
from cnnviz.networks.models import LoadedModel
from cnnviz.pictures import Style
from cnnviz.runs.batch import MapsJob
from cnnviz.runs.folder import describe
from cnnviz.selection import parse_channels

LoadToy = Callable[..., LoadedModel]


def told(model: LoadedModel, channels: str = "all", reduce: Reduce = Reduce.NONE) -> dict:
    plans, _ = plan_layers(model, ["0"], parse_channels(channels), reduce)
    return describe(MapsJob(model, plans, Style(), Path("out")))


def toy(as_model: LoadToy) -> LoadedModel:
    torch.manual_seed(0)
    return as_model(nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)))


def test_weights_are_told_by_their_values_wherever_they_lie(as_model: LoadToy) -> None:
    one, other = toy(as_model), toy(as_model)
    assert told(one) == told(other)
    other.module.to(memory_format=torch.channels_last)
    assert told(one) == told(other)
    other.module[1].running_mean[3] += 1e-7
    changed = {name for name, value in told(one).items() if told(other)[name] != value}
    assert changed == {"content of the weights"}


def test_channels_are_told_as_they_are_written(as_model: LoadToy) -> None:
    model = toy(as_model)
    assert told(model, "0,2-4,7")["channels of 0"] == "0,2-4,7"
    assert told(model, "top:3")["channels of 0"] == "top:3"
    assert told(model, "all", Reduce.MAX)["channels of 0"] == "max of 0-7"
    assert told(model, "5")["channels of 0"] == "5"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("resize", {"resize": (9, 9)}),
        ("crop", {"stretch": True}),
        ("mean", {"mean": (0.1, 0.0, 0.0)}),
        ("std", {"std": (0.5, 1.0, 1.0)}),
        ("grey", {"grey": True}),
    ],
)
def test_how_photos_are_prepared_is_told(as_model: LoadToy, name: str, change: dict) -> None:
    one = toy(as_model)
    other = replace(one, preprocess=replace(one.preprocess, **change))
    before, after = told(one), told(other)
    assert {key for key in before if before[key] != after[key]} == {name}


def test_names_of_classes_are_told(as_model: LoadToy) -> None:
    one = toy(as_model)
    before, after = told(one), told(replace(one, classes=("a", "b")))
    assert {key for key in before if before[key] != after[key]} == {"class names"}
