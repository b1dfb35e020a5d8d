"""Run a network only as far as needed and keep what selected layers gave."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TypeVar

from torch import Tensor, nn

from cnnviz.errors import ModelError, UnknownNameError
from cnnviz.networks.compiled import original, uncompiled
from cnnviz.records import first_tensor
from cnnviz.selection import label

Kept = TypeVar("Kept")


class _StopForward(BaseException):
    """Ends a forward pass early; not an Exception, so that no network swallows it."""


@contextmanager
def capture(module: nn.Module, layers: str | Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of `layers` in every forward pass inside the `with` block.

    Each output is a detached copy on the CPU, of the layer's own shape and dtype, taken before a
    later layer can overwrite it in place; of a list, a dict or a dataclass it is the first tensor,
    and of a quantized layer the numbers that its integers stand for. A second forward pass
    replaces the first; a pass begins with a call of `module` itself.
    Gradients, modes and random numbers are what they are without, and no hook stays on any exit.
    A network that `torch.compile` was given runs uncompiled inside the block.

    Args:
        module: Any network, on any device, in training or not. Names in one that
            DistributedDataParallel wraps begin with `module.`.
        layers: Dotted names; `name#2` is the second call of a module in one forward pass.

    Yields:
        Activations by layer, (N, C, H, W) for a convolution; a layer that did not run is missing.

    Raises:
        UnknownNameError: If the module has no such layer.
        ModelError: In the forward pass of a DataParallel on several devices.

    Example:
        >>> import cnnviz, torch
        >>> network = cnnviz.load_model("demo", device="cpu").module
        >>> with cnnviz.capture(network, ["conv1", "layer1.0.relu#2"]) as activations:
        ...     scores = network(torch.zeros(2, 3, 64, 64))
        >>> activations["conv1"].shape
        torch.Size([2, 64, 32, 32])
    """
    layers = [layers] if isinstance(layers, str) else layers
    with observe(module, layers, lambda _, output: output.detach().to("cpu", copy=True)) as kept:
        yield kept


@contextmanager
def observe(
    module: nn.Module,
    layers: Sequence[str],
    keep: Callable[[str, Tensor], Kept],
    *,
    stop: bool = False,
    before: bool = False,
) -> Iterator[dict[str, Kept]]:
    """Like `capture`, but store what `keep(layer, output)` makes of each output.

    Args:
        module: Any network.
        layers: Dotted names; `name#2` is the second call of a module in one forward pass.
        keep: Called inside the forward pass, on the network's device. It must copy what it keeps:
            later layers may overwrite `output` in place.
        stop: End the forward pass once every layer was seen. The block then ends with it.
        before: Keep what goes into the layers in place of what comes out.

    Raises:
        UnknownNameError: If the module has no such layer.
    """
    network = original(module)
    wanted = _wanted_calls(network, layers)
    kept: dict[str, Kept] = {}
    calls: Counter[str] = Counter()

    def start(_module: nn.Module, _inputs: object) -> None:
        calls.clear()

    def watch(name: str, child: nn.Module) -> Callable[..., None]:
        def see(module: nn.Module, *passing: object) -> None:
            if module is not child:
                # Each copy sees a part of the batch, all of them at the same time.
                raise ModelError(
                    "DataParallel splits a batch among copies of the network; "
                    "call the network that it wraps, its .module"
                )
            calls[name] += 1
            # Inputs alone, or inputs and output.
            tensor = first_tensor(passing[-1])
            if calls[name] not in wanted[name] or tensor is None:
                return
            layer = label(name, calls[name])
            kept[layer] = keep(layer, tensor.dequantize() if tensor.is_quantized else tensor)
            if stop and len(kept) == len(layers):
                raise _StopForward

        return see

    with ExitStack() as stack:
        stack.enter_context(uncompiled())
        stack.callback(network.register_forward_pre_hook(start).remove)
        modules = dict(network.named_modules())
        for name in wanted:
            child = modules[name]
            attach = child.register_forward_pre_hook if before else child.register_forward_hook
            stack.callback(attach(watch(name, child)).remove)
        with suppress(_StopForward):
            yield kept


def _wanted_calls(module: nn.Module, layers: Sequence[str]) -> dict[str, set[int]]:
    names = [name for name, _ in module.named_modules() if name]
    wanted: dict[str, set[int]] = {}
    for layer in layers:
        name, _, number = layer.partition("#")
        if name not in names or not (number or "1").isdecimal() or number == "0":
            raise UnknownNameError("layer", layer, names)
        wanted.setdefault(name, set()).add(int(number or 1))
    return wanted
