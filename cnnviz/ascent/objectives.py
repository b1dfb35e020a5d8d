"""What is maximised: small functions from what layers gave for one picture to a score.

Objectives are added, subtracted, negated and weighted as numbers are:

    channel("layer3", 5) - 0.5 * channel("layer3", 6) - total_variation()

Every score is to be MAXIMISED; only the ascent itself negates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class View:
    """What is known of one picture.

    Attributes:
        maps: (C, H, W) float32 by layer: what the layers gave. A vector has H and W of 1.
        picture: (C, H, W) float32 in (0, 1), before any movement.
    """

    maps: Mapping[str, Tensor]
    picture: Tensor


@dataclass(frozen=True)
class Objective:
    """A score to be maximised.

    Attributes:
        layers: The layers that it reads, as `trace` labels them.
        score: From a view of a picture to a number, a tensor with no axes.
        text: How it is written.
    """

    layers: frozenset[str] = field(repr=False)
    score: Callable[[View], Tensor] = field(repr=False)
    text: str

    def __neg__(self) -> Objective:
        """Return the objective that minimises this one."""
        return Objective(self.layers, lambda view: -self.score(view), f"-{self.text}")

    def __add__(self, other: Objective) -> Objective:
        """Return the sum of two."""
        return Objective(
            self.layers | other.layers,
            lambda view: self.score(view) + other.score(view),
            f"({self.text} + {other.text})",
        )

    def __sub__(self, other: Objective) -> Objective:
        """Return the difference of two."""
        return Objective(
            self.layers | other.layers,
            lambda view: self.score(view) - other.score(view),
            f"({self.text} - {other.text})",
        )

    def __mul__(self, weight: float) -> Objective:
        """Return the objective with a weight."""
        return Objective(
            self.layers, lambda view: self.score(view) * weight, f"{weight:g} * {self.text}"
        )

    __rmul__ = __mul__


def channel(layer: str, number: int) -> Objective:
    """Return the mean of one channel over its map."""
    return Objective(
        frozenset({layer}), lambda view: view.maps[layer][number].mean(), f"{layer}[{number}]"
    )


def neuron(layer: str, number: int, at: tuple[int, int] | None = None) -> Objective:
    """Return one unit of one channel: that at (row, column), or the one in the middle."""

    def score(view: View) -> Tensor:
        values = view.maps[layer][number]
        row, column = at or (values.shape[0] // 2, values.shape[1] // 2)
        return values[row, column]

    place = "centre" if at is None else f"{at[0]},{at[1]}"
    return Objective(frozenset({layer}), score, f"{layer}[{number}, {place}]")


def class_score(layer: str, number: int) -> Objective:
    """Return how far a class is ahead: its value less the mean over the other classes.

    The value alone also grows where all of them do.

    Args:
        layer: The one that tells classes apart, before any softmax.
        number: Of the class.
    """

    def score(view: View) -> Tensor:
        values = view.maps[layer].mean(dim=(1, 2))
        return values[number] - (values.sum() - values[number]) / max(len(values) - 1, 1)

    return Objective(frozenset({layer}), score, f"{layer}[class {number}]")


def whole_layer(layer: str) -> Objective:
    """Return the mean square of all that a layer gives.

    It strengthens whatever the layer sees already (Mordvintsev, Olah, Tyka, "Inceptionism: Going
    Deeper into Neural Networks", 2015: DeepDream).
    """
    return Objective(frozenset({layer}), lambda view: view.maps[layer].square().mean(), layer)


def total_variation() -> Objective:
    """Return the mean absolute difference of neighbouring pixels; subtract it for smoothness."""

    def score(view: View) -> Tensor:
        across, down = view.picture.diff(dim=2), view.picture.diff(dim=1)
        return across.abs().mean() + down.abs().mean()

    return Objective(frozenset(), score, "total variation")


def l2() -> Objective:
    """Return the mean squared distance of the picture from grey; subtract it for low contrast."""
    return Objective(frozenset(), lambda view: (view.picture - 0.5).square().mean(), "L2")
