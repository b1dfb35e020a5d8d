"""One pass through a network that writes down every layer call: name, type, output shape.

The pass runs on the meta device, where tensors have shapes but no values: it multiplies nothing.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from cnnviz.errors import ModelError
from cnnviz.layout import Layout, LayoutReader
from cnnviz.selection import label


@dataclass(frozen=True)
class LayerRecord:
    """One output of one module in one forward pass.

    Attributes:
        name: The dotted name, as `named_modules()` gives it; empty for the network itself.
        call: 1 for the module's first call, 2 for its second.
        type: The module's class name.
        leaf: Whether no other module ran inside this call.
        output_shape: Shape for a batch of one picture; empty where the output has no tensor.
        layout: How to look at the output.
    """

    name: str
    call: int
    type: str
    leaf: bool
    output_shape: tuple[int, ...]
    layout: Layout

    @property
    def label(self) -> str:
        """How the call is written: `conv1`, or `relu#2` for a second call."""
        return label(self.name, self.call)

    @property
    def grid(self) -> tuple[int, int] | None:
        """(rows, columns) of the output where it is a map."""
        return self.layout.grid


def first_tensor(output: object) -> Tensor | None:
    """Return the first tensor in a module's output: itself, or in a tuple, list or dict."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, dict):
        output = tuple(output.values())
    if isinstance(output, (tuple, list)):
        return next((t for value in output if (t := first_tensor(value)) is not None), None)
    return None


def trace(module: nn.Module, input_size: tuple[int, int]) -> tuple[LayerRecord, ...]:
    """Return a record of every module call for one picture, in the order in which they ended.

    The module is left as it was.

    Args:
        module: The network, in eval mode; it takes an (N, 3, H, W) tensor.
        input_size: (rows, columns) of the picture.

    Raises:
        ModelError: If the forward pass fails; it names the last layer that ran.
    """
    try:
        return _trace_meta(module, input_size)
    except Exception:
        # A forward pass that looks at values, or makes tensors of its own on another device,
        # cannot run on meta. Whatever else is wrong fails in the real pass too, and is told.
        return _trace_real(module, input_size)


def _trace_meta(module: nn.Module, input_size: tuple[int, int]) -> tuple[LayerRecord, ...]:
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    hollow = {name: tensor.to("meta") for name, tensor in state.items()}
    picture = torch.empty((1, 3, *input_size), device="meta", dtype=_dtype(module))
    with _recording(module, input_size) as records, torch.no_grad():
        torch.func.functional_call(module, hollow, (picture,))
    return tuple(records)


def _trace_real(module: nn.Module, input_size: tuple[int, int]) -> tuple[LayerRecord, ...]:
    device = next((tensor.device for tensor in module.parameters()), torch.device("cpu"))
    picture = torch.zeros((1, 3, *input_size), device=device, dtype=_dtype(module))
    with _recording(module, input_size) as records, torch.no_grad():
        try:
            module(picture)
        except Exception as error:
            last = records[-1].label if records else "none"
            raise ModelError(
                f"the network does not run on an input of 1x3x{input_size[0]}x{input_size[1]}: "
                f"{type(error).__name__}: {error} (last layer that ran: {last})"
            ) from error
    return tuple(records)


def _dtype(module: nn.Module) -> torch.dtype:
    return next((t.dtype for t in module.parameters() if t.is_floating_point()), torch.float32)


@contextmanager
def _recording(module: nn.Module, input_size: tuple[int, int]) -> Iterator[list[LayerRecord]]:
    """Collect a record of each module call while active; the hooks go on every exit."""
    records: list[LayerRecord] = []
    reader = LayoutReader(input_size)
    calls: Counter[str] = Counter()
    ran_inside: list[bool] = []  # for each call that has not ended: did another run inside it?

    def hooks_for(name: str, child: nn.Module) -> Iterator[RemovableHandle]:
        def enter(_module: nn.Module, _inputs: object) -> None:
            if ran_inside:
                ran_inside[-1] = True
            ran_inside.append(False)

        def leave(_module: nn.Module, _inputs: object, output: object) -> None:
            leaf = not ran_inside.pop()
            calls[name] += 1
            tensor = first_tensor(output)
            shape = () if tensor is None else tuple(tensor.shape)
            layout = reader.read(type(child).__name__, shape)
            records.append(
                LayerRecord(name, calls[name], type(child).__name__, leaf, shape, layout)
            )

        yield child.register_forward_pre_hook(enter)
        yield child.register_forward_hook(leave)

    with ExitStack() as stack:
        for name, child in module.named_modules():
            for handle in hooks_for(name, child):
                stack.callback(handle.remove)
        yield records
