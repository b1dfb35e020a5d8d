"""What many tests start from: tiny networks as loaded models, and the real photos."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from torch import nn

from cnnviz.networks.models import LoadedModel, load_model
from cnnviz.photos.preprocess import Preprocess

# The same examples in every run: what fails is a change, not luck. Slow machines have no deadline.
settings.register_profile("same", derandomize=True, deadline=None, database=None)
settings.load_profile("same")

LoadToy = Callable[..., LoadedModel]


@pytest.fixture(scope="session")
def photos() -> list[Path]:
    found = sorted((Path(__file__).parents[1] / "sample_images").glob("*.jpg"))
    assert found, "the sample images are part of the project"
    return found


@pytest.fixture
def as_model() -> LoadToy:
    """Wrap any network as a loaded model that takes pictures as they are, 0 to 1."""

    def wrap(module: nn.Module, size: tuple[int, int] = (8, 8)) -> LoadedModel:
        preprocess = Preprocess(size, size, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        return LoadedModel(module.eval(), preprocess, None, "toy", "none", torch.device("cpu"))

    return wrap


@pytest.fixture(scope="session")
def demo_trained() -> LoadedModel:
    return load_model("demo", device="cpu")


@pytest.fixture
def ordinary_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder of somebody who may not read everything, also where root runs tests.

    Only its own relative paths can be relied on, and nothing can be imported any more.
    """
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o755)
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        yield tmp_path
    finally:
        os.seteuid(me)
