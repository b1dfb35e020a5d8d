"""The pictures of one photo: which files, of what kind, showing what."""

import io
import json
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import cnnviz
from cnnviz.choices import Normalize, Reduce
from cnnviz.errors import UnknownNameError, UsageError
from cnnviz.maps import look, plan_layers
from cnnviz.networks.models import LoadedModel
from cnnviz.pictures import Photo, Style, draw_layers, feature_grid
from cnnviz.render.palette import rgb_table
from cnnviz.selection import parse_channels

LoadToy = Callable[..., LoadedModel]


def draw(
    model: LoadedModel,
    patterns: Sequence[str],
    style: Style = Style(),  # noqa: B008 - frozen
    reduce: Reduce = Reduce.NONE,
    whole: Image.Image | None = None,
) -> dict[str, Image.Image]:
    """Return the pictures by file name, in the order in which they are drawn."""
    photo = whole or Image.new("RGB", (16, 12), (200, 30, 60))
    seen = model.preprocess.crop(photo)
    plans, _ = plan_layers(model, patterns, parse_channels("0-63", clipped=True), reduce)
    batch = torch.from_numpy(model.preprocess.normalize(seen)[None])
    (layers,) = look(model, batch, plans)
    shown = Photo("a/cat.jpg", seen, photo if style.overlay else None, photo.size)
    pictures = {}
    for name, make in draw_layers(model, shown, layers, style):
        pictures[name] = Image.open(io.BytesIO(make()))
        pictures[name].load()
    return pictures


@pytest.fixture
def model(as_model: LoadToy) -> LoadedModel:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, 5)
    return as_model(nn.Sequential(*layers))


def test_there_is_one_picture_per_layer_and_then_the_overview(model: LoadedModel) -> None:
    assert list(draw(model, ["0", "1", "3"])) == [
        "0.png", "1.png", "3.png", "overview.png",
    ]  # fmt: skip


def test_grids_bars_and_the_overview_are_palette_pictures(
    model: LoadedModel,
) -> None:
    modes = {name: picture.mode for name, picture in draw(model, ["0", "3"]).items()}
    assert modes == {"0.png": "P", "3.png": "P", "overview.png": "P"}


def test_a_network_of_vectors_has_no_overview(model: LoadedModel) -> None:
    assert list(draw(model, ["3"])) == ["3.png"]


def test_every_picture_tells_what_it_shows(model: LoadedModel) -> None:
    pictures = draw(model, ["0"])
    about = json.loads(pictures["0.png"].text["cnnviz"])
    assert about == {
        "image": "a/cat.jpg", "model": "toy", "weights": "none", "layer": "0",
        "channels": [0, 1, 2, 3],
    }  # fmt: skip
    assert json.loads(pictures["overview.png"].text["cnnviz"])["image"] == "a/cat.jpg"


def test_an_overlay_is_in_full_colour_and_lies_where_the_crop_was(as_model: LoadToy) -> None:
    model = as_model(nn.Sequential(nn.AvgPool2d(1)))
    whole = Image.new("RGB", (80, 40), (90, 90, 90))
    style = Style(overlay=True)
    picture = draw(model, ["0"], style, Reduce.MEAN, whole)["0.png"]
    assert picture.mode == "RGB"
    pixels = np.asarray(picture)[-52:-12, 12:92].astype(int)
    # The network sees the square in the middle; what is left and right of it is faded.
    faded = (abs(pixels - (255 - 165 * 0.35)).max(axis=2) <= 1).all(axis=0)
    assert faded[:20].all()
    assert not faded[20:60].any()
    assert faded[60:].all()


def test_normalisation_and_colour_map_reach_the_grid(model: LoadedModel) -> None:
    plain = draw(model, ["0"])["0.png"]
    layer = draw(model, ["0"], Style(normalize=Normalize.LAYER))["0.png"]
    magma = draw(model, ["0"], Style(cmap="magma"))["0.png"]
    assert plain.tobytes() != layer.tobytes()
    assert plain.tobytes() == magma.tobytes()
    assert magma.getpalette() == rgb_table("magma").ravel().tolist()


def test_feature_grid_is_the_grid_of_the_tensor() -> None:
    maps = torch.tensor([[[0.0, 1.0], [2.0, 4.0]]])
    image = cnnviz.feature_grid(maps)
    assert image.mode == "P"
    tile = np.asarray(image)[-12 - 448 : -12, 12:-12]
    expected = np.array([[0, 50], [100, 199]], dtype=np.uint8).repeat(224, 0).repeat(224, 1)
    assert (tile == expected).all()
    assert image.tobytes() == feature_grid(maps[0]).tobytes(), "(H, W) is one map"


def test_feature_grid_takes_what_networks_give() -> None:
    maps = torch.rand(3, 4, 4, requires_grad=True)
    for given in (maps, maps.double(), maps.bfloat16(), (maps * 9).int(), maps > 0.5):
        assert feature_grid(given).mode == "P"


def test_feature_grid_takes_numpy_and_any_layout_in_memory() -> None:
    maps = torch.arange(24.0).view(2, 3, 4)
    expected = feature_grid(maps).tobytes()
    apart = maps.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    assert not apart.is_contiguous()
    for given in (
        apart,
        maps.numpy(),
        maps.numpy().astype(np.int64),
        maps.double().requires_grad_(),
    ):
        assert feature_grid(given).tobytes() == expected


def test_feature_grid_says_what_to_do_with_a_batch_and_with_complex_numbers() -> None:
    with pytest.raises(UsageError, match=r"not \(8, 4, 3, 3\); of a batch take one picture, maps"):
        feature_grid(torch.zeros(8, 4, 3, 3))
    with pytest.raises(UsageError, match=r"real numbers, not torch.complex64; take their .abs"):
        feature_grid(torch.zeros(2, 3, 3, dtype=torch.complex64))


@pytest.mark.parametrize("shape", [(4,), (1, 2, 3, 4), (0, 3, 3), (2, 0, 3), ()])
def test_feature_grid_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"maps must have the shape \(C, H, W\), not \("):
        feature_grid(torch.zeros(shape))


def test_feature_grid_names_wrong_options() -> None:
    with pytest.raises(UnknownNameError, match="unknown normalize 'layers'; did you mean layer"):
        feature_grid(torch.zeros(1, 2, 2), normalize="layers")
    with pytest.raises(UnknownNameError, match="unknown colour map"):
        feature_grid(torch.zeros(1, 2, 2), cmap="nope")


def test_a_reduced_map_is_labelled_by_how(model: LoadedModel) -> None:
    about = json.loads(draw(model, ["0"], reduce=Reduce.MAX)["0.png"].text["cnnviz"])
    assert about["channels"] == []


def test_a_classifier_names_its_classes(as_model: LoadToy, monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[list[str]] = []

    def spy(values: object, labels: list[str], *_: object, **__: object) -> Image.Image:
        named.append(labels)
        return Image.new("P", (1, 1))

    monkeypatch.setattr("cnnviz.pictures.draw_bars", spy)
    toy = as_model(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)))
    known = LoadedModel(toy.module, toy.preprocess, ("a", "b", "c"), "toy", "none", toy.device)
    draw(toy, ["1"])
    draw(known, ["1"])
    draw(known, ["0"])
    assert named[:2] == [["0", "1", "2"], ["a", "b", "c"]]
    assert named[2][:2] == ["0", "1"]
