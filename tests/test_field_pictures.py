"""Receptive fields on the photo: which boxes, which files."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from cnnviz.field_pictures import _field_box, _told_once, blank_photo, draw_development, draw_units
from cnnviz.networks.models import LoadedModel
from cnnviz.render.boxes import FieldBox
from cnnviz.rf import Unit
from cnnviz.tracer import trace

SIZE = (8, 12)


def model_and_units(as_model: Callable[..., LoadedModel]) -> tuple[LoadedModel, list[Unit]]:
    with torch.random.fork_rng(devices=[]):
        network = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.MaxPool2d(2)).eval()
    records = trace(network, SIZE)[:2]
    return as_model(network, SIZE), [Unit(r, r.receptive_field, (1, 1)) for r in records]


def test_layers_in_a_row_that_see_the_same_are_told_once() -> None:
    one, other = (0.0, 0.0, 3.0, 3.0), (0.0, 0.0, 9.0, 9.0)
    boxes = [
        FieldBox(label, "", box)
        for label, box in zip("abcde", [one] * 3 + [other, one], strict=True)
    ]
    told = [(box.label, box.box) for box in _told_once(boxes)]
    assert told == [("a … c", one), ("d", other), ("e", one)]


def test_the_size_beside_a_box_is_that_of_the_unit(as_model: Callable[..., LoadedModel]) -> None:
    # Each pixel twice, and two of these: units within a pixel and across two take turns.
    network = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(3, 2, 2)).eval()
    record = trace(network, SIZE)[1]
    for at, size in (((2, 2), "1"), ((3, 3), "2"), ((2, 3), "1×2")):
        unit = Unit(record, record.receptive_field, at)
        box = _field_box(as_model(network, SIZE), unit, blank_photo(SIZE))
        assert box.note == f"{size} pixels, unit {at[0]},{at[1]}"


def test_a_picture_per_layer_and_one_of_all(as_model: Callable[..., LoadedModel]) -> None:
    model, units = model_and_units(as_model)
    drawn = dict(draw_units(model, units, blank_photo(SIZE), "no photo"))
    assert list(drawn) == ["0.png", "1.png", "overview.png"]
    assert all(data.startswith(b"\x89PNG") for data in drawn.values())


def test_checkpoints_stand_below_one_another_and_move_on_request(
    as_model: Callable[..., LoadedModel],
) -> None:
    model, units = model_and_units(as_model)
    models = [replace(model, weights=f"{i}.pth") for i in range(3)]
    drawn = dict(draw_development(models, [units] * 3, blank_photo(SIZE), "no photo", frames=True))
    assert list(drawn) == ["0.png", "0.frames.png", "1.png", "1.frames.png", "overview.png"]
    alone = dict(draw_units(model, units, blank_photo(SIZE), "no photo"))
    assert height(drawn["0.png"]) == 3 * height(alone["0.png"])
    assert height(drawn["0.frames.png"]) == height(alone["0.png"])


def height(png: bytes) -> int:
    return int.from_bytes(png[20:24])
