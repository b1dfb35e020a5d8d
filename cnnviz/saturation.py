"""Where an activation function saturates: the bounds beyond which it hardly passes a gradient."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

# A sigmoid or a tanh is at its bound where less than this share of its range is left. Less than a
# twenty-fifth of its steepest slope is left there.
_NEAR = 0.01


@dataclass(frozen=True)
class Bound:
    """A value at which an activation function stays, whatever else it gets.

    Attributes:
        value: The bound.
        near: How close a value must be to count as being there: 0 where the bound is reached.
    """

    value: float
    near: float = 0.0

    def reached(self, values: Tensor) -> Tensor:
        """Return which values are at the bound, of the same shape; NaN is not."""
        return values == self.value if not self.near else (values - self.value).abs() <= self.near


def bounds_of(module: nn.Module) -> tuple[Bound, ...]:
    """Return the bounds of an activation function; none for other modules.

    The zeros of a ReLU are no saturation but what it is for: they are told as zeros. So only the
    upper bound of a ReLU6 counts. Quantized layers end where their eight bits do.
    """
    if isinstance(getattr(module, "scale", None), float) and hasattr(module, "zero_point"):
        return _eight_bits(float(module.scale), int(module.zero_point))  # type: ignore[arg-type]
    return next((find(module) for kind, find in _BOUNDS.items() if isinstance(module, kind)), ())


def _eight_bits(scale: float, zero: int) -> tuple[Bound, ...]:
    """Return the least and the largest number that a quantized layer can give.

    Where the least is zero it is that of a ReLU.
    """
    low, high = (Bound(scale * (end - zero), scale / 2) for end in (0, 255))
    return (low, high) if zero else (high,)


def _sides(low: float, high: float) -> tuple[Bound, Bound]:
    near = _NEAR * (high - low)
    return Bound(low, near), Bound(high, near)


def _hardtanh(module: nn.Module) -> tuple[Bound, ...]:
    return Bound(float(module.min_val)), Bound(float(module.max_val))  # type: ignore[arg-type]


# A ReLU6 is a Hardtanh to torch: it stands first.
_BOUNDS: dict[type[nn.Module], Callable[[nn.Module], tuple[Bound, ...]]] = {
    nn.Sigmoid: lambda _: _sides(0.0, 1.0),
    nn.Tanh: lambda _: _sides(-1.0, 1.0),
    nn.ReLU6: lambda _: (Bound(6.0),),
    nn.Hardtanh: _hardtanh,
    nn.Hardsigmoid: lambda _: (Bound(0.0), Bound(1.0)),
    nn.Hardswish: lambda _: (Bound(0.0),),
}
