"""What surrounds a pattern: backgrounds, things in front of it, light and the camera's faults.

Pictures are (n, 3, size, size) float32, about [0, 1]; masks are (n, 1, size, size) in [0, 1].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from cnnviz.demo.plane import (
    chance,
    fractal_noise,
    log_uniform,
    pixels,
    smooth_noise,
    uniform,
    whole,
)


def colours(rng: torch.Generator, n: int) -> Tensor:
    """Return (n, 3, 1, 1) colours, uniform in the cube."""
    return torch.rand(n, 3, 1, 1, generator=rng, device=rng.device)


def background(rng: torch.Generator, n: int, size: int) -> Tensor:
    """Return (n, 3, size, size): a gradient with soft clouds of colour, some with clutter."""
    first, second = colours(rng, n), colours(rng, n)
    slope = _ramp(rng, n, size)[:, None]
    picture = first + (second - first) * slope
    strength = (uniform(rng, n, 0, 0.14) * chance(rng, n, 0.7))[:, None]
    picture = picture + strength * fractal_noise(rng, (n, 3), size, 2)
    chosen = chance(rng, n, 0.4).flatten().nonzero().flatten()
    if len(chosen):
        picture[chosen] = clutter(rng, picture[chosen], 14)
    return picture


def _ramp(rng: torch.Generator, n: int, size: int) -> Tensor:
    """Return (n, size, size) slopes in a random direction, in [0, 1]."""
    x, y = pixels(size, rng.device)
    angle = uniform(rng, n, 0, 2 * math.pi)
    return (0.5 + (x * angle.cos() + y * angle.sin()) / size).clamp(0, 1)


def clutter(rng: torch.Generator, picture: Tensor, count: int) -> Tensor:
    """Return the picture behind `count` dull, shaded ellipses and bars of mixed sizes."""
    n, _, size, _ = picture.shape
    for _ in range(count):
        wide = log_uniform(rng, n, 0.04, 0.4) * size
        mask = oval(
            rng, n, size, wide, wide * log_uniform(rng, n, 0.2, 1.0), uniform(rng, n, 0, 0.6)
        )
        shade = 0.8 + 0.4 * _ramp(rng, n, size)[:, None]
        grey = 0.5 + (colours(rng, n) - 0.5) * uniform(rng, n, 0.2, 0.9)[:, None]
        picture = picture + (grey * shade - picture) * mask
    return picture


def oval(
    rng: torch.Generator, n: int, size: int, wide: Tensor, high: Tensor, far: Tensor
) -> Tensor:
    """Return (n, 1, size, size) masks of turned ellipses or bars.

    Args:
        rng: source of the random angle, direction, shape and softness.
        n: number of pictures.
        size: pixels along a side.
        wide: (n, 1, 1) half axis in pixels.
        high: (n, 1, 1) the other half axis in pixels.
        far: (n, 1, 1) distance of the middle from the picture's, in units of its side.
    """
    x, y = pixels(size, rng.device)
    place, turn = uniform(rng, n, 0, 2 * math.pi), uniform(rng, n, 0, math.pi)
    x, y = x - far * size * place.cos(), y - far * size * place.sin()
    u = (x * turn.cos() + y * turn.sin()).abs() / wide
    v = (y * turn.cos() - x * turn.sin()).abs() / high
    inside = torch.where(chance(rng, n, 0.6) > 0, 1 - torch.hypot(u, v), 1 - torch.maximum(u, v))
    edge = uniform(rng, n, 1, 3)
    return (inside * torch.minimum(wide, high) / edge + 0.5).clamp(0, 1)[:, None]


def blob(rng: torch.Generator, size: int, x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    """Return (n, 1, size, size) masks of round patches with a wavy edge, hard or soft.

    Args:
        rng: source of the outline.
        size: pixels along a side.
        x: (n, 1, 1) middle in pixels right of the picture's middle.
        y: (n, 1, 1) middle in pixels below it.
        radius: (n, 1, 1) radius in pixels.
    """
    n = len(radius)
    across, down = pixels(size, rng.device)
    power = uniform(rng, n, 1.6, 6)
    distance = ((across - x).abs() ** power + (down - y).abs() ** power) ** (1 / power)
    ragged = uniform(rng, n, 0, 0.14) * smooth_noise(rng, (n, 1), size, 6)[:, 0]
    edge = torch.where(chance(rng, n, 0.6) > 0, uniform(rng, n, 1, 2), radius * 0.3)
    return ((radius * (1 + ragged) - distance) / edge + 0.5).clamp(0, 1)[:, None]


def occlude(rng: torch.Generator, picture: Tensor) -> Tensor:
    """Return the picture with up to three small plain things before it: twigs, discs, cards."""
    n, _, size, _ = picture.shape
    for _ in range(3):
        wide = log_uniform(rng, n, 0.03, 0.5) * size
        high = torch.minimum(wide, size**2 * 0.004 / wide).clamp(min=1.0)
        mask = oval(rng, n, size, wide, high, uniform(rng, n, 0.1, 0.6))
        mask = mask * chance(rng, n, 0.35)[:, None]
        picture = picture + (colours(rng, n) - picture) * mask
    return picture


def light(rng: torch.Generator, picture: Tensor) -> Tensor:
    """Return the picture under uneven, slightly coloured light."""
    n, _, size, _ = picture.shape
    slope = uniform(rng, n, 0, 0.6) * chance(rng, n, 0.6)
    shade = (
        1 + slope * (_ramp(rng, n, size) - 0.5) + 0.06 * smooth_noise(rng, (n, 1), size, 3)[:, 0]
    )
    tint = 0.92 + 0.16 * colours(rng, n)
    return picture * shade[:, None] * tint


def photograph(rng: torch.Generator, picture: Tensor) -> Tensor:
    """Return the picture as a camera gives it: out of focus, pale or dark, noisy; clipped."""
    n, _, _, _ = picture.shape
    padded = functional.pad(picture, (1, 1, 1, 1), mode="replicate")
    soft = functional.avg_pool2d(padded, 3, stride=1)
    picture = picture + (soft - picture) * (uniform(rng, n, 0, 1) * whole(rng, n, 0, 1))[:, None]
    grey = picture.mean(1, keepdim=True)
    colour = torch.maximum(uniform(rng, n, 0.4, 1), chance(rng, n, 0.6))[:, None]
    picture = grey + (picture - grey) * colour
    contrast = uniform(rng, n, 0.7, 1.1)[:, None]
    picture = (picture - 0.5) * contrast + 0.5 + uniform(rng, n, -0.08, 0.08)[:, None]
    grain = uniform(rng, n, 0, 0.26)[:, None] ** 2
    noise = torch.randn(picture.shape, generator=rng, device=rng.device)
    return (picture + grain * noise).clamp(0, 1)
