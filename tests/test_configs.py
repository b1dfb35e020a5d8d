"""Every recipe in `configs/` runs and does what its comments say."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image
from typer.testing import CliRunner

from cnnviz.cli import app

PROJECT = Path(__file__).parents[1]
CONFIGS = PROJECT / "configs"
CAT = str(PROJECT / "sample_images" / "cat.jpg")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CNNVIZ_MODEL", raising=False)
    monkeypatch.setenv("CNNVIZ_DEVICE", "cpu")


def run(name, *options):
    """Run a recipe on the cat and return its manifest."""
    result = CliRunner().invoke(app, ["maps", CAT, "-c", str(CONFIGS / name), *options, "--json"])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_every_recipe_is_tested_here():
    text = Path(__file__).read_text("utf-8")
    recipes = [path.name for path in CONFIGS.glob("*.yaml")]
    assert recipes
    assert all(f'"{name}"' in text for name in recipes)


def test_first_blocks_of_vgg16_are_grids_of_64_channels():
    document = run("vgg16-first-blocks.yaml", "--input-size", "64")
    names = [layer["name"] for layer in document["layers"]]
    assert names == ["features.0", "features.5", "features.10", "features.17"]
    assert {layer["type"] for layer in document["layers"]} == {"Conv2d"}
    assert document["weights"] == "none"
    with Image.open("cnnviz-out/vgg16/cat.jpg/features.0.png") as grid:
        assert len(json.loads(grid.info["cnnviz"])["channels"]) == 64


def test_mean_maps_lie_over_the_photo():
    run("mean-map-plasma.yaml")
    pictures = sorted(Path("cnnviz-out/mean/cat.jpg").glob("*.png"))
    assert len(pictures) > 3
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.mode == ("P" if path.name == "overview.png" else "RGB")


def test_grey_28_prepares_photos_for_an_own_network():
    Path("net.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())\n"
    )
    told = run("grey-28.yaml", "-m", "net.py:build")["preprocess"]
    assert (told["input_size"], told["stretch"], told["grey"]) == ([28, 28], True, True)
    assert (told["mean"], told["std"]) == ([0.1307], [0.3081])


def test_ci_smoke_passes_on_the_bundled_network():
    document = run("ci-smoke.yaml")
    assert document["tripped"] == []
    assert document["model"] == "demo"
    assert all(layer["gradient"]["relative"] > 1e-4 for layer in document["layers"])
    suite = ElementTree.parse("cnnviz-out/ci/junit.xml").getroot()
    assert suite.get("tests") == str(5 * len(document["layers"]))
    assert suite.get("failures") == "0"


def test_ci_smoke_trips_on_a_network_that_is_broken():
    Path("net.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    network = nn.Sequential(nn.Conv2d(3, 4, 3))\n"
        "    network[0].weight.data.fill_(float('nan'))\n"
        "    return network\n"
    )
    config = str(CONFIGS / "ci-smoke.yaml")
    result = CliRunner().invoke(app, ["maps", CAT, "-c", config, "-m", "net.py:build"])
    assert result.exit_code == 3
    assert "error: --fail-on nan: 0: " in result.stderr


def test_filters_health_passes_on_the_bundled_network_and_not_on_random_weights():
    for weights, code in (("default", 0), ("none", 3)):
        config = str(CONFIGS / "filters-health.yaml")
        result = CliRunner().invoke(app, ["filters", "-c", config, "-w", weights, "--json"])
        assert result.exit_code == code, result.stderr
        tripped = json.loads(result.stdout)["tripped"]
        assert [found["rule"] for found in tripped] == ["noise=0.3"] * (code == 3)
