"""Load a network by name, from a Python file, or with a checkpoint."""

import gc
import os
import pickle
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cnnviz import checkpoints
from cnnviz.catalog import DEMO, TIMM, check_names, is_checkpoint, split_factory
from cnnviz.errors import CnnvizError, ModelError, UnknownNameError, UsageError, WeightsError
from cnnviz.factories import (
    find_factory,
    make_network,
    takes_num_classes,
    tell_cause,
    timm_preprocess,
)
from cnnviz.images import Preprocess

Builder = Callable[[int | None], nn.Module]

_IMAGENET = Preprocess(input_size=(224, 224), resize=(256, 256))


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


@dataclass(frozen=True)
class _Source:
    """Where a network comes from, before its weights are settled."""

    build: Builder
    preprocess: Preprocess
    classes: tuple[str, ...] | None
    weights: str


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
        source = _find(name, weights, _pair(input_size), progress)
        if is_checkpoint(weights):
            module = _load_checkpoint(Path(weights), name, source)
        else:
            module = _build(name, source)
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
        source = _find(name, weights, _pair(input_size), progress=False, structure=True)
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


def _loaded(name: str, source: _Source, module: nn.Module, place: torch.device) -> LoadedModel:
    classes = source.classes if _outputs(module) in (None, len(source.classes or ())) else None
    module = module.eval().requires_grad_(False)
    return LoadedModel(module, source.preprocess, classes, name, source.weights, place)


def _build_hollow(name: str, source: _Source, classes: int | None = None) -> nn.Module:
    """Return the network without values in its weights, where its builder does not look at them."""
    try:
        with uncollected(), _WeightsOnMeta():
            return source.build(classes)
    except Exception:
        return _build(name, source, classes)


def _build(name: str, source: _Source, classes: int | None = None) -> nn.Module:
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


def _find(
    name: str,
    weights: str,
    size: tuple[int, int] | None,
    progress: bool,
    structure: bool = False,
) -> _Source:
    if name == DEMO:
        source = _find_demo(weights, structure)
    elif split_factory(name) is not None:
        source = _find_own(name, weights, structure)
    else:
        source = _find_torchvision(name, weights, size, progress, structure)
    if size:
        source = replace(source, preprocess=source.preprocess.with_input_size(size))
    return source


def _find_demo(weights: str, structure: bool) -> _Source:
    from cnnviz.demo import network
    from cnnviz.demo.patterns import CLASSES

    _known_weights("demo", weights, ())

    def build(classes: int | None) -> nn.Module:
        module: nn.Module = network.demo(classes or len(CLASSES))
        if weights == "default" and not structure:
            module.load_state_dict(checkpoints.read_state(network.WEIGHTS))
        return module

    size = (network.INPUT_SIZE, network.INPUT_SIZE)
    preprocess = Preprocess(size, size, network.MEAN, network.STD)
    return _Source(build, preprocess, CLASSES, weights)


def _known_weights(model: str, weights: str, known: tuple[str, ...]) -> None:
    if weights not in ("default", "none", *known) and not is_checkpoint(weights):
        raise UnknownNameError(f"weights for {model}", weights, ["default", "none", *known])


def _find_torchvision(
    name: str, weights: str, size: tuple[int, int] | None, progress: bool, structure: bool
) -> _Source:
    from torchvision.models import get_model_builder, get_model_weights

    enum = get_model_weights(name)
    _known_weights(name, weights, tuple(enum.__members__))
    pretrained = weights != "none" and not is_checkpoint(weights)
    member: Any = enum[weights.upper() if weights == "default" else weights] if pretrained else None
    reference: Any = member or enum["DEFAULT"]
    preprocess = _preprocess_of(reference.transforms())
    builder = get_model_builder(name)

    def build(classes: int | None) -> nn.Module:
        if member is not None and not structure:
            return _download(builder, member, progress)
        arguments = _structure(name, size or preprocess.input_size)
        if classes is not None:
            arguments["num_classes"] = classes
        module: nn.Module = builder(weights=None, **arguments)
        return module

    # A member of an enum calls itself by its first name, so DEFAULT reads IMAGENET1K_V2.
    said = member.name if member is not None else weights
    return _Source(build, preprocess, tuple(reference.meta["categories"]), said)


def _preprocess_of(transforms: Any) -> Preprocess:
    """Return what torchvision's `ImageClassification` preset does, as our own."""
    crop, resize = transforms.crop_size[0], transforms.resize_size[0]
    return Preprocess(
        input_size=(crop, crop),
        resize=(resize, resize),
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        interpolation=Image.Resampling[transforms.interpolation.name],
    )


def _structure(name: str, size: tuple[int, int]) -> dict[str, Any]:
    """Return the arguments that a builder would take from pretrained weights, had it any."""
    if name.startswith("vit_"):
        if size[0] != size[1]:
            raise UsageError(f"{name} takes square pictures only, not {size[0]}x{size[1]}")
        return {"image_size": size[0]}
    if name.startswith("maxvit_"):
        return {"input_size": size}
    if name in ("inception_v3", "googlenet"):
        return {"transform_input": True, "init_weights": True}
    return {}


def _download(builder: Callable[..., nn.Module], weights: Any, progress: bool) -> nn.Module:
    """Build with torchvision's weights, from its cache or the network."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    file = folder / weights.url.rpartition("/")[2]
    try:
        with _weights_only():
            module: nn.Module = builder(weights=weights, progress=progress)
            return module
    except OSError as error:
        raise WeightsError(
            f"cannot download {weights.url}: {getattr(error, 'reason', error)}. Put the file at "
            f"{file} (TORCH_HOME sets the folder), give a checkpoint with -w PATH, ask for random "
            "weights with -w none, or use the bundled network with -m demo"
        ) from error
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, LookupError) as error:
        why = (str(error) or "it ends too early").splitlines()[0][:200]
        raise WeightsError(
            f"{file} is damaged or not the file of {weights}: {why}; delete it to download it again"
        ) from error


@contextmanager
def _weights_only() -> Iterator[None]:
    """Have torch refuse pickled code also where torchvision does not ask for that."""
    variable = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(variable)
    os.environ[variable] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


def _find_own(reference: str, weights: str, structure: bool) -> _Source:
    _known_weights(reference, weights, ())
    make = find_factory(reference, pretrained=weights == "default" and not structure)

    def build(classes: int | None) -> nn.Module:
        arguments = {"num_classes": classes} if classes and takes_num_classes(make) else {}
        return make_network(reference, make, arguments)

    home, mark, name = reference.partition(":")
    preprocess = timm_preprocess(name) if home == TIMM and mark else _IMAGENET
    return _Source(build, preprocess, None, weights)


def _load_checkpoint(path: Path, name: str, source: _Source) -> nn.Module:
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
    source: _Source,
    read: checkpoints.State,
    build: Callable[[str, _Source, int | None], nn.Module],
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


def input_channels(module: nn.Module) -> int:
    """Return how many channels a network reads: as its first convolution says, otherwise three."""
    return next((m.in_channels for m in module.modules() if isinstance(m, nn.Conv2d)), 3)


def _outputs(module: nn.Module) -> int | None:
    """Return how many classes a classifier tells apart: the length of its last linear layer."""
    children = list(module.modules())
    linear = [child.out_features for child in children if isinstance(child, nn.Linear)]
    # SqueezeNet has none, and ends with a convolution.
    maps = [child.out_channels for child in children if isinstance(child, nn.Conv2d)]
    lengths = linear or maps
    return lengths[-1] if lengths else None
