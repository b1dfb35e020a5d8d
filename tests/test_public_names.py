"""The public names: documented by examples that run, seen by type checkers, and as promised."""

import ast
import doctest
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

import cnnviz
from cnnviz.networks.models import load_model

ROOT = Path(cnnviz.__file__).parent


@pytest.mark.parametrize("name", cnnviz.__all__)
def test_the_examples_of_a_public_name_run(name: str) -> None:
    (example, *_) = doctest.DocTestFinder(recurse=False).find(getattr(cnnviz, name), name, globs={})
    said: list[str] = []
    result = doctest.DocTestRunner().run(example, out=said.append)
    assert result.attempted >= 2
    assert not result.failed, "".join(said)


@pytest.mark.parametrize("name", ["capture", "feature_grid", "load_model", "maximize", "trace"])
def test_a_public_function_tells_its_arguments_and_errors(name: str) -> None:
    told = getattr(cnnviz, name).__doc__
    assert all(section in told for section in ("Args:", "Raises:", "Example:"))


def test_type_checkers_see_every_public_name() -> None:
    assert (ROOT / "py.typed").exists()
    tree = ast.parse((ROOT / "__init__.py").read_text("utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    told = {(node.names[0].name, node.module) for node in block.body}  # type: ignore[attr-defined]
    assert told == set(cnnviz._HOMES.items())
    assert set(cnnviz.__all__) == set(cnnviz._HOMES) == set(dir(cnnviz)) - {"__version__"}


def test_what_a_notebook_prints_is_short() -> None:
    model = load_model("demo", device="cpu", input_size=64)
    (found,) = cnnviz.maximize(model, "conv1", [0], steps=1, frames=2)
    for shown in (model, found, cnnviz.trace(model)[3]):
        assert len(repr(shown)) < 500
    assert repr(model).startswith("LoadedModel(preprocess=Preprocess(input_size=(64, 64),")
    assert "conv1[0]" in repr(found)


def test_the_promised_lines_work_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cnnviz, "maximize", partial(cnnviz.maximize, steps=1, size=32))
    model = cnnviz.load_model("resnet18", weights="none", device="cpu")
    records = cnnviz.trace("resnet50", input_size=224)
    module, x = model.module, torch.rand(1, 3, 224, 224)
    with cnnviz.capture(module, ["layer1.0.conv1", "layer4"]) as activations:
        module(x)
    assert model.preprocess.mean == (0.485, 0.456, 0.406)
    assert model.preprocess.std == (0.229, 0.224, 0.225)
    assert model.preprocess.input_size == (224, 224)
    assert model.classes is not None
    assert model.classes[281] == "tabby"
    grid = cnnviz.feature_grid(activations["layer4"][0])
    result = cnnviz.maximize(model, "layer3.1.conv2", channels=[0, 1])
    assert isinstance(records, tuple)
    assert isinstance(records[0], cnnviz.LayerRecord)
    assert cnnviz.trace(model)[0] == cnnviz.trace(module)[0]
    assert isinstance(grid, Image.Image)
    assert grid._repr_png_()[:4] == b"\x89PNG", "a notebook shows it"
    assert [(type(one), one.unit.channel) for one in result] == [
        (cnnviz.Maximized, 0),
        (cnnviz.Maximized, 1),
    ]
    assert all(isinstance(one.image, Image.Image) for one in result)
