"""How far a layer is from what it was."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from cnnviz.errors import InputError
from cnnviz.reference import Reference, read_reference, reference_document


def entry(**change: Any) -> dict[str, Any]:
    stats = {
        "min": -1.0, "max": 3.0, "mean": 0.5, "std": 0.2, "zero_fraction": 0.25, "nan": 0,
        "infinite": 0, "dead_channels": 1, "saturated_fraction": None,
    }  # fmt: skip
    return {
        "name": "conv", "call": 1, "type": "Conv2d", "output_shape": [1, 10, 4, 4],
        "stats": {**stats, **change}, "gradient": None,
    }  # fmt: skip


REFERENCE = Reference(Path("r.json"), {"conv": entry()})


@pytest.mark.parametrize(
    ("change", "amount", "word"),
    [
        ({}, 0, "was"),
        ({"mean": 0.6}, 0.5, "mean was 0.5 and is 0.6"),  # in deviations
        ({"std": 0.3}, 0.5, "std was 0.2 and is 0.3"),
        ({"max": 5.0}, 0.5, "max was 3 and is 5"),  # in ranges of 4
        ({"min": -2.0}, 0.25, "min"),
        ({"zero_fraction": 0.75}, 0.5, "zero fraction"),
        ({"dead_channels": 4}, 0.3, "dead channels was 0.1 and is 0.4"),
        ({"nan": 3}, 3, "NaN"),
        ({"mean": None}, math.inf, "mean"),
        ({"mean": 0.52, "std": 0.3}, 0.5, "std"),
    ],
)
def test_the_largest_change_is_told_in_its_own_unit(
    change: dict[str, Any], amount: float, word: str
) -> None:
    found = REFERENCE.change("conv", entry(**change))
    assert found.amount == pytest.approx(amount)
    assert word in found.said


def test_gradients_are_compared_where_both_runs_have_them() -> None:
    with_gradient = [{**entry(), "gradient": {"norm": 1.0, "relative": r}} for r in (0.4, 0.1)]
    assert REFERENCE.change("conv", with_gradient[0]).amount == 0
    before = Reference(Path("r.json"), {"conv": with_gradient[0]})
    assert before.change("conv", with_gradient[1]).amount == pytest.approx(0.75)


def test_nan_that_was_there_before_is_no_change() -> None:
    before = Reference(Path("r.json"), {"conv": entry(mean=None)})
    assert before.change("conv", entry(mean=None)).amount == 0


def test_a_layer_that_is_new_or_of_another_shape_has_changed_beyond_all_measure() -> None:
    assert REFERENCE.change("conv#2", entry()).amount == math.inf
    other = {**entry(), "output_shape": [1, 10, 8, 8]}
    found = REFERENCE.change("conv", other)
    assert found.amount == math.inf
    assert found.said == "output_shape was [1, 10, 4, 4] and is [1, 10, 8, 8]"


def written(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document))
    return path


def test_a_reference_is_read_as_it_was_written(tmp_path: Path) -> None:
    document = {
        "input": {"stats": entry()["stats"]}, "layers": [entry(), {**entry(), "call": 2}],
        "images": ["large"], "failed": 0, "tripped": [], "skipped": [],
    }  # fmt: skip
    kept = reference_document(document)
    assert set(kept) == {"input", "layers"}
    assert set(read_reference(written(tmp_path / "r", kept)).layers) == {"conv", "conv#2", "input"}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "is not what --save-reference writes"),
        ({"layers": []}, "is not what --save-reference writes"),
        ({"layers": [3], "input": {}}, "is not what --save-reference writes"),
        ({"layers": [{**entry(), "stats": None}], "input": None}, "has no statistics"),
        ({"layers": [entry(), entry()], "input": entry()}, "is of several checkpoints"),
    ],
)
def test_what_is_no_reference_is_told(tmp_path: Path, document: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_reference(written(tmp_path / "r.json", document))
