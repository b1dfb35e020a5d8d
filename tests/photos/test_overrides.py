"""What options say of the preprocessing, against torchvision's transforms of the same numbers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision import transforms

from cnnviz.errors import UsageError
from cnnviz.networks.models import load_model
from cnnviz.networks.sources import find_source
from cnnviz.photos.images import open_image
from cnnviz.photos.overrides import Overrides, parse_overrides
from cnnviz.photos.preprocess import Preprocess

IMAGENET = Preprocess((224, 224), (256, 256), source="assumed")
USUAL = transforms.Normalize(IMAGENET.mean, IMAGENET.std)

GREY = """
from torch import nn

def lenet():
    return nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 24 * 24, 10))

def adapted():
    return nn.Sequential(nn.Conv2d(1, 3, 1), nn.Conv2d(3, 8, 3), nn.ReLU())

def radar():
    return nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU())

def plain():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 5, 3))
"""


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(GREY)
    return str(tmp_path / "net.py")


@pytest.mark.parametrize(
    ("options", "theirs"),
    [
        ({}, [transforms.Resize(256), transforms.CenterCrop(224)]),
        ({"input_size": "112"}, [transforms.Resize(128), transforms.CenterCrop(112)]),
        ({"crop": "112"}, [transforms.Resize(256), transforms.CenterCrop(112)]),
        ({"resize": "300"}, [transforms.Resize(300), transforms.CenterCrop(224)]),
        (
            {"resize": "64", "crop": "56x40"},
            [transforms.Resize(64), transforms.CenterCrop((56, 40))],
        ),
        ({"resize": "64", "input_size": "56"}, [transforms.Resize(64), transforms.CenterCrop(56)]),
        ({"crop": "48", "input_size": "48"}, [transforms.Resize(55), transforms.CenterCrop(48)]),
        ({"crop": "none"}, [transforms.Resize((224, 224))]),
        ({"crop": "none", "resize": "60x40"}, [transforms.Resize((60, 40))]),
        ({"crop": "NONE", "input_size": "60x40"}, [transforms.Resize((60, 40))]),
        (
            {"grey": True},
            [transforms.Resize(256), transforms.CenterCrop(224), transforms.Grayscale(3)],
        ),
    ],
    ids=str,
)
def test_sizes_and_colours_are_torchvisions_to_the_bit(
    photos: list[Path], options: dict[str, Any], theirs: list[Any]
) -> None:
    ours = parse_overrides(**options).over(IMAGENET)
    chain = transforms.Compose([*theirs, transforms.ToTensor(), USUAL])
    for path in photos[:3]:
        photo = open_image(path)
        assert torch.equal(torch.from_numpy(ours.normalize(ours.crop(photo))), chain(photo))


@pytest.mark.parametrize(
    ("mean", "std"), [(["0.5"], ["0.25"]), (["0.4, 0.5,0.6"], ["0.1", "0.2", "1"])]
)
def test_normalisation_is_torchvisions(photos: list[Path], mean: list[str], std: list[str]) -> None:
    ours = parse_overrides(mean=mean, std=std).over(IMAGENET).with_channels(3)
    numbers = [[float(x) for x in ",".join(values).split(",")] for values in (mean, std)]
    theirs = transforms.Compose([transforms.ToTensor(), transforms.Normalize(*numbers)])
    seen = ours.crop(open_image(photos[0]))
    assert torch.equal(torch.from_numpy(ours.normalize(seen)), theirs(seen))


def test_what_is_not_said_stays_and_what_is_said_is_named() -> None:
    told = parse_overrides(mean=["0.5"], grey=True).over(IMAGENET)
    assert (told.std, told.resize, told.source) == (IMAGENET.std, (256, 256), "assumed")
    assert told.options == ("mean", "grey")
    assert parse_overrides().over(IMAGENET) == IMAGENET


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mean": ["123.675,116.28,103.53"]}, "not of 0 to 255: write 0.485"),
        ({"std": ["58.395"]}, "not of 0 to 255: write 0.229"),
        ({"std": ["0"]}, "std '0' not understood; it is one number above 0 and up to 1"),
        ({"mean": ["-0.1"]}, "mean '-0.1' not understood"),
        ({"mean": ["nan"]}, "mean 'nan' not understood"),
        ({"mean": ["0.5,"]}, "mean '' not understood"),
        ({"mean": ["half"]}, "0.485,0.456,0.406"),
        ({"resize": "big"}, "resize 'big' not understood"),
        ({"crop": "no"}, "crop 'no' not understood"),
        ({"crop": "20", "input_size": "30"}, "--input-size 30 and --crop 20 are two sizes"),
        ({"crop": "none", "input_size": "30", "resize": "31"}, "two sizes"),
        ({"crop": "30", "resize": "29"}, "resized to 29x29 does not fill .* of 30x30"),
        ({"input_size": "30x40", "resize": "35"}, "does not fill"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_told_without_a_network(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_overrides(**options)


@pytest.mark.parametrize("options", [{"crop": "257"}, {"resize": "223"}])
def test_a_crop_must_fit_into_what_the_weights_resize_to(options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="does not fill the network's input"):
        parse_overrides(**options).over(IMAGENET)


def test_a_network_of_one_channel_is_shown_grey_pictures(net: str, photos: list[Path]) -> None:
    for factory in ("lenet", "adapted"):
        model = load_model(f"{net}:{factory}", device="cpu", input_size=28)
        told = model.preprocess
        assert (told.channels, told.grey, told.resize) == (1, True, (32, 32))
        pixels = told.normalize(told.crop(open_image(photos[0])))
        assert model.module(torch.from_numpy(pixels)[None]).shape[0] == 1


@pytest.mark.parametrize(
    ("factory", "weights", "source"),
    [("demo", "default", "weights"), ("demo", "none", "model"), ("NET:plain", "none", "assumed")],
)
def test_it_is_known_who_says_so(net: str, factory: str, weights: str, source: str) -> None:
    model = load_model(factory.replace("NET", net), weights, device="cpu")
    assert model.preprocess.source == source


@pytest.mark.parametrize(("weights", "source"), [("IMAGENET1K_V1", "weights"), ("none", "model")])
def test_torchvision_says_so_for_its_own_weights(weights: str, source: str) -> None:
    found = find_source("resnet18", weights, Overrides(), structure=True)
    assert found.preprocess.source == source


def test_a_preprocessing_is_handed_over_whole(net: str) -> None:
    mine = Preprocess((28, 28), (32, 32), (0.1307,), (0.3081,), source="weights")
    told = load_model(f"{net}:lenet", device="cpu", preprocess=mine).preprocess
    assert (told.input_size, told.resize, told.mean, told.std) == (
        (28, 28), (32, 32), (0.1307,), (0.3081,),
    )  # fmt: skip
    assert (told.source, told.grey) == ("options", True)
    smaller = load_model(f"{net}:plain", device="cpu", preprocess=mine, input_size=14).preprocess
    assert (smaller.input_size, smaller.resize, smaller.mean) == ((14, 14), (16, 16), (0.1307,) * 3)


def test_parts_of_a_preprocessing_are_handed_over(net: str) -> None:
    parts = Overrides(mean=(0.5,), crop=(64, 96))
    told = load_model(f"{net}:plain", device="cpu", preprocess=parts).preprocess
    assert (told.mean, told.input_size, told.resize) == ((0.5,) * 3, (64, 96), (256, 256))


def test_class_names_are_those_given_where_they_fit_the_last_layer(net: str) -> None:
    names = [f"digit {i}" for i in range(10)]
    model = load_model(f"{net}:lenet", device="cpu", input_size=28, classes=names)
    assert model.classes == tuple(names)
    assert (model.class_name(9), model.class_name(10)) == ("digit 9", None)
    with pytest.raises(UsageError, match=r"9 class names are given, .*lenet has 10 outputs"):
        load_model(f"{net}:lenet", device="cpu", input_size=28, classes=names[:9])
    # A network that ends with a convolution.
    assert load_model(f"{net}:plain", device="cpu", classes=names[:5]).classes is not None


def test_class_names_take_the_place_of_the_known_ones(demo_trained: Any) -> None:
    names = [f"class {i}" for i in range(28)]
    assert demo_trained.classes is not None
    assert load_model("demo", "none", device="cpu", classes=names).classes == tuple(names)
