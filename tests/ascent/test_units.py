from dataclasses import replace

import pytest
import torch
from torch import nn
from torchvision import models as zoo

from cnnviz.ascent.units import Wanted, last_layer, picture_size, plan_units, relu_before
from cnnviz.choices import Goal
from cnnviz.errors import UnknownNameError, UsageError
from cnnviz.networks.models import LoadedModel, load_structure
from cnnviz.photos.preprocess import Preprocess
from cnnviz.selection import ChannelSpec, parse_channels
from cnnviz.tracer import trace, trace_module

ALL = ChannelSpec("all")


@pytest.fixture(scope="module")
def resnet():
    records = trace("resnet18")
    return {record.label: record for record in records}


@pytest.mark.parametrize(
    ("layer", "side"),
    [
        ("conv1", 32),  # a field of 7, but no picture is smaller
        ("layer1.1.conv2", 56),  # 43 and twice 4 of jitter, in eights
        ("layer2.1.conv2", 112),  # 99 and 8
        ("layer3.1.conv2", 224),  # 211 and 8
        ("layer4.1.conv2", 224),  # 435: no more than the input
        ("fc", 224),  # no field
    ],
)
def test_pictures_are_as_large_as_the_receptive_field_asks_for(resnet, layer, side):
    assert picture_size(resnet[layer], (224, 224)) == (side, side)


def test_no_picture_is_larger_than_the_input(resnet):
    assert picture_size(resnet["layer2.1.conv2"], (64, 224)) == (64, 112)
    assert picture_size(resnet["conv1"], (28, 28)) == (28, 28)


def test_beyond_the_picture_there_is_no_gradient():
    """The claim behind the size: the middle unit reads nothing outside, measured by autograd."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 7, stride=2), nn.ReLU(), nn.Conv2d(4, 4, 5, stride=2), nn.Conv2d(4, 2, 5)
    ).eval()
    record = trace_module(network, (128, 128))[-2]
    rows, _ = picture_size(record, (128, 128))
    assert rows == 40
    source = torch.randn(1, 3, 128, 128, requires_grad=True)
    output = network(source)
    output[0, 0, output.shape[2] // 2, output.shape[3] // 2].backward()
    seen = source.grad.abs().sum((0, 1)).nonzero()
    assert (seen.amax(0) - seen.amin(0) + 1 <= rows).all()


@pytest.mark.parametrize("layer", ["conv_proj", "encoder.layers.encoder_layer_0.mlp"])
def test_a_network_that_takes_one_size_gets_it(layer):
    with torch.device("meta"):
        network = zoo.vit_b_32(image_size=64).eval()
    preprocess = Preprocess((64, 64), (64, 64))
    model = LoadedModel(network, preprocess, None, "vit", "none", torch.device("meta"))
    records = trace_module(network, (64, 64))
    (unit,), _ = plan_units(model, records, Wanted((layer,), parse_channels("0")))
    assert unit.size == (64, 64)


def test_a_network_that_is_particular_at_its_end_alone_gets_small_pictures():
    model = load_structure("alexnet")
    records = trace_module(model.module, (224, 224))
    (unit,), _ = plan_units(model, records, Wanted(("features.0",), parse_channels("0")))
    assert unit.size == (32, 32)


@pytest.mark.parametrize(
    ("layer", "relu"),
    [("conv", None), ("relu", "relu"), ("pool", "relu"), ("head", None)],
)
def test_the_relu_before_a_layer_is_found_through_what_keeps_channels(records, layer, relu):
    labels = [record.label for record in records]
    assert relu_before(records, labels.index(layer)) == relu


def test_the_last_relu_of_a_block_stands_before_what_the_block_gives():
    records = trace("resnet18")
    labels = [record.label for record in records]
    assert relu_before(records, labels.index("layer1.0")) == "layer1.0.relu#2"


def test_units_are_named_by_channel_and_negatives_follow(colours, records):
    wanted = Wanted(("conv", "pool"), parse_channels("2,0"), negative=True)
    units, skipped = plan_units(colours, records, wanted)
    names = ["2", "2-negative", "0", "0-negative"]
    assert [unit.name for unit in units] == names * 2
    assert [unit.goal for unit in units][:2] == ["channel", "-channel"]
    assert {unit.record.label for unit in units[:4]} == {"conv"}
    assert not skipped


def test_a_layer_is_one_unit_whatever_the_channels(colours, records):
    units, _ = plan_units(colours, records, Wanted(("conv",), ALL, Goal.LAYER))
    assert [(unit.name, unit.channel) for unit in units] == [("layer", None)]


def test_classes_need_no_layer_and_have_names():
    model = load_structure("demo")
    records = trace_module(model.module, (224, 224))
    wanted = Wanted(("stages",), ("star", "Rings", "3"), Goal.CLASS)
    units, _ = plan_units(model, records, wanted)
    assert [model.classes[unit.channel] for unit in units[:2]] == ["star", "rings"]
    assert units[2].channel == 3
    assert {unit.record.label for unit in units} == {"fc"}
    with pytest.raises(UnknownNameError, match="unknown class 'stra'; did you mean star"):
        plan_units(model, records, Wanted(("stages",), ("stra",), Goal.CLASS))


def test_a_softmax_is_looked_through():
    network = nn.Sequential(
        nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 5), nn.Softmax(1)
    )
    records = trace(network, 16)
    assert records[last_layer(records)].label == "3"


def test_a_network_without_classes_is_told_so():
    with pytest.raises(UsageError, match="1x2x36 is no list of classes"):
        last_layer(trace(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(2)), 8))


def test_classes_that_have_a_map_each_are_those_of_the_whole_head():
    class Head(nn.Module):
        """Adds up two maps, as the lite head for segmentation does."""

        def __init__(self):
            super().__init__()
            self.low, self.high = nn.Conv2d(4, 5, 1), nn.Conv2d(4, 5, 1)

        def forward(self, x):
            return self.low(x) + self.high(x)

    class Segmentation(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.classifier = nn.Conv2d(3, 4, 3), Head()
            self.aux_classifier = nn.Conv2d(4, 5, 1)

        def forward(self, x):
            x = self.backbone(x)
            return {"out": self.classifier(x), "aux": self.aux_classifier(x)}

    records = trace(Segmentation(), 16)
    assert records[last_layer(records)].label == "classifier"


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Wanted(("conv",), parse_channels("4")), "layer conv: channel 4 does not exist"),
        (Wanted(("conv",), ("red",)), "'red' must be a number"),
        (Wanted(("stages",), ("red",), Goal.CLASS), "'red' must be a number"),
        (Wanted(("convv",), ALL), "unknown layer 'convv'; did you mean conv"),
    ],
)
def test_what_does_not_exist_is_wrong_usage(colours, records, wanted, said):
    with pytest.raises(UsageError, match=said):
        plan_units(colours, records, wanted)


def test_a_layer_of_unknown_layout_is_skipped_or_alone_wrong_usage(as_model):
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Unflatten(1, (1, 2)))
    model = as_model(network, (8, 8))
    records = trace_module(network, (8, 8))
    units, skipped = plan_units(model, records, Wanted(("all",), ALL))
    assert {unit.record.label for unit in units} == {"0"}
    assert [record.label for record in skipped] == ["1"]
    with pytest.raises(UsageError, match="can be maximised: 1: output"):
        plan_units(model, records, Wanted(("1",), ALL))


def test_random_numbers_are_the_units_own(colours, records):
    units, _ = plan_units(colours, records, Wanted(("conv", "pool"), ALL, negative=True))
    seeds = {unit.generator(0, "start").initial_seed() for unit in units}
    assert len(seeds) == len(units) == 16
    unit = units[0]
    assert unit.generator(1, "start").initial_seed() not in seeds
    assert unit.generator(0, "moves").initial_seed() not in seeds
    assert unit.generator(0, "start").initial_seed() in seeds


def test_pictures_for_networks_that_take_any_size_are_not_huge(resnet):
    size = (800, 800)
    assert picture_size(resnet["layer1.1.conv2"], size, any_size=True) == (56, 56)
    record = resnet["layer3.1.conv2"]
    wide = replace(record, receptive_field=replace(record.receptive_field, size=(211, 471)))
    assert picture_size(wide, size, any_size=True) == (224, 256)
    assert picture_size(wide, size) == (224, 480)
    assert picture_size(resnet["fc"], size, any_size=True) == (128, 128)
