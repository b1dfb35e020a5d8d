"""A user's own code as a source of networks: a file, a package, or timm.

A reference is `FILE.py:NAME`, `package.module:NAME` or `timm:NAME`; what it names is a function or
class that returns a network, or a network.
"""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from PIL import Image
from torch import nn

from cnnviz.catalog import TIMM, split_factory
from cnnviz.errors import ModelError, UnknownNameError
from cnnviz.images import Preprocess


def find_factory(reference: str, *, pretrained: bool = False) -> Any:
    """Return what a reference names.

    The code may import its neighbours, as it does when it is run; `sys.path` is left as it was.

    Args:
        reference: `FILE.py:NAME`, `package.module:NAME` or `timm:NAME`.
        pretrained: Whether timm is to load, or download, its weights.

    Raises:
        ModelError: If the import fails, with its cause, or what was found makes no network.
        UnknownNameError: If there is no such name; it lists those that exist.
    """
    home, name = split_factory(reference) or ("", reference)
    if home == TIMM:
        return _find_timm(name, pretrained)
    module = _import_file(Path(home)) if home.endswith(".py") else _import_package(home)
    if not hasattr(module, name):
        names = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise UnknownNameError(f"factory in {home}", name, names)
    made = getattr(module, name)
    if not callable(made):
        raise ModelError(f"{reference} is a {type(made).__name__}, not a network or a function")
    return made


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
        module = make if isinstance(make, nn.Module) else make(**arguments)
    except (Exception, SystemExit) as error:
        raise ModelError(f"{reference} failed: {tell_cause(error)}") from error
    if not isinstance(module, nn.Module):
        raise ModelError(
            f"{reference} gave a {type(module).__name__}; it must be a torch.nn.Module, "
            "or a function or class that returns one"
        )
    return module


def takes_num_classes(make: Callable[..., object]) -> bool:
    """Return whether a factory can be asked for a number of classes."""
    return "num_classes" in inspect.signature(make).parameters


def tell_cause(error: BaseException) -> str:
    """Return an exception's type and text."""
    return f"{type(error).__name__}: {error}"


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

    def build(num_classes: int | None = None) -> nn.Module:
        # None would be handed on to some builders as a number of classes.
        asked = {} if num_classes is None else {"num_classes": num_classes}
        network: nn.Module = timm.create_model(name, pretrained=pretrained, **asked)
        return network

    return build


def _import_file(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"_cnnviz_{file.stem}", file.resolve())
    if spec is None or spec.loader is None:
        raise ModelError(f"{file} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look themselves up there while the file runs.
    sys.modules[spec.name] = module
    with _importing(str(file), file.resolve().parent):
        spec.loader.exec_module(module)
    return module


def _import_package(name: str) -> ModuleType:
    with _importing(name, Path.cwd()):
        return importlib.import_module(name)


@contextmanager
def _importing(what: str, folder: Path) -> Iterator[None]:
    """Let code in a folder import its neighbours, and tell why an import fails."""
    before = list(sys.path)
    sys.path.insert(0, str(folder))
    try:
        yield
    except (Exception, SystemExit) as error:
        raise ModelError(f"importing {what} failed: {tell_cause(error)}") from error
    finally:
        sys.path[:] = before
