"""Help and every mistake in usage answer at once: torch, which takes seconds, is not imported."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import cnnviz

HELP, WRONG_USAGE, FAILED = 0, 2, 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--help"], HELP, "maps"),
        (["--version"], HELP, cnnviz.__version__),
        ([], HELP, "Usage"),
        (["maps", "--help"], HELP, "--channels"),
        (["maps", "-h"], HELP, "--channels"),
        (["mops"], WRONG_USAGE, "No such command 'mops'"),
        (["maps"], WRONG_USAGE, "Missing argument 'INPUT'"),
        (["maps", "a.jpg", "--nope"], WRONG_USAGE, "No such option: --nope"),
        (["maps", "a.jpg", "-m", "resnt18"], WRONG_USAGE, "unknown model 'resnt18'"),
        (["maps", "a.jpg", "-w", "IMAGNET1K_V1"], WRONG_USAGE, "unknown weights"),
        (["maps", "a.jpg", "-w", "gone.pth"], FAILED, "checkpoint gone.pth does not exist"),
        (["maps", "a.jpg", "--device", "gpu"], WRONG_USAGE, "unknown device 'gpu'"),
        (["maps", "a.jpg", "--cmap", "virdis"], WRONG_USAGE, "unknown colour map 'virdis'"),
        (["maps", "a.jpg", "--channels", "9-1"], WRONG_USAGE, "channels '9-1'"),
        (["maps", "a.jpg", "-l", "relu#x"], WRONG_USAGE, "layer 'relu#x'"),
        (["maps", "a.jpg", "--fail-on", "bored"], WRONG_USAGE, "rule 'bored'"),
        (["maps", "a.jpg", "--fail-on", "vanishing=1e-4"], WRONG_USAGE, "needs --gradients"),
        (["maps", "a.jpg", "--fail-on", "change=no.json:1"], FAILED, "cannot read no.json"),
        (["maps", "a.jpg", "--fail-on", "nan", "--junit", "."], FAILED, ". is a folder"),
        (["maps", "a.jpg", "--input-size", "12y"], WRONG_USAGE, "input size '12y'"),
        (["maps", "a.jpg", "--mean", "123.7"], WRONG_USAGE, "write 0.485"),
        (["maximize", "--std", "0"], WRONG_USAGE, "std '0'"),
        (["rf", "--crop", "9", "--resize", "8"], WRONG_USAGE, "resized to 8x8 does not fill"),
        (["filters", "--classes", "no.txt"], FAILED, "file of class names no.txt does not exist"),
        (["maps", "a.jpg", "--classes", "c.json"], FAILED, "c.json holds no class names"),
        (["maps", "a.jpg", "-c", "not.yaml"], WRONG_USAGE, "not.yaml is not YAML"),
        (["maps", "a.jpg", "-c", "key.yaml"], WRONG_USAGE, "unknown option 'cmpa'"),
        (["filters", "--help"], HELP, "--in-channels"),
        (["filters", "--frames"], WRONG_USAGE, "--frames needs several --weights"),
        (["filters", "--fail-on", "blank"], WRONG_USAGE, "rule 'blank'"),
        (["rf", "-w", "none", "-w", "default"], WRONG_USAGE, "with --effective"),
        (["maps", "gone.jpg"], FAILED, "gone.jpg does not exist"),
        (["maps", "a.jpg", "-o", "key.yaml"], FAILED, "key.yaml is a file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_torch_is_not_imported_for(process, here, words, code, said):
    Path("not.yaml").write_text("model: [")
    Path("key.yaml").write_text("cmpa: gray")
    Path("c.json").write_text("{}")
    run = process(*words, python=("-X", "importtime"))
    talk = [line for line in run.stderr.splitlines() if not line.startswith("import time:")]
    assert run.code == code, talk
    if code == HELP:
        assert said in run.stdout
    else:
        assert [line for line in talk if line.startswith("error: ")] == talk[:1]
        assert said in talk[0]
    assert not re.search(r"\| +torch$", run.stderr, re.MULTILINE)
    # The pattern above would miss a change in how Python reports imports.
    assert re.search(r"\| +typer$", run.stderr, re.MULTILINE)


def test_the_bundled_network_is_listed_without_what_takes_long_to_import(process):
    run = process("layers", python=("-X", "importtime"))
    assert run.code == 0
    imported = set(re.findall(r"\| +([\w.]+)$", run.stderr, re.MULTILINE))
    assert "torch" in imported
    assert not imported & {"torchvision", "torch._dynamo", "sympy", "triton", "matplotlib"}


def test_the_command_and_the_module_are_the_same_program(process):
    command = Path(sys.executable).with_name("cnnviz")
    if not command.exists():
        pytest.skip("cnnviz is not installed beside this Python")
    said = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    run = process("--version")
    assert said.stdout == run.stdout == f"cnnviz {cnnviz.__version__}\n"
