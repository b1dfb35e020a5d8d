"""The pictures that the bundled network learned: named patterns in random, cluttered scenes.

`draw` makes labelled pictures from nothing but a random generator. The label is the dominant
pattern; others appear smaller, fainter, or partly hidden behind it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cnnviz.demo import figures, scene, textures
from cnnviz.demo.plane import Plane, chance, log_uniform, pixels, smooth_noise, uniform


@dataclass(frozen=True)
class Pattern:
    """One class of pictures.

    Attributes:
        texture: fills the plane; None for a figure.
        figure: a single shape; None for a texture.
        angle: degrees, clockwise on the screen, of the upright pattern.
        turn: greatest random rotation from there, in degrees.
        smallest: least pixels per element, so that it survives blur and the stride of the network.
        largest: greatest element, in units of the picture's side.
        centred: whether the pattern has a middle that must be seen.
    """

    texture: textures.Texture | None = None
    figure: figures.Figure | None = None
    angle: float = 0
    turn: float = 180
    smallest: float = 8
    largest: float = 0.3
    centred: bool = False


PATTERNS: dict[str, Pattern] = {
    "horizontal stripes": Pattern(textures.stripes, turn=11, smallest=4.5),
    "vertical stripes": Pattern(textures.stripes, angle=90, turn=11, smallest=4.5),
    "rising stripes": Pattern(textures.stripes, angle=-45, turn=11, smallest=4.5),
    "falling stripes": Pattern(textures.stripes, angle=45, turn=11, smallest=4.5),
    "waves": Pattern(textures.waves, turn=40, smallest=7, largest=0.22),
    "zigzag": Pattern(textures.zigzag, turn=40, smallest=7, largest=0.22),
    "rings": Pattern(textures.rings, smallest=5, largest=0.16, centred=True),
    "spiral": Pattern(textures.spiral, smallest=5, largest=0.16, centred=True),
    "rays": Pattern(textures.rays, centred=True),
    "checkerboard": Pattern(textures.checkerboard, turn=25, smallest=5, largest=0.24),
    "grid": Pattern(textures.grid, turn=25, smallest=8, largest=0.28),
    "bricks": Pattern(textures.bricks, turn=15, smallest=6, largest=0.18),
    "dots": Pattern(textures.dots, turn=45, smallest=7),
    "crosses": Pattern(textures.crosses, turn=25, smallest=11, largest=0.36),
    "hexagons": Pattern(textures.hexagons, turn=30, smallest=9),
    "scales": Pattern(textures.scales, turn=20, smallest=9),
    "arcs": Pattern(textures.arcs, turn=45, smallest=9, largest=0.28),
    "cells": Pattern(textures.cells, smallest=10),
    "labyrinth": Pattern(textures.labyrinth, smallest=6, largest=0.17),
    "clouds": Pattern(textures.clouds),
    "dead leaves": Pattern(textures.leaves, smallest=11, largest=0.24),
    "triangle": Pattern(figure=figures.triangle, turn=30),
    "square": Pattern(figure=figures.square, turn=30),
    "pentagon": Pattern(figure=figures.pentagon, turn=30),
    "star": Pattern(figure=figures.star, turn=30),
    "heart": Pattern(figure=figures.heart, turn=30),
    "flower": Pattern(figure=figures.flower),
    "crescent": Pattern(figure=figures.crescent, angle=-20, turn=60),
}
CLASSES: tuple[str, ...] = tuple(PATTERNS)


@dataclass(frozen=True)
class Place:
    """Where patterns lie: (n, 1, 1) middle in pixels from the picture's, and radius in pixels."""

    x: Tensor
    y: Tensor
    radius: Tensor

    def __getitem__(self, index: Tensor) -> Place:
        return Place(self.x[index], self.y[index], self.radius[index])


def draw(labels: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Draw one picture per label.

    Args:
        labels: (N,) int64 indices into `CLASSES`.
        size: pixels along a side, 32 or more.
        generator: the only source of random numbers: the same labels, size and state of the
            generator give the same pictures. Pictures appear on its device.

    Returns:
        (N, 3, size, size) float32 in [0, 1], RGB.
    """
    n = len(labels)
    if n == 0:
        return torch.empty(0, 3, size, size, device=generator.device)
    picture = scene.background(generator, n, size)
    picture = _backdrop(generator, picture)
    picture = _paint(generator, picture, labels, _main_place(generator, n, size), main=True)
    for _ in range(2):
        picture = _distract(generator, picture)
    picture = scene.occlude(generator, picture)
    return scene.photograph(generator, scene.light(generator, picture))


def draw_plain(labels: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Draw one picture per label with nothing else in it: no clutter, no faults.

    Arguments and result are those of `draw`; textures fill the picture.
    """
    n = len(labels)
    grey = torch.full((n, 3, size, size), 0.5, device=generator.device)
    middle = torch.zeros(n, 1, 1, device=generator.device)
    place = Place(middle, middle, middle + size * 0.4)
    return _paint(generator, grey, labels, place, main=True, plain=True).clamp(0, 1)


def _random_labels(rng: torch.Generator, n: int) -> Tensor:
    return torch.randint(len(CLASSES), (n,), generator=rng, device=rng.device)


def _main_place(rng: torch.Generator, n: int, size: int) -> Place:
    radius = uniform(rng, n, 0.27, 0.46) * size
    free = (size * 0.52 - radius).clamp(min=0)
    x, y = uniform(rng, n, -1, 1) * free, uniform(rng, n, -1, 1) * free
    return Place(x, y, radius)


def _backdrop(rng: torch.Generator, picture: Tensor) -> Tensor:
    """Blend a faint pattern of any class into some of the backgrounds."""
    n, _, size, _ = picture.shape
    chosen = chance(rng, n, 0.3).flatten().nonzero().flatten()
    if not len(chosen):
        return picture
    under = picture[chosen]
    place = _main_place(rng, len(chosen), size)
    over = _paint(rng, under, _random_labels(rng, len(chosen)), place, main=True)
    faint = uniform(rng, len(chosen), 0.08, 0.28)[:, None]
    return picture.index_copy(0, chosen, under + faint * (over - under))


def _distract(rng: torch.Generator, picture: Tensor) -> Tensor:
    """Put a small patch or figure of any class near the border of some pictures."""
    n, _, size, _ = picture.shape
    chosen = chance(rng, n, 0.4).flatten().nonzero().flatten()
    if not len(chosen):
        return picture
    m = len(chosen)
    angle, far = uniform(rng, m, 0, 2 * math.pi), uniform(rng, m, 0.4, 0.55) * size
    radius = uniform(rng, m, 0.08, 0.15) * size
    place = Place(far * angle.cos(), far * angle.sin(), radius)
    patch = _paint(rng, picture[chosen], _random_labels(rng, m), place, main=False)
    return picture.index_copy(0, chosen, patch)


def _paint(
    rng: torch.Generator,
    picture: Tensor,
    labels: Tensor,
    place: Place,
    *,
    main: bool,
    plain: bool = False,
) -> Tensor:
    """Return the pictures with each label's pattern over them.

    Args:
        rng: source of random numbers.
        picture: (n, 3, size, size) what lies below.
        labels: (n,) classes.
        place: where a figure, a patch of texture or the middle of a pattern goes.
        main: whether textures may fill the whole picture.
        plain: whether textures always do, and edges are always hard.
    """
    picture = picture.clone()
    for label in sorted(set(labels.tolist())):
        index = (labels == label).nonzero().flatten()
        pattern = PATTERNS[CLASSES[label]]
        paint = _paint_texture if pattern.figure is None else _paint_figure
        picture[index] = paint(rng, pattern, picture[index], place[index], main, plain)
    return picture


def _plane(
    rng: torch.Generator, pattern: Pattern, size: int, place: Place, unit: Tensor, plain: bool
) -> Plane:
    """Return the pattern's coordinates: warped a little, shifted, turned and scaled."""
    n = len(unit)
    x, y = pixels(size, rng.device)
    x, y = x - place.x, y - place.y
    if not plain:
        bend = smooth_noise(rng, (n, 2), size, 3) * (uniform(rng, n, 0, 0.025) * size)[:, None]
        x, y = x + bend[:, 0], y + bend[:, 1]
    angle = torch.deg2rad(pattern.angle + uniform(rng, n, -pattern.turn, pattern.turn))
    u = (x * angle.cos() + y * angle.sin()) / unit
    v = (y * angle.cos() - x * angle.sin()) / unit
    softest = 0.3 if pattern.figure is None else 0.16
    soft = uniform(rng, n, 0, softest) * chance(rng, n, 0.0 if plain else 0.35)
    return Plane(u, v, 1 / unit, torch.maximum(1.2 / unit, soft), rng)


def _paint_texture(
    rng: torch.Generator, pattern: Pattern, picture: Tensor, place: Place, main: bool, plain: bool
) -> Tensor:
    n, _, size, _ = picture.shape
    texture = pattern.texture
    if texture is None:
        raise TypeError("a figure is not a texture")
    top = max(pattern.largest * size, pattern.smallest * 1.3)
    low = max(pattern.smallest, size / 24)
    unit = log_uniform(rng, n, low, top if main else max(low * 1.2, top / 2))
    ink, tone = texture(_plane(rng, pattern, size, place, unit, plain))
    ground, first, second = palette(rng, picture.mean((2, 3), keepdim=True))
    many = chance(rng, n, 0.4) if texture is not textures.leaves else torch.ones_like(unit)
    layer = _mix(ground, _mix(first, second, (tone * many)[:, None]), ink[:, None])
    mask = scene.blob(rng, size, place.x, place.y, place.radius * (1.25 if main else 1.0))
    everywhere = chance(rng, n, 1.0 if plain else 0.45)[:, None]
    return _mix(picture, layer, torch.maximum(mask, everywhere) if main else mask)


def _paint_figure(
    rng: torch.Generator, pattern: Pattern, picture: Tensor, place: Place, main: bool, plain: bool
) -> Tensor:
    n, _, size, _ = picture.shape
    if pattern.figure is None:
        raise TypeError("a texture is not a figure")
    # In large pictures also small figures, so that the sizes in pixels overlap between pictures.
    least = min(1.0, max(0.6, 64 / size)) if main and not plain else 1.0
    plane = _plane(rng, pattern, size, place, place.radius * uniform(rng, n, least, 1), plain)
    outline = pattern.figure(plane)
    rim, first, second = palette(rng, picture.mean((2, 3), keepdim=True))
    border = plane.uniform(0.08, 0.2)
    ink = plane.edge(outline - border) * chance(rng, n, 0.5)
    shade = (0.5 + 0.5 * (plane.u + plane.v)).clamp(0, 1) * chance(rng, n, 0.5)
    hollow = chance(rng, n, 0.0 if plain else 0.2)
    fill = _mix(first, second, (ink * 0.5 + shade * 0.5)[:, None])
    rimless = 1 - chance(rng, n, 0.4)
    fill = _mix(rim, fill, torch.maximum(plane.edge(outline - border), rimless)[:, None])
    mask = plane.edge(outline) * (1 - hollow * plane.edge(outline - 2 * border))
    return _mix(picture, fill, mask[:, None])


def _mix(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    return first + (second - first) * share


def palette(rng: torch.Generator, behind: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return a ground colour and two ink colours, (n, 3, 1, 1), far from each other.

    A quarter of the inks have the ground's lightness, so that only colour tells them apart.

    Args:
        rng: source of random numbers.
        behind: (n, 3, 1, 1) colour of what lies below; the first ink is far from it too.
    """
    n = len(behind)
    ground, *others = (scene.colours(rng, n) for _ in range(6))
    choice = torch.stack(others)
    apart = _distance(choice, ground) + 0.8 * _distance(choice, behind)
    first, second = _pick(choice, apart.argsort(0)[-1]), _pick(choice, apart.argsort(0)[-2])
    weights = torch.tensor([0.3, 0.6, 0.1], device=behind.device).view(1, 3, 1, 1)
    equal = (first + (weights * (ground - first)).sum(1, keepdim=True)).clamp(0, 1)
    usable = (_distance(equal, ground) > 0.4) & (chance(rng, n, 0.25)[:, None] > 0)
    return ground, torch.where(usable, equal, first), second


def _distance(first: Tensor, second: Tensor) -> Tensor:
    return (first - second).square().sum(-3, keepdim=True).sqrt()


def _pick(choice: Tensor, index: Tensor) -> Tensor:
    return choice.gather(0, index[None].expand(1, -1, 3, -1, -1))[0]
