"""Names are told without torch, and are the same that torchvision tells."""

import subprocess
import sys
from pathlib import Path

import pytest
import torchvision

from cnnviz.errors import InputError, UnknownNameError, UsageError
from cnnviz.networks import catalog
from cnnviz.networks.catalog import (
    check_names,
    checkpoint_names,
    is_checkpoint,
    split_factory,
    torchvision_names,
)


def test_names_are_those_that_torchvision_lists() -> None:
    expected = torchvision.models.list_models()
    assert list(torchvision_names()) == sorted(expected)


def test_every_weights_name_of_torchvision_passes() -> None:
    members = {
        member.name
        for name in torchvision_names()
        for member in torchvision.models.get_model_weights(name)
    }
    assert "IMAGENET1K_V2" in members
    for member in members:
        check_names("resnet18", member, "cpu")


@pytest.mark.parametrize(
    "statement",
    [
        "import cnnviz",
        "import cnnviz.cli",
        "from cnnviz.networks.catalog import check_names; "
        "check_names('resnet18', 'IMAGENET1K_V1', 'auto')",
    ],
)
def test_torch_is_not_imported_for_names_or_help(statement: str) -> None:
    program = f"{statement}; import sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("net.py:build", ("net.py", "build")),
        ("C:\\a\\net.py:build", ("C:\\a\\net.py", "build")),
        ("dir:x/net.py:build", ("dir:x/net.py", "build")),
        ("package.nets:build", ("package.nets", "build")),
        ("timm:resnet18.a1_in1k", ("timm", "resnet18.a1_in1k")),
        ("net.py", None),
        ("resnet18", None),
        ("./net.txt:build", None),
    ],
)
def test_a_factory_is_a_python_file_or_a_package_and_a_name(
    model: str, expected: tuple[str, str] | None
) -> None:
    assert split_factory(model) == expected


def test_a_checkpoint_is_known_by_suffix_or_by_being_there(tmp_path: Path) -> None:
    (tmp_path / "weights.ckpt").touch()
    assert is_checkpoint("nowhere.pth")
    assert is_checkpoint("nowhere.safetensors")
    assert is_checkpoint(str(tmp_path / "weights.ckpt"))
    assert not is_checkpoint("IMAGENET1K_V1")


@pytest.mark.parametrize(
    ("model", "weights", "device", "error", "message"),
    [
        ("resnet81", "none", "cpu", UnknownNameError, "unknown model 'resnet81'.*resnet18"),
        ("net.py:f", "none", "cpu", InputError, "model file net.py does not exist"),
        ("demo", "nowhere.pth", "cpu", InputError, "checkpoint nowhere.pth does not exist"),
        ("demo", "IMAGENET1K_V9", "cpu", UnknownNameError, "did you mean IMAGENET1K_V"),
        ("demo", "none", "gpu", UsageError, "unknown device 'gpu'; choose from auto, cpu"),
        ("demo", "none", "cuda:x", UsageError, "unknown device 'cuda:x'"),
    ],
)
def test_a_name_that_cannot_exist_is_told_apart(
    model: str, weights: str, device: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        check_names(model, weights, device)


def test_a_file_out_of_reach_is_not_said_to_be_missing(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "locked").mkdir(mode=0)
    request.getfixturevalue("ordinary_user")
    for model, weights in (("locked/net.py:f", "none"), ("demo", "locked/w.pth")):
        with pytest.raises(InputError, match=r"locked/\w+\.\w+ cannot be reached: Permission den"):
            check_names(model, weights, "cpu")


@pytest.mark.parametrize("device", ["auto", "cpu", "mps", "cuda", "cuda:13"])
def test_devices_of_a_known_form_pass_wherever_the_test_runs(device: str) -> None:
    check_names("demo", "default", device)


def test_an_installation_without_torchvision_has_no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "find_spec", lambda _: None)
    catalog._scan.cache_clear()
    try:
        assert torchvision_names() == ()
    finally:
        catalog._scan.cache_clear()


@pytest.mark.parametrize(
    ("weights", "names"),
    [
        (["a/epoch1.pth", "b/epoch5.pth"], ["epoch1", "epoch5"]),
        (["a/best.pth", "b/best.pth"], ["a/best.pth", "b/best.pth"]),
        (["none", "default"], ["none", "default"]),
    ],
)
def test_checkpoints_have_the_shortest_name_that_tells_them_apart(
    weights: list[str], names: list[str]
) -> None:
    assert checkpoint_names(weights) == names


@pytest.mark.parametrize("name", ["9" * 5000, "a\0b"])
def test_what_cannot_be_a_file_is_no_model_and_no_weights(name: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown model"):
        check_names(name, "none", "cpu")
    with pytest.raises(UnknownNameError, match="unknown weights"):
        check_names("demo", name, "cpu")
