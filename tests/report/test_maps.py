"""What is told about a run: JSON with fixed keys, a table, a line."""

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from torch import nn

from cnnviz.checks import parse_rules
from cnnviz.choices import Reduce
from cnnviz.maps import LayerPlan, Skipped, plan_layers
from cnnviz.networks.models import LoadedModel
from cnnviz.photos.images import ImageSource
from cnnviz.report.document import to_json
from cnnviz.report.maps import MapsReport
from cnnviz.runs.tally import Outcome, RunResult
from cnnviz.selection import parse_channels
from cnnviz.statistics import Statistics

LoadToy = Callable[..., LoadedModel]
NAN = float("nan")


@pytest.fixture
def model(as_model: LoadToy) -> LoadedModel:
    return as_model(nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU()))


def plans_of(model: LoadedModel) -> list[LayerPlan]:
    return plan_layers(model, ["all"], parse_channels("all"), Reduce.NONE)[0]


def some(*, nan: int = 0, dead: int = 0) -> Statistics:
    high = np.array([0.0] * dead + [1.0] * (2 - dead))
    return Statistics(8, Fraction(2), Fraction(5, 2), 4, nan, 0, np.zeros(2), high, 4, 0)


def report(
    model: LoadedModel,
    *statistics: Statistics,
    keys: tuple[str, ...] = ("cat.jpg",),
    failed: tuple[str, ...] = (),
    rules: tuple[str, ...] = (),
    out: Path = Path("out"),
) -> MapsReport:
    plans = plans_of(model)
    outcomes = [
        Outcome(ImageSource(Path("in") / key, key), out, ("0.png", "1.png")) for key in keys
    ]
    outcomes += [Outcome(ImageSource(Path(key), key), error=f"{key} is broken") for key in failed]
    result = RunResult(tuple(outcomes), statistics)
    return MapsReport(model, plans, [], result, {}, parse_rules(rules), out)


def test_the_document_has_the_keys_of_the_contract(model: LoadedModel) -> None:
    document = report(model, some(), some(nan=3, dead=1), failed=("bad.jpg",)).document()
    assert document["schema_version"] == 1
    assert document["command"] == "maps"
    assert document["model"] == "toy"
    assert document["weights"] == "none"
    assert document["input_shape"] == [1, 3, 8, 8]
    assert document["failed"] == 1
    assert document["images"] == [
        {"path": str(Path("in/cat.jpg")), "outputs": ["out/cat.jpg/0.png", "out/cat.jpg/1.png"],
         "error": None},
        {"path": "bad.jpg", "outputs": [], "error": "bad.jpg is broken"},
    ]  # fmt: skip
    first, second = document["layers"]
    assert first["name"] == "0"
    assert first["call"] == 1
    assert first["type"] == "Conv2d"
    assert first["output_shape"] == [1, 2, 8, 8]
    assert first["stats"] == {
        "min": 0.0, "max": 1.0, "mean": 0.25, "std": 0.5, "zero_fraction": 0.5, "nan": 0,
        "infinite": 0, "dead_channels": 0, "saturated_fraction": None, "bound_fractions": {},
    }  # fmt: skip
    assert second["stats"]["nan"] == 3
    assert second["stats"]["dead_channels"] == 1


def test_the_document_is_json_that_every_parser_reads(model: LoadedModel) -> None:
    nothing = Statistics(
        0, Fraction(0), Fraction(0), 0, 8, 0, np.full(2, NAN), np.full(2, NAN), 4, 0
    )
    text = to_json(report(model, nothing, some()).document())
    assert text.endswith("}\n")
    parsed = json.loads(text, parse_constant=pytest.fail)
    assert parsed["layers"][0]["stats"]["min"] is None
    assert parsed["layers"][0]["stats"]["mean"] is None


def test_names_in_any_writing_stay_readable_and_broken_ones_are_escaped(model: LoadedModel) -> None:
    text = to_json(report(model, some(), some(), keys=("猫.jpg", "\udcff.jpg")).document())
    assert "猫.jpg" in text
    text.encode()
    assert json.loads(text)["images"][1]["path"].endswith("\udcff.jpg")


def test_a_run_without_a_good_photo_still_lists_the_layers(model: LoadedModel) -> None:
    document = report(model, keys=(), failed=("a", "b")).document()
    assert [layer["stats"] for layer in document["layers"]] == [None, None]
    assert document["failed"] == 2


def test_skipped_layers_are_told_with_their_reason(model: LoadedModel) -> None:
    plans = plans_of(model)
    skipped = [Skipped(plans[1].record, "no picture")]
    told = MapsReport(model, plans[:1], skipped, RunResult((), (some(),)), {}, (), Path("out"))
    assert told.document()["skipped"] == [{"name": "1", "call": 1, "reason": "no picture"}]


def test_rules_are_checked_layer_by_layer(model: LoadedModel) -> None:
    told = report(model, some(nan=3), some(dead=2), rules=("nan", "dead=0.5", "blank"))
    assert told.tripped == [
        ("nan", "0", "3 NaN and 0 infinite values"),
        ("dead=0.5", "1", "2 of 2 channels are dead"),
    ]
    assert told.document()["tripped"][0] == {
        "rule": "nan", "layer": "0", "reason": "3 NaN and 0 infinite values",
    }  # fmt: skip
    assert report(model, some(), some(), rules=("nan", "dead=0.5", "blank")).tripped == []


def test_the_manifest_is_the_document(model: LoadedModel, tmp_path: Path) -> None:
    told = report(model, some(), some(), out=tmp_path)
    told.write_manifest()
    assert json.loads((tmp_path / "manifest.json").read_text("utf-8")) == told.document()


def rendered(told: MapsReport) -> str:
    console = Console(width=200, force_terminal=False)
    with console.capture() as captured:
        console.print(told.tables()[0])
    return captured.get()


def test_the_table_has_a_row_per_layer_with_its_file(model: LoadedModel) -> None:
    header, first, second = rendered(report(model, some(), some(nan=3, dead=1))).splitlines()
    assert " ".join(header.split()) == (
        "layer shape field stride min mean max std zeros dead look file"
    )
    assert first.split() == [
        "0", "2×8×8", "1", "1", "0", "0.25", "1", "0.5", "50%", "0/2", "out/cat.jpg/0.png",
    ]  # fmt: skip
    assert "3 NaN" in second
    assert "1/2" in second
    assert "NaN, dead 50%" in second


def test_columns_that_say_nothing_are_left_out(model: LoadedModel) -> None:
    header = rendered(report(model, some(), some())).splitlines()[0].split()
    assert "look" not in header
    assert "sat." not in header


def test_the_input_is_the_first_row_and_an_entry_of_its_own(model: LoadedModel) -> None:
    squares = Fraction(8 * (70**2 + 118**2))
    odd = Statistics(8, Fraction(944), squares, 0, 0, 0, np.zeros(3), np.full(3, 255.0), 4, 0)
    told = replace(report(model, some(), some()), result=RunResult((), (some(), some()), odd))
    first = rendered(told).splitlines()[1].split()
    assert first[:6] == ["input", "3×8×8", "0", "118", "255", "70"]
    assert " ".join(first[-4:]) == "mean 1.2e+02, std 70"
    assert told.document()["input"]["stats"]["std"] == pytest.approx(70)
    assert told.document()["input"]["look"] == ["mean 1.2e+02", "std 70"]


def test_shares_at_bounds_are_told_by_bound(model: LoadedModel) -> None:
    gate = replace(some(), at_bounds=((0.0, 2), (1.0, 4)))
    told = report(model, some(), gate)
    assert told.document()["layers"][1]["stats"]["bound_fractions"] == {"0": 0.25, "1": 0.5}
    assert told.document()["layers"][1]["stats"]["saturated_fraction"] == 0.75
    assert told.document()["layers"][1]["look"] == ["saturated 75%"]
    assert "75%" in rendered(told).splitlines()[2].split()


def test_many_photos_are_a_star_in_the_table(model: LoadedModel) -> None:
    assert "out/*/0.png" in rendered(report(model, some(), some(), keys=("a.jpg", "b.jpg")))


@pytest.mark.parametrize("key", ["cat [draft].jpg", "[/b].jpg", "[red]x[/red].jpg"])
def test_brackets_in_names_are_no_markup(model: LoadedModel, key: str) -> None:
    assert f"out/{key}/0.png" in rendered(report(model, some(), some(), keys=(key,)))


def test_brackets_in_layer_names_are_no_markup(as_model: LoadToy) -> None:
    network = nn.Sequential()
    network.add_module("block[bold]", nn.Conv2d(3, 2, 1))
    assert rendered(report(as_model(network), some())).splitlines()[1].startswith("block[bold] ")


def test_the_summary_counts_files_and_failures(model: LoadedModel) -> None:
    said = report(model, some(), some(), failed=("x",)).summary()
    assert said.startswith("2 files in out")
    assert said.endswith(", 1 of 2 photos failed")
    assert "failed" not in report(model, some(), some()).summary()
