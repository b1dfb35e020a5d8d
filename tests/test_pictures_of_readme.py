"""Every picture of the README is made by the recipe of its name, as its comments say."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PROJECT = Path(__file__).parents[1]
RECIPES = sorted((PROJECT / "configs" / "pictures").glob("*.yaml"))
# What takes minutes.
SLOW = ("maximize", "top", "training")
# An ascent, and a training, go their own ways on another processor.
DIFFERENCE = {"maximize": 20.0, "training": 255.0}


def lines(recipe):
    """Return the commands in a recipe's comments, and where the picture is then."""
    told = re.findall(r"^#   (.*)$", recipe.read_text("utf-8"), re.MULTILINE)
    return told[:-1], told[-1].removeprefix("-> ")


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"), dtype=float)


def test_every_picture_of_the_readme_has_a_recipe():
    shown = re.findall(r"\]\(\.github/([\w-]+)\.png\)", (PROJECT / "README.md").read_text("utf-8"))
    assert shown
    assert sorted(shown) == [recipe.stem for recipe in RECIPES]


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(recipe, id=recipe.stem, marks=[pytest.mark.slow] * (recipe.stem in SLOW))
        for recipe in RECIPES
    ],
)
def test_a_recipe_makes_the_picture_that_the_readme_shows(recipe, tmp_path):
    for name in ("sample_images", "configs"):
        shutil.copytree(PROJECT / name, tmp_path / name)
    commands, made = lines(recipe)
    for command in commands:
        words = shlex.split(command.replace("cnnviz ", "-m cnnviz ", 1).removeprefix("python "))
        subprocess.run([sys.executable, *words], cwd=tmp_path, check=True, capture_output=True)
    ours, shown = pixels(tmp_path / made), pixels(PROJECT / ".github" / f"{recipe.stem}.png")
    assert ours.shape == shown.shape
    assert np.abs(ours - shown).mean() <= DIFFERENCE.get(recipe.stem, 1.0)
