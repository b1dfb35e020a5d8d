"""What the values of a layer are like, over one picture or over a whole run."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnviz.checks import Health
from cnnviz.saturation import Bound

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class GradientNorms:
    """Norms of the gradient of a score with respect to a layer's output; sums are exact.

    Attributes:
        pictures: How many were measured.
        norms: Sum of their finite norms.
        relatives: Sum of those relative to the norms at the network's output.
        nan: How many norms are NaN.
        infinite: How many are infinite.
    """

    pictures: int
    norms: Fraction
    relatives: Fraction
    nan: int = 0
    infinite: int = 0

    def merge(self, other: "GradientNorms") -> "GradientNorms":
        """Return the norms of both sets of pictures together."""
        return GradientNorms(
            self.pictures + other.pictures,
            self.norms + other.norms,
            self.relatives + other.relatives,
            self.nan + other.nan,
            self.infinite + other.infinite,
        )

    @property
    def norm(self) -> float:
        """The mean norm."""
        return self._mean(self.norms)

    @property
    def relative(self) -> float:
        """The mean norm relative to that at the network's output."""
        return self._mean(self.relatives)

    def _mean(self, total: Fraction) -> float:
        if self.nan or self.infinite:
            return math.nan if self.nan else math.inf
        return float(total / self.pictures)


def gradient_norms(norm: float, at_output: float) -> GradientNorms:
    """Return the norms of one picture.

    Args:
        norm: That of the gradient with respect to the layer's output.
        at_output: That with respect to the network's output, above 0.
    """
    if not math.isfinite(norm):
        return GradientNorms(
            1, Fraction(0), Fraction(0), int(math.isnan(norm)), int(math.isinf(norm))
        )
    return GradientNorms(1, Fraction(norm), Fraction(norm / at_output))


@dataclass(frozen=True)
class Statistics:
    """Statistics of a layer's outputs; those of two sets of pictures can be merged.

    Sums are exact, so that merging gives the same in any order and grouping: in a run that was
    interrupted, or shared among processes, as in one that was not.

    Attributes:
        values: How many finite values were seen.
        total: Their sum.
        squares: The sum of their squares.
        zeros: How many values are exactly zero.
        nan: How many values are NaN.
        infinite: How many values are infinite.
        low: (C,) the smallest finite value of each channel; NaN where there is none.
        high: (C,) the largest.
        values_per_channel: How many values each channel had.
        blank: On how many pictures the whole layer had one and the same value.
        at_bounds: (bound, how many values are at it) of an activation function that saturates;
            empty for other layers.
        gradient: Norms of the gradient, where that was asked for.
    """

    values: int
    total: Fraction
    squares: Fraction
    zeros: int
    nan: int
    infinite: int
    low: Floats
    high: Floats
    values_per_channel: int
    blank: int
    at_bounds: tuple[tuple[float, int], ...] = ()
    gradient: GradientNorms | None = None

    def merge(self, other: "Statistics") -> "Statistics":
        """Return the statistics of both sets of pictures together."""
        return Statistics(
            values=self.values + other.values,
            total=self.total + other.total,
            squares=self.squares + other.squares,
            zeros=self.zeros + other.zeros,
            nan=self.nan + other.nan,
            infinite=self.infinite + other.infinite,
            low=np.fmin(self.low, other.low),
            high=np.fmax(self.high, other.high),
            values_per_channel=self.values_per_channel + other.values_per_channel,
            blank=self.blank + other.blank,
            at_bounds=tuple(
                (bound, here + there)
                for (bound, here), (_, there) in zip(self.at_bounds, other.at_bounds, strict=True)
            ),
            gradient=self.gradient.merge(other.gradient)
            if self.gradient and other.gradient
            else None,
        )

    @property
    def min(self) -> float:
        """The smallest finite value."""
        return float(np.fmin.reduce(self.low))

    @property
    def max(self) -> float:
        """The largest finite value."""
        return float(np.fmax.reduce(self.high))

    @property
    def mean(self) -> float:
        """The mean of the finite values; NaN where there are none."""
        return float(self.total / self.values) if self.values else float("nan")

    @property
    def std(self) -> float:
        """The standard deviation of the finite values; NaN where there are none."""
        if not self.values:
            return float("nan")
        # Exact, so that nothing is lost where the mean is large against the deviation.
        return math.sqrt(self.squares / self.values - (self.total / self.values) ** 2)

    @property
    def zero_fraction(self) -> float:
        """The share of values that are exactly zero."""
        return self.zeros / self._total

    @property
    def bound_fractions(self) -> dict[float, float]:
        """The share of values at each bound of an activation function that saturates."""
        return {bound: count / self._total for bound, count in self.at_bounds}

    @property
    def saturated_fraction(self) -> float | None:
        """The share of values at any of these bounds; None where there are none."""
        return sum(self.bound_fractions.values()) if self.at_bounds else None

    @property
    def _total(self) -> int:
        return max(self.values + self.nan + self.infinite, 1)

    @property
    def dead_channels(self) -> int:
        """How many channels had the same value everywhere on every picture.

        Where each channel gave a single value there is nothing to compare, and none is dead.
        """
        return int((self.low == self.high).sum()) if self.values_per_channel > 1 else 0

    @property
    def health(self) -> Health:
        """What rules look at."""
        return Health(
            self.nan,
            self.infinite,
            len(self.low),
            self.dead_channels,
            "channels",
            self.blank,
            saturated=self.saturated_fraction,
            largest=max(abs(self.min), abs(self.max)),
            gradient=self.gradient.relative if self.gradient else None,
        )


def measure(maps: Tensor, bounds: Sequence[Bound] = ()) -> tuple[list[Statistics], list[float]]:
    """Return the statistics of each picture of a batch, and its share of positive values.

    Args:
        maps: (N, C, H, W) on any device.
        bounds: Where the layer saturates.
    """
    flat = maps.flatten(2)
    channels, size = flat.shape[1:]
    total = channels * size
    # On a CPU, torch's aminmax, var_mean and count_nonzero take ten times as long as these.
    # Adding zero turns -0.0, which compares as 0.0 and prints otherwise, into 0.0.
    # Apple's GPUs have no float64: what needs it is brought to the CPU first.
    low, high = (t.cpu().double().numpy() + 0.0 for t in (flat.amin(2), flat.amax(2)))
    measured, positive = [], []
    for i, (picture, mean, squares) in enumerate(zip(flat, *_means_and_squares(flat), strict=True)):
        # numpy compares five times as fast as torch on a CPU.
        values = picture.numpy() if picture.device.type == "cpu" else picture
        nonzero = _count(values != 0)
        positive.append((nonzero if low[i].min() >= 0 else _count(values > 0)) / total)
        there = tuple((bound.value, _count(bound.reached(picture))) for bound in bounds)
        if np.isfinite(mean) and np.isfinite(squares):
            blank = int(total > 1 and low[i].min() == high[i].max())
            measured.append(
                Statistics(
                    total, *_sums(total, mean, squares), total - nonzero, 0, 0,
                    low[i], high[i], size, blank, there,
                )
            )  # fmt: skip
        else:
            measured.append(_measure_broken(picture.cpu().double().numpy(), there))
    return measured, positive


def _sums(values: int, mean: float, deviations: float) -> tuple[Fraction, Fraction]:
    """Return sum and sum of squares of values of a mean and a sum of squared deviations."""
    exact = Fraction(mean)
    return values * exact, Fraction(deviations) + values * exact * exact


def _count(mask: Tensor | NDArray[np.bool_]) -> int:
    # Nor does torch count as fast there.
    plain = mask.numpy() if isinstance(mask, Tensor) and mask.is_cpu else mask
    return int(plain.sum()) if isinstance(plain, Tensor) else int(np.count_nonzero(plain))


def _means_and_squares(flat: Tensor) -> tuple[list[float], list[float]]:
    """Return mean and sum of squared deviations of each of (N, C, values)."""
    sums = []
    # One picture at a time stays in the processor's cache.
    for picture in flat:
        near = picture.mean(1)
        apart = picture - near[:, None]
        # Not their norm: ten times as long where channels lie side by side in memory.
        sums.append(torch.stack([near, apart.mean(1), apart.square_().sum(1)]))
    # What rounding left between `near` and the true means matters where the deviation is small.
    near, rest, squares = torch.stack(sums, 1).cpu().double()
    means = near + rest
    within = squares - rest.square() * flat.shape[2]
    between = means.var(dim=1, correction=0) * flat[0].numel()
    # Rounding can leave a constant channel a little below zero.
    deviations = within.clamp(min=0).sum(1) + between
    return means.mean(1).tolist(), deviations.tolist()


def _measure_broken(values: Floats, at_bounds: tuple[tuple[float, int], ...]) -> Statistics:
    """Return the statistics of one picture, (C, values), that is not finite everywhere."""
    finite = np.isfinite(values)
    seen = values[finite]
    clean = np.where(finite, values, np.nan)
    mean, deviations = (seen.mean(), seen.var() * len(seen)) if len(seen) else (0.0, 0.0)
    total, squares = _sums(len(seen), float(mean), float(deviations))
    return Statistics(
        values=len(seen),
        total=total,
        squares=squares,
        zeros=int((seen == 0).sum()),
        nan=int(np.isnan(values).sum()),
        infinite=int(np.isinf(values).sum()),
        low=np.fmin.reduce(clean, axis=1) + 0.0,
        high=np.fmax.reduce(clean, axis=1) + 0.0,
        values_per_channel=values.shape[1],
        blank=0,
        at_bounds=at_bounds,
    )
