"""Where an activation function saturates: the bounds beyond which it hardly passes a gradient."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

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


def bounds_of(operator: str, arguments: Mapping[str, Any]) -> tuple[Bound, ...]:
    """Return the bounds of an activation function.

    The zeros of a ReLU are no saturation but what it is for: they are told as zeros. So only the
    upper bound of a ReLU6 counts.

    Args:
        operator: The name of the operator that computes it, one of `SATURATING`.
        arguments: What that was called with, by name.
    """
    return _BOUNDS[operator](arguments)


def _sides(low: float, high: float) -> tuple[Bound, Bound]:
    near = _NEAR * (high - low)
    return Bound(low, near), Bound(high, near)


def _hardtanh(arguments: Mapping[str, Any]) -> tuple[Bound, ...]:
    low, high = Bound(float(arguments["min_val"])), Bound(float(arguments["max_val"]))
    # A ReLU6 is a hard tanh from 0 to 6.
    return (low, high) if low.value else (high,)


_BOUNDS: dict[str, Callable[[Mapping[str, Any]], tuple[Bound, ...]]] = {
    "sigmoid": lambda _: _sides(0.0, 1.0),
    "tanh": lambda _: _sides(-1.0, 1.0),
    "hardtanh": _hardtanh,
    "hardsigmoid": lambda _: (Bound(0.0), Bound(1.0)),
    "hardswish": lambda _: (Bound(0.0),),
}
SATURATING = frozenset(_BOUNDS)
