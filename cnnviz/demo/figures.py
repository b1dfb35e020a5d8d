"""Single shapes: each function returns the signed distance to an outline.

Every function takes a `Plane` whose origin is the middle of the shape and whose unit is its
radius, and returns (n, H, W) float32: positive inside, about the distance to the outline.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from cnnviz.demo.plane import Plane

Figure = Callable[[Plane], Tensor]


def triangle(plane: Plane) -> Tensor:
    """Three equal sides, a corner up."""
    return _polygon(plane, 3)


def square(plane: Plane) -> Tensor:
    """Four equal sides, one of them down."""
    return 0.8 - torch.maximum(plane.u.abs(), plane.v.abs())


def pentagon(plane: Plane) -> Tensor:
    """Five equal sides, a corner up."""
    return _polygon(plane, 5)


def _polygon(plane: Plane, sides: int) -> Tensor:
    inner = math.cos(math.pi / sides)
    distance = torch.full_like(plane.u, math.inf)
    for k in range(sides):
        angle = math.pi / 2 + (2 * k + 1) * math.pi / sides
        side = inner - plane.u * math.cos(angle) + plane.v * math.sin(angle)
        distance = torch.minimum(distance, side)
    return distance


def star(plane: Plane) -> Tensor:
    """Five points, one of them up."""
    sector = math.pi / 5
    angle = torch.atan2(plane.u, -plane.v)
    # Folded into one half of a point, the outline is a single straight line.
    folded = ((angle / (2 * sector)).round() * (2 * sector) - angle).abs()
    radius = torch.hypot(plane.u, plane.v)
    x, y = radius * torch.cos(folded), radius * torch.sin(folded)
    inner = plane.uniform(0.38, 0.5)
    dx, dy = inner * math.cos(sector) - 1, inner * math.sin(sector)
    return ((x - 1) * dy - y * dx) / torch.hypot(dx, dy) * -1


def heart(plane: Plane) -> Tensor:
    """A square on its corner with a disc on each upper side."""
    side, half = 0.55, 0.55 / math.sqrt(2)
    u, v = plane.u.abs(), plane.v - 0.1
    # How far the shape must shrink about the square's middle until the point lies on its outline:
    # unlike a distance to the parts, this has no crease where they overlap.
    box = torch.maximum((u + v).abs(), (u - v).abs()) / (math.sqrt(2) * side)
    along = 2 * half * (u - v)
    disc = torch.where(along > 0, (u * u + v * v) / along.clamp(min=1e-6), torch.inf)
    return (1 - torch.minimum(box, disc)) * side


def flower(plane: Plane) -> Tensor:
    """Five to seven round petals."""
    angle = torch.atan2(plane.u, -plane.v)
    petals = plane.whole(5, 7)
    depth = plane.uniform(0.2, 0.3)
    return 0.75 + depth * torch.cos(angle * petals) - torch.hypot(plane.u, plane.v)


def crescent(plane: Plane) -> Tensor:
    """A disc with a bite of another disc out of its right side."""
    bite = plane.uniform(0.35, 0.55)
    disc = 1 - torch.hypot(plane.u, plane.v)
    return torch.minimum(disc, torch.hypot(plane.u - bite, plane.v) - 0.85)
