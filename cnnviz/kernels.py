"""The weights that a layer uses, as filters: one for each of its output channels."""

from torch import Tensor, nn
from torch.nn.utils.parametrize import type_before_parametrizations

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def used_weight(module: nn.Module) -> Tensor | None:
    """Return the weight that a module multiplies with, as it has it, or None where it has none.

    That of a quantized layer is dequantized, and that of a parametrized, weight-normed or pruned
    one is computed from what it is stored as.

    Returns:
        Floating-point values of any shape, on the CPU, detached.
    """
    _run_recomputing_hooks(module)
    weight = getattr(module, "weight", None)
    if callable(weight) and not isinstance(weight, Tensor):
        weight = weight()  # quantized layers keep it packed
    if not isinstance(weight, Tensor) or weight.is_complex():
        return None
    # To the CPU first: Apple's GPUs do not dequantize.
    return weight.detach().cpu().dequantize().float()


def _run_recomputing_hooks(module: nn.Module) -> None:
    # The older weight_norm, spectral_norm and pruning make the weight anew before each pass.
    # Until then it is that of the start, also where a checkpoint was loaded since.
    for hook in module._forward_pre_hooks.values():
        if type(hook).__module__.startswith("torch.nn.utils."):
            hook(module, ())


def as_filters(module: nn.Module, weight: Tensor) -> Tensor | None:
    """Return a weight as (N, C, *S): N filters, one per output channel, that read C channels each.

    S has the 1 to 3 axes of a convolution (for 3-d ones time, rows, columns), and 1 x 1 for a
    linear layer. The filters of a transposed convolution are what a value paints on the output.

    Args:
        module: The layer.
        weight: What `used_weight` gave.

    Returns:
        None where the layer is neither a convolution nor linear.
    """
    if weight.ndim == 2 and isinstance(getattr(module, "in_features", None), int):
        return weight[:, :, None, None]
    if not 3 <= weight.ndim <= 5 or not isinstance(getattr(module, "out_channels", None), int):
        return None
    if not is_transposed(module):
        return weight
    groups = groups_of(module)
    apart = weight.reshape(groups, -1, *weight.shape[1:])
    return apart.transpose(1, 2).flatten(0, 1)


def is_transposed(module: nn.Module) -> bool:
    """Return whether a layer is a transposed convolution."""
    return bool(getattr(module, "transposed", False)) or isinstance(module, _TRANSPOSED)


def groups_of(module: nn.Module) -> int:
    """Return how many groups of channels a layer keeps apart; 1 where it mixes all."""
    return int(getattr(module, "groups", 1))


def type_of(module: nn.Module) -> str:
    """Return the class name of a module, the one before parametrizations were registered."""
    return type_before_parametrizations(module).__name__
