"""Every command line of the README runs; nothing of cnnviz is imported here."""

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
    return [line for line in lines if re.match(r"(\S.*\| *)?cnnviz ", line)]


def shown_below(line):
    """Return the rows of output that the README shows for a command, but for those left out."""
    text = (PROJECT / "README.md").read_text("utf-8")
    _, found, after = text.partition(f"$ {line}\n")
    rows = after.partition("```")[0].splitlines() if found else []
    return [row for row in rows if row != "..."]


def stand_in(model, path):
    """Save weights of the right names and shapes in a file of a few kilobytes."""
    with torch.device("meta"):
        state = torchvision.models.get_model(model, weights=None).state_dict()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({k: torch.tensor(0.01).expand(t.shape) for k, t in state.items()}, path)


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
    for file, factory in re.findall(r"(\w+\.py):(\w+)", line):
        (folder / file).write_text(NETWORK.replace("FACTORY", factory))
    model = re.search(r"-m (\w+)(?= |$)", line)
    checkpoints = re.findall(r"-w (\S+\.pth)", line)
    if model and model[1] in torchvision.models.list_models():
        url = torchvision.models.get_model_weights(model[1]).DEFAULT.url
        cached = folder / "torch" / "hub" / "checkpoints" / url.rpartition("/")[2]
        for path in [folder / name for name in checkpoints] or [cached]:
            stand_in(model[1], path)


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
    assert all(row.split() in printed for row in shown_below(line))
    written = {
        "maps": "manifest.json",
        "filters": "filters/*.png",
        "maximize": "maximize/*.png",
        "rf": "overview.png",
    }.get(line.split("cnnviz ")[1].split()[0])
    assert written is None or list(folder.rglob(written)), "no output folder"
