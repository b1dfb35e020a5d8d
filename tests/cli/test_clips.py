"""Networks that take frames, lists of pictures, or quantized numbers, from the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

NETWORKS = """
import torch
from torch import nn


class Video(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv3d(3, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool3d(2)
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        return self.head(self.pool(self.relu(self.conv1(x))).mean((2, 3, 4)))


class RAFT(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 2, 1, bias=False), nn.Conv2d(3, 2, 1, bias=False)
        with torch.no_grad():
            self.two.weight.copy_(self.one.weight)
        self.flow = nn.Conv2d(2, 2, 1)
        self.both = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, first, second):
        self.both(torch.cat([first, second]))
        return [self.flow(self.two(second) - self.one(first))]


def video():
    torch.manual_seed(1)
    return Video()


def flow():
    torch.manual_seed(1)
    return RAFT()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with networks, a clip as a folder and as an animation, and a still."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETWORKS)
    frames = [Image.new("RGB", (40, 40), (8 * t, 90, 255 - 8 * t)) for t in range(16)]
    (tmp_path / "walk").mkdir()
    for t, frame in enumerate(frames):
        frame.save(tmp_path / "walk" / f"f{t}.png")
    frames[0].save(tmp_path / "m.png", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "still.png")
    return tmp_path


def npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as arrays:
        return dict(arrays)


def video(cli: Callable, *arguments: object) -> dict:
    run = cli("maps", *arguments, "-m", "nets.py:video", "--input-size", 32, "--json", "-o", "out")
    assert run.code == 0, run.stderr
    return json.loads(run.stdout)


def test_a_folder_an_animation_and_a_still_are_clips(place: Path, cli: Callable) -> None:
    inputs = "walk", "m.png", "still.png"
    found = video(cli, *inputs, "-l", "conv1,relu,head", "--save-activations")
    assert [one["path"] for one in found["images"]] == list(inputs)
    names = {"conv1.png", "relu.png", "head.png", "overview.png", "activations.npz"}
    for key in inputs:
        assert {path.name for path in (place / "out" / key).iterdir()} == names
    folder, animation, still = (npz(place / "out" / key / "activations.npz") for key in inputs)
    assert folder["conv1"].shape == (4, 16, 32, 32)
    assert folder["head"].shape == (5,)
    # The same frames, once as files and once as one file.
    np.testing.assert_array_equal(folder["conv1"], animation["conv1"])
    inside = still["conv1"][:, 1:-1]
    np.testing.assert_allclose(inside, np.broadcast_to(inside[:, :1], inside.shape), atol=1e-5)
    assert np.ptp(folder["conv1"][:, 1:-1], axis=1).max() > 0.1


def test_statistics_are_over_all_moments(place: Path, cli: Callable) -> None:
    (layer,) = video(cli, "walk", "-l", "conv1", "--save-activations")["layers"]
    values = npz(place / "out" / "walk" / "activations.npz")["conv1"]
    assert layer["stats"]["mean"] == pytest.approx(values.mean(), abs=1e-5)
    assert layer["stats"]["max"] == pytest.approx(values.max(), rel=1e-5)
    assert layer["output_shape"] == [1, 4, 16, 32, 32]


def test_reductions_are_over_channels_at_each_moment(place: Path, cli: Callable) -> None:
    video(cli, "walk", "-l", "conv1", "--save-activations")
    whole = npz(place / "out" / "walk" / "activations.npz")["conv1"]
    for reduce, expected in (("mean", whole.mean(0)), ("max", whole.max(0)), ("std", whole.std(0))):
        video(cli, "walk", "-l", "conv1", "--save-activations", "--reduce", reduce)
        reduced = npz(place / "out" / "walk" / "activations.npz")["conv1"]
        np.testing.assert_allclose(reduced, expected[None], atol=1e-5)


def test_overlay_gradients_and_the_strongest_channels(place: Path, cli: Callable) -> None:
    video(cli, "walk", "still.png", "-l", "conv1,head", "--overlay")
    with Image.open(place / "out" / "walk" / "conv1.png") as image:
        assert image.mode == "RGB"
    found = video(cli, "walk", "-l", "conv1,pool", "--gradients", "--channels", "top:2")
    assert (place / "out" / "walk" / "pool.gradient.png").exists()
    assert all(layer["gradient"]["norm"] > 0 for layer in found["layers"])


def test_a_run_goes_on_and_a_broken_frame_fails_its_clip_alone(place: Path, cli: Callable) -> None:
    (place / "walk" / "f3.png").write_text("no picture")
    command = ("maps", "walk", "m.png", "-m", "nets.py:video", "--input-size", 32, "-l", "conv1")
    run = cli(*command)
    assert run.code == 1
    assert "error: walk/f3.png is not a picture that can be read" in run.stderr
    before = (place / "cnnviz-out" / "m.png" / "conv1.png").stat().st_mtime_ns
    Image.new("RGB", (40, 40)).save(place / "walk" / "f3.png")
    assert cli(*command, "--resume").code == 0
    assert (place / "cnnviz-out" / "walk" / "conv1.png").exists()
    assert (place / "cnnviz-out" / "m.png" / "conv1.png").stat().st_mtime_ns == before


def test_what_was_put_together_is_said_in_one_line(place: Path, cli: Callable) -> None:
    run = cli("maps", "walk", "still.png", "-m", "nets.py:video", "--input-size", 32, "-l", "conv1")
    (line,) = [line for line in run.stderr.splitlines() if line.startswith("inputs of")]
    assert line == (
        "inputs of 16 frames: 1 folder (the pictures in it, in natural order), 1 picture held still"
    )


def test_optical_flow_takes_two_pictures(place: Path, cli: Callable) -> None:
    Image.new("RGB", (40, 40), "red").save(place / "red.png")
    command = ("maps", "-m", "nets.py:flow", "--input-size", 32, "-l", "one,two,flow")
    options = ("--save-activations", "--channels", "all")
    run = cli(*command, *options, "still.png", "red.png", "walk")
    assert run.code == 0, run.stderr
    pair = npz(place / "cnnviz-out" / "still.png+red.png" / "activations.npz")
    assert abs(pair["one"] - pair["two"]).max() > 0.1
    run = cli(*command, *options, "still.png", "-o", "alone")
    assert "1 picture paired with itself: no motion" in run.stderr
    same = npz(place / "alone" / "still.png" / "activations.npz")
    np.testing.assert_array_equal(same["one"], same["two"])


def test_a_layer_that_gets_both_pictures_as_one_batch_shows_both(
    place: Path, cli: Callable
) -> None:
    Image.new("RGB", (40, 40), "red").save(place / "red.png")
    files = ("still.png", "red.png", "red.png", "m.png")
    run = cli(
        "maps", *files, "-m", "nets.py:flow", "--input-size", 32, "-l", "both",
        "--save-activations",
    )  # fmt: skip
    assert run.code == 0, run.stderr
    pair = npz(place / "cnnviz-out" / "still.png+red.png" / "activations.npz")["both"]
    moving = npz(place / "cnnviz-out" / "m.png" / "activations.npz")["both"]
    assert pair.shape == moving.shape == (4, 2, 32, 32)
    # Both begin with the same picture, and run in one batch.
    np.testing.assert_allclose(pair[:, 0], moving[:, 0], atol=1e-5)
    assert abs(pair[:, 1] - moving[:, 1]).max() > 0.1


def test_top_images_are_for_single_pictures(place: Path, cli: Callable) -> None:
    run = cli("maps", "walk", "-m", "nets.py:video", "--input-size", 32, "--top-images", 2)
    assert run.code == 2
    assert "nets.py:video takes 16 at once" in run.error


def test_a_unit_of_a_video_network_is_maximised(place: Path, cli: Callable) -> None:
    for objective in ("channel", "neuron", "layer", "class"):
        run = cli(
            "maximize", "-m", "nets.py:video", "-l", "conv1", "--channels", "0,1", "--steps", 4,
            "--input-size", 32, "--objective", objective, "--json",
        )  # fmt: skip
        assert run.code == 0, run.stderr
        assert "each is the picture, without motion" in run.stderr
        units = json.loads(run.stdout)["units"]
        assert all(unit["final"] > unit["start"] for unit in units)


def test_quantized_layers_are_seen_and_cannot_be_climbed(place: Path, cli: Callable) -> None:
    model = ("-m", "quantized_resnet18", "-w", "none", "--input-size", 64)
    run = cli("maps", "still.png", *model, "-l", "conv1,layer1.0.conv1,fc", "--json")
    assert run.code == 0, run.stderr
    layers = {layer["name"]: layer for layer in json.loads(run.stdout)["layers"]}
    assert layers["layer1.0.conv1"]["stats"]["min"] >= 0  # a ReLU is fused into it
    assert layers["fc"]["output_shape"] == [1, 1000]
    ((bound, share),) = layers["conv1"]["stats"]["bound_fractions"].items()
    assert layers["conv1"]["stats"]["max"] <= float(bound) * 1.001
    assert 0 <= share < 0.5
    run = cli("maximize", *model, "-l", "conv1")
    assert run.code == 1
    assert "none pass through the quantized operators" in run.error
    run = cli("maps", "still.png", *model, "--gradients")
    assert run.code == 1
    assert "--gradients needs gradients" in run.error
