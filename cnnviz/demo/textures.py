"""Patterns that fill a plane: each function returns where there is ink, and which tone it has.

Every function takes a `Plane` whose unit is one element of the pattern and returns `ink` and
`tone`, both (n, H, W) float32 in [0, 1]. Ink mixes the ground colour (0) with the ink colour (1);
tone chooses the ink colour on a ramp, so that neighbouring elements can differ in colour.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from cnnviz.demo.plane import Plane, fractal_noise, fraction, normalise

Painted = tuple[Tensor, Tensor]
Texture = Callable[[Plane], Painted]


def stripes(plane: Plane) -> Painted:
    """Straight bands along u, one per unit of v."""
    return bands(plane, plane.v)


def bands(plane: Plane, phase: Tensor) -> Painted:
    """One band of ink per whole number of the phase (n, H, W)."""
    duty = plane.uniform(0.35, 0.65)
    ink = plane.edge(duty / 2 - (fraction(phase) - 0.5).abs())
    row = phase.floor()
    return ink, plane.lookup(plane.table(), row * 0, row)


def waves(plane: Plane) -> Painted:
    """Bands bent along a sine."""
    length = plane.uniform(2.5, 4.5)
    height = plane.uniform(0.14, 0.22) * length
    return bands(plane, plane.v + height * torch.sin(plane.u * (2 * math.pi) / length))


def zigzag(plane: Plane) -> Painted:
    """Bands with sharp corners, as in chevrons."""
    length = plane.uniform(1.6, 3.2)
    height = plane.uniform(0.7, 1.2) * length
    return bands(plane, plane.v + height * (fraction(plane.u / length) - 0.5).abs())


def rings(plane: Plane) -> Painted:
    """Concentric circles or slight ellipses around the origin."""
    flat = plane.uniform(0.75, 1.0)
    return bands(plane, torch.hypot(plane.u, plane.v / flat) + plane.uniform(0, 1))


def spiral(plane: Plane) -> Painted:
    """Two or three arms that wind out of the origin, either way round."""
    arms = plane.whole(2, 3) * (plane.whole(0, 1) * 2 - 1)
    turn = torch.atan2(plane.v, plane.u) / (2 * math.pi)
    # One tone per arm would change along the cut of atan2, so the arms share one.
    ink, tone = bands(plane, torch.hypot(plane.u, plane.v) + arms * turn)
    return ink, torch.zeros_like(tone)


def rays(plane: Plane) -> Painted:
    """Sectors around the origin; their number does not depend on the unit."""
    count = plane.whole(6, 13)
    angle = fraction(torch.atan2(plane.v, plane.u) / (2 * math.pi)) * count
    duty = plane.uniform(0.35, 0.65)
    arc = 2 * math.pi * torch.hypot(plane.u, plane.v) / count
    ink = plane.edge((duty / 2 - (fraction(angle) - 0.5).abs()) * arc)
    sector = angle.floor()
    return ink, plane.lookup(plane.table(), sector, sector * 0)


def checkerboard(plane: Plane) -> Painted:
    """Squares of two colours in turn."""
    column, row = plane.u.floor(), plane.v.floor()
    near = torch.minimum(_to_line(plane.u), _to_line(plane.v))
    sign = 1 - 2 * (column + row).remainder(2)
    return plane.edge(near * sign), plane.lookup(plane.table(), column, row)


def _to_line(x: Tensor) -> Tensor:
    """Distance to the nearest whole number, in [0, 0.5]."""
    return 0.5 - (fraction(x) - 0.5).abs()


def grid(plane: Plane) -> Painted:
    """Thin crossing lines; the meshes between them hold the ink."""
    near = torch.minimum(_to_line(plane.u), _to_line(plane.v))
    tone = plane.lookup(plane.table(), plane.u.floor(), plane.v.floor())
    return plane.edge(near - plane.uniform(0.06, 0.13)), tone


def bricks(plane: Plane) -> Painted:
    """Courses of long bricks, every other one shifted by half a brick."""
    long = plane.uniform(1.9, 2.8)
    row = plane.v.floor()
    across = plane.u / long + row.remainder(2) * 0.5
    near = torch.minimum(_to_line(across) * long, _to_line(plane.v))
    return plane.edge(near - plane.uniform(0.06, 0.12)), plane.lookup(
        plane.table(), across.floor(), row
    )


def dots(plane: Plane) -> Painted:
    """Discs on a square or staggered lattice, a little off their places."""
    row = plane.v.floor()
    u = plane.u + row.remainder(2) * 0.5 * plane.whole(0, 1)
    column = u.floor()
    shift = plane.uniform(0, 0.14)
    x = fraction(u) - 0.5 + shift * (plane.lookup(plane.table(), column, row) - 0.5)
    y = fraction(plane.v) - 0.5 + shift * (plane.lookup(plane.table(), column, row) - 0.5)
    ink = plane.edge(plane.uniform(0.22, 0.38) - torch.hypot(x, y))
    return ink, plane.lookup(plane.table(), column, row)


def crosses(plane: Plane) -> Painted:
    """Plus signs on a lattice."""
    row = plane.v.floor()
    u = plane.u + row.remainder(2) * 0.5 * plane.whole(0, 1)
    x, y = (fraction(u) - 0.5).abs(), (fraction(plane.v) - 0.5).abs()
    thick, long = plane.uniform(0.08, 0.13), plane.uniform(0.36, 0.45)
    level = torch.minimum(long - x, thick - y)
    upright = torch.minimum(long - y, thick - x)
    ink = plane.edge(torch.maximum(level, upright))
    return ink, plane.lookup(plane.table(), u.floor(), row)


def hexagons(plane: Plane) -> Painted:
    """A honeycomb with thin walls."""
    root = math.sqrt(3)
    best = [(_hexagon(plane.u, plane.v, shift), shift) for shift in (0.0, 0.5)]
    (near_a, column_a, row_a), (near_b, column_b, row_b) = best[0][0], best[1][0]
    inside = near_a > near_b
    near = torch.maximum(near_a, near_b)
    column = torch.where(inside, column_a, column_b)
    row = torch.where(inside, row_a, row_b)
    wall = plane.uniform(0.04, 0.1) * root / 2
    return plane.edge(near - wall), plane.lookup(plane.table(), column, row)


def _hexagon(u: Tensor, v: Tensor, shift: float) -> tuple[Tensor, Tensor, Tensor]:
    """Distance to the wall of one of the two rectangular lattices of a honeycomb, and the tile."""
    root = math.sqrt(3)
    column, row = (u + shift).floor(), (v / root + shift).floor()
    x = (u + shift - column - 0.5).abs()
    y = ((v / root + shift - row - 0.5) * root).abs()
    return 0.5 - torch.maximum(x, x / 2 + y * root / 2), column * 2 + shift * 2, row * 2 + shift * 2


def scales(plane: Plane) -> Painted:
    """Overlapping discs in rows, the lower row behind, as on a fish or a roof."""
    radius, rim = 0.58, plane.uniform(0.08, 0.16)
    ink = torch.zeros_like(plane.u)
    tone = torch.zeros_like(plane.u)
    table = plane.table()
    for back in (2, 1, 0):
        row = (plane.v * 2).floor() - back
        x = plane.u + row.remainder(2) * 0.5
        inside = radius - torch.hypot(fraction(x) - 0.5, plane.v - row / 2)
        cover = plane.edge(inside)
        ink = ink + (plane.edge(inside - rim) - ink) * cover
        tone = tone + (plane.lookup(table, x.floor(), row) - tone) * cover
    return ink, tone


def arcs(plane: Plane) -> Painted:
    """Truchet's tiles: two quarter circles per tile, turned at random, join to winding paths."""
    column, row = plane.u.floor(), plane.v.floor()
    x, y = fraction(plane.u), fraction(plane.v)
    x = torch.where(plane.lookup(plane.table(), column, row) < 0.5, x, 1 - x)
    near = (torch.hypot(x, y) - 0.5).abs()
    far = (torch.hypot(1 - x, 1 - y) - 0.5).abs()
    ink = plane.edge(plane.uniform(0.11, 0.2) - torch.minimum(near, far))
    return ink, torch.zeros_like(ink)


def cells(plane: Plane) -> Painted:
    """Voronoi's cells of scattered points, with thin walls or none."""
    column, row = plane.u.floor(), plane.v.floor()
    tables = plane.table(), plane.table(), plane.table()
    first = torch.full_like(plane.u, 9.0)
    second, tone = first.clone(), torch.zeros_like(first)
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            x = column + i + plane.lookup(tables[0], column + i, row + j) - plane.u
            y = row + j + plane.lookup(tables[1], column + i, row + j) - plane.v
            distance = torch.hypot(x, y)
            mine = plane.lookup(tables[2], column + i, row + j)
            tone = torch.where(distance < first, mine, tone)
            second = torch.minimum(second, torch.maximum(first, distance))
            first = torch.minimum(first, distance)
    return plane.edge((second - first) / 2 - plane.uniform(0.03, 0.08)), tone


def clouds(plane: Plane) -> Painted:
    """Noise of all sizes, the larger the stronger, from wisps to hard-edged heaps."""
    noise = fractal_noise(plane.rng, (plane.n, 1), plane.size, 4)[:, 0]
    hard = plane.uniform(0.45, 0.9)
    return (0.5 + noise * hard).clamp(0, 1), torch.zeros_like(noise)


def labyrinth(plane: Plane) -> Painted:
    """Noise of one wavelength, cut at its middle: winding walls, as a reaction-diffusion makes."""
    size = plane.size
    noise = torch.randn(plane.n, size, size, generator=plane.rng, device=plane.rng.device)
    fy = torch.fft.fftfreq(size, device=noise.device)[:, None]
    fx = torch.fft.rfftfreq(size, device=noise.device)[None, :]
    offset = torch.hypot(fx, fy) / plane.pixel - 1
    band = torch.exp(-((offset / 0.18) ** 2) / 2)
    wave = normalise(torch.fft.irfft2(torch.fft.rfft2(noise) * band, s=(size, size)))
    # The wave's slope at zero is about 2 pi per unit: dividing by it gives a distance.
    return plane.edge(wave / (2 * math.pi)), torch.zeros_like(wave)


def leaves(plane: Plane, count: int = 48) -> Painted:
    """The dead leaves model: discs and squares of all sizes fall until they cover everything."""
    shape = (plane.n, 1, 1)
    tone = plane.uniform(0, 1).expand_as(plane.u)
    ink = plane.uniform(0, 1).expand_as(plane.u)
    reach = plane.pixel * plane.size / 2
    blur = torch.minimum(plane.blur, plane.pixel * 2)
    for k in range(count):
        # Radii fall as a power law, the small ones last, so that all sizes stay visible.
        radius = plane.uniform(0.7, 1.3) * 2.2 * (1 + k) ** -0.42
        x = plane.u - plane.uniform(-1, 1) * reach
        y = plane.v - plane.uniform(-1, 1) * reach
        square = torch.maximum(x.abs(), y.abs()) * 1.13
        distance = torch.where(plane.whole(0, 1) > 0, square, torch.hypot(x, y))
        cover = ((radius - distance) / blur + 0.5).clamp(0, 1)
        tone = tone + (torch.rand(shape, generator=plane.rng, device=tone.device) - tone) * cover
        ink = ink + (torch.rand(shape, generator=plane.rng, device=tone.device) - ink) * cover
    return ink, tone
