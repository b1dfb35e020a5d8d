"""The bundled network: what it knows, what its first layer looks like, how it is trained."""

import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet

from cnnviz.demo import train
from cnnviz.demo.network import INPUT_SIZE, MEAN, STD, WEIGHTS, demo
from cnnviz.demo.patterns import CLASSES, draw, draw_plain
from cnnviz.tracer import trace

FRESH = 987_654_321  # no program of the project draws from this seed


@pytest.fixture(scope="module")
def network() -> nn.Module:
    network: nn.Module = demo()
    network.load_state_dict(load_file(WEIGHTS))
    return network.eval()


@pytest.fixture(scope="module")
def filters() -> Tensor:
    return load_file(WEIGHTS)["conv1.weight"].float()


@torch.inference_mode()
def logits(network: nn.Module, pictures: Tensor) -> Tensor:
    mean, std = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)
    return torch.cat([network(part) for part in torch.split((pictures - mean) / std, 32)])


def test_the_network_is_the_one_that_torchvision_would_build() -> None:
    torch.manual_seed(3)
    theirs = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=7).eval()
    torch.manual_seed(3)
    ours = demo(7).eval()
    state = ours.state_dict()
    assert list(state) == list(theirs.state_dict())
    assert all(torch.equal(state[name], weight) for name, weight in theirs.state_dict().items())
    pictures = torch.rand(2, 3, 96, 80)
    assert torch.equal(ours(pictures), theirs(pictures))
    assert [r.label for r in trace(ours, 64)] == [r.label for r in trace(theirs, 64)]


@pytest.mark.parametrize(("size", "each"), [(64, 20), (128, 8), (INPUT_SIZE, 14)])
def test_fresh_pictures_are_told_apart(network: nn.Module, size: int, each: int) -> None:
    labels = torch.arange(len(CLASSES)).repeat(each)
    pictures = draw(labels, size, torch.Generator().manual_seed(FRESH + size))
    right = (logits(network, pictures).argmax(1) == labels).float().mean()
    assert right >= 0.97


def test_clean_pictures_are_told_apart_with_confidence(network: nn.Module) -> None:
    labels = torch.arange(len(CLASSES)).repeat(2)
    pictures = draw_plain(labels, INPUT_SIZE, torch.Generator().manual_seed(FRESH))
    share = logits(network, pictures).softmax(1)[torch.arange(len(labels)), labels]
    assert share.median() > 0.8


def pearson(first: Tensor, second: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1])


def test_first_layer_is_smooth(filters: Tensor) -> None:
    assert filters.shape == (64, 3, 7, 7)
    ours = [
        (pearson(kernel[:, :, 1:], kernel[:, :, :-1]) + pearson(kernel[:, 1:], kernel[:, :-1])) / 2
        for kernel in filters
    ]
    assert sum(ours) / len(ours) >= 0.6


def test_no_filter_of_the_first_layer_is_dead(filters: Tensor) -> None:
    norms = filters.flatten(1).norm(dim=1)
    assert norms.min() > 0.05 * norms.median()


def test_the_training_program_measures_the_same_smoothness(filters: Tensor) -> None:
    assert train.autocorrelation(filters).mean() >= 0.6
    noise = torch.randn(256, 3, 7, 7, generator=torch.Generator().manual_seed(0))
    assert train.autocorrelation(noise).mean().abs() < 0.1
    ramp = torch.arange(-3.0, 4.0).expand(1, 3, 7, 7)
    assert float(train.autocorrelation(ramp)) == pytest.approx(1, abs=0.15)
    # Alternating columns are as unlike sideways as they are alike downwards; so are rows.
    columns = torch.cos(torch.pi * ramp)
    for stripes in (columns, columns.transpose(2, 3)):
        assert float(train.autocorrelation(stripes)) == pytest.approx(0, abs=0.15)


def test_weights_are_small_half_precision_and_complete() -> None:
    assert WEIGHTS.stat().st_size <= 10_000_000
    state = load_file(WEIGHTS)
    assert state.keys() == demo().state_dict().keys()
    assert {v.dtype for v in state.values()} == {torch.float16, torch.int64}
    assert all(v.isfinite().all() for v in state.values())


def test_few_channels_are_dead(network: nn.Module) -> None:
    labels = torch.arange(len(CLASSES))
    pictures = draw(labels, 128, torch.Generator().manual_seed(FRESH))
    alive: dict[str, Tensor] = {}

    def note(name: str) -> None:
        def hook(module: nn.Module, args: object, output: Tensor) -> None:
            alive[name] = alive.get(name, False) | (output > 0).any(0).flatten(1).any(1)

        network.get_submodule(name).register_forward_hook(hook)

    for name in ("relu", "layer1", "layer2", "layer3", "layer4"):
        note(name)
    logits(network, pictures)
    for name, channels in alive.items():
        assert channels.float().mean() > 0.9, name


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the training program work on few, small pictures."""
    monkeypatch.setattr(train, "SIZES", {32: 8, 40: 8, 48: 8, 56: 8})
    monkeypatch.setattr(train, "JUDGED", (32,))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def program(monkeypatch: pytest.MonkeyPatch, out: Path, seed: int) -> bytes:
    line = ["train", "--steps", "3", "--count", "1", "--seed", str(seed), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", line)
    train.main()
    return out.read_bytes()


@pytest.mark.usefixtures("small")
def test_the_same_seed_trains_the_same_weights(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = program(monkeypatch, tmp_path / "first", seed=3)
    again = program(monkeypatch, tmp_path / "again", seed=3)
    other = program(monkeypatch, tmp_path / "other", seed=4)
    assert first == again
    assert first != other
    assert "autocorrelation" in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again", "first", "other"]


@pytest.mark.usefixtures("small")
def test_what_is_returned_is_what_was_saved_and_has_moved(tmp_path: Path) -> None:
    settings = train.Settings(steps=4, seed=1)
    trained = train.train(settings, tmp_path / "weights", Console(quiet=True))
    saved = load_file(tmp_path / "weights")
    assert not trained.training
    assert all(torch.equal(v.to(saved[k].dtype), saved[k]) for k, v in trained.state_dict().items())
    start = train.fresh_network(1).get_parameter("conv1.weight").half()
    assert not torch.equal(saved["conv1.weight"], start)


@pytest.mark.usefixtures("small")
def test_steps_of_descent_lower_the_loss_of_a_batch() -> None:
    settings = train.Settings(steps=1, seed=0, rate=0.05)
    network = train.fresh_network(0).train()
    descent = train.optimiser(network, settings)
    inputs, labels = next(train.batches(settings))
    losses = []
    for _ in range(8):
        descent.zero_grad()
        losses.append(float(train.step(network, inputs, labels, settings)))
        descent.step()
    assert losses[-1] < losses[0] / 2


def test_roughness_has_the_gradient_of_a_diffusion() -> None:
    filters = torch.zeros(1, 1, 7, 7, requires_grad=True)
    with torch.no_grad():
        filters[0, 0, 3, 3] = 1
    train.roughness(filters).backward()  # type: ignore[no-untyped-call]
    assert filters.grad is not None
    cross = torch.tensor([[0.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 0.0]])
    assert torch.equal(filters.grad[0, 0, 2:5, 2:5], cross)
    assert filters.grad.sum() == 0


def test_the_learning_rate_rises_then_falls() -> None:
    settings = train.Settings(steps=1000, rate=0.5)
    rates = torch.tensor([train.rate_at(step, settings) for step in range(1000)])
    assert rates.argmax() in range(45, 55)
    assert rates.max() == pytest.approx(0.5, rel=0.02)
    assert rates[0] < 0.02
    assert rates[-1] < 0.001


@pytest.mark.usefixtures("small")
def test_every_picture_returns_as_a_negative() -> None:
    settings = train.Settings(steps=train.ROUND)
    inputs, labels = (torch.cat(part) for part in zip(*train.batches(settings), strict=True))
    light = inputs.mean((1, 2, 3))
    for picture, label in zip(inputs, labels, strict=True):
        twin = (light + picture.mean()).abs().argmin()
        assert torch.allclose(inputs[twin].sum(0), -picture.sum(0), atol=1e-4)
        assert labels[twin] == label


@pytest.mark.usefixtures("small")
def test_pictures_for_training_and_judging_do_not_meet() -> None:
    inputs, labels = next(train.batches(train.Settings(steps=1, seed=0)))
    size = inputs.shape[-1]
    judged = draw(labels, size, torch.Generator().manual_seed(train.UNSEEN + size))
    assert not torch.isclose(train.normalise(judged), inputs).flatten(1).all(1).any()


@pytest.mark.usefixtures("small")
def test_weights_are_kept_on_the_way(tmp_path: Path) -> None:
    settings = train.Settings(steps=5, seed=1)
    train.train(settings, tmp_path / "w.safetensors", Console(quiet=True), keep_every=2)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        "w-00000.safetensors", "w-00002.safetensors", "w-00004.safetensors", "w.safetensors",
    ]  # fmt: skip
    kernels = [load_file(tmp_path / name)["conv1.weight"] for name in names]
    assert torch.equal(kernels[0], train.fresh_network(1).get_parameter("conv1.weight").half())
    assert all(not torch.equal(a, b) for a, b in pairwise(kernels))
