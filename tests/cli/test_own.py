"""A user's own networks: arguments for what makes them, and which weights of a checkpoint."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from cnnviz.cli.exit_codes import DONE, FAILED, WRONG_USAGE
from cnnviz.networks.models import load_model

NETWORK = """
from torch import nn


def build(width=4, *, act="relu", kernels=(3,)):
    layers = [nn.Conv2d(3, width, kernels[0])]
    layers += [nn.Conv2d(width, width, k) for k in kernels[1:]]
    return nn.Sequential(*layers, nn.ReLU() if act == "relu" else nn.Identity())


instance = build()
"""
# torch has its doubts about TorchScript, and about weights that are not contiguous.
quiet = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:No complete tensor"
)
COMMANDS = {
    "maps": ("maps", "a.jpg", "-l", "all"),
    "filters": ("filters", "-l", "first"),
    "layers": ("layers",),
    "rf": ("rf", "-l", "all"),
    "maximize": ("maximize", "-l", "all", "--channels", "0", "--steps", "1", "--size", "16"),
}
OWN = ("-m", "own.py:build", "--input-size", "16")


@pytest.fixture(autouse=True)
def own(here):
    Path("own.py").write_text(NETWORK)


def state(value, width=4):
    module = load_model("own.py:build", device="cpu", model_args={"width": width}).module
    return {name: torch.full_like(tensor, value) for name, tensor in module.state_dict().items()}


def document(run):
    assert run.code == DONE, run.stderr
    return json.loads(run.stdout)


def weight(run):
    """Return the value that the filters of the first layer have everywhere."""
    return document(run)["layers"][0]["stats"]["max"]


@pytest.mark.parametrize("name", COMMANDS)
class TestEveryCommand:
    def test_gives_arguments_to_what_makes_the_network(self, cli, name):
        words = ("--model-args", "width=6", "--model-args", "kernels=[1, 3]")
        found = document(cli(*COMMANDS[name], *OWN, *words, "--json"))
        assert found["model"] == "own.py:build"
        assert found["model_args"] == {"width": 6, "kernels": [1, 3]}
        shapes = [
            layer.get("weight_shape", layer.get("output_shape", [])) for layer in
            found.get("layers", [])
        ]  # fmt: skip
        assert all(6 in shape[:2] for shape in shapes)
        assert shapes or found["units"][0]["layer"] == "0"

    def test_takes_the_weights_that_a_key_names(self, cli, name):
        torch.save({"model": state(1), "model_ema": state(2)}, "x.pth")
        run = cli(*COMMANDS[name], *OWN, "-w", "x.pth", "--state-key", "model_ema", "--json")
        assert document(run)["state_key"] == "model_ema"
        assert "--state-key" not in run.stderr

    def test_tells_of_other_weights_and_which_were_used(self, cli, name):
        torch.save({"model": state(1), "model_ema": state(2)}, "x.pth")
        run = cli(*COMMANDS[name], *OWN, "-w", "x.pth", "--json")
        assert "state_key" not in document(run)
        assert run.stderr.count("x.pth also holds model_ema: model is used; --state-key choo") == 1

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("--model-args", "widht=6"), "unknown argument for own.py:build 'widht'; did you mea"),
            (("--model-args", "x=6"), "'x'; choose from width, act, kernels"),
            (("--model-args", "width"), "'width' not understood; write NAME=VALUE, as in width="),
            (("-m", "own.py:instance", "--model-args", "width=6"), "is a network already"),
            (("-m", "demo", "--model-args", "width=6"), "demo takes no --model-args; given width"),
            (("--state-key", "ema"), "--state-key ema is for a checkpoint, and --weights default"),
        ],
    )
    def test_tells_what_is_wrong_in_one_line(self, cli, name, words, said):
        run = cli(*COMMANDS[name], *OWN, *words)
        assert run.code == WRONG_USAGE
        assert said in run.error


@pytest.mark.parametrize(
    "text",
    [
        "model-args: {width: 6, act: none, kernels: [1, 3]}",
        "model_args:\n  - width=6\n  - act=none\n  - 'kernels=[1, 3]'",
        "model-args:\n  width: 6\n  act: none\n  kernels:\n    - 1\n    - 3",
    ],
)
def test_a_configuration_takes_arguments_as_a_mapping_or_a_list(cli, text):
    Path("c.yaml").write_text(f"model: own.py:build\ninput-size: 16\n{text}\n")
    found = document(cli("layers", "-c", "c.yaml", "--json"))
    assert found["model_args"] == {"width": 6, "act": "none", "kernels": [1, 3]}
    assert [layer["type"] for layer in found["layers"]] == ["Conv2d", "Conv2d", "Identity"]


def test_a_configuration_takes_a_key(cli):
    torch.save({"model": state(1), "ema": {"module": state(2)}}, "x.pth")
    Path("c.yaml").write_text("weights: x.pth\nstate-key: ema.module\n")
    assert weight(cli("filters", *OWN, "-c", "c.yaml", "--json")) == 2
    assert weight(cli("filters", *OWN, "-w", "x.pth", "--json")) == 1


def test_arguments_of_the_command_line_replace_those_of_the_file(cli):
    Path("c.yaml").write_text("model-args: {width: 6}\n")
    words = ("-c", "c.yaml", "--model-args", "act=none", "--json")
    assert document(cli("layers", *OWN, *words))["model_args"] == {"act": "none"}


def test_a_wrong_mapping_in_a_configuration_is_told_with_its_line(cli):
    Path("c.yaml").write_text("quiet: true\nmodel-args: {width: 6, act: 2026-01-01, 3: 4}\n")
    assert "--model-args '3=4' not understood" in cli("layers", *OWN, "-c", "c.yaml").error
    Path("c.yaml").write_text("quiet: true\nmodel-args: [[1]]\n")
    said = "line 2: model-args must be KEY: VALUE, or a list of KEY=VALUE, not [[1]]"
    assert said in cli("layers", *OWN, "-c", "c.yaml").error


def test_a_key_that_is_not_there_lists_those_that_are(cli):
    torch.save({"model": state(1), "model_ema": state(2)}, "x.pth")
    run = cli("maps", "a.jpg", *OWN, "-w", "x.pth", "--state-key", "ema")
    assert run.code == WRONG_USAGE
    assert "--state-key ema: x.pth has no weights there; it has model, model_ema" in run.error


def test_a_checkpoint_of_a_network_with_arguments_needs_them(cli):
    torch.save(state(1, width=6), "x.pth")
    assert weight(cli("filters", *OWN, "--model-args", "width=6", "-w", "x.pth", "--json")) == 1
    run = cli("filters", *OWN, "-w", "x.pth")
    assert run.code == FAILED
    assert "2 of another shape (0.weight 6x3x3x3 for 4x3x3x3" in run.error


@pytest.mark.parametrize("words", [("--model-args", "act=none"), ("--state-key", "model_ema")])
def test_a_run_is_not_gone_on_with_for_another_network(cli, words):
    torch.save({"model": state(1), "model_ema": state(1)}, "x.pth")
    first = ("maps", "a.jpg", *OWN, "-w", "x.pth", "-l", "0")
    assert cli(*first).code == DONE
    assert cli(*first, "--resume").code == DONE
    run = cli(*first, *words, "--resume")
    assert run.code == WRONG_USAGE
    assert f"{words[0].removeprefix('--')} was " in run.error


def test_pictures_tell_what_was_asked_for(cli):
    torch.save({"ema": state(1)}, "x.pth")
    words = ("-w", "x.pth", "--state-key", "ema", "--model-args", "width=4")
    for command in ("maps", "filters", "rf", "maximize"):
        assert cli(*COMMANDS[command], *OWN, *words).code == DONE
    pictures = list(Path("cnnviz-out").rglob("*.png"))
    assert len(pictures) > 6
    for path in pictures:
        with Image.open(path) as picture:
            about = json.loads(picture.text["cnnviz"])
        assert (about["state_key"], about["model_args"]) == ("ema", {"width": 4}), path


def test_torchvision_takes_arguments(cli):
    words = ("-m", "resnet18", "-w", "none", "--input-size", "32", "-l", "fc", "--json")
    found = document(cli("layers", *words, "--model-args", "num_classes=7"))
    assert found["layers"][0]["output_shape"] == [1, 7]
    run = cli("layers", *words, "--model-args", "classes=7")
    assert (run.code, "unknown argument for resnet18 'classes'" in run.error) == (2, True)


@pytest.mark.parametrize(
    ("suffix", "said"),
    [
        ("pt", "x.pt is a TorchScript archive, and hooks do not reach its layers: name the netw"),
        ("pt2", "x.pt2 is a torch.export archive, and loading it could run code (where you trust"),
        ("pth", "x.pth is a file, and no network's name: name the network with -m, and give the"),
    ],
)
@quiet
def test_an_archive_gives_its_weights_and_is_no_network(cli, suffix, said):
    module = load_model("own.py:build", device="cpu").module
    picture = torch.ones(1, 3, 16, 16)
    {
        "pt": lambda: torch.jit.save(torch.jit.trace(module, picture), "x.pt"),
        "pt2": lambda: torch.export.save(torch.export.export(module, (picture,)), "x.pt2"),
        "pth": lambda: torch.save(module.state_dict(), "x.pth"),
    }[suffix]()
    found = weight(cli("filters", *OWN, "-w", f"x.{suffix}", "--json"))
    assert found == pytest.approx(module[0].weight.max().item())
    run = cli("filters", "-m", f"x.{suffix}")
    assert run.code == WRONG_USAGE
    assert said in run.error


@quiet
def test_an_exported_network_that_is_trusted_is_looked_into(cli):
    module = load_model("own.py:build", device="cpu").module
    torch.export.save(torch.export.export(module, (torch.ones(1, 3, 16, 16),)), "x.pt2")
    Path("exported.py").write_text(
        "import torch\n\n\ndef build():\n"
        "    return torch.export.unflatten(torch.export.load('x.pt2'))\n"
    )
    found = document(cli("layers", "-m", "exported.py:build", "--input-size", "16", "--json"))
    assert [(layer["name"], layer["receptive_field"]["size"]) for layer in found["layers"]] == [
        ("0", [3, 3]), ("1", [3, 3]),
    ]  # fmt: skip
