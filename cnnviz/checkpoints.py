"""Read weights from a file, and fit them to a network, without ever running code from the file."""

import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from cnnviz.errors import WeightsError

State = dict[str, Tensor]

_INDEX = ".safetensors.index.json"

# Under these keys training programs put the weights, beside optimizers and counters.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
# DataParallel, Lightning and torch.compile put these in front of every name.
_PREFIXES = ("module.", "model.", "_orig_mod.")


def read_state(path: Path) -> State:
    """Return the named tensors in a checkpoint, on the CPU, out of the usual wrappings.

    Args:
        path: A `.safetensors` file, the `.safetensors.index.json` of several, or a file written
            with `torch.save`.

    Raises:
        WeightsError: If the file cannot be read, is damaged, holds anything that would run code,
            or holds no named tensors.
    """
    content = _read(path)
    state = _unwrap(content)
    if not state:
        keys = list(content)[:5] if isinstance(content, Mapping) else type(content).__name__
        raise WeightsError(f"{path} holds no named weights; found {keys}")
    return state


def _read(path: Path) -> object:
    try:
        if path.name.endswith(_INDEX):
            return _read_shards(path)
        if path.suffix == ".safetensors":
            return load_file(path)
        zipped = zipfile.is_zipfile(path)
        if zipped:
            _refuse_programs(path)
        elif not _is_pickle(path):
            raise ValueError("it is neither a zip archive nor a pickle")
        # Mapped files are read where they are needed, and not copied first.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from error
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} holds more than weights, and loading that could run code: refused. Save the "
            "weights alone with torch.save(model.state_dict(), PATH), or as safetensors"
        ) from error
    except WeightsError:
        raise
    except Exception as error:  # what the readers raise on damaged bytes has no end
        raise WeightsError(
            f"{path} is not a checkpoint, or damaged: {str(error).splitlines()[0][:200]}"
            if str(error)
            else f"{path} is not a checkpoint, or damaged"
        ) from error


def _is_pickle(path: Path) -> bool:
    """Return whether a file begins as every pickle does since Python 2.3."""
    with path.open("rb") as file:
        return file.read(1) == b"\x80"


def _read_shards(index: Path) -> State:
    """Return the tensors of all files that an index of safetensors names, in its folder."""
    files = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
    outside = sorted(name for name in files if Path(name).name != name)
    if outside:
        raise ValueError(f"it names files in other folders: {outside[0]}")
    return {
        key: tensor
        for name in sorted(files)
        for key, tensor in load_file(index.parent / name).items()
    }


def _refuse_programs(path: Path) -> None:
    """Raise an error for an archive that holds a compiled network instead of weights."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    kinds = {"TorchScript": "/code/", "torch.export": "/archive_format"}
    for kind, mark in kinds.items():
        if any(mark in f"/{name}" for name in names):
            raise WeightsError(
                f"{path} is a {kind} archive, a network with code of its own, whose layers hooks "
                "do not reach. Save its weights with torch.save(model.state_dict(), PATH)"
            )


def _unwrap(content: object) -> State:
    if not isinstance(content, Mapping):
        return {}
    for key in _WRAPPERS:
        if isinstance(content.get(key), Mapping) and (inner := _unwrap(content[key])):
            return inner
    return {str(key): value for key, value in content.items() if isinstance(value, Tensor)}


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
        raise WeightsError(
            f"{path} does not fit {model}: of {len(expected)} tensors {'; '.join(complaints)}"
        )


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
