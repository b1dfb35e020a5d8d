"""A small network, small photos, and the command line run inside the test's own process."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from on_disk import NETWORK
from PIL import Image
from typer.testing import CliRunner

from cnnviz.cli import app

# The small network, and others that go wrong in one way each.
NETWORKS = f"""{NETWORK}

def triplet():
    return tiny()


def other():
    return nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU())


def with_nan():
    network = tiny()
    network.conv2.weight.data[2] = float("nan")
    return network


def with_dead():
    network = tiny()
    for channel in (0, 1, 3):
        network.conv1.weight.data[channel] = 0
    return network


def all_zero():
    network = tiny()
    network.conv2.weight.data.zero_()
    network.conv2.bias.data.zero_()
    return network


def no_network():
    return 3
"""


@dataclass(frozen=True)
class Run:
    """What one command line gave."""

    code: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """The one error line, checked to be the first and only one, with nothing on stdout."""
        lines = self.stderr.splitlines()
        errors = [line for line in lines if line.startswith("error: ")]
        assert len(errors) == 1, self.stderr
        assert lines[0] == errors[0]
        assert "Traceback" not in self.stderr
        assert self.stdout == ""
        return errors[0]


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CNNVIZ_MODEL", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CNNVIZ_DEVICE", "cpu")


@pytest.fixture
def cli() -> Callable[..., Run]:
    """Run a command line in this process."""

    def run(*arguments: object, stdin: str | None = None) -> Run:
        result = CliRunner().invoke(app, [str(word) for word in arguments], input=stdin)
        return Run(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def process() -> Callable[..., Run]:
    """Run a command line in a process of its own."""

    def run(*arguments: object, python: tuple[str, ...] = (), **environment: str) -> Run:
        done = subprocess.run(
            [sys.executable, *python, "-m", "cnnviz", *map(str, arguments)],
            capture_output=True,
            env={**os.environ, **environment},
            check=False,
            timeout=120,
        )
        return Run(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with `net.py` and `a.jpg` in it."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NETWORKS)
    draw_photo(Path("a.jpg"), seed=1)
    return tmp_path


@pytest.fixture
def tiny(here: Path) -> tuple[str, ...]:
    """Options for the small network."""
    return ("-m", "net.py:tiny", "--input-size", "32")


@pytest.fixture
def photo() -> Callable[..., Path]:
    """Draw a photo at a path; the same seed gives the same photo."""
    return draw_photo


def draw_photo(path: Path, *, seed: int = 0, size: tuple[int, int] = (60, 44)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size).save(path)
    return path
