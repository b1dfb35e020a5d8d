import csv
import io
import json
from pathlib import Path

import pytest

ENTRY = {
    "name", "call", "type", "output_shape", "params", "macs", "receptive_field", "reason",
}  # fmt: skip


def document(cli, *arguments):
    run = cli("layers", *arguments, "--json")
    assert run.code == 0, run.stderr
    return json.loads(run.stdout)


def test_json_is_to_the_letter(cli):
    told = document(cli, "-m", "resnet18")
    assert {"schema_version", "command", "model", "input_shape", "totals", "layers"} <= set(told)
    assert (told["schema_version"], told["command"], told["model"]) == (1, "layers", "resnet18")
    assert told["input_shape"] == [1, 3, 224, 224]
    assert told["totals"] == {"params": 11689512, "macs": 1814073344}
    assert all(set(layer) == ENTRY for layer in told["layers"])
    (relu,) = (x for x in told["layers"] if (x["name"], x["call"]) == ("layer1.0.relu", 2))
    field = relu.pop("receptive_field")
    assert relu == {
        "name": "layer1.0.relu", "call": 2, "type": "ReLU", "output_shape": [1, 64, 56, 56],
        "params": 0, "macs": 0, "reason": None,
    }  # fmt: skip
    assert {k: field[k] for k in ("size", "stride", "start", "global")} == {
        "size": [27, 27], "stride": [4, 4], "start": [-13, -13], "global": False,
    }  # fmt: skip
    last = told["layers"][-1]
    assert last["name"] == "fc"
    assert last["receptive_field"] is None
    assert last["reason"] == "the output has no spatial axes"


def test_the_table_has_every_leaf_call_and_the_totals(cli, tiny):
    run = cli("layers", *tiny)
    assert run.code == 0
    lines = run.stdout.splitlines()
    assert lines[0].split() == [
        "layer", "type", "output", "params", "mult-adds", "field", "stride",
    ]  # fmt: skip
    assert [line.split()[0] for line in lines[1:7]] == [
        "conv1", "relu", "pool", "conv2", "relu#2", "head",
    ]  # fmt: skip
    assert lines[3].split() == ["pool", "MaxPool2d", "4×16×16", "–", "–", "4", "2"]
    assert "369 parameters" in lines[7]
    assert "1×3×32×32" in lines[7]


def test_columns_are_chosen_by_name(cli, tiny):
    run = cli("layers", *tiny, "--columns", "name,start,global", "-l", "conv2")
    assert run.stdout.splitlines()[:2][1].split() == ["conv2", "-3x-3"]
    wrong = cli("layers", *tiny, "--columns", "name,strat")
    assert wrong.code == 2
    assert "start" in wrong.error


def test_csv_has_one_line_per_layer(cli, tiny):
    run = cli("layers", *tiny, "--csv", "--columns", "name,shape,macs,field,reason")
    rows = list(csv.DictReader(io.StringIO(run.stdout)))
    assert [row["name"] for row in rows][:2] == ["conv1", "relu"]
    assert rows[0] == {
        "name": "conv1", "shape": "1x4x32x32", "macs": str(4 * 27 * 1024), "field": "3x3",
        "reason": "",
    }  # fmt: skip
    assert rows[-1]["field"] == ""
    assert rows[-1]["reason"]


def test_csv_and_json_together_are_wrong_usage(cli, tiny):
    run = cli("layers", *tiny, "--csv", "--json")
    assert run.code == 2
    assert "--csv" in run.error


def test_layers_filter_rows_and_leave_the_totals(cli, tiny):
    told = document(cli, *tiny, "-l", "conv,relu#2")
    names = [(layer["name"], layer["call"]) for layer in told["layers"]]
    assert names == [("conv1", 1), ("conv2", 1), ("relu", 2)]
    assert told["totals"] == document(cli, *tiny)["totals"]


def test_modules_that_never_ran_are_named_below_the_table(cli, here):
    Path("spare.py").write_text(
        "from torch import nn\n"
        "class Network(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.used, self.spare = nn.Conv2d(3, 2, 3), nn.Linear(2, 2)\n"
        "    def forward(self, x):\n"
        "        return self.used(x)\n"
    )
    run = cli("layers", "-m", "spare.py:Network", "--input-size", "8")
    assert "never ran: spare" in run.stderr
    assert document(cli, "-m", "spare.py:Network", "--input-size", "8")["never_ran"] == ["spare"]


def test_an_unknown_operator_is_told_once(cli, here):
    Path("waves.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "class Waves(nn.Module):\n"
        "    def forward(self, x):\n"
        "        return torch.fft.fft2(x).real\n"
        "def make():\n"
        "    return nn.Sequential(nn.Conv2d(3, 2, 3), Waves(), nn.Conv2d(2, 2, 1))\n"
    )
    run = cli("layers", "-m", "waves.py:make", "--input-size", "8")
    note = "field unknown for 2 layers from 1 on: no rule for the operator aten::_fft_c2c"
    assert note in run.stderr


def test_a_forward_pass_that_fails_names_the_last_layer(cli, here):
    Path("wrong.py").write_text(
        "from torch import nn\n"
        "def make():\n"
        "    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.Conv2d(5, 2, 3))\n"
    )
    run = cli("layers", "-m", "wrong.py:make", "--input-size", "8")
    assert run.code == 1
    assert "last layer that ran: 0" in run.error


@pytest.mark.parametrize("command", ["layers", "rf"])
def test_weights_are_neither_downloaded_nor_initialised(cli, here, monkeypatch, command):
    import torch

    def never(*_arguments, **_options):
        raise AssertionError("weights are not needed")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", never)
    monkeypatch.setattr("torch.hub.download_url_to_file", never)
    monkeypatch.setattr("cnnviz.networks.sources._download", never)
    monkeypatch.setattr("cnnviz.networks.models.load_model", never)
    run = cli(command, "-m", "alexnet", "--input-size", "64", "--json")
    assert run.code == 0, run.stderr
