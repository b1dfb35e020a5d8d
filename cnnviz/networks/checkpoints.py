"""Read weights from a file, and fit them to a network, without ever running code from the file."""

import json
import os
import pickle
import re
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from cnnviz.errors import WeightsError
from cnnviz.networks.archives import read_exported, read_torchscript
from cnnviz.networks.catalog import DEMO, TORCHSCRIPT, program_kind
from cnnviz.networks.wrappings import Found, State, find_weights

_INDEX = ".index.json"

# DataParallel, Lightning and torch.compile put these in front of every name.
_PREFIXES = ("module.", "model.", "_orig_mod.")

_CONVERT = (
    "Where you trust it, convert it: model = torch.load(FILE, weights_only=False), then "
    "torch.save(model.state_dict(), PATH), or save that as safetensors"
)
# What a file that is none starts with, in place of weights.
_STRANGERS = {
    b"\xff\xd8\xff": "is a picture and not a checkpoint",
    b"\x89PNG": "is a picture and not a checkpoint",
    b"<": "is a web page; download the file itself",
    b"version https://git-lfs": "is a pointer of Git LFS; git lfs pull fetches the file itself",
}


class _Ignored:
    """Stands in for settings and scores that training programs keep beside the weights."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


# By the names under which they are pickled; none of their code runs.
_BESIDE = (
    "argparse.Namespace", "pathlib.PosixPath", "pathlib.WindowsPath", "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath", "datetime.datetime", "datetime.timedelta",
    "numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar",
    "numpy.dtypes.Float32DType", "numpy.dtypes.Float64DType", "numpy.dtypes.Int64DType",
)  # fmt: skip


def read_checkpoint(path: Path, key: str | None = None) -> Found:
    """Return the named tensors in a checkpoint, on the CPU, out of the usual wrappings.

    Args:
        path: A `.safetensors` file, the index of several, a file written with `torch.save`, or
            an archive of TorchScript or `torch.export`.
        key: Where in it they are, as for `find_weights`.

    Raises:
        WeightsError: If the file cannot be read, is damaged, holds anything that would run code,
            or holds no named tensors.
        UsageError: If there are none under the key.
    """
    return find_weights(_read(path), key, str(path))


def _read(path: Path) -> object:
    try:
        if path.name.endswith(_INDEX):
            return _read_shards(path)
        start = _start(path)
        # A safetensors file starts with the length of its table, which is JSON.
        if path.suffix == ".safetensors" or start[8:9] == b"{":
            return load_file(path)
        if zipfile.is_zipfile(path):
            return _read_zip(path)
        return _load(path, mmap=False)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from error
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"holds more than weights ({found[1]})" if found else "is a free pickle"
        raise WeightsError(
            f"{path} {what}, and loading that could run code: refused. {_CONVERT}"
        ) from error
    except WeightsError:
        raise
    except Exception as error:  # what the readers raise on damaged bytes has no end
        # The first sentence tells what is wrong; torch goes on with where to report it.
        why = re.split(r"[.]? *\n|[.] ", str(error))[0][:200]
        raise WeightsError(
            f"{path} is not a checkpoint, or damaged{f': {why}' if why else ''}"
        ) from error


def _load(path: Path, *, mmap: bool) -> object:
    # Mapped files are read where they are needed, and not copied first.
    with torch.serialization.safe_globals([(_Ignored, name) for name in _BESIDE]):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)


@contextmanager
def refusing_code() -> Iterator[None]:
    """Have torch refuse pickled code also where a library that calls it does not ask for that."""
    # The second of them would have it take anything.
    variables = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "0"}
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


def _start(path: Path) -> bytes:
    """Return how a file starts.

    Raises:
        WeightsError: If that is how something else starts that is often saved in its place.
    """
    with path.open("rb") as file:
        start = file.read(64)
    if not start:
        raise WeightsError(f"{path} is empty")
    for mark, what in _STRANGERS.items():
        if start.lstrip().startswith(mark):
            raise WeightsError(f"{path} {what}")
    if not zipfile.is_zipfile(path) and tarfile.is_tarfile(path):
        raise WeightsError(f"{path} is a tar archive: refused, as it could run code. {_CONVERT}")
    if start.isascii() and b"\0" not in start and not start.startswith(b"PK"):
        raise WeightsError(f"{path} is not a checkpoint: it starts with {start[:16]!r}")
    return start


def _read_shards(index: Path) -> State:
    """Return the tensors of all files that an index names, in its folder."""
    files = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
    outside = sorted(name for name in files if Path(name).name != name)
    if outside:
        raise ValueError(f"it names files in other folders: {outside[0]}")
    # An index that names an index would have no end.
    if further := [name for name in files if name.endswith(_INDEX)]:
        raise ValueError(f"it names another index: {further[0]}")
    return {
        key: tensor
        for name in sorted(files)
        for key, tensor in find_weights(_read(index.parent / name), None, name).state.items()
    }


def _read_zip(path: Path) -> object:
    """Return what is in a file of torch, also the weights of a program, which is not run."""
    kind = program_kind(path)
    if kind is None:
        return _load(path, mmap=True)
    with zipfile.ZipFile(path) as archive:
        read = read_torchscript if kind == TORCHSCRIPT else read_exported
        state = read(archive)
    if not state:
        raise WeightsError(
            f"{path} is a {kind} archive with its weights inside its program, which hooks do not "
            "reach, or code cannot be read without being run. Save the weights of the network "
            "that it was made from, with torch.save(model.state_dict(), PATH)"
        )
    return state


def strip_prefixes(state: State, expected: Mapping[str, Tensor]) -> State:
    """Return `state` without the prefixes of training wrappers, where that fits `expected` better.

    Args:
        state: Named tensors of a checkpoint.
        expected: Named tensors of the network.
    """
    best = state
    while True:
        candidates = [
            {k.removeprefix(prefix): v for k, v in best.items() if k.startswith(prefix)}
            for prefix in _PREFIXES
        ]
        better = max(candidates, key=lambda c: len(c.keys() & expected.keys()))
        if len(better.keys() & expected.keys()) > len(best.keys() & expected.keys()):
            return better
        # Two prefixes may stand in a row: go on while one stands in front of every name.
        whole = next((c for c in candidates if len(c) == len(best)), None)
        if whole is None or not whole:
            return state
        best = whole


def class_count(state: State, expected: Mapping[str, Tensor]) -> int | None:
    """Return how many classes the checkpoint has, where only that sets it apart from the network.

    Args:
        state: Named tensors of a checkpoint.
        expected: Named tensors of the network, built for its usual number of classes.

    Returns:
        None where they agree, or differ in anything but the length of the last layer's tensors.
    """
    pairs = [(state[k].shape, t.shape) for k, t in expected.items() if k in state]
    unlike = [(ours, theirs) for ours, theirs in pairs if ours != theirs]
    counts = {ours[:1] for ours, _ in unlike}
    usual = {theirs[:1] for _, theirs in unlike}
    alike_beyond = all(ours[1:] == theirs[1:] for ours, theirs in unlike)
    if len(counts) == 1 and len(usual) == 1 and alike_beyond and (shape := counts.pop()):
        return int(shape[0])
    return None


def check_fit(path: Path, model: str, state: State, expected: Mapping[str, Tensor]) -> None:
    """Raise an error where a checkpoint is not one of this network.

    Raises:
        WeightsError: With how many names are missing, unknown, or of another shape, and which.
    """
    shapes = [
        f"{key} {_shape(state[key])} for {_shape(tensor)}"
        for key, tensor in expected.items()
        if key in state and state[key].shape != tensor.shape
    ]
    # Counters that old checkpoints lack; torch fills them in.
    missing = [k for k in expected if k not in state and not k.endswith("num_batches_tracked")]
    unknown = [k for k in state if k not in expected]
    complaints = [
        f"{len(keys)} {what} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})"
        for keys, what in (
            (missing, "missing"),
            (unknown, "not in the model"),
            (shapes, "of another shape"),
        )
        if keys
    ]
    if complaints:
        # Who forgot -m has not heard of the bundled network.
        hint = "; if it is of another network, name that with -m" if model == DEMO else ""
        raise WeightsError(
            f"{path} does not fit {model}: of {len(expected)} tensors {'; '.join(complaints)}{hint}"
        )


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def converted(path: Path, name: str, tensor: Tensor, like: Tensor) -> Tensor:
    """Return a checkpoint's tensor as the network keeps it: dense, in numbers of its type.

    Raises:
        WeightsError: If it has no values, or complex ones.
    """
    if tensor.is_meta and not like.is_meta:
        raise WeightsError(f"{path}: {name} has a shape and no values; save the trained weights")
    if tensor.is_complex() and not like.is_complex():
        raise WeightsError(f"{path}: {name} holds complex numbers; the network has real ones there")
    if tensor.is_quantized and not like.is_quantized:
        tensor = tensor.dequantize()
    if tensor.layout != like.layout:
        tensor = tensor.to_dense()
    return tensor.to(like.dtype)


def parts(found: Found, expected: Mapping[str, Tensor]) -> tuple[str, list[str]]:
    """Return where in a checkpoint the weights that are used are, and where it has others.

    A training module that keeps a moving average of its network has all names twice: `model.fc`
    and `ema_model.fc`.

    Args:
        found: The weights that were read.
        expected: Named tensors of the network.
    """
    counts: Counter[str] = Counter()
    for name in found.state:
        words = name.split(".")
        counts.update(
            ".".join(words[:i]) for i in range(len(words)) if ".".join(words[i:]) in expected
        )
    used = strip_prefixes(found.state, expected)
    others = [
        ".".join(filter(None, (found.key, start)))
        for start, count in counts.items()
        if count * 2 >= len(expected) and not _starts(start, found.state, used)
    ]
    if others:
        start = next((s for s in counts if s and _starts(s, found.state, used)), "")
        return ".".join(filter(None, (found.key, start))), [*found.others, *others]
    return found.key, list(found.others)


def _starts(start: str, state: State, used: State) -> bool:
    """Return whether the names that are used are those that begin so."""
    key, tensor = next(iter(used.items()))
    return state.get(f"{start}.{key}" if start else key) is tensor
