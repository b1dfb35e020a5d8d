"""Load a network by name, from a Python file, or with a checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cnnviz.errors import ModelError, UsageError
from cnnviz.networks.building import build, build_hollow, build_with_checkpoint, quiet_and_seeded
from cnnviz.networks.catalog import DEMO, check_names, is_checkpoint, tell_weights
from cnnviz.networks.feeding import detector_size, input_channels, input_dtype, memory_format
from cnnviz.networks.sources import Source, find_source
from cnnviz.photos.overrides import Overrides
from cnnviz.photos.preprocess import Preprocess


@dataclass(frozen=True)
class LoadedModel:
    """A network ready to look at pictures.

    Attributes:
        module: The network, in eval mode, on `device`.
        preprocess: What is done to a photo: `input_size` as (rows, columns) in pixels; `mean` and
            `std` of red, green and blue in [0, 1].
        classes: Names of what its last layer tells apart, by number; None where unknown.
        name: What the user typed for it.
        weights: Which weights it has: "none", torchvision's name, or a checkpoint's path.
        device: Where it is.
        model_args: What was given to the function or class that made it.
        state_key: Which weights of a checkpoint were asked for; None for the usual ones.
        note: What else the checkpoint holds, in words; empty where that is nothing.

    Example:
        >>> import cnnviz
        >>> model = cnnviz.load_model("demo", device="cpu", input_size=(128, 160))
        >>> model.preprocess.input_size, model.classes[:2]
        ((128, 160), ('horizontal stripes', 'vertical stripes'))
    """

    module: nn.Module = field(repr=False)
    preprocess: Preprocess
    classes: tuple[str, ...] | None = field(repr=False)
    name: str
    weights: str
    device: torch.device
    model_args: Mapping[str, object] = field(default_factory=dict, hash=False)
    state_key: str | None = None
    note: str = ""

    @property
    def asked(self) -> dict[str, object]:
        """What was asked for besides name and weights, where that is anything, as documents say."""
        return {
            **({"model_args": dict(self.model_args)} if self.model_args else {}),
            **({"state_key": self.state_key} if self.state_key is not None else {}),
        }

    @property
    def about(self) -> dict[str, object]:
        """What a picture keeps inside it about the network: name, weights, what else was asked."""
        return {"model": self.name, "weights": self.weights, **self.asked}

    @property
    def caption(self) -> str:
        """Name and weights in words, as they stand below the title of a picture."""
        return f"{self.name} · {tell_weights(self.weights)}"

    def class_name(self, number: int) -> str | None:
        """Return the name of a class; None where it has none."""
        names = self.classes or ()
        return names[number] if number < len(names) else None

    def place(self, pictures: Tensor) -> Tensor:
        """Return pictures, (N, C, H, W), or frames, on the network's device and in its numbers."""
        kind = input_dtype(self.module)
        if pictures.ndim == 5:
            return pictures.to(self.device, kind)
        return pictures.to(self.device, kind, memory_format=memory_format(self.device))


def load_model(
    name: str = DEMO,
    weights: str = "default",
    *,
    device: str = "auto",
    input_size: int | tuple[int, int] | None = None,
    preprocess: Preprocess | Overrides | None = None,
    classes: Sequence[str] | None = None,
    seed: int = 0,
    model_args: Mapping[str, object] | None = None,
    state_key: str | None = None,
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
        preprocess: What is done to photos, or the parts of it that are not as the weights expect;
            None for all as they expect, and as for ImageNet where nothing is known.
        classes: Names of what the last layer tells apart, by number; None for those of the weights.
        seed: Of random weights. The global random state is not touched.
        model_args: For the function or class that makes the network, by name.
        state_key: Which weights of a checkpoint, as `find_weights` takes it: `model_ema`.
        progress: Whether a download draws a progress bar on stderr.

    Raises:
        UnknownNameError: If the model, the factory, the weights or an argument do not exist.
        UsageError: If the device does not exist here, with those that do, the checkpoint has no
            such key, or preprocessing or classes do not fit.
        ModelError: If the network cannot be built.
        WeightsError: If the weights cannot be downloaded, read, or fitted.

    Example:
        >>> import cnnviz
        >>> cnnviz.load_model("resnet18", weights="none", device="cpu").preprocess.input_size
        (224, 224)
    """
    check_names(name, weights, device, model_args=model_args, state_key=state_key)
    place = find_device(device)
    if name.startswith("quantized_") and place.type != "cpu":
        if device != "auto":
            raise UsageError(f"{name} runs on the cpu only, not on {device}")
        place = torch.device("cpu")
    note = ""
    with quiet_and_seeded(seed):
        source = _find(
            name, weights, preprocess, input_size, arguments=model_args, progress=progress
        )
        if is_checkpoint(weights):
            module, note = build_with_checkpoint(Path(weights), name, source, state_key)
        else:
            module = build(name, source)
    if any(tensor.is_meta for tensor in (*module.parameters(), *module.buffers())):
        raise ModelError(
            f"{name} gave a network whose weights have no values (device meta); build it without "
            "that device, or give a checkpoint with -w PATH"
        )
    loaded = _loaded(name, source, _laid_out(module.to(place), place), place, classes)
    return replace(loaded, model_args=dict(model_args or {}), state_key=state_key, note=note)


def _laid_out(module: nn.Module, place: torch.device) -> nn.Module:
    # Weights of 3-d convolutions have no channels-last format.
    if not any(tensor.ndim == 5 for tensor in module.parameters()):
        module.to(memory_format=memory_format(place))
    return module


def as_loaded(module: nn.Module, input_size: int | tuple[int, int] | None = None) -> LoadedModel:
    """Return any network as it is, with what is usual for pictures: ImageNet's mean and std.

    Args:
        module: The network; it is neither moved nor put into eval mode.
        input_size: Side, or (rows, columns), of its input; None for 224.
    """
    size = (input_size, input_size) if isinstance(input_size, int) else input_size or (224, 224)
    tensors = [*module.parameters(), *module.buffers()]
    place = tensors[0].device if tensors else torch.device("cpu")
    name = type(module).__name__
    preprocess = Preprocess(size, size, source="assumed").with_channels(input_channels(module))
    return LoadedModel(module, preprocess, None, name, "default", place)


def load_structure(
    name: str = DEMO,
    weights: str = "default",
    *,
    device: str = "auto",
    input_size: int | tuple[int, int] | None = None,
    preprocess: Preprocess | Overrides | None = None,
    model_args: Mapping[str, object] | None = None,
    state_key: str | None = None,
) -> LoadedModel:
    """Return a network for its structure alone: its weights have shapes and no values.

    Nothing is downloaded or initialised. Only a checkpoint is read, for its number of classes.

    Args:
        name: As for `load_model`.
        weights: As for `load_model`; names only what the input size depends on.
        device: As for `load_model`; it must exist, and nothing goes there.
        input_size: As for `load_model`.
        preprocess: As for `load_model`.
        model_args: As for `load_model`.
        state_key: As for `load_model`.

    Raises:
        CnnvizError: As `load_model` does.
    """
    check_names(name, weights, device)
    find_device(device)
    if is_checkpoint(weights):
        return load_model(
            name, weights, device="cpu", input_size=input_size, preprocess=preprocess,
            model_args=model_args, state_key=state_key,
        )  # fmt: skip
    with quiet_and_seeded(0):
        source = _find(name, weights, preprocess, input_size, arguments=model_args, structure=True)
        module = build_hollow(name, source)
    loaded = _loaded(name, source, module, torch.device("meta"))
    return replace(loaded, model_args=dict(model_args or {}))


def check_takes_photos(model: LoadedModel) -> None:
    """Make sure that photos can be shown to a network.

    Raises:
        UsageError: If it reads neither colours nor grey.
    """
    channels = model.preprocess.channels
    if channels not in (1, 3):
        raise UsageError(
            f"{model.name} reads {channels} channels; a photo has three, or one where it is grey"
        )


def _find(
    name: str,
    weights: str,
    preprocess: Preprocess | Overrides | None,
    input_size: int | tuple[int, int] | None,
    **how: Any,
) -> Source:
    """Return where the network comes from, with the preprocessing that the user wants."""
    size = (input_size, input_size) if isinstance(input_size, int) else input_size
    if isinstance(preprocess, Preprocess):
        whole = preprocess.with_input_size(size) if size else preprocess
        source = find_source(name, weights, Overrides(input_size=whole.input_size), **how)
        return replace(source, preprocess=replace(whole, source="options", options=()))
    wanted = preprocess or Overrides()
    return find_source(name, weights, replace(wanted, input_size=size) if size else wanted, **how)


def _loaded(
    name: str,
    source: Source,
    module: nn.Module,
    place: torch.device,
    classes: Sequence[str] | None = None,
) -> LoadedModel:
    size = detector_size(module)
    told = _for_detector(source.preprocess, size) if size else source.preprocess
    preprocess = told.with_channels(input_channels(module))
    module = module.eval().requires_grad_(False)
    names = _class_names(name, module, source.classes, classes)
    return LoadedModel(module, preprocess, names, name, source.weights, place)


def _for_detector(told: Preprocess, size: tuple[int, int]) -> Preprocess:
    """Return a preprocessing that leaves to a detector what it does itself, unless it is asked for.

    Args:
        told: What the user wants, on top of what classifiers want.
        size: (rows, columns) to which the detector resizes.
    """
    asked = set(told.options)
    if told.source == "options":
        return told
    if not asked & {"input_size", "crop", "resize", "stretch"}:
        told = replace(told, input_size=size)
    return replace(
        told,
        resize=told.resize if asked & {"resize", "stretch"} else told.input_size,
        mean=told.mean if "mean" in asked else (0.0,) * 3,
        std=told.std if "std" in asked else (1.0,) * 3,
    )


def _class_names(
    name: str, module: nn.Module, known: tuple[str, ...] | None, given: Sequence[str] | None
) -> tuple[str, ...] | None:
    """Return the names of classes: those given, or those known where their number fits."""
    lengths = _outputs(module)
    if given is not None and lengths and len(given) not in lengths:
        raise UsageError(
            f"{len(given)} class names are given, and the last layer of {name} has {lengths[0]} "
            "outputs"
        )
    if given is not None:
        return tuple(given)
    return known if not lengths or len(known or ()) == lengths[0] else None


def find_device(device: str) -> torch.device:
    """Return the device of that name; `auto` is the first of cuda, mps and cpu that is there.

    Raises:
        UsageError: If this machine lacks it; it lists those that exist.
    """
    # A driver that is too old still counts its devices.
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    cuda = [f"cuda:{i}" for i in range(count)]
    existing = [*cuda, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]
    if device == "auto":
        return torch.device(existing[0])
    if device not in existing and not (device == "cuda" and cuda):
        raise UsageError(f"no device {device!r} here; choose from auto, {', '.join(existing)}")
    return torch.device(device)


def _outputs(module: nn.Module) -> list[int]:
    """Return how many classes a classifier may tell apart, the likeliest first.

    That is the length of its last linear layer; SqueezeNet has none, and ends with a convolution.
    """
    children = list(module.modules())
    linear = [child.out_features for child in children if isinstance(child, nn.Linear)]
    maps = [child.out_channels for child in children if isinstance(child, nn.Conv2d)]
    return [*linear[-1:], *maps[-1:]]
