"""A user's own code as a source of networks: a file, a package, or timm.

A reference is `FILE.py:NAME`, `package.module:NAME` or `timm:NAME`; what it names is a function or
class that returns a network, or a network.
"""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import Parameter
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from PIL import Image
from torch import nn
from torch.nn.parameter import is_lazy

from cnnviz.errors import ModelError, UnknownNameError, UsageError, tell_cause
from cnnviz.networks.catalog import TIMM, split_factory
from cnnviz.networks.checkpoints import refusing_code
from cnnviz.photos.preprocess import Preprocess


def find_factory(
    reference: str, *, pretrained: bool = False, arguments: Mapping[str, object] | None = None
) -> Any:
    """Return what a reference names.

    The code may import its neighbours, as it does when it is run; `sys.path` is left as it was.

    Args:
        reference: `FILE.py:NAME`, `package.module:NAME` or `timm:NAME`.
        pretrained: Whether timm is to load, or download, its weights.
        arguments: What it will be given, by name.

    Raises:
        ModelError: If the import fails, with its cause, or what was found makes no network.
        UnknownNameError: If there is no such name, or argument; it lists those that exist.
        UsageError: If there are arguments, and what was found is a network already.
    """
    home, name = split_factory(reference) or ("", reference)
    if home == TIMM:
        return _find_timm(name, pretrained)
    module = _import_file(Path(home)) if home.endswith(".py") else _import_package(home)
    if not hasattr(module, name):
        raise UnknownNameError(f"factory in {home}", name, _names_in(module))
    made = getattr(module, name)
    if not callable(made):
        raise ModelError(f"{reference} is a {type(made).__name__}, not a network or a function")
    if arguments and isinstance(made, nn.Module):
        raise UsageError(
            f"{reference} is a network already; --model-args are for a function or class"
        )
    check_arguments(reference, made, arguments or {})
    return made


def _names_in(module: ModuleType) -> list[str]:
    """Return what a module offers that could make a network, its own before what it imports."""
    offered = {n: v for n, v in vars(module).items() if callable(v) and not n.startswith("_")}
    own = [
        name
        for name, value in offered.items()
        if isinstance(value, nn.Module) or getattr(value, "__module__", None) == module.__name__
    ]
    return own or list(offered)


def check_arguments(
    reference: str,
    make: Callable[..., object],
    arguments: Mapping[str, object],
    settled: Collection[str] = (),
) -> None:
    """Raise an error for an argument that a function or class does not take.

    Where it hands on whatever it is given to the class that it says it returns, the arguments of
    that class are taken too.

    Args:
        reference: How the user wrote it, for messages.
        make: The function or class.
        arguments: By name.
        settled: Names that are set in another way.

    Raises:
        UnknownNameError: For the first that is not taken; it lists those that are.
    """
    taken = _parameters(make)
    for name in arguments:
        if name in settled or not (taken.others or name in (*taken.names, *taken.inner)):
            known = [known for known in taken.names if known not in settled]
            raise UnknownNameError(f"argument for {reference}", name, known)


@dataclass(frozen=True)
class _Taken:
    """Which arguments can be given by name.

    Attributes:
        names: Those that can.
        inner: Those that the class which a function calls needs, and the function may give it.
        others: Whether there may be more.
    """

    names: tuple[str, ...]
    inner: tuple[str, ...]
    others: bool


def _parameters(make: Callable[..., object]) -> _Taken:
    try:
        parameters = inspect.signature(make).parameters.values()
    except (ValueError, TypeError):  # some of those that are written in C tell nothing
        return _Taken((), (), others=True)
    named = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    names = tuple(parameter.name for parameter in parameters if parameter.kind in named)
    if all(parameter.kind is not Parameter.VAR_KEYWORD for parameter in parameters):
        return _Taken(names, (), others=False)
    result = getattr(make, "__annotations__", {}).get("return")
    if not isinstance(result, type):
        return _Taken(names, (), others=True)
    inner = _parameters(result)
    needed = _needed(result)
    offered = tuple(name for name in inner.names if name not in needed)
    return _Taken((*names, *offered), needed, inner.others)


def _needed(make: type) -> tuple[str, ...]:
    parameters = inspect.signature(make).parameters.values()
    return tuple(p.name for p in parameters if p.default is Parameter.empty)


def make_network(reference: str, make: Any, arguments: Mapping[str, object]) -> nn.Module:
    """Return the network that a factory gives.

    Args:
        reference: How the user wrote it, for messages.
        make: A function or class, or a network itself.
        arguments: For the function or class.

    Raises:
        ModelError: If it fails, or gives anything else.
    """
    try:
        with _beside(_folder(reference)):
            module = make if isinstance(make, nn.Module) else make(**arguments)
    except (Exception, SystemExit) as error:
        lacking = isinstance(error, TypeError) and "required" in str(error)
        way = "; --model-args NAME=VALUE gives an argument" if lacking else ""
        raise ModelError(f"{reference} failed: {tell_cause(error)}{way}") from error
    if not isinstance(module, nn.Module):
        raise ModelError(
            f"{reference} gave a {type(module).__name__}; it must be a torch.nn.Module, "
            "or a function or class that returns one"
        )
    if isinstance(module, torch.jit.ScriptModule):
        raise ModelError(
            f"{reference} gave a TorchScript network, with code of its own, whose layers hooks do "
            "not reach; return the torch.nn.Module that it was made from"
        )
    if any(is_lazy(tensor) for tensor in (*module.parameters(), *module.buffers())):
        raise ModelError(
            f"{reference} gave a network whose lazy layers have no weights yet; have it run once "
            "on a batch of pictures before it is returned"
        )
    return module


def takes_num_classes(make: Callable[..., object]) -> bool:
    """Return whether a factory can be asked for a number of classes."""
    return "num_classes" in _parameters(make).names


def timm_preprocess(name: str) -> Preprocess:
    """Return what timm says that a model of its own expects.

    Raises:
        ModelError: If timm is not installed.
    """
    told: Any = _timm().get_pretrained_cfg(name)
    _, rows, columns = told.input_size
    margin = told.crop_pct or 1.0
    return Preprocess(
        input_size=(rows, columns),
        resize=(round(rows / margin), round(columns / margin)),
        mean=tuple(told.mean),
        std=tuple(told.std),
        interpolation=Image.Resampling[told.interpolation.upper()],
        stretch=told.crop_mode == "squash",
        source=TIMM,
    )


def _timm() -> Any:
    try:
        return importlib.import_module(TIMM)
    except ImportError as error:
        raise ModelError(
            f"timm cannot be imported: {tell_cause(error)}; pip install timm"
        ) from error


def _find_timm(name: str, pretrained: bool) -> Callable[..., nn.Module]:
    timm = _timm()
    if not timm.is_model(name):
        raise UnknownNameError("timm model", name, timm.list_models())

    def build(*, num_classes: int | None = None, **arguments: object) -> nn.Module:
        # None would be handed on to some builders as a number of classes.
        if num_classes is not None:
            arguments["num_classes"] = num_classes
        with refusing_code():
            network: nn.Module = timm.create_model(name, **{"pretrained": pretrained, **arguments})
        return network

    return build


def _import_file(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"_cnnviz_{file.stem}", file.resolve())
    if spec is None or spec.loader is None:
        raise ModelError(f"{file} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look themselves up there while the file runs.
    sys.modules[spec.name] = module
    with _importing(str(file)), _beside(file.resolve().parent):
        spec.loader.exec_module(module)
    return module


def _import_package(name: str) -> ModuleType:
    with _importing(name), _beside(Path.cwd()):
        return importlib.import_module(name)


def _folder(reference: str) -> Path:
    """Return where the neighbours of a reference's code are."""
    home, _ = split_factory(reference) or ("", "")
    return Path(home).resolve().parent if home.endswith(".py") else Path.cwd()


@contextmanager
def _importing(what: str) -> Iterator[None]:
    """Tell why an import fails."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise ModelError(f"importing {what} failed: {tell_cause(error)}") from error


@contextmanager
def _beside(folder: Path) -> Iterator[None]:
    """Let code import its neighbours in a folder, and leave `sys.path` as it was."""
    before = list(sys.path)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = before
