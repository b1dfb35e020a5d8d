"""Hand pictures to a network in the form that it takes: as a batch, a list, a clip, or a pair."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn

from cnnviz.errors import CnnvizError, ModelError, tell_cause

# As many as most of torchvision's networks for video were trained on.
_CLIP = 16


class Form(Enum):
    """What the forward pass of a network takes for pictures."""

    BATCH = "batch"
    """One (N, C, H, W) tensor: classification, segmentation, most networks."""
    LIST = "list"
    """A list of (C, H, W) tensors: detection."""
    CLIP = "clip"
    """One (N, C, T, H, W) tensor of frames: video."""
    PAIR = "pair"
    """Two (N, C, H, W) tensors: optical flow."""


def form_of(module: nn.Module) -> Form:
    """Return what a network takes, told by its parts."""
    # By name, because torchvision takes seconds to import, and other networks do not need it.
    if type(getattr(module, "transform", None)).__name__ == "GeneralizedRCNNTransform":
        return Form.LIST
    if any(parent.__name__ == "RAFT" for parent in type(module).__mro__):
        return Form.PAIR
    first = next((m for m in module.modules() if isinstance(m, (nn.Conv2d, nn.Conv3d))), None)
    return Form.CLIP if isinstance(first, nn.Conv3d) else Form.BATCH


def frame_count(module: nn.Module) -> int:
    """Return how many frames a network takes at once; 1 where it takes pictures."""
    form = form_of(module)
    if form is Form.PAIR:
        return 2
    if form is Form.CLIP:
        return _CLIP
    return 1


def detector_size(module: nn.Module) -> tuple[int, int] | None:
    """Return (rows, columns) to which a detector resizes pictures; None for other networks."""
    if form_of(module) is not Form.LIST:
        return None
    transform: Any = module.transform
    if transform.fixed_size is not None:
        columns, rows = transform.fixed_size
        return rows, columns
    return transform.min_size[-1], transform.min_size[-1]


def feed(module: nn.Module, pictures: Tensor) -> object:
    """Return what a network gives for pictures, handed to it in the form that it takes.

    Args:
        module: Any network.
        pictures: As for `as_arguments`.

    Raises:
        RuntimeError: If the network ends the program; and whatever else it raises.
    """
    try:
        return module(*as_arguments(module, pictures))
    except SystemExit as error:
        raise RuntimeError(f"its forward pass ends the program ({tell_cause(error)})") from error


@contextmanager
def running(name: str) -> Iterator[None]:
    """Tell what fails while a network runs as a `ModelError` that names the network."""
    try:
        yield
    except CnnvizError:
        raise
    except Exception as error:
        raise ModelError(f"{name} fails: {tell_cause(error)}") from error


def as_arguments(module: nn.Module, pictures: Tensor) -> tuple[Tensor | list[Tensor], ...]:
    """Return what the forward pass of a network takes for pictures.

    Args:
        module: Any network.
        pictures: (N, C, H, W); a network that takes frames gets each picture in the place of all
            its frames. Or (N, C, T, H, W) frames, for such a network only.
    """
    form = form_of(module)
    if form is Form.BATCH:
        return (pictures,)
    if form is Form.LIST:
        return (list(pictures),)
    if pictures.ndim == 4:
        pictures = pictures.unsqueeze(2).expand(-1, -1, frame_count(module), -1, -1)
    return (pictures,) if form is Form.CLIP else (pictures[:, :, 0], pictures[:, :, 1])


@contextmanager
def unresized(module: nn.Module) -> Iterator[None]:
    """Have detection look at pictures at the size that they have.

    It would enlarge a small one to its own usual size before it looks.
    """
    transform: Any = module.transform if form_of(module) is Form.LIST else None
    if transform is not None:
        transform.resize = lambda image, target=None: (image, target)
    try:
        yield
    finally:
        if transform is not None:
            del transform.resize


def memory_format(device: torch.device) -> torch.memory_format:
    """Return how pictures and weights lie in memory: with channels last, but on Apple's GPUs.

    Convolutions on a CPU take a quarter less time so. On Apple's GPUs several operators have given
    wrong values for that format, without a word.
    """
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


def input_dtype(module: nn.Module) -> torch.dtype:
    """Return the numbers that a network computes in: those of its first weight that has such."""
    kinds = (tensor.dtype for tensor in module.parameters() if tensor.is_floating_point())
    return next(kinds, torch.float32)


def input_channels(module: nn.Module) -> int:
    """Return how many channels a network reads: three, unless no convolution of it reads three.

    Then as many as its first one; in which order they run is not known here. One that makes three
    channels of one stands in front of those that read three.
    """
    convs = [m for m in module.modules() if isinstance(m, (nn.Conv2d, nn.Conv3d))]
    read = [conv.in_channels for conv in convs]
    if read and (read[0], convs[0].out_channels) == (1, 3):
        return 1
    return 3 if not read or 3 in read else read[0]
