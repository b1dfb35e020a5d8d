"""Load a network by name, from a Python file, or with a checkpoint."""

import gc
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cnnviz import checkpoints
from cnnviz.catalog import DEMO, check_names, is_checkpoint
from cnnviz.errors import CnnvizError, ModelError, UsageError, tell_cause
from cnnviz.images import Preprocess
from cnnviz.sources import Source, find_source


@dataclass(frozen=True)
class LoadedModel:
    """A network ready to look at pictures.

    Attributes:
        module: The network, in eval mode, on `device`.
        preprocess: What its weights expect to be done to a photo.
        classes: Names of what its last layer tells apart, by number; None where unknown.
        name: What the user typed for it.
        weights: Which weights it has: "none", torchvision's name, or a checkpoint's path.
        device: Where it is.
    """

    module: nn.Module
    preprocess: Preprocess
    classes: tuple[str, ...] | None
    name: str
    weights: str
    device: torch.device


def load_model(
    name: str = DEMO,
    weights: str = "default",
    *,
    device: str = "auto",
    input_size: int | tuple[int, int] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> LoadedModel:
    """Return the named network in eval mode, with the preprocessing that its weights expect.

    Args:
        name: `demo` (bundled), a torchvision builder such as `resnet18`, `FILE.py:FACTORY`,
            `package.module:FACTORY` or `timm:NAME`.
        weights: `default` (torchvision's pretrained; the bundled ones of `demo`; what a factory
            returns), `none` (random, from `seed`), a torchvision weights name such as
            `IMAGENET1K_V2`, or the path of a checkpoint.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.
        input_size: Side, or (rows, columns), of the network's input; None for the one that the
            weights were made for.
        seed: Of random weights. The global random state is not touched.
        progress: Whether a download draws a progress bar on stderr.

    Raises:
        UnknownNameError: If the model, the factory or the weights do not exist.
        UsageError: If the device does not exist here.
        ModelError: If the network cannot be built.
        WeightsError: If the weights cannot be downloaded, read, or fitted.
    """
    check_names(name, weights, device)
    place = find_device(device)
    with _quiet_and_seeded(seed):
        source = find_source(name, weights, _pair(input_size), progress=progress)
        if is_checkpoint(weights):
            module = _load_checkpoint(Path(weights), name, source)
        else:
            module = _build(name, source)
    if any(tensor.is_meta for tensor in (*module.parameters(), *module.buffers())):
        raise ModelError(
            f"{name} gave a network whose weights have no values (device meta); build it without "
            "that device, or give a checkpoint with -w PATH"
        )
    return _loaded(name, source, _channels_last(module.to(place)), place)


def _channels_last(module: nn.Module) -> nn.Module:
    """Return a network whose weights have channels last in memory.

    Convolutions on a CPU take a quarter less time so. Weights of 3-d ones have no such format.
    """
    if not any(tensor.ndim == 5 for tensor in module.parameters()):
        module.to(memory_format=torch.channels_last)
    return module


def load_structure(
    name: str = DEMO,
    weights: str = "default",
    *,
    input_size: int | tuple[int, int] | None = None,
) -> LoadedModel:
    """Return a network for its structure alone: its weights have shapes and no values.

    Nothing is downloaded or initialised. Only a checkpoint is read, for its number of classes.

    Args:
        name: As for `load_model`.
        weights: As for `load_model`; names only what the input size depends on.
        input_size: As for `load_model`.

    Raises:
        CnnvizError: As `load_model` does.
    """
    if is_checkpoint(weights):
        return load_model(name, weights, device="cpu", input_size=input_size)
    check_names(name, weights, "cpu")
    with _quiet_and_seeded(0):
        source = find_source(name, weights, _pair(input_size), structure=True)
        module = _build_hollow(name, source)
    return _loaded(name, source, module, torch.device("meta"))


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep Python's collector from walking all of torch's objects, again and again.

    The structure of a network and its trace make many objects at once, which wake it.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _WeightsOnMeta(TorchFunctionMode):
    """Have new weights take no memory and no time; all else that a builder computes is real.

    `torch.device("meta")` would send everything there, and some builders compute layer widths
    with small tensors.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a torch function, with the weights-to-be of modules on meta."""
        kwargs = kwargs or {}
        if func in _MAKES_WEIGHTS:
            return func(*args, **{**kwargs, "device": "meta"})
        filled = args[0] if args else kwargs.get("tensor")
        if func in _FILLS_WEIGHTS and isinstance(filled, Tensor) and filled.is_meta:
            # On meta torch would work out in Python, and slowly, that nothing is to be done.
            return filled
        return func(*args, **kwargs)


_MAKES_WEIGHTS = {torch.empty, torch.zeros, torch.ones}
_FILLS_WEIGHTS = {
    nn.init.uniform_, nn.init.normal_, nn.init.constant_, nn.init.kaiming_uniform_,
    Tensor.uniform_, Tensor.normal_, Tensor.fill_, Tensor.zero_, Tensor.erfinv_, Tensor.mul_,
    Tensor.add_, Tensor.clamp_,
}  # fmt: skip


def _pair(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    return (size, size) if isinstance(size, int) else size


def _loaded(name: str, source: Source, module: nn.Module, place: torch.device) -> LoadedModel:
    classes = source.classes if _outputs(module) in (None, len(source.classes or ())) else None
    module = module.eval().requires_grad_(False)
    return LoadedModel(module, source.preprocess, classes, name, source.weights, place)


def _build_hollow(name: str, source: Source, classes: int | None = None) -> nn.Module:
    """Return the network without values in its weights, where its builder does not look at them."""
    try:
        with uncollected(), _WeightsOnMeta():
            return source.build(classes)
    except Exception:
        return _build(name, source, classes)


def _build(name: str, source: Source, classes: int | None = None) -> nn.Module:
    try:
        return source.build(classes)
    except CnnvizError:
        raise
    except Exception as error:
        rows, columns = source.preprocess.input_size
        raise ModelError(
            f"{name} cannot be built for an input of {rows}x{columns}: {tell_cause(error)}"
        ) from error


def find_device(device: str) -> torch.device:
    """Return the device of that name; `auto` is the first of cuda, mps and cpu that is there.

    Raises:
        UsageError: If this machine lacks it; it lists those that exist.
    """
    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    existing = [*cuda, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]
    if device == "auto":
        return torch.device(existing[0])
    if device not in existing and not (device == "cuda" and cuda):
        raise UsageError(f"no device {device!r} here; choose from auto, {', '.join(existing)}")
    return torch.device(device)


@contextmanager
def _quiet_and_seeded(seed: int) -> Iterator[None]:
    """Seed the weights, and keep builders' prints off stdout, which is for data alone."""
    with (
        torch.random.fork_rng(devices=[]),
        redirect_stdout(sys.stderr),
        warnings.catch_warnings(),
    ):
        # Builders warn of deprecated arguments that they pass to themselves.
        warnings.simplefilter("ignore")
        # Not torch.manual_seed, which would also seed other devices, and leave them so.
        torch.default_generator.manual_seed(seed)
        yield


def _load_checkpoint(path: Path, name: str, source: Source) -> nn.Module:
    """Return the network with a checkpoint's weights, built for its number of classes."""
    read = checkpoints.read_state(path)
    module = _fitted(path, name, source, read, _build_hollow)
    tensors = [*module.parameters(), *module.buffers()]
    if any(tensor.is_meta for tensor in tensors):
        # Something that no checkpoint holds; then all is initialised, and most of it replaced.
        module = _fitted(path, name, source, read, _build)
    return module


def _fitted(
    path: Path,
    name: str,
    source: Source,
    read: checkpoints.State,
    build: Callable[[str, Source, int | None], nn.Module],
) -> nn.Module:
    module = build(name, source, None)
    state = checkpoints.strip_prefixes(read, module.state_dict())
    # The files that torchvision itself publishes have older names, which its builders translate.
    state = {_new_name(key): tensor for key, tensor in state.items()}
    classes = checkpoints.class_count(state, module.state_dict())
    if classes is not None:
        module = build(name, source, classes)
    expected = module.state_dict()
    if name in ("inception_v3", "googlenet"):
        # Heads that are only used in training, and that many checkpoints leave out.
        state = {**_auxiliary(expected), **state}
    checkpoints.check_fit(path, name, state, expected)
    # The tensors of the file take the place of those of the network, which need no values.
    module.load_state_dict({k: v.to(expected[k].dtype) for k, v in state.items()}, assign=True)
    return module


def _new_name(key: str) -> str:
    key = re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", key)
    return key.replace(".mlp.linear_1.", ".mlp.0.").replace(".mlp.linear_2.", ".mlp.3.")


def _auxiliary(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k: v for k, v in state.items() if k.startswith(("aux", "AuxLogits"))}


def _outputs(module: nn.Module) -> int | None:
    """Return how many classes a classifier tells apart: the length of its last linear layer."""
    children = list(module.modules())
    linear = [child.out_features for child in children if isinstance(child, nn.Linear)]
    # SqueezeNet has none, and ends with a convolution.
    maps = [child.out_channels for child in children if isinstance(child, nn.Conv2d)]
    lengths = linear or maps
    return lengths[-1] if lengths else None
