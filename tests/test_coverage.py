"""The table of what works on which network: kept whole, and sampled."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cnnviz.networks import models
from cnnviz.networks.catalog import torchvision_names
from cnnviz.networks.models import load_model

Rows = dict[str, Any]


def _program() -> ModuleType:
    """Return benchmarks/coverage.py under a name that no package has."""
    file = Path(__file__).parent.parent / "benchmarks" / "coverage.py"
    spec = importlib.util.spec_from_file_location("cnnviz_coverage", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


coverage = _program()


@pytest.fixture(autouse=True)
def _uncached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "load_model", load_model)


@pytest.fixture(scope="module")
def rows() -> Rows:
    return coverage.read_table(coverage.TABLE.read_text("utf-8"))


def test_the_table_has_no_empty_cell(rows: Rows) -> None:
    assert set(rows) <= set(torchvision_names())
    assert list(coverage.complaints(rows)) == []


def test_the_table_is_read_as_it_was_written(rows: Rows) -> None:
    assert coverage.write_table(rows) == coverage.TABLE.read_text("utf-8")


def test_readme_tells_what_the_table_does(rows: Rows) -> None:
    readme = coverage.README.read_text("utf-8")
    assert coverage.with_block(readme, coverage.summary(rows)) == readme


def test_a_sample_has_every_kind_and_is_the_same_again() -> None:
    names = coverage.sample(8)
    assert {coverage.kind_of(name) for name in names} == set(coverage.KINDS)
    assert len(names) == 8
    assert names == coverage.sample(8)


def test_an_empty_cell_and_a_traceback_are_told() -> None:
    wrong = {"x": {"layers": coverage.Cell(""), "rf": coverage.Cell("", "TRACEBACK KeyError()")}}
    assert len(list(coverage.complaints(wrong))) == 2


# One of every kind, small enough for each run of the tests.
SMALL = (
    "lraspp_mobilenet_v3_large", "mc3_18", "quantized_shufflenet_v2_x0_5", "raft_small",
    "squeezenet1_1", "ssdlite320_mobilenet_v3_large",
)  # fmt: skip


def test_the_sampled_cells_are_what_the_commands_do(rows: Rows) -> None:
    assert {coverage.kind_of(name) for name in SMALL} == set(coverage.KINDS)
    assert coverage.try_all(SMALL) == {name: rows[name] for name in SMALL}


@pytest.mark.slow
def test_all_cells_are_what_the_commands_do(rows: Rows) -> None:
    assert coverage.try_all(torchvision_names()) == rows
