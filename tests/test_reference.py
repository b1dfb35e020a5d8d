"""How far a layer is from what it was."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from cnnviz.checks import parse_rules
from cnnviz.errors import InputError, UsageError
from cnnviz.reference import (
    Reference,
    find_reference,
    read_reference,
    reference_document,
    tell_photos,
)

SETTINGS = {
    "model": "toy", "model-args": {}, "input-size": [8, 8], "resize": [8, 8], "crop": "centre",
    "mean": [0.5], "std": [0.5], "grey": True, "cmap": "magma",
}  # fmt: skip
PHOTOS = tell_photos(["b", "a", "c"], ["c"])


def entry(**change: Any) -> dict[str, Any]:
    stats = {
        "min": -1.0, "max": 3.0, "mean": 0.5, "std": 0.2, "zero_fraction": 0.25, "nan": 0,
        "infinite": 0, "dead_channels": 1, "saturated_fraction": None,
    }  # fmt: skip
    return {
        "name": "conv", "call": 1, "type": "Conv2d", "output_shape": [1, 10, 4, 4],
        "stats": {**stats, **change}, "gradient": None,
    }  # fmt: skip


def reference(found: dict[str, Any]) -> Reference:
    return Reference(Path("r.json"), SETTINGS, PHOTOS, entry(), {"conv": found})


REFERENCE = reference(entry())


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
    before = reference(with_gradient[0])
    assert before.change("conv", with_gradient[1]).amount == pytest.approx(0.75)


def test_nan_that_was_there_before_is_no_change() -> None:
    before = reference(entry(mean=None))
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
        "settings": SETTINGS, "photos": PHOTOS, "input": {"stats": entry()["stats"]},
        "layers": [entry(), {**entry(), "call": 2, "name": "input"}],
        "images": ["large"], "failed": 0, "tripped": [], "skipped": [],
    }  # fmt: skip
    kept = reference_document(document)
    assert set(kept) == {"settings", "photos", "input", "layers"}
    found = read_reference(written(tmp_path / "r", kept))
    assert set(found.layers) == {"conv", "input#2"}
    assert found.change_of_input(document["input"], ["c"]).amount == 0


def test_other_photos_are_named_and_not_their_order() -> None:
    REFERENCE.check_photos(["c", "b", "a"])
    for keys, said in ((["a", "b"], "this run of 2;"), (["a", "b", "d"], "this run of 3 others;")):
        with pytest.raises(
            UsageError, match=f"cannot compare with r.json: it is of 3 photos, and {said}"
        ):
            REFERENCE.check_photos(keys)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"model": "other"}, "its model is toy, and that of this run other"),
        ({"input-size": (9, 8)}, "its input-size is 8, 8, and that of this run 9, 8"),
        ({"mean": [0.25]}, "its mean is 0.5, and that of this run 0.25"),
        ({"model-args": {"width": 2}}, "its model-args is {}, and that of this run {'width': 2}"),
    ],
)
def test_another_network_or_preprocessing_is_named(setting: dict[str, Any], said: str) -> None:
    REFERENCE.check_settings({**SETTINGS, "input-size": (8, 8), "cmap": "viridis"})
    with pytest.raises(UsageError, match=said):
        REFERENCE.check_settings({**SETTINGS, **setting})


def test_photos_that_failed_in_one_run_only_are_a_change_of_the_input() -> None:
    assert REFERENCE.change_of_input(entry(), ["c"]).amount == 0
    assert REFERENCE.change_of_input(entry(mean=0.6), ["c"]).amount == pytest.approx(0.5)
    for failed, names in ((["b", "c"], "b"), ([], "c"), (["a"], "a, c")):
        found = REFERENCE.change_of_input(entry(), failed)
        assert found.amount == math.inf
        assert found.said == f"photos that failed in one of the runs only: {names}"


def test_layers_that_are_gone_are_told() -> None:
    assert REFERENCE.missing(["conv", "more"]) == []
    assert REFERENCE.missing(["more"]) == ["conv"]


KNOWN = {"settings": SETTINGS, "photos": PHOTOS, "input": entry()}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "is not what --save-reference writes"),
        ({"layers": []}, "is not what --save-reference writes"),
        ({**KNOWN, "layers": [3]}, "is not what --save-reference writes"),
        ({**KNOWN, "layers": [], "settings": {}}, "is not what --save-reference writes"),
        ({**KNOWN, "layers": [], "photos": {"count": 3}}, "is not what --save-reference writes"),
        ({**KNOWN, "layers": [{**entry(), "stats": None}], "input": None}, "has no statistics"),
        ({**KNOWN, "layers": [entry(), entry()]}, "is of several checkpoints"),
    ],
)
def test_what_is_no_reference_is_told(tmp_path: Path, document: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_reference(written(tmp_path / "r.json", document))


def test_rules_compare_with_one_earlier_run() -> None:
    assert find_reference(parse_rules(["nan", "dead=0.1"])) is None
    with pytest.raises(UsageError, match=r"takes one reference: .*\.json, .*\.json"):
        find_reference(parse_rules(["change=a.json:1", "change=b.json:1"]))
