"""Build a network from its source: with weights, without values in them, or of a checkpoint."""

import gc
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cnnviz.errors import CnnvizError, ModelError, tell_cause
from cnnviz.networks import checkpoints
from cnnviz.networks.sources import Source
from cnnviz.networks.wrappings import State


@contextmanager
def quiet_and_seeded(seed: int) -> Iterator[None]:
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


def build_hollow(name: str, source: Source, classes: int | None = None) -> nn.Module:
    """Return the network without values in its weights, where its builder does not look at them."""
    try:
        with uncollected(), _WeightsOnMeta():
            return source.build(classes)
    except Exception:
        return build(name, source, classes)


def build(name: str, source: Source, classes: int | None = None) -> nn.Module:
    """Return the network with values in its weights.

    Raises:
        ModelError: If its builder fails, with the cause.
    """
    try:
        return source.build(classes)
    except CnnvizError:
        raise
    except Exception as error:
        rows, columns = source.preprocess.input_size
        raise ModelError(
            f"{name} cannot be built for an input of {rows}x{columns}: {tell_cause(error)}"
        ) from error


def build_with_checkpoint(
    path: Path, name: str, source: Source, state_key: str | None
) -> tuple[nn.Module, str]:
    """Return the network with a checkpoint's weights, and what else there is in it."""
    read = checkpoints.read_checkpoint(path, state_key)
    module = _fitted(path, name, source, read.state, build_hollow)
    tensors = [*module.parameters(), *module.buffers()]
    if any(tensor.is_meta for tensor in tensors):
        # Something that no checkpoint holds; then all is initialised, and most of it replaced.
        module = _fitted(path, name, source, read.state, build)
    used, others = checkpoints.parts(read, module.state_dict())
    if not others or state_key is not None:
        return module, ""
    what = f"{used} is used" if used else "those outside are used"
    return module, f"{path} also holds {', '.join(others)}: {what}; --state-key chooses"


def _fitted(
    path: Path,
    name: str,
    source: Source,
    read: State,
    make: Callable[[str, Source, int | None], nn.Module],
) -> nn.Module:
    module = make(name, source, None)
    state = checkpoints.strip_prefixes(read, module.state_dict())
    # The files that torchvision itself publishes have older names, which its builders translate.
    state = {_new_name(key): tensor for key, tensor in state.items()}
    classes = checkpoints.class_count(state, module.state_dict())
    if classes is not None:
        module = make(name, source, classes)
    expected = module.state_dict()
    if name in ("inception_v3", "googlenet"):
        # Heads that are only used in training, and that many checkpoints leave out.
        state = {**_auxiliary(expected), **state}
    checkpoints.check_fit(path, name, state, expected)
    # The tensors of the file take the place of those of the network, which need no values.
    module.load_state_dict(
        {k: checkpoints.converted(path, k, v, expected[k]) for k, v in state.items()}, assign=True
    )
    return module


def _new_name(key: str) -> str:
    key = re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", key)
    return key.replace(".mlp.linear_1.", ".mlp.0.").replace(".mlp.linear_2.", ".mlp.3.")


def _auxiliary(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k: v for k, v in state.items() if k.startswith(("aux", "AuxLogits"))}
