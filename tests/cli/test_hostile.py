"""Files that would run code if they were unpickled do not, by any way in. Broken ones are told."""

import argparse
import collections
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cnnviz.cli.exit_codes import FAILED, WRONG_USAGE
from cnnviz.errors import CnnvizError
from cnnviz.networks.models import load_model, load_structure

MARK = "attacked"


class Attack:
    """Pickles as a call that makes a folder."""

    def __reduce__(self):
        return os.mkdir, (MARK,)


class Set:
    """Pickles as a call of a class that is known to be harmless, with an attack in its state."""

    def __reduce__(self):
        return argparse.Namespace, (), {"lr": Attack()}


def pickled(protocol=2):
    return pickle.dumps({"state_dict": {}, "x": Attack()}, protocol)


def zipped(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"x/{name}", data)


def exported(path):
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.ones(1, 2),)), "plain.pt2")
    with zipfile.ZipFile("plain.pt2") as old:
        members = {name.partition("/")[2]: old.read(name) for name in old.namelist()}
    config = json.loads(members["data/weights/model_weights_config.json"])
    told = config["config"]["weight"]
    told["use_pickle"] = True
    members["data/weights/model_weights_config.json"] = json.dumps(config).encode()
    out = io.BytesIO()
    torch.save(Attack(), out)
    members[f"data/weights/{told['path_name']}"] = out.getvalue()
    zipped(path, members)


def tarred(path):
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            info = tarfile.TarInfo(name)
            info.size = len(pickled())
            archive.addfile(info, io.BytesIO(pickled()))


def index(path, shard, data):
    Path(shard).write_bytes(data)
    path.write_text(json.dumps({"weight_map": {"conv1.weight": shard}}))


WITH_CODE = {
    "zip.pth": lambda p: torch.save({"state_dict": {}, "x": Attack()}, p),
    "legacy.pt": lambda p: torch.save([Attack()], p, _use_new_zipfile_serialization=False),
    "weights": lambda p: torch.save({"model": Attack()}, p),
    "network.ckpt": lambda p: torch.save({"state_dict": nn.Linear(2, 2), "x": Attack()}, p),
    "settings.pth": lambda p: torch.save({"model": {"a": torch.ones(1)}, "args": Set()}, p),
    "inside.pth": lambda p: torch.save(argparse.Namespace(a=Attack()), p),
    "factory.pth": lambda p: torch.save({"x": collections.defaultdict(os.getcwd, a=Attack())}, p),
    **{
        f"plain{protocol}.bin": lambda p, protocol=protocol: p.write_bytes(pickled(protocol))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
    "fake.safetensors": lambda p: p.write_bytes(pickled()),
    "zip.safetensors": lambda p: torch.save({"x": Attack()}, p),
    "a.safetensors.index.json": lambda p: index(p, "shard.safetensors", pickled()),
    "b.bin.index.json": lambda p: index(p, "shard.bin", pickled()),
    "c.index.json": lambda p: p.write_bytes(pickled()),
    "tar.pth": tarred,
    "script.pt": lambda p: zipped(p, {"data.pkl": pickled(), "code/a.py": "", "data/0": ""}),
    "constants.pt": lambda p: zipped(
        p, {"data.pkl": b"\x80\x02}.", "constants.pkl": pickled(), "code/a.py": ""}
    ),
    "exported.pt2": exported,
}  # fmt: skip


@pytest.fixture
def evil(here):
    """Make a file of the given name that would run code."""

    def make(name):
        WITH_CODE[name](Path(name))
        return name

    return make


def unharmed():
    return not Path(MARK).exists()


@pytest.mark.parametrize("name", WITH_CODE)
def test_code_in_a_checkpoint_is_refused_in_one_line(cli, tiny, evil, name):
    run = cli("layers", *tiny, "-w", evil(name))
    assert run.code == FAILED
    assert unharmed()
    assert run.stderr.count("\n") == 1
    assert name in run.error or "shard" in run.error


def refused(run):
    assert run.code == FAILED
    assert "holds more than weights (" in run.error
    assert "could run code: refused. Where you trust it, convert it: model = torch.load(" in (
        run.error
    )
    assert unharmed()


@pytest.mark.parametrize(
    "words",
    [
        ("maps", "a.jpg"),
        ("maps", "a.jpg", "-w", "fine.pth"),
        ("filters",),
        ("filters", "-w", "fine.pth"),
        ("layers",),
        ("rf",),
        ("rf", "a.jpg", "--effective"),
        ("rf", "a.jpg", "--effective", "-w", "fine.pth"),
        ("maximize", "--steps", "1"),
        ("maps", "a.jpg", "--state-key", "x"),
        ("layers", "--state-key", "state_dict"),
        ("maps", "a.jpg", "-m", "resnet18", "--model-args", "num_classes=3"),
        ("layers", "-m", "demo"),
    ],
)
def test_no_command_runs_code_of_a_checkpoint(cli, tiny, evil, words):
    torch.save(load_model("net.py:tiny", device="cpu").module.state_dict(), "fine.pth")
    refused(cli(*words[:1], *tiny, *words[1:], "-w", evil("zip.pth")))


def test_a_configuration_runs_no_code_of_a_checkpoint(cli, tiny, evil):
    Path("c.yaml").write_text(f"weights: {evil('zip.pth')}\nstate-key: model\n")
    refused(cli("layers", *tiny, "-c", "c.yaml"))


@pytest.mark.parametrize("load", [load_model, load_structure])
@pytest.mark.parametrize("key", [None, "x"])
def test_python_runs_no_code_of_a_checkpoint(evil, load, key):
    with pytest.raises(CnnvizError, match="refused"):
        load("net.py:tiny", evil("zip.pth"), input_size=32, state_key=key)
    assert unharmed()


def test_what_is_no_checkpoint_is_not_unpickled_either(cli, tiny, evil, photo):
    data = Path(evil("plain2.bin")).read_bytes()
    for name in ("b.jpg", "b.png", "reference.json", "c.yaml", "out/manifest.jsonl"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(data)
    for words, code in {
        ("maps", "b.jpg"): FAILED,
        ("maps", "a.jpg", "--fail-on", "change=reference.json:0.1"): FAILED,
        ("maps", "a.jpg", "-c", "c.yaml"): WRONG_USAGE,
        ("maps", "a.jpg", "-o", "out", "--resume"): None,
        ("rf", "b.jpg"): FAILED,
        ("maximize", "--init", "b.png"): FAILED,
        ("layers", "-m", "plain2.bin"): WRONG_USAGE,
        ("layers", "--model-args", "width=!!python/object/apply:os.mkdir [attacked]"): WRONG_USAGE,
    }.items():
        run = cli(*words[:1], *tiny, *words[1:])
        assert run.code == code or code is None, (words, run)
        assert "Traceback" not in run.stderr
        assert unharmed(), words


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_files_are_as_evil_as_they_say(evil):
    program = "import pickle, sys; pickle.loads(sys.stdin.buffer.read())"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        data = Path(evil(f"plain{protocol}.bin")).read_bytes()
        assert unharmed()
        subprocess.run([sys.executable, "-c", program], input=data, check=True)
        Path(MARK).rmdir()
    for name in ("zip.pth", "legacy.pt", "settings.pth", "inside.pth"):
        torch.load(evil(name), weights_only=False)
        Path(MARK).rmdir()
    # Why archives are not opened by their own loader.
    with pytest.raises(Exception):  # noqa: B017, PT011
        torch.export.load(evil("exported.pt2"))
    Path(MARK).rmdir()


def fine():
    state = load_model("net.py:tiny", device="cpu", input_size=32).module.state_dict()
    return {name: tensor.contiguous() for name, tensor in state.items()}


def saved(content, **options):
    out = io.BytesIO()
    torch.save(content, out, **options)
    return out.getvalue()


def tensors(change):
    return lambda: saved({name: change(tensor) for name, tensor in fine().items()})


def safe(change=lambda data: data):
    save_file(fine(), "s.safetensors")
    return change(Path("s.safetensors").read_bytes())


def endless():
    content = {}
    content["model"] = content
    return saved(content)


BROKEN = {
    "empty.pth": (lambda: b"", "empty.pth is empty"),
    "empty.safetensors": (lambda: b"", "is empty"),
    "text.pth": (lambda: b"no weights here", "it starts with b'no weights here'"),
    "page.pth": (lambda: b"\n<!DOCTYPE html><html>404", "is a web page; download the file itself"),
    "page.safetensors": (lambda: b"<html>", "is a web page"),
    "lfs.pth": (lambda: b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
    "noise.pth": (lambda: bytes(range(128, 256)) * 9, "is "),
    "cut.pth": (lambda: saved(fine())[:-200], "is not a checkpoint, or damaged: "),
    "cut.pt": (lambda: saved(fine(), _use_new_zipfile_serialization=False)[:-9], "or damaged"),
    "cut.safetensors": (lambda: safe(lambda data: data[:-9]), "or damaged: Error while"),
    "long.safetensors": (lambda: safe(lambda d: b"\xff" * 8 + d[8:]), "header too large"),
    "huge.safetensors": (
        lambda: safe(lambda d: (10**9).to_bytes(8, "little") + d[8:]), "header too large"
    ),
    "lie.safetensors": (
        lambda: safe(lambda d: (7).to_bytes(8, "little") + d[8:]), "invalid JSON in header"
    ),
    "zip.pth": (lambda: b"PK\x05\x06" + bytes(18), "is not a checkpoint, or damaged"),
    "gone.index.json": (
        lambda: b'{"weight_map": {"a": "gone.bin"}}', "cannot read gone.bin: No such file"
    ),
    "out.index.json": (lambda: b'{"weight_map": {"a": "../a.bin"}}', "files in other folders"),
    "self.index.json": (lambda: b'{"weight_map": {"a": "self.index.json"}}', "another index"),
    "list.index.json": (lambda: b'["a.bin"]', "is not a checkpoint, or damaged"),
    "number.index.json": (lambda: b'{"weight_map": {"a": 3}}', "is not a checkpoint, or damaged"),
    "other.pth": (lambda: saved(nn.Linear(9, 9).state_dict()), "6 missing (conv1.weight"),
    "shapes.pth": (tensors(lambda t: torch.cat([t, t])), "6 of another shape (conv1.weight 8x3"),
    "nothing.pth": (lambda: saved({"epoch": 3}), "holds no named weights; found ['epoch']"),
    "numbers.pth": (lambda: saved({1: torch.ones(2)}), "1 not in the model (1)"),
    "endless.pth": (endless, "holds no named weights; found ['model']"),
    "meta.pth": (tensors(lambda t: t.to("meta")), "conv1.weight has a shape and no values"),
    "complex.pth": (tensors(lambda t: t + 0j), "conv1.weight holds complex numbers"),
    "averaged.pth": (lambda: saved({"ema": fine()}), "choose ema with --state-key"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_checkpoint_is_one_useful_line(cli, tiny, name):
    make, said = BROKEN[name]
    Path(name).write_bytes(make())
    run = cli("layers", *tiny, "-w", name)
    assert run.code == FAILED
    assert said in run.error
    assert run.stderr.count("\n") == 1
    assert len(run.error) < 400


def test_a_folder_is_told_with_or_without_the_name_of_a_checkpoint(cli, tiny):
    for name in ("folder", "folder.pth"):
        Path(name).mkdir()
        run = cli("layers", *tiny, "-w", name)
        assert (run.code, run.error.endswith(f"{name} is a folder; name a file in it")) == (1, True)


@pytest.mark.parametrize(
    "change",
    [
        torch.Tensor.to_sparse,
        torch.Tensor.half,
        torch.Tensor.double,
        lambda t: t.clone().requires_grad_(),
        lambda t: torch.full_like(t, float("nan")),
    ],
)
def test_other_kinds_of_tensors_are_taken(cli, tiny, change):
    Path("x.pth").write_bytes(tensors(change)())
    run = cli("filters", *tiny, "-w", "x.pth", "--json")
    assert run.code == 0, run.stderr
    found = load_model("net.py:tiny", "x.pth", device="cpu", input_size=32).module
    for name, tensor in fine().items():
        expected = change(tensor).detach()
        expected = expected.to_dense() if expected.is_sparse else expected
        torch.testing.assert_close(
            found.state_dict()[name], expected.float(), equal_nan=True, rtol=0, atol=0
        )
