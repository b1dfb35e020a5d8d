"""Weights in TorchScript and `torch.export` archives, read without running their programs.

Both are zip files of raw tensors beside a program. Loading the program would not do: the layers
of TorchScript take no hooks, and `torch.export.load` unpickles and evaluates what the file asks
for. So only names and tensors are read, by code that can make nothing else.
"""

import io
import json
import mmap
import pickle
import struct
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
    records = _Records(archive)
    (root,) = (name for name in records.names("/data.pkl") if name.count("/") == 1)
    described = io.BytesIO(records.read(root))
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
                storages[values] = records.values(f"{folder}/{key}", _STORAGES[kind])
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
    records = _Records(archive)
    for index in records.names(_EXPORTED):
        folder = index.rpartition("/")[0]
        for name, told in json.loads(records.read(index))["config"].items():
            found[name] = _exported_tensor(records, f"{folder}/{told['path_name']}", told)
    return found


def _exported_tensor(records: "_Records", record: str, told: dict[str, Any]) -> Tensor:
    if told["use_pickle"]:
        content = torch.load(io.BytesIO(records.read(record)), weights_only=True)
        if not isinstance(content, Tensor):
            raise ValueError(f"{record} holds no tensor")
        return content
    meta = told["tensor_meta"]
    size, stride = ([n["as_int"] for n in meta[key]] for key in ("sizes", "strides"))
    values = records.values(record, _TYPES[meta["dtype"]])
    return values.as_strided(size, stride, meta["storage_offset"]["as_int"])


class _Records:
    """The members of an archive, mapped into memory: they are read where they are needed."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        with open(str(archive.filename), "rb") as file:
            # Nothing is ever written to the file: what is changed is changed in a copy.
            self._mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)

    def names(self, end: str) -> list[str]:
        return [name for name in self._archive.namelist() if name.endswith(end)]

    def read(self, name: str) -> bytes:
        start, size = self._place(name)
        return self._mapped[start : start + size]

    def values(self, name: str, dtype: torch.dtype) -> Tensor:
        start, size = self._place(name)
        if size < dtype.itemsize:
            return torch.empty(0, dtype=dtype)
        if start % dtype.itemsize:  # written by something other than torch
            return torch.frombuffer(bytearray(self.read(name)), dtype=dtype)
        count = size // dtype.itemsize
        return torch.frombuffer(self._mapped, dtype=dtype, count=count, offset=start)

    def _place(self, name: str) -> tuple[int, int]:
        """Return where a member starts and how long it is, in bytes."""
        told = self._archive.getinfo(name)
        # What is compressed could be larger than memory, and so could a size that is not true.
        if told.compress_type != zipfile.ZIP_STORED or told.file_size != told.compress_size:
            raise zipfile.BadZipFile(f"{name} is compressed")
        header = told.header_offset
        lengths = self._mapped[header + 26 : header + 30]
        start = header + 30 + sum(struct.unpack("<HH", lengths)) if len(lengths) == 4 else -1
        if header < 0 or start < 0 or start + told.file_size > len(self._mapped):
            raise zipfile.BadZipFile(f"{name} is not all there")
        return start, told.file_size


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
