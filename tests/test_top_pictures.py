"""Patches against a search by hand, and their pixels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from cnnviz.choices import Reduce
from cnnviz.maps import plan_layers
from cnnviz.networks.models import LoadedModel
from cnnviz.photos.images import find_images, open_image
from cnnviz.pictures import Style
from cnnviz.runs.batch import MapsJob, run_maps
from cnnviz.selection import parse_channels
from cnnviz.top_pictures import TopChannel, write_top_images

LoadToy = Callable[..., LoadedModel]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "in"
    place.mkdir()
    for i in range(11):
        pixels = np.random.default_rng(i).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{i}.png")
    return place


def top_images(
    model: LoadedModel, folder: Path, out: Path, most: int, layers: str = "all", **options: int
) -> list[TopChannel]:
    spec = parse_channels("0-63", clipped=True)
    plans, _ = plan_layers(model, [layers], spec, Reduce.NONE)
    sources = find_images([folder])
    job = MapsJob(model, plans, Style(), out, top_images=most)
    result = run_maps(job, sources, **options)
    return write_top_images(model, list(zip(plans, result.peaks, strict=True)), sources, out)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Conv2d(4, 5, 3, padding=1)
    return nn.Sequential(first, nn.ReLU(inplace=True), second, nn.Flatten(), nn.Linear(5 * 64, 3))


@pytest.mark.parametrize("batch_size", [1, 4])
def test_patches_are_those_of_a_search_over_all_units_of_all_photos(
    as_model: LoadToy, folder: Path, tmp_path: Path, batch_size: int
) -> None:
    model = as_model(network(), (16, 16))
    found = top_images(model, folder, tmp_path / "out", 3, batch_size=batch_size)
    assert {channel.plan.record.label for channel in found} == {"0", "1", "2"}
    sources = find_images([folder])
    inputs = [
        torch.from_numpy(model.preprocess.normalize(open_image(source.path)))[None]
        for source in sources
    ]
    for channel in found:
        depth = int(channel.plan.record.label) + 1
        entries = []
        for source, picture in zip(sources, inputs, strict=True):
            with torch.no_grad():
                values = model.module[:depth](picture)[0, channel.channel]
            at = divmod(int(values.argmax()), values.shape[1])
            entries.append((float(values.max()), source.key, at))
        best = sorted(entries, key=lambda entry: -entry[0])[:3]
        assert [patch.source.key for patch in channel.patches] == [key for _, key, _ in best]
        assert [patch.at for patch in channel.patches] == [at for _, _, at in best]
        assert [patch.score for patch in channel.patches] == pytest.approx(
            [score for score, _, _ in best], abs=1e-6
        )


def test_boxes_are_the_pixels_that_move_the_unit(
    as_model: LoadToy, folder: Path, tmp_path: Path
) -> None:
    model = as_model(network(), (16, 16))
    for channel in top_images(model, folder, tmp_path / "out", 4, "2"):
        for patch in channel.patches:
            source = torch.zeros(1, 3, 16, 16, requires_grad=True)
            # Without ReLU nothing is cut off: every pixel of the field has a gradient.
            unit = model.module[2](model.module[0](source))[0, channel.channel, *patch.at]
            (gradient,) = torch.autograd.grad(unit, source)
            rows, columns = gradient[0].abs().sum(0).nonzero(as_tuple=True)
            hull = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert patch.box == tuple(map(int, hull))
            assert patch.photo_box == patch.box, "photos as large as the input"


def test_the_tile_shows_the_pixel_and_the_sheet_all_channels(
    as_model: LoadToy, folder: Path, tmp_path: Path
) -> None:
    pick = nn.Conv2d(3, 3, 1, bias=False)
    pick.weight.data = torch.eye(3)[:, :, None, None]
    found = top_images(as_model(nn.Sequential(pick), (16, 16)), folder, tmp_path / "out", 2, "0")
    tiles = []
    for channel in found:
        with Image.open(channel.output) as picture:
            shown = np.asarray(picture.convert("RGB"))
        for patch in channel.patches:
            pixel = np.asarray(open_image(patch.source.path))[patch.at]
            assert pixel[channel.channel] == round(255 * patch.score)
            # A pixel is enlarged to a whole tile.
            assert (shown == pixel).all(axis=2).sum() >= 144 * 144
            tiles.append(pixel)
    with Image.open(tmp_path / "out" / "top" / "0.png") as sheet:
        shown = np.asarray(sheet.convert("RGB"))
    assert all((shown == pixel).all(axis=2).sum() >= 72 * 72 for pixel in tiles)


def test_a_photo_larger_than_the_input_is_cut_where_the_network_looked(
    as_model: LoadToy, tmp_path: Path
) -> None:
    place = tmp_path / "in"
    place.mkdir()
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[8:12, 40:44] = 255  # after the resize to 24x16 and the crop: row 2, column 6
    Image.fromarray(pixels).save(place / "a.png")
    model = as_model(nn.Sequential(nn.MaxPool2d(1)), (16, 16))
    ((patch,), *_) = (one.patches for one in top_images(model, place, tmp_path / "out", 5))
    assert patch.at == (2, 6)
    assert patch.box == (6, 2, 7, 3)
    assert patch.photo_box == (40, 8, 44, 12)


def test_dead_channels_have_a_picture_that_says_so(
    as_model: LoadToy, folder: Path, tmp_path: Path
) -> None:
    module = network()
    module[0].weight.data[1] = 0
    module[0].bias.data[1] = -1
    found = top_images(as_model(module, (16, 16)), folder, tmp_path / "out", 2, "1")
    assert [len(channel.patches) for channel in found] == [2, 0, 2, 2]
    assert all(channel.output.is_file() for channel in found)


def test_a_photo_that_fails_is_passed_over_and_numbers_stay(
    as_model: LoadToy, folder: Path, tmp_path: Path
) -> None:
    (folder / "0.png").write_text("no picture")
    found = top_images(as_model(network(), (16, 16)), folder, tmp_path / "out", 11, "0")
    assert {patch.source.key for patch in found[0].patches} == {f"{i}.png" for i in range(1, 11)}


def test_more_photos_may_be_asked_for_than_there_are(
    as_model: LoadToy, folder: Path, tmp_path: Path
) -> None:
    model = as_model(network(), (16, 16))
    found = top_images(model, folder, tmp_path / "out", 10**15, "0")
    assert [len(channel.patches) for channel in found] == [11] * 4
