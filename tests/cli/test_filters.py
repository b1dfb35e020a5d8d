import json
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image

NETWORKS = """
import torch
from torch import nn


def smooth():
    axis = torch.linspace(-1, 1, 7)
    bell = torch.exp(-2 * (axis[:, None] ** 2 + axis**2))
    network = nn.Sequential(nn.Conv2d(3, 5, 7), nn.ReLU(), nn.Conv2d(5, 4, 1))
    network[0].weight.data = torch.arange(1.0, 6)[:, None, None, None] * bell.expand(5, 3, 7, 7)
    return network


def dead():
    network = smooth()
    network[0].weight.data[1:3] = 0
    return network
"""


@pytest.fixture
def nets(here):
    Path("nets.py").write_text(NETWORKS)
    return here


def document(cli, *arguments, code=0):
    run = cli("filters", *arguments, "--json")
    assert run.code == code, run.stderr
    return json.loads(run.stdout)


def mode_of(path):
    with Image.open(path) as picture:
        return picture.mode


def test_json_is_to_the_letter(cli, tiny):
    told = document(cli, *tiny)
    assert (told["schema_version"], told["command"]) == (1, "filters")
    assert told["weights"] == "default"
    (layer,) = told["layers"]
    torch.manual_seed(1)
    weight = torch.nn.Conv2d(3, 4, 3, padding=1).weight.detach()
    norms = weight.flatten(1).norm(dim=1)
    assert layer["name"] == "conv1"
    assert layer["type"] == "Conv2d"
    assert layer["weight_shape"] == [4, 3, 3, 3]
    assert layer["groups"] == 1
    assert layer["output"] == "cnnviz-out/filters/conv1.png"
    stats = layer["stats"]
    for key, expected in {
        "min": weight.min(), "max": weight.max(), "mean": weight.mean(),
        "std": weight.std(correction=0), "norm_min": norms.min(), "norm_max": norms.max(),
    }.items():  # fmt: skip
        assert stats[key] == pytest.approx(float(expected), rel=1e-5), key
    assert (stats["zero_fraction"], stats["nan"], stats["dead_filters"]) == (0, 0, 0)
    assert 0.5 < stats["noise"] < 1.5
    assert [one["norm"] for one in layer["filters"]] == pytest.approx(norms.tolist(), rel=1e-5)


def test_pictures_are_where_the_document_says(cli, tiny):
    told = document(cli, *tiny, "-l", "conv1,conv2,head", "-o", "o")
    outputs = [layer["output"] for layer in told["layers"]]
    assert outputs == [f"o/filters/{name}.png" for name in ("conv1", "conv2", "head")]
    assert [mode_of(path) for path in outputs] == ["RGB", "P", "P"]
    with Image.open(outputs[0]) as picture:
        assert json.loads(picture.info["cnnviz"]) == {
            "model": "net.py:tiny", "weights": ["default"], "layer": "conv1",
            "channels": [0, 1, 2, 3], "in_channels": [0, 1, 2],
        }  # fmt: skip


def test_the_table_tells_what_is_wrong(cli, nets):
    run = cli("filters", "-m", "nets.py:dead")
    header, row = run.stdout.splitlines()
    assert header.split() == "layer type weight norms ≈ 0 dead alike noise file".split()  # noqa: SIM905
    assert "2/5" in row
    assert row.split()[-1] == "cnnviz-out/filters/0.png"
    assert "1 file in cnnviz-out/filters" in run.stderr


@pytest.mark.parametrize(
    ("network", "rule", "code"),
    [
        ("nets.py:smooth", "noise=0.3", 0),
        ("net.py:tiny", "noise=0.3", 3),
        ("nets.py:smooth", "dead=0.2", 0),
        ("nets.py:dead", "dead=0.2", 3),
        ("nets.py:dead", "dead=0.4", 0),
        ("nets.py:smooth", "nan", 0),
    ],
)
def test_rules_exit_with_three(cli, nets, network, rule, code):
    run = cli("filters", "-m", network, "--fail-on", rule)
    assert run.code == code
    assert (f"error: --fail-on {rule}: " in run.stderr) == (code == 3)


def test_nan_in_a_deeper_layer_trips_where_it_is_asked_for(cli, here):
    assert cli("filters", "-m", "net.py:with_nan", "--fail-on", "nan").code == 0
    told = document(cli, "-m", "net.py:with_nan", "-l", "conv", "--fail-on", "nan", code=3)
    assert told["tripped"] == [
        {"rule": "nan", "layer": "conv2", "reason": "36 NaN and 0 infinite values"}
    ]
    assert told["layers"][1]["filters"][2]["norm"] is None


def test_layers_without_filters_are_told(cli, tiny):
    run = cli("filters", *tiny, "-l", "all")
    assert run.code == 0
    assert "skipped relu: ReLU has no filters of its own" in run.stderr
    assert [row.split()[0] for row in run.stdout.splitlines()[1:]] == ["conv1", "conv2", "head"]
    run = cli("filters", *tiny, "-l", "pool")
    assert run.code == 2
    assert "no layer of pool has filters: pool: MaxPool2d has no filters" in run.error


def test_a_sort_by_what_a_layer_lacks_is_told(cli, tiny):
    run = cli("filters", *tiny, "-l", "head", "--sort", "orientation")
    assert run.code == 0
    assert "head: its kernels have no orientation; sorted by index" in run.stderr


class TestCheckpoints:
    @pytest.fixture
    def series(self, tiny):
        for epoch in (1, 5):
            torch.manual_seed(epoch)
            network = torch.nn.ModuleDict(
                {
                    "conv1": torch.nn.Conv2d(3, 4, 3), "conv2": torch.nn.Conv2d(4, 6, 3),
                    "head": torch.nn.Linear(6, 5),
                }
            )  # fmt: skip
            torch.save(network.state_dict(), f"epoch{epoch}.pth")
        return ("-w", "epoch1.pth", "-w", "epoch5.pth", *tiny)

    def test_each_has_its_entry_and_all_one_picture(self, cli, series):
        told = document(cli, *series, "-l", "conv")
        assert told["weights"] == ["epoch1.pth", "epoch5.pth"]
        assert [(x["name"], x["weights"]) for x in told["layers"]] == [
            ("conv1", "epoch1.pth"), ("conv1", "epoch5.pth"),
            ("conv2", "epoch1.pth"), ("conv2", "epoch5.pth"),
        ]  # fmt: skip
        assert len({x["output"] for x in told["layers"]}) == 2
        assert told["layers"][0]["stats"]["min"] != told["layers"][1]["stats"]["min"]

    def test_frames_are_an_animated_png(self, cli, series):
        told = document(cli, *series, "--frames")
        path = told["layers"][0]["frames"]
        assert path == "cnnviz-out/filters/conv1.frames.png"
        with Image.open(path) as picture:
            assert picture.n_frames == 2

    def test_the_table_names_them(self, cli, series):
        rows = cli("filters", *series).stdout.splitlines()
        assert rows[0].split()[:2] == ["layer", "weights"]
        assert [row.split()[1] for row in rows[1:]] == ["epoch1", "epoch5"]

    def test_what_trips_says_in_which(self, cli, series):
        run = cli("filters", *series, "--fail-on", "noise=0.1")
        assert run.code == 3
        assert "error: --fail-on noise=0.1: conv1 in epoch5.pth: noise of" in run.stderr

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("--frames",), "--frames needs several --weights"),
            (("-w", "none", "-w", "none"), "--weights none is given twice"),
            (("-w", "none", "-w", "nonsense"), "unknown weights 'nonsense'"),
        ],
    )
    def test_what_makes_no_series_is_wrong_usage(self, cli, tiny, words, said):
        run = cli("filters", *tiny, *words)
        assert run.code == 2
        assert said in run.error

    def test_a_config_may_list_them(self, cli, series):
        Path("c.yaml").write_text("weights: [epoch1.pth, epoch5.pth]\n")
        told = document(cli, *series[4:], "-c", "c.yaml")
        assert told["weights"] == ["epoch1.pth", "epoch5.pth"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--reduce", "max"), "'max'"),
        (("--sort", "size"), "'size'"),
        (("--cmap", "RdBu_l"), "did you mean RdBu_r"),
        (("--fail-on", "blank"), "rule 'blank' not understood; write nan, dead=SHARE"),
        (("--in-channels", "x"), "channels 'x' not understood"),
        (("--channels", "99"), "layer conv1, filter channels: channel 99 does not exist"),
        (("photo.jpg",), "unexpected extra argument"),
    ],
)
def test_wrong_usage_is_one_line(cli, tiny, words, said):
    run = cli("filters", *tiny, *words)
    assert run.code == 2
    assert said in run.error


@pytest.mark.slow
@pytest.mark.parametrize("name", torchvision.models.list_models(module=torchvision.models))
def test_every_model_of_torchvision_has_filters(cli, here, name):
    words = ("-m", name, "-w", "none", "-l", "first,last", "--reduce", "none")
    told = document(cli, *words)
    assert told["layers"]
    for layer in told["layers"]:
        assert Path(layer["output"]).is_file()
        assert layer["stats"]["nan"] == 0
    first = told["layers"][0]
    assert first["weight_shape"][1] == 3
    assert mode_of(first["output"]) == "RGB"
    assert first["stats"]["noise"] == pytest.approx(1, abs=0.2)
