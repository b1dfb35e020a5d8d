import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from cnnviz.cli import app
from cnnviz.networks.models import load_model
from cnnviz.photos.images import open_image

FAST = ("--steps", "4")


def document(cli, *arguments, code=0):
    run = cli("maximize", *arguments, "--json")
    assert run.code == code, run.stderr
    return json.loads(run.stdout)


def test_json_is_to_the_letter(cli, tiny):
    told = document(cli, *tiny, "-l", "conv2", "--channels", "0,5", *FAST)
    assert (told["schema_version"], told["command"], told["model"]) == (
        1,
        "maximize",
        "net.py:tiny",
    )
    unit = told["units"][1]
    assert set(unit) >= {
        "layer", "call", "channel", "objective", "size", "steps", "start", "final", "output",
    }  # fmt: skip
    assert [unit[k] for k in ("layer", "call", "channel", "objective", "size", "steps")] == [
        "conv2", 1, 5, "channel", 32, 4,
    ]  # fmt: skip
    assert unit["output"] == "cnnviz-out/maximize/conv2/5.png"
    assert all(unit["final"] > unit["start"] for unit in told["units"])


def test_pictures_are_written_for_layers_units_and_all(cli, tiny):
    told = document(cli, *tiny, "-l", "conv1,relu#2", "--channels", "0,1", "-o", "out", *FAST)
    written = {p.relative_to("out").as_posix() for p in Path("out").rglob("*.png")}
    assert written == {
        "maximize/conv1.png", "maximize/conv1/0.png", "maximize/conv1/1.png",
        "maximize/relu#2.png", "maximize/relu#2/0.png", "maximize/relu#2/1.png",
        "maximize/overview.png",
    }  # fmt: skip
    assert {*told["outputs"], *(u["output"] for u in told["units"])} == {
        f"out/{w}" for w in written
    }
    assert [u["call"] for u in told["units"]] == [1, 1, 2, 2]
    with Image.open("out/maximize/conv1/0.png") as picture:
        assert (picture.mode, picture.size) == ("RGB", (32, 32))
        assert json.loads(picture.info["cnnviz"])["unit"] == "conv1[0]"
    with Image.open("out/maximize/conv1.png") as grid:
        assert grid.width > 2 * 224


def test_the_defaults_are_stages_nine_channels_and_256_steps():
    from inspect import signature

    from cnnviz.cli.maximize import maximize

    defaults = {n: p.default for n, p in signature(maximize).parameters.items()}
    said = {
        "layers": ["stages"], "channels": "0-8", "objective": "channel", "steps": 256, "lr": 0.05,
        "size": "auto", "parameterization": "fourier", "transforms": "robust", "init": None,
        "negative": False, "batch_size": None, "frames": None,
    }  # fmt: skip
    assert {name: defaults[name] for name in said} == said


def test_the_default_channels_suit_narrow_layers(cli, tiny):
    told = document(cli, *tiny, "-l", "conv1,conv2", *FAST)
    assert [u["channel"] for u in told["units"]] == [*range(4), *range(6)]


def test_size_is_the_side_or_follows_the_field(cli, tiny):
    sizes = [
        document(cli, *tiny, "-l", "conv1", "--channels", "0", "--size", size, *FAST)["units"][0]
        for size in ("auto", "20", "24x16")
    ]
    assert [unit["size"] for unit in sizes] == [32, 20, [24, 16]]
    with Image.open(sizes[2]["output"]) as picture:
        assert picture.size == (16, 24)


def test_classes_go_by_number_and_by_name(cli):
    told = document(
        cli, "--objective", "class", "--channels", "star,3", "--size", "64", "--steps", "2"
    )
    assert [(u["layer"], u["channel"], u["objective"]) for u in told["units"]] == [
        ("fc", 24, "class"), ("fc", 3, "class"),
    ]  # fmt: skip
    run = cli("maximize", "--objective", "class", "--channels", "strr")
    assert run.code == 2
    assert "did you mean star" in run.error


@pytest.mark.parametrize("objective", ["channel", "neuron", "layer"])
def test_every_objective_rises_and_its_negative_too(cli, tiny, objective):
    words = ("-l", "conv2", "--channels", "0", "--objective", objective, "--negative")
    told = document(cli, *tiny, *words, "--steps", "24")
    assert [u["objective"] for u in told["units"]] == [objective, f"-{objective}"]
    assert all(u["final"] > u["start"] for u in told["units"])
    name = "layer" if objective == "layer" else "0"
    assert told["units"][1]["output"].endswith(f"/{name}-negative.png")


@pytest.mark.parametrize("option", [("--parameterization", "pixel"), ("--transforms", "none")])
def test_ways_can_be_chosen(cli, tiny, option):
    told = document(cli, *tiny, "-l", "conv2", "--channels", "0", *option, *FAST)
    assert told["units"][0]["final"] > told["units"][0]["start"]


def test_repeats_write_the_same_bytes_and_the_seed_changes_them(cli, tiny):
    words = (*tiny, "-l", "conv2", "--channels", "0", "--frames", "3", *FAST)
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        document(cli, *words, "-o", out, "--seed", seed)
    names = [p.relative_to("a") for p in Path("a").rglob("*.png")]
    assert len(names) == 3
    assert all(Path("a", n).read_bytes() == Path("b", n).read_bytes() for n in names)
    assert all(Path("a", n).read_bytes() != Path("c", n).read_bytes() for n in names)


def test_deep_dream_starts_from_the_photo_at_the_inputs_size(cli, tiny):
    told = document(cli, *tiny, "--objective", "layer", "--init", "a.jpg", "-l", "conv2", *FAST)
    (unit,) = told["units"]
    assert (unit["channel"], unit["size"]) == (None, 32)
    assert unit["final"] > unit["start"]


def test_frames_are_an_animated_png(cli, tiny):
    told = document(cli, *tiny, "-l", "conv2", "--channels", "0", "--frames", "3", *FAST)
    path = "cnnviz-out/maximize/conv2-ascent.png"
    assert path in told["outputs"]
    with Image.open(path) as picture:
        assert picture.n_frames == 3


def test_the_table_has_a_row_per_unit(cli, tiny):
    run = cli("maximize", *tiny, "-l", "conv2", "--channels", "0-1", *FAST)
    lines = [line.split() for line in run.stdout.splitlines()]
    assert lines[0] == ["layer", "unit", "size", "steps", "start", "final"]
    assert [line[:4] for line in lines[1:]] == [["conv2", n, "32", "4"] for n in "01"]
    assert "3 files in cnnviz-out/maximize" in run.stderr


def test_a_dead_unit_is_said_to_be_dead(cli, here):
    Path("dead.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU())\n"
        "    net[0].bias.data.fill_(-9)\n"
        "    return net\n"
    )
    run = cli("maximize", "-m", "dead.py:build", "--input-size", "32", "-l", "1", *FAST, "--json")
    assert run.code == 0
    assert "1[0]: it fires on no start: what stands before 1 was maximised" in run.stderr
    assert json.loads(run.stdout)["units"][0]["note"].startswith("it fires on no start")


def test_where_no_unit_rises_the_exit_code_says_so(cli, here):
    Path("flat.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    net = nn.Sequential(nn.Conv2d(3, 2, 1))\n"
        "    net[0].weight.data.zero_()\n"
        "    return net\n"
    )
    words = ("-m", "flat.py:build", "--input-size", "32", "-l", "0", *FAST)
    told = document(cli, *words, code=1)
    assert "no gradient" in told["units"][0]["note"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--channels", "top:3"), "ranks channels on photos"),
        (("--channels", "9", "-l", "conv2"), "layer conv2: channel 9 does not exist"),
        (("--channels", "red", "-l", "conv2"), "channels 'red' not understood"),
        (("--size", "huge"), "size 'huge' not understood; write auto"),
        (("--size", "9999"), "size '9999' not understood; write auto, or pixels such as 128, 8192"),
        (("--lr", "0"), "--lr 0.0 is no length of a step"),
        (("--lr", "nan"), "--lr nan is no length of a step"),
        (("--steps", "0"), "--steps"),
        (("--frames", "1"), "--frames"),
        (("--objective", "klass"), "--objective"),
        (("--parameterization", "fft"), "--parameterization"),
        (("-l", "convv"), "did you mean conv"),
        (("-m", "dmo"), "did you mean demo"),
    ],
)
def test_wrong_usage_exits_with_two(cli, tiny, words, said):
    run = cli("maximize", *tiny, *words)
    assert run.code == 2
    assert said in run.error


@pytest.mark.parametrize("init", ["nothing.jpg", "net.py", "."])
def test_a_start_that_is_no_photo_is_an_expected_failure(cli, tiny, init):
    run = cli("maximize", *tiny, "--init", init)
    assert run.code == 1
    assert init in run.error


def test_an_interrupt_writes_what_there_is_and_exits_with_130(here):
    words = ["maximize", "-l", "layer1.0.conv1,layer2.0.conv1", "--channels", "all"]
    words += ["--steps", "150", "--batch-size", "1", "--json", "--frames", "2"]
    # Where tests run in the background, children ignore Ctrl-C unless told otherwise.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from cnnviz.cli import app; app(prog_name='cnnviz')"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", program, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    first = Path("cnnviz-out/maximize/layer1.0.conv1/0.png")
    while not first.is_file() and run.poll() is None:
        time.sleep(0.05)
    time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    stdout, stderr = run.communicate(timeout=60)
    assert run.returncode == 130, stderr
    told = json.loads(stdout)
    assert told["interrupted"] is True
    *whole, last = told["units"]
    assert [unit["steps"] for unit in whole] == [150] * len(whole)
    assert 0 < last["steps"] <= 150
    assert 2 <= len(told["units"]) < 64
    assert all(unit["final"] > unit["start"] for unit in told["units"])
    assert all(Path(unit["output"]).is_file() for unit in told["units"])
    assert Path("cnnviz-out/maximize/layer1.0.conv1.png").is_file()
    assert stderr.decode().splitlines()[-1] == "interrupted"


def right_classes(told, side=None):
    """Return how many of the written pictures the network takes for their class."""
    model = load_model("demo", device="cpu")
    right = 0
    for unit in told["units"]:
        image = open_image(Path(unit["output"]))
        if side is not None:
            image = image.resize((side, side), Image.Resampling.BILINEAR)
        with torch.no_grad():
            logits = model.module(torch.from_numpy(model.preprocess.normalize(image))[None])
        right += int(logits.argmax()) == unit["channel"]
    return right


@pytest.mark.parametrize("side", [None, 160])
def test_a_few_class_pictures_are_of_their_class(cli, here, side):
    words = ("--objective", "class", "--channels", "rings,zigzag,heart", "--size", "128")
    told = document(cli, *words, "--steps", "40")
    assert right_classes(told, side) == 3


@pytest.mark.slow
def test_class_pictures_are_of_their_class_also_after_a_resize(here):
    words = ["maximize", "--objective", "class", "--channels", "all", "--json"]
    told = json.loads(CliRunner().invoke(app, words).stdout)
    assert len(told["units"]) == 28
    assert all(unit["final"] > unit["start"] for unit in told["units"])
    for side in (None, 160, 192, 256):
        assert right_classes(told, side) >= 0.95 * 28, side


@pytest.mark.slow
def test_every_unit_of_the_default_run_ends_higher_than_it_started(cli, here):
    told = document(cli)
    assert len(told["units"]) == 45
    assert all(unit["final"] > unit["start"] for unit in told["units"])


def test_a_step_that_would_overflow_is_wrong_usage(cli, tiny):
    run = cli("maximize", *tiny, "--lr", "1e300")
    assert run.code == 2
    assert "--lr 1e+300 is no length of a step" in run.error


def test_more_frames_than_steps_are_one_for_each_step(cli, tiny):
    words = ("-l", "conv2", "--channels", "0", "--steps", "2", "--size", "16")
    document(cli, *tiny, *words, "--frames", "1000000000000")
    with Image.open("cnnviz-out/maximize/conv2-ascent.png") as frames:
        assert frames.n_frames == 3


def test_an_exit_of_1_has_a_reason(cli, tiny):
    words = ("-l", "conv2", "--channels", "0", "--steps", "1", "--size", "16")
    run = cli("maximize", *tiny, *words, "--lr", "1e-30", "--transforms", "none")
    assert run.code == 1
    assert "error: no unit ended higher than it started; try more --steps" in run.stderr
