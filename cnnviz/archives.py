"""Weights in TorchScript and `torch.export` archives, read without running their programs.

Both are zip files of raw tensors beside a program. Loading the program would not do: the layers
of TorchScript take no hooks, and `torch.export.load` unpickles and evaluates what the file asks
for. So only names and tensors are read, by code that can make nothing else.
"""

import io
import json
import pickle
import zipfile
from typing import Any

import torch
from torch import Tensor

_STORAGES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}  # fmt: skip
# Numbers of types in a `torch.export` archive.
_TYPES = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64,
    6: torch.float16, 7: torch.float32, 8: torch.float64, 12: torch.bool, 13: torch.bfloat16,
}  # fmt: skip
_EXPORTED = "_weights_config.json"


def read_torchscript(archive: zipfile.ZipFile) -> dict[str, Tensor]:
    """Return the named tensors of a TorchScript archive; none where they are frozen into its code.

    Raises:
        UnpicklingError: If it describes anything but modules and tensors.
        BadZipFile, ValueError, LookupError, TypeError, RuntimeError: If it is damaged.
    """
    (root,) = (n for n in archive.namelist() if n.endswith("/data.pkl") and n.count("/") == 1)
    described = io.BytesIO(_bytes(archive, root))
    folder = root.removesuffix(".pkl")
    found: dict[str, Tensor] = {}
    storages: dict[tuple[str, str], Tensor] = {}
    seen: set[int] = set()
    pending: list[tuple[str, object]] = [("", _Unpickler(described).load())]
    while pending:
        path, thing = pending.pop()
        if isinstance(thing, _Tensor):
            values, offset, size, stride, *_ = thing.told
            if values not in storages:
                kind, key = values
                storages[values] = _values(_bytes(archive, f"{folder}/{key}"), _STORAGES[kind])
            # torch refuses sizes and strides that lead out of the values.
            found[path] = storages[values].as_strided(size, stride, offset)
        elif isinstance(thing, _Thing) and id(thing) not in seen:
            seen.add(id(thing))
            inner = [(f"{path}.{k}" if path else str(k), v) for k, v in thing.attributes.items()]
            pending += reversed(inner)
    return found


def read_exported(archive: zipfile.ZipFile) -> dict[str, Tensor]:
    """Return the named tensors of a `torch.export` archive; none where it has only compiled code.

    Raises:
        UnpicklingError: If a tensor is a pickle that holds more.
        BadZipFile, ValueError, LookupError, TypeError, RuntimeError: If it is damaged.
    """
    found: dict[str, Tensor] = {}
    for index in [name for name in archive.namelist() if name.endswith(_EXPORTED)]:
        folder = index.rpartition("/")[0]
        for name, told in json.loads(_bytes(archive, index))["config"].items():
            found[name] = _exported_tensor(archive, f"{folder}/{told['path_name']}", told)
    return found


def _exported_tensor(archive: zipfile.ZipFile, record: str, told: dict[str, Any]) -> Tensor:
    if told["use_pickle"]:
        content = torch.load(io.BytesIO(_bytes(archive, record)), weights_only=True)
        if not isinstance(content, Tensor):
            raise ValueError(f"{record} holds no tensor")
        return content
    meta = told["tensor_meta"]
    size, stride = ([n["as_int"] for n in meta[key]] for key in ("sizes", "strides"))
    values = _values(_bytes(archive, record), _TYPES[meta["dtype"]])
    return values.as_strided(size, stride, meta["storage_offset"]["as_int"])


def _bytes(archive: zipfile.ZipFile, name: str) -> bytearray:
    told = archive.getinfo(name)
    # What is compressed could be larger than memory, and so could a size that is not true.
    if told.compress_type != zipfile.ZIP_STORED or told.file_size != told.compress_size:
        raise zipfile.BadZipFile(f"{name} is compressed")
    return bytearray(archive.read(name))


def _values(data: bytearray, dtype: torch.dtype) -> Tensor:
    return torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)


class _Sealed(type):
    """A class that the file it is read for cannot change: a pickle may set attributes."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise pickle.UnpicklingError(f"{name} cannot be set")


class _Thing(metaclass=_Sealed):
    """Stands in for all that is no tensor: it keeps what it is told, and does nothing."""

    __slots__ = ("told",)

    told: tuple[Any, ...]

    def __init__(self, *told: object) -> None:
        self.told = told

    def __setstate__(self, state: object) -> None:
        self.told = (state,)

    @property
    def attributes(self) -> dict[str, object]:
        state = getattr(self, "told", ())[:1]
        return state[0] if state and isinstance(state[0], dict) else {}


class _Tensor(_Thing):
    """Stands in for a tensor: ((kind, key) of its values, offset, size, stride, ...)."""

    __slots__ = ()


class _Unpickler(pickle.Unpickler):
    """Makes numbers, words, lists, mappings and stand-ins, and refuses all else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if module == "torch" and name in _STORAGES:
            return name
        home = module.partition(".")[0]
        known = home == "__torch__" or module == "torch.jit._pickle"
        if known or (module, name) == ("collections", "OrderedDict"):
            return _Thing
        raise pickle.UnpicklingError(f"GLOBAL {module}.{name} is none of a network's weights")

    def persistent_load(self, told: Any) -> tuple[str, str]:
        _, kind, key, *_ = told
        return str(kind), str(key)
