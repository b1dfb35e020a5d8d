"""Weights of compiled archives: read as they are, by code that can make nothing else."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cnnviz.errors import WeightsError
from cnnviz.networks.archives import read_exported, read_torchscript
from cnnviz.networks.catalog import EXPORTED, TORCHSCRIPT, program_kind
from cnnviz.networks.checkpoints import read_checkpoint

# torch tells that it would rather have other formats.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:No complete tensor"
)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.again = self.conv
        self.low = nn.Linear(4, 2).half()
        self.turned = nn.Parameter(torch.arange(6.0).view(2, 3).t())
        self.register_buffer("nothing", torch.empty(0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        means = self.norm(self.conv(x) + self.again(x)).mean((2, 3))
        return self.low(means.half()).float() @ self.turned.t()


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return Block().eval()


Save = Callable[[nn.Module, Path], None]
PICTURE = torch.ones(1, 3, 8, 8)


def script(network: nn.Module, path: Path) -> None:
    torch.jit.save(torch.jit.script(network), path)


def trace(network: nn.Module, path: Path) -> None:
    torch.jit.save(torch.jit.trace(network, PICTURE), path)


def export(network: nn.Module, path: Path) -> None:
    torch.export.save(torch.export.export(network, (PICTURE,)), path)


@pytest.mark.parametrize(
    ("save", "kind"), [(script, TORCHSCRIPT), (trace, TORCHSCRIPT), (export, EXPORTED)]
)
def test_weights_are_those_of_the_network(
    tmp_path: Path, network: nn.Module, save: Save, kind: str
) -> None:
    path = tmp_path / "x.pt2"
    save(network, path)
    assert program_kind(path) == kind
    found, expected = read_checkpoint(path).state, network.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


def test_a_file_of_torch_and_any_other_are_no_programs(tmp_path: Path, network: nn.Module) -> None:
    torch.save(network.state_dict(), tmp_path / "x.pth")
    (tmp_path / "y.pt").write_text("no archive")
    assert program_kind(tmp_path / "x.pth") is program_kind(tmp_path / "y.pt") is None


def test_weights_that_are_frozen_into_the_program_are_told(
    tmp_path: Path, network: nn.Module
) -> None:
    torch.jit.save(torch.jit.freeze(torch.jit.script(network)), tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="TorchScript archive with its weights inside its prog"):
        read_checkpoint(tmp_path / "x.pt")


def rewritten(path: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """Return a copy of an archive whose members are changed."""
    copy = path.with_name(f"changed-{path.name}")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return copy


def described(**changes: object) -> Callable[[str, bytes], bytes]:
    """Return what changes how a `torch.export` archive describes its first weight."""

    def change(name: str, data: bytes) -> bytes:
        if not name.endswith("_weights_config.json"):
            return data
        content: dict[str, Any] = json.loads(data)
        told = content["config"]["conv.weight"]
        (told["tensor_meta"] if changes.keys() <= told["tensor_meta"].keys() else told).update(
            changes
        )
        return json.dumps(content).encode()

    return change


@pytest.mark.parametrize(
    "changes",
    [
        {"sizes": [{"as_int": 2**40}]},
        {"strides": [{"as_int": 2**40}] * 4},
        {"storage_offset": {"as_int": -1}},
        {"storage_offset": {"as_int": 10**9}},
        {"dtype": 99},
        {"dtype": None},
        {"path_name": "gone"},
        {"path_name": "../../x"},
        {"tensor_meta": None},
        {"use_pickle": True},
    ],
)
def test_what_an_exported_archive_says_falsely_is_an_expected_error(
    tmp_path: Path, network: nn.Module, changes: dict[str, object]
) -> None:
    export(network, tmp_path / "x.pt2")
    path = rewritten(tmp_path / "x.pt2", described(**changes))
    with pytest.raises(WeightsError, match=r"changed-x\.pt2") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


def torchscript(folder: Path, described: bytes, compress: int = zipfile.ZIP_STORED) -> Path:
    path = folder / "x.pt"
    with zipfile.ZipFile(path, "w", compress) as archive:
        archive.writestr("x/data.pkl", described)
        archive.writestr("x/code/a.py", "raise SystemExit")
        archive.writestr("x/data/0", bytes(16))
    return path


def tensor(*arguments: object) -> bytes:
    """Return the pickle of a tensor as TorchScript describes it, in the attribute `w`."""
    out = io.BytesIO()

    class Pickler(pickle.Pickler):
        def persistent_id(self, thing: Any) -> Any:
            return thing[1:] if isinstance(thing, tuple) and thing[:1] == ("pid",) else None

    Pickler(out, 2).dump(arguments)
    described = out.getvalue()[2:-1].replace(b"\x80\x02", b"")
    return (
        b"\x80\x02c__torch__\nNet\n)\x81}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n"
        + described
        + b"Rsb."
    )


STORAGE = ("pid", "storage", "FloatStorage", "0", "cpu", 4)


def test_a_tensor_of_torchscript_is_read_from_its_record(tmp_path: Path) -> None:
    path = torchscript(tmp_path, tensor(STORAGE, 0, (2, 2), (2, 1), False, None))
    with zipfile.ZipFile(path) as archive:
        assert torch.equal(read_torchscript(archive)["w"], torch.zeros(2, 2))


@pytest.mark.parametrize(
    "arguments",
    [
        (STORAGE, 0, (2, 3), (3, 1), False, None),
        (STORAGE, -1, (2, 2), (2, 1), False, None),
        (STORAGE, 0, (2**40,), (2**40,), False, None),
        (("pid", "storage", "FloatStorage", "../data.pkl", "cpu", 4), 0, (1,), (1,), False),
        (("pid", "storage", "NoStorage", "0", "cpu", 4), 0, (1,), (1,), False),
        (("pid", "storage"), 0, (1,), (1,), False),
        (STORAGE,),
        (3, 0, (1,), (1,)),
    ],
)
def test_what_torchscript_says_falsely_is_an_expected_error(
    tmp_path: Path, arguments: tuple[object, ...]
) -> None:
    with pytest.raises(WeightsError, match=r"x\.pt is not a checkpoint, or damaged"):
        read_checkpoint(torchscript(tmp_path, tensor(*arguments)))


@pytest.mark.parametrize(
    "described",
    [
        b"", b".", b"\x80\x02}.", b"\x80\x02c__torch__\nNet\n.",
        # Attributes are set on what stands in for a class, and on the class of that itself.
        b"\x80\x02c__torch__\nNet\n}X\x04\x00\x00\x00toldK\x01sb.",
        b"\x80\x02c__torch__\nNet\nN}X\x04\x00\x00\x00toldK\x01s\x86b.",
        b"\x80\x02c__torch__\nNet\n)\x81K\x01b.",
    ],
)  # fmt: skip
def test_a_description_of_no_module_is_an_expected_error(tmp_path: Path, described: bytes) -> None:
    with pytest.raises(WeightsError, match=r"x\.pt"):
        read_checkpoint(torchscript(tmp_path, described))
    fine = tensor(STORAGE, 0, (4,), (1,), False, None)
    assert list(read_checkpoint(torchscript(tmp_path, fine)).state) == ["w"]


def test_records_that_could_be_larger_than_they_are_are_refused(tmp_path: Path) -> None:
    fine = tensor(STORAGE, 0, (4,), (1,), False, None)
    with pytest.raises(WeightsError, match="is compressed"):
        read_checkpoint(torchscript(tmp_path, fine, zipfile.ZIP_DEFLATED))


@pytest.mark.parametrize(
    "name", ["os system", "builtins eval", "torch load", "cnnviz.networks.archives io"]
)
def test_torchscript_names_nothing_but_its_own_classes(tmp_path: Path, name: str) -> None:
    home, what = name.split()
    path = torchscript(tmp_path, f"\x80\x02c{home}\n{what}\n.".encode("latin1"))
    with pytest.raises(WeightsError, match=rf"more than weights \({home}\.{what}\).*refused"):
        read_checkpoint(path)


def test_an_archive_without_weights_has_none(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt2", "w") as archive:
        archive.writestr("x/archive_format", "pt2")
    with zipfile.ZipFile(tmp_path / "x.pt2") as archive:
        assert read_exported(archive) == {}
