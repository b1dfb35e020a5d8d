"""One unit per layer: where it is, and what it reads."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from cnnviz.errors import UsageError
from cnnviz.networks.models import LoadedModel
from cnnviz.receptive_field.effective import Effective, effective_fields
from cnnviz.records import LayerRecord
from cnnviz.rf import Unit, find_units, place_unit, strongest_units
from cnnviz.tracer import trace


@pytest.fixture
def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.MaxPool2d(2)).eval()


@pytest.fixture
def record(network: nn.Module) -> LayerRecord:
    return trace(network, (8, 12))[1]


def unit(record: LayerRecord, at: tuple[int, int]) -> Unit:
    assert record.receptive_field is not None
    return Unit(record, record.receptive_field, at)


def test_the_centre_is_the_middle_unit_and_a_place_is_taken_as_it_is(record: LayerRecord) -> None:
    assert place_unit(record, "center") == (2, 3)
    assert place_unit(record, (3, 5)) == (3, 5)


@pytest.mark.parametrize("place", [(4, 0), (0, 6)])
def test_a_unit_outside_of_the_map_is_wrong_usage(
    record: LayerRecord, place: tuple[int, int]
) -> None:
    with pytest.raises(UsageError, match=r"layer 1 has no unit .*: its map is 4x6"):
        place_unit(record, place)


def test_each_layer_has_its_unit(
    network: nn.Module, record: LayerRecord, as_model: Callable[..., LoadedModel]
) -> None:
    model, records = as_model(network, (8, 12)), trace(network, (8, 12))[:2]
    assert [one.at for one in find_units(model, records, "center")] == [(4, 6), (2, 3)]
    assert [one.at for one in find_units(model, records, (0, 5))] == [(0, 5), (0, 5)]
    picture = torch.rand(1, 3, 8, 12, generator=torch.Generator().manual_seed(5))
    strongest = strongest_units(model, picture, records)
    found = find_units(model, records, "max", picture)
    assert {one.record.label: one.at for one in found} == strongest
    assert found[1] == unit(record, strongest["1"])


def test_boxes_are_cut_at_the_border_and_theoretical_ones_are_not(record: LayerRecord) -> None:
    assert unit(record, (0, 0)).box == (0, 0, 3, 3)
    assert unit(record, (0, 0)).theoretical_box == (-1, -1, 3, 3)
    assert unit(record, (3, 2)).box == (3, 5, 7, 8)
    assert unit(record, (3, 2)).theoretical_box == (3, 5, 7, 9)
    assert unit(record, (0, 0)).field.stride == (Fraction(2), Fraction(2))


def test_the_strongest_unit_is_that_of_the_largest_value(
    network: nn.Module, record: LayerRecord, as_model: Callable[..., LoadedModel]
) -> None:
    model = as_model(network, (8, 12))
    picture = torch.rand(1, 3, 8, 12, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        strength = network(picture)[0].amax(0)
    row, column = strongest_units(model, picture, [record])["1"]
    assert strength[row, column] == strength.max()


def test_the_effective_field_lies_inside_the_theoretical_one(
    network: nn.Module, record: LayerRecord, as_model: Callable[..., LoadedModel]
) -> None:
    model = as_model(network, (8, 12))
    pictures = torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(5))
    found = effective_fields(model, pictures, {"1": (2, 3)}, [record])["1"]
    x0, y0, x1, y1 = unit(record, (2, 3)).box
    assert found.heat.sum() == pytest.approx(1)
    outside = found.heat.copy()
    outside[y0:y1, x0:x1] = 0
    assert not outside.any()
    assert found.centre == (4.5, 6.5)


def test_a_square_holds_its_share_of_the_gradient() -> None:
    heat = np.zeros((7, 7))
    heat[3, 3], heat[3, 5], heat[0, 3] = 0.5, 0.3, 0.2
    effective = Effective(heat, (3.0, 3.0))
    assert [effective.mass_side(share) for share in (0.5, 0.8, 0.95)] == [1, 5, 7]
    assert Effective(np.zeros((3, 3)), (1.0, 1.0)).mass_side(0.5) is None
