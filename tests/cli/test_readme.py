"""Every command line of the README runs, and its Python; nothing of cnnviz is imported here."""

import io
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image
from tensorboard.backend.event_processing import event_accumulator

PROJECT = Path(__file__).parents[2]
NETWORK = """
from torch import nn

def FACTORY():
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
"""


def command_lines():
    text = (PROJECT / "README.md").read_text("utf-8")
    blocks = re.findall(r"^```(?:sh|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    lines = [line.removeprefix("$ ") for line in lines]
    # Some stand there twice.
    return list(dict.fromkeys(line for line in lines if re.match(r"(\S.*\| *)?cnnviz ", line)))


def shown_below(line):
    """Return the rows of output that the README shows for a command, but for those left out."""
    text = (PROJECT / "README.md").read_text("utf-8")
    _, found, after = text.partition(f"$ {line}\n")
    rows = re.split(r"^(?:```|\$ )", after, flags=re.MULTILINE)[0].splitlines() if found else []
    return [row.split() for row in rows if row != "..."]


def agree(shown, printed, tolerance):
    """Return whether two rows have the same cells, or numbers that are that near."""
    return len(shown) == len(printed) and all(
        ours == theirs or abs(number(ours) - number(theirs)) <= tolerance * abs(number(theirs))
        for ours, theirs in zip(shown, printed, strict=True)
    )


def number(cell):
    try:
        return float(cell.replace("−", "-"))
    except ValueError:
        return float("nan")


def stand_in(model, path):
    """Save weights of the right names and shapes in a file of a few kilobytes."""
    with torch.device("meta"):
        state = torchvision.models.get_model(model, weights=None).state_dict()
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {k: torch.tensor(0.01).expand(t.shape) for k, t in state.items()}
    # As torchvision publishes weights, and as its training program writes them.
    published = path.parent.name == "checkpoints"
    torch.save(state if published else {"model": state, "model_ema": state}, path)


def prepare(line, folder):
    """Provide the files that a command line names, and the weights that it would download."""
    for name in ("sample_images", "configs"):
        shutil.copytree(PROJECT / name, folder / name)
    line = re.sub(r"\s#.*", "", line)
    cat = PROJECT / "sample_images" / "cat.jpg"
    for name in re.findall(r"[\w/]+\.(?:jpg|png|gif)\b", line):
        if not (folder / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(cat, folder / name)
    for name in re.findall(r"(?:maps|find) ([a-z_]+)/?(?= |$)", line):
        (folder / name).mkdir(exist_ok=True)
        shutil.copy(cat, folder / name / "cat.jpg")
    for name in re.findall(r"--classes (\S+)", line):
        (folder / name).write_text("circle\nsquare\nstar\n" + "other\n" * 5)
    for file, factory in re.findall(r"(\w+\.py):(\w+)", line):
        (folder / file).write_text(NETWORK.replace("FACTORY", factory))
    model = re.search(r"-m (\w+)(?= |$)", line)
    checkpoints = re.findall(r"-w (\S+\.pth)", line)
    if model and model[1] in torchvision.models.list_models():
        url = torchvision.models.get_model_weights(model[1]).DEFAULT.url
        cached = folder / "torch" / "hub" / "checkpoints" / url.rpartition("/")[2]
        for path in [folder / name for name in checkpoints] or [cached]:
            stand_in(model[1], path)


# What a reader has before the first line of Python: a network in training, and pictures.
BEFORE = """
import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter
import cnnviz

torch.manual_seed(0)
network = cnnviz.load_model("demo", "none", device="cpu").module.train()
pictures, epochs = torch.rand(1, 3, 64, 64), 2

def train(network):
    network.train()

maximize = cnnviz.maximize
cnnviz.maximize = lambda *given, **more: maximize(*given, **more, steps=1, size=32)
"""


DIGITS = """
from torch import nn

def build():
    return nn.Sequential(nn.Conv2d(1, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""


def python_blocks():
    text = (PROJECT / "README.md").read_text("utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_readme_python_runs_and_logs_a_grid_each_epoch(tmp_path):
    blocks = python_blocks()
    assert len(blocks) == 3
    (tmp_path / "my_network.py").write_text(DIGITS)
    program = BEFORE + "\n".join(blocks)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "CNNVIZ_DEVICE": "cpu"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.glob("*.png")} == {"0.png", "1.png"}
    logged = event_accumulator.EventAccumulator(str(tmp_path / "runs")).Reload()
    grids = logged.Images("layer1")
    assert [grid.step for grid in grids] == [0, 1]
    shown = Image.open(io.BytesIO(grids[1].encoded_image_string))
    # Four by four maps of 16x16, enlarged, and their labels.
    assert shown.mode == "RGB"
    assert min(shown.size) > 4 * 16 * 4
    assert len(shown.getcolors(1 << 24)) > 50


def run(line, folder):
    folder.mkdir()
    prepare(line, folder)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    home = {"TORCH_HOME": str(folder / "torch"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        cwd=folder,
        env={**os.environ, "PATH": path, **home},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What each command line gave, two at a time, as most of their time is one core's."""
    lines = command_lines()
    folder = tmp_path_factory.mktemp("readme")
    with ThreadPoolExecutor(2) as pool:
        futures = {line: pool.submit(run, line, folder / str(i)) for i, line in enumerate(lines)}
        return {
            line: (future.result(), folder / str(i))
            for i, (line, future) in enumerate(futures.items())
        }


@pytest.mark.parametrize("line", command_lines() or [None])
def test_readme_command_runs(line, runs):
    if line is None:
        pytest.skip("the README shows no command yet")
    done, folder = runs[line]
    assert done.returncode == 0, done.stderr
    printed = [row.split() for row in done.stdout.splitlines()]
    assert printed
    # An ascent goes its own way after some steps on another processor.
    tolerance = 0.1 if line.startswith("cnnviz maximize") else 0
    for row in shown_below(line):
        assert any(agree(row, other, tolerance) for other in printed), row
    written = {
        "maps": "manifest.json",
        "filters": "filters/*.png",
        "maximize": "maximize/*.png",
        "rf": "overview.png",
    }.get(line.split("cnnviz ")[1].split()[0])
    assert written is None or list(folder.rglob(written)), "no output folder"
