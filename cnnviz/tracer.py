"""One pass through a network that writes down every layer call.

The pass runs on the meta device, where tensors have shapes but no values: it multiplies nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from cnnviz.errors import ModelError, tell_cause
from cnnviz.networks.building import uncollected
from cnnviz.networks.compiled import original, uncompiled
from cnnviz.networks.feeding import (
    Form,
    as_arguments,
    feed,
    form_of,
    frame_count,
    input_channels,
    input_dtype,
)
from cnnviz.networks.models import LoadedModel, load_structure
from cnnviz.records import LayerRecord, Recorder


def trace(
    model: str | LoadedModel | nn.Module, input_size: int | tuple[int, int] | None = None
) -> tuple[LayerRecord, ...]:
    """Return a record of every module call for one picture, in the order in which they ended.

    Blocks that contain other modules have records too (`leaf` is False), and the last record is
    that of the whole network. A model given by name takes no weights; one given as a module is
    left as it was.

    Args:
        model: A name as for `load_model`, a `LoadedModel`, or any network that takes an
            (N, C, H, W) tensor, C as its first convolution says.
        input_size: Side, or (rows, columns), of the picture, in pixels; None for what the weights
            of a named or loaded model were made for, and 224 for a module.

    Raises:
        UnknownNameError: If there is no such model.
        ModelError: If the forward pass fails; it names the last layer that ran.

    Example:
        >>> import cnnviz
        >>> records = cnnviz.trace("resnet50", input_size=224)
        >>> records[-1].output_shape
        (1, 1000)
        >>> [record.receptive_field.size for record in records if record.name == "layer4"]
        [(427, 427)]
    """
    if isinstance(model, str):
        model = load_structure(model, input_size=input_size)
    size = (input_size, input_size) if isinstance(input_size, int) else input_size
    if isinstance(model, LoadedModel):
        return trace_module(model.module, size or model.preprocess.input_size)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        return trace_module(model, size or (224, 224))
    finally:
        for module, training in modes:
            module.training = training


def trace_module(module: nn.Module, input_size: tuple[int, int]) -> tuple[LayerRecord, ...]:
    """Return a record of every module call for one picture, in the order in which they ended.

    The module is left as it was. The last record is that of the whole network.

    Args:
        module: The network, in eval mode; it takes an (N, C, H, W) tensor.
        input_size: (rows, columns) of the picture.

    Raises:
        ModelError: If the forward pass fails; it names the last layer that ran.
    """
    module = original(module)
    with uncompiled():
        try:
            with uncollected():
                return _trace_meta(module, input_size)
        except (Exception, SystemExit):
            # A forward pass that looks at values, or makes tensors of its own on another device,
            # cannot run on meta. Whatever else is wrong fails in the real pass too, and is told.
            return _trace_real(module, input_size)


def _trace_meta(module: nn.Module, input_size: tuple[int, int]) -> tuple[LayerRecord, ...]:
    hollow = {name: tensor.to("meta") for name, tensor in _with_values(module)}
    picture = torch.empty(_shape(module, input_size), device="meta", dtype=input_dtype(module))
    recorder = Recorder(picture, form_of(module), on_meta=True)
    with _attributes_kept(module), recorder.watching(module):
        if hollow:
            torch.func.functional_call(module, hollow, as_arguments(module, picture))
        else:
            feed(module, picture)
    return tuple(recorder.records)


@contextmanager
def _attributes_kept(module: nn.Module) -> Iterator[None]:
    """Give modules back what they remember, such as the anchors of a picture on meta."""
    before = [(child, dict(child.__dict__)) for child in module.modules()]
    try:
        yield
    finally:
        for child, attributes in before:
            child.__dict__.clear()
            child.__dict__.update(attributes)


def _with_values(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield name and tensor of parameters and buffers that are not on meta."""
    for name, child in module.named_modules():
        for key, tensor in (*child._parameters.items(), *child._buffers.items()):
            if tensor is None or tensor.is_meta:
                continue
            # Single numbers may be anywhere; but training counts batches in them.
            if tensor.dim() or child.training:
                yield f"{name}.{key}" if name else key, tensor


def _trace_real(module: nn.Module, input_size: tuple[int, int]) -> tuple[LayerRecord, ...]:
    device = next((tensor.device for tensor in module.parameters()), torch.device("cpu"))
    picture = torch.zeros(_shape(module, input_size), device=device, dtype=input_dtype(module))
    recorder = Recorder(picture, form_of(module))
    with recorder.watching(module):
        try:
            feed(module, picture)
        except Exception as error:
            last = recorder.records[-1].label if recorder.records else "none"
            raise ModelError(
                f"the network does not run on an input of {_written(picture)}: "
                f"{tell_cause(error)} (last layer that ran: {last})"
            ) from error
    return tuple(recorder.records)


def _shape(module: nn.Module, input_size: tuple[int, int]) -> tuple[int, ...]:
    frames = (frame_count(module),) if form_of(module) is Form.CLIP else ()
    return 1, input_channels(module), *frames, *input_size


def _written(picture: Tensor) -> str:
    return "x".join(map(str, picture.shape))
