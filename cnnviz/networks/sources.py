"""Where networks come from: the bundled one, torchvision, timm, or a user's own code."""

import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from cnnviz.errors import UnknownNameError, UsageError, WeightsError
from cnnviz.networks import checkpoints
from cnnviz.networks.catalog import DEMO, TIMM, is_checkpoint, split_factory
from cnnviz.networks.factories import (
    check_arguments,
    find_factory,
    make_network,
    takes_num_classes,
    timm_preprocess,
)
from cnnviz.photos.overrides import Overrides
from cnnviz.photos.preprocess import Preprocess

Builder = Callable[[int | None], nn.Module]

_IMAGENET = Preprocess(input_size=(224, 224), resize=(256, 256), source="assumed")


@dataclass(frozen=True)
class Source:
    """Where a network comes from, before its weights are settled.

    Attributes:
        build: Makes it, for a number of classes or, where that is None, for the usual one.
        preprocess: What its weights expect to be done to a photo.
        classes: Names of what its last layer tells apart; None where unknown.
        weights: Which weights it has, as `load_model` takes them.
    """

    build: Builder
    preprocess: Preprocess
    classes: tuple[str, ...] | None
    weights: str


def find_source(
    name: str,
    weights: str,
    wanted: Overrides,
    *,
    arguments: Mapping[str, object] | None = None,
    progress: bool = False,
    structure: bool = False,
) -> Source:
    """Return where the network of that name comes from; nothing is built yet.

    Args:
        name: As for `load_model`.
        weights: As for `load_model`; a checkpoint is not read.
        wanted: What is done to photos in place of what the weights expect.
        arguments: For the function or class that makes the network, by name.
        progress: Whether a download draws a progress bar on stderr.
        structure: Whether weights are not wanted: `build` then neither reads nor downloads any.

    Raises:
        UnknownNameError: If the factory, the weights or an argument do not exist.
        UsageError: If what makes the network takes no arguments, or the photo would be resized to
            less than what is cropped from it.
        ModelError: If the user's code cannot be imported.
    """
    given = dict(arguments or {})
    if name == DEMO:
        source = _find_demo(weights, structure)
    elif split_factory(name) is not None:
        source = _find_own(name, weights, given, structure)
    else:
        source = _find_torchvision(name, weights, wanted.size, given, progress, structure)
    return replace(source, preprocess=wanted.over(source.preprocess))


def _find_demo(weights: str, structure: bool) -> Source:
    from cnnviz.demo import network
    from cnnviz.demo.patterns import CLASSES

    _known_weights("demo", weights, ())

    def build(classes: int | None) -> nn.Module:
        module: nn.Module = network.demo(classes or len(CLASSES))
        if weights == "default" and not structure:
            module.load_state_dict(checkpoints.read_checkpoint(network.WEIGHTS).state)
        return module

    size = (network.INPUT_SIZE, network.INPUT_SIZE)
    told = _weights_say(weights == "default")
    preprocess = Preprocess(size, size, network.MEAN, network.STD, source=told)
    return Source(build, preprocess, CLASSES, weights)


def _known_weights(model: str, weights: str, known: tuple[str, ...]) -> None:
    if weights not in ("default", "none", *known) and not is_checkpoint(weights):
        raise UnknownNameError(f"weights for {model}", weights, ["default", "none", *known])


def _find_torchvision(
    name: str,
    weights: str,
    size: tuple[int, int] | None,
    given: dict[str, object],
    progress: bool,
    structure: bool,
) -> Source:
    from torchvision.models import get_model_builder, get_model_weights

    enum = get_model_weights(name)
    _known_weights(name, weights, tuple(enum.__members__))
    pretrained = weights != "none" and not is_checkpoint(weights)
    member: Any = enum[weights.upper() if weights == "default" else weights] if pretrained else None
    reference: Any = member or enum["DEFAULT"]
    preprocess = replace(
        _preprocess_of(reference.transforms()), source=_weights_say(member is not None)
    )
    builder = get_model_builder(name)
    check_arguments(name, builder, given, settled=("weights", "progress"))

    def build(classes: int | None) -> nn.Module:
        if member is not None and not structure:
            # Not among the arguments given, which an error would name in place of the file.
            quantized = {"quantize": True} if name.startswith("quantized_") else {}
            return _download(partial(builder, **quantized), member, given, progress)
        arguments = structure_arguments(name, size or preprocess.input_size)
        if member is not None:
            arguments |= next((a for n, a in _PRETRAINED.items() if name.startswith(n)), {})
        if classes is not None:
            arguments["num_classes"] = classes
        if structure and "init_weights" in arguments:
            arguments["init_weights"] = False
        # An argument may be the weights of a network inside, which torchvision reads by itself.
        with checkpoints.refusing_code():
            module: nn.Module = builder(weights=None, **{**arguments, **given})
        return module

    # A member of an enum calls itself by its first name, so DEFAULT reads IMAGENET1K_V2.
    said = member.name if member is not None else weights
    classes = reference.meta.get("categories")
    return Source(build, preprocess, tuple(classes) if classes else None, said)


def _weights_say(known: bool) -> str:
    """Return who tells the preprocessing: the weights, or else the usual ones of their model."""
    return "weights" if known else "model"


def _preprocess_of(transforms: Any) -> Preprocess:
    """Return what one of torchvision's presets does, as our own; of a video, to each frame."""
    kind = type(transforms).__name__
    if kind == "ObjectDetection":
        # What they do to pictures themselves is told by the network, once it is built.
        return _IMAGENET
    if kind == "OpticalFlow":
        return Preprocess(_FLOW_SIZE, _FLOW_SIZE, mean=(0.5,) * 3, std=(0.5,) * 3)
    rows, columns = _two(transforms.resize_size)
    return Preprocess(
        input_size=_two(getattr(transforms, "crop_size", (rows, columns))),
        resize=(rows, columns),
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        interpolation=Image.Resampling[transforms.interpolation.name],
    )


# The crops on which torchvision trained its networks for optical flow first.
_FLOW_SIZE = (368, 496)


# What builders change for pretrained weights: heads that are there in training alone.
_PRETRAINED: dict[str, dict[str, Any]] = {
    "fcn_": {"aux_loss": True},
    "deeplabv3_": {"aux_loss": True},
    "googlenet": {"aux_logits": False},
}


def _two(sides: Sequence[int]) -> tuple[int, int]:
    return sides[0], sides[-1]


# Its builders set this themselves.
_MVIT_SIZE = (224, 224)


_WITH_BACKBONE = (
    "fasterrcnn", "maskrcnn", "keypointrcnn", "retinanet", "fcos", "ssd",
    "fcn_", "deeplabv3_", "lraspp_",
)  # fmt: skip


def structure_arguments(name: str, size: tuple[int, int]) -> dict[str, Any]:
    """Return the arguments that a builder would take from pretrained weights, had it any."""
    if name.startswith("vit_"):
        if size[0] != size[1]:
            raise UsageError(f"{name} takes square pictures only, not {size[0]}x{size[1]}")
        return {"image_size": size[0]}
    if name.startswith("maxvit_"):
        return {"input_size": size}
    if name.startswith("mvit_"):
        if size != _MVIT_SIZE:
            raise UsageError(f"{name} takes pictures of 224x224 only, not {size[0]}x{size[1]}")
        return {}
    if name in ("inception_v3", "googlenet"):
        return {"transform_input": True, "init_weights": True}
    if name in ("quantized_inception_v3", "quantized_googlenet"):
        return {"quantize": True, "transform_input": True, "init_weights": True}
    if name.startswith("quantized_"):
        return {"quantize": True}
    if name.startswith(_WITH_BACKBONE):
        # These would download those of the network inside.
        return {"weights_backbone": None}
    return {}


def _download(
    builder: Callable[..., nn.Module], weights: Any, given: dict[str, object], progress: bool
) -> nn.Module:
    """Build with torchvision's weights, from its cache or the network."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    file = folder / weights.url.rpartition("/")[2]
    try:
        with checkpoints.refusing_code():
            module: nn.Module = builder(weights=weights, progress=progress, **given)
            return module
    except OSError as error:
        raise WeightsError(
            f"cannot download {weights.url}: {getattr(error, 'reason', error)}. Put the file at "
            f"{file} (TORCH_HOME sets the folder), give a checkpoint with -w PATH, ask for random "
            "weights with -w none, or use the bundled network with -m demo"
        ) from error
    except (
        RuntimeError, pickle.UnpicklingError, EOFError, ValueError, LookupError, TypeError,
    ) as error:  # fmt: skip
        why = " ".join((str(error) or "it ends too early").split())[:200]
        if given:
            asked = " ".join(f"{name}={value}" for name, value in given.items())
            raise WeightsError(
                f"{weights} does not fit a network made with {asked}: {why}; ask for random "
                "weights with -w none, or give a checkpoint"
            ) from error
        raise WeightsError(
            f"{file} is damaged or not the file of {weights}: {why}; delete it to download it again"
        ) from error


def _find_own(reference: str, weights: str, given: dict[str, object], structure: bool) -> Source:
    _known_weights(reference, weights, ())
    pretrained = weights == "default" and not structure
    make = find_factory(reference, pretrained=pretrained, arguments=given)

    def build(classes: int | None) -> nn.Module:
        inferred = {"num_classes": classes} if classes and takes_num_classes(make) else {}
        return make_network(reference, make, {**inferred, **given})

    home, mark, name = reference.partition(":")
    preprocess = timm_preprocess(name) if home == TIMM and mark else _IMAGENET
    return Source(build, preprocess, None, weights)
