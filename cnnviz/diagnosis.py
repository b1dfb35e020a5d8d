"""What the filters of a layer tell about its training: dead, alike, noisy or smooth."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnviz.checks import Health
from cnnviz.statistics import Statistics, measure

Floats = NDArray[np.float32]

# A filter is dead where its norm is at most this share of the median; a weight is near zero where
# it is below this share of the root mean square.
DEAD, NEAR_ZERO = 0.05, 0.01
ALIKE = 0.95  # the cosine from which on two filters are near-duplicates
_MOST_PAIRS = 100
_COMPARED = 2**24  # cosines computed at once


@dataclass(frozen=True)
class Diagnosis:
    """What the filters of one layer are like.

    Attributes:
        values: Statistics of the weights.
        norms: (N,) the Euclidean length of each filter; NaN where a weight is NaN.
        near_zero: The share of weights smaller than a hundredth of their root mean square.
        dead: Numbers of filters whose norm is at most a twentieth of the median.
        duplicates: How many filters have a cosine above 0.95 with another one, dead ones aside.
        pairs: The first of them, (number, number, cosine), the most alike before the others.
        noises: (N,) how far each filter is from smooth, see `noise`; NaN where that means nothing.
    """

    values: Statistics
    norms: Floats
    near_zero: float
    dead: tuple[int, ...]
    duplicates: int
    pairs: tuple[tuple[int, int, float], ...]
    noises: Floats

    @property
    def finite_norms(self) -> Floats:
        """The norms that are numbers: neither NaN nor infinite."""
        return self.norms[np.isfinite(self.norms)]

    @property
    def noise(self) -> float | None:
        """The median of `noises` over the filters that are not dead; None where there is none."""
        alive = np.delete(self.noises, self.dead)
        alive = alive[np.isfinite(alive)]
        return float(np.median(alive)) if len(alive) else None

    @property
    def health(self) -> Health:
        """What rules look at."""
        nan, infinite = self.values.nan, self.values.infinite
        return Health(nan, infinite, len(self.norms), len(self.dead), "filters", noise=self.noise)


def diagnose(filters: Tensor) -> Diagnosis:
    """Return what is to be known about filters.

    Args:
        filters: (N, C, *S) floating-point values.
    """
    flat = filters.flatten(1)
    norms = flat.norm(dim=1)
    finite = norms[norms.isfinite()]
    limit = DEAD * finite.median() if len(finite) else 0.0
    dead = norms <= limit
    alive = (norms.isfinite() & ~dead).nonzero().flatten()
    duplicates, pairs = _near_duplicates(flat[alive], alive)
    size = flat.square().nanmean().sqrt()
    return Diagnosis(
        values=measure(flat[None, :, None])[0][0],
        norms=norms.numpy(),
        near_zero=float((flat.abs() < NEAR_ZERO * size).float().mean()),
        dead=tuple(dead.nonzero().flatten().tolist()),
        duplicates=duplicates,
        pairs=pairs,
        noises=noise(filters).numpy(),
    )


def noise(filters: Tensor) -> Tensor:
    """Return how far filters are from smooth: 0 for smooth ones, 1 for random ones, at most 2.

    It is 1 minus the lag-1 autocorrelation: over all pairs of weights a, b that are neighbours
    along an axis of the kernel, in the same input channel, the sum of (a - b)^2 over the sum of
    a^2 + b^2 (von Neumann's ratio of 1941, without taking off a mean, which 3 x 3 weights cannot
    tell from a blob). Weights that are drawn independently around zero give 1 on average,
    whatever the kernel's size; a constant kernel gives 0, and a chessboard 2. A Sobel kernel has
    0.5: edges as fine as the kernel are not smooth.

    Args:
        filters: (N, C, *S).

    Returns:
        (N,) float32; NaN for filters of zeros, and where kernels have no neighbours (1 x 1).
    """
    apart, total = torch.zeros(2, len(filters), dtype=torch.float64)
    for axis in range(2, filters.ndim):
        length = filters.shape[axis] - 1
        first, second = filters.narrow(axis, 0, length), filters.narrow(axis, 1, length)
        apart += (first - second).square().flatten(1).sum(1)
        total += (first.square() + second.square()).flatten(1).sum(1)
    ratio: Tensor = apart / total
    return ratio.float()


def spectral_peaks(filters: Tensor) -> tuple[Floats, Floats]:
    """Return frequency and orientation of the strongest component of each filter.

    The power spectrum is summed over the input channels (and time), each kernel's mean taken off,
    which leaves out the constant component, and sampled at a fourth of the usual step.

    Args:
        filters: (N, C, *S), S of 1 to 3 axes; the last two are rows and columns.

    Returns:
        (N,) cycles per weight, 0 to 0.71; and (N,) degrees, 0 to 180, of the stripes,
        counter-clockwise: 0 where they are horizontal, 90 where they are vertical. NaN where
        there is no component, as in constant or 1 x 1 filters.
    """
    planes = filters[:, :, None] if filters.ndim == 3 else filters
    planes = planes.flatten(1, -3)
    planes = planes - planes.mean(dim=(2, 3), keepdim=True)
    sides = [4 * side if side > 1 else 1 for side in planes.shape[2:]]
    power = torch.stack([torch.fft.fft2(one, s=sides).abs().square().sum(0) for one in planes])
    best = power.flatten(1).max(dim=1)
    down = torch.fft.fftfreq(sides[0])[best.indices // sides[1]].double()
    right = torch.fft.fftfreq(sides[1])[best.indices % sides[1]].double()
    # Stripes run across the direction in which they alternate, and rows count downwards.
    degrees = torch.rad2deg(torch.atan2(right, down)).remainder(180)
    frequency = torch.hypot(down, right)
    nothing = ~(best.values > 1e-9 * filters.square().flatten(1).sum(1))
    frequency[nothing] = degrees[nothing] = torch.nan
    return frequency.float().numpy(), degrees.float().numpy()


def _near_duplicates(
    filters: Tensor, numbers: Tensor
) -> tuple[int, tuple[tuple[int, int, float], ...]]:
    """Return how many filters resemble another one, and the pairs that are most alike.

    Args:
        filters: (N, D), none of them zero.
        numbers: (N,) what they are called.
    """
    count, length = filters.shape
    if length < 2 or count < 2:
        return 0, ()  # single weights are all alike
    unit = filters / filters.norm(dim=1, keepdim=True)
    resembling = torch.zeros(count, dtype=torch.bool)
    found: list[tuple[float, int, int]] = []
    for rows in torch.split(torch.arange(count), max(_COMPARED // count, 1)):
        cosines = unit[rows] @ unit.T
        cosines[torch.arange(len(rows)), rows] = 0
        close = cosines > ALIKE
        resembling[rows] |= close.any(dim=1)
        i, j = close.nonzero(as_tuple=True)
        once = rows[i] < j
        best = cosines[i[once], j[once]].topk(min(_MOST_PAIRS, int(once.sum())))
        first, second = rows[i[once]][best.indices], j[once][best.indices]
        found += zip(best.values.tolist(), first.tolist(), second.tolist(), strict=True)
    found.sort(key=lambda pair: (-pair[0], pair[1:]))
    pairs = tuple(
        (int(numbers[i]), int(numbers[j]), cosine) for cosine, i, j in found[:_MOST_PAIRS]
    )
    return int(resembling.sum()), pairs
