"""The generator of the bundled network's pictures."""

import math

import pytest
import torch
from torch import Tensor

from cnnviz.demo import patterns, plane
from cnnviz.demo.patterns import CLASSES, PATTERNS, draw, draw_plain
from cnnviz.demo.plane import Plane, fractal_noise, smooth_noise

ALL = torch.arange(len(CLASSES))


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plain(name: str, seed: int, count: int = 8, size: int = 96) -> Tensor:
    """Clean pictures of one class, (count, 3, size, size)."""
    return draw_plain(torch.full((count,), CLASSES.index(name)), size, rng(seed))


def spectrum(pictures: Tensor) -> Tensor:
    """Power over (fy, fx), the mean removed and channels added, (N, size, size), centred."""
    centred = pictures - pictures.mean((2, 3), keepdim=True)
    power: Tensor = torch.fft.fft2(centred).abs().square().sum(1)
    return torch.roll(power, (power.shape[1] // 2, power.shape[2] // 2), (1, 2))


def main_direction(pictures: Tensor) -> Tensor:
    """Degrees in [0, 180) of the strongest frequency: 0 across, 90 down, clockwise on screen."""
    power = spectrum(pictures)
    size = power.shape[-1]
    peak = power.flatten(1).argmax(1)
    fy, fx = peak // size - size // 2, peak % size - size // 2
    return torch.rad2deg(torch.atan2(fy.float(), fx.float())) % 180


def apart(angle: Tensor, target: float) -> Tensor:
    """Degrees between undirected lines."""
    return ((angle - target + 90) % 180 - 90).abs()


@pytest.mark.parametrize("size", [32, 64, 101, 224])
def test_pictures_are_rgb_in_unit_range(size: int) -> None:
    pictures = draw(ALL, size, rng(0))
    assert pictures.shape == (len(CLASSES), 3, size, size)
    assert pictures.dtype == torch.float32
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    assert pictures.isfinite().all()
    assert (pictures.std((1, 2, 3)) > 0.02).all()


def test_a_seed_determines_the_pictures() -> None:
    first, again, other = draw(ALL, 64, rng(5)), draw(ALL, 64, rng(5)), draw(ALL, 64, rng(6))
    assert torch.equal(first, again)
    assert not torch.isclose(first, other).flatten(1).all(1).any()


def test_the_global_generator_is_neither_used_nor_moved() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = draw(ALL, 48, rng(5))
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(first, draw(ALL, 48, rng(5)))


def test_one_picture_and_none_can_be_drawn() -> None:
    assert draw(torch.tensor([3]), 64, rng(0)).shape == (1, 3, 64, 64)
    assert draw(torch.tensor([], dtype=torch.int64), 64, rng(0)).shape == (0, 3, 64, 64)


def test_classes_have_distinct_readable_names() -> None:
    assert len(set(CLASSES)) == len(CLASSES) >= 20
    assert all(name == name.strip().lower() and name.replace(" ", "").isalpha() for name in CLASSES)


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("horizontal stripes", 90),
        ("vertical stripes", 0),
        # The frequency points across the stripes, and down is positive.
        ("rising stripes", 45),
        ("falling stripes", 135),
    ],
)
def test_stripes_run_in_their_direction(name: str, direction: float) -> None:
    assert (apart(main_direction(plain(name, 1, count=24)), direction) < 22).all()


def test_checkerboards_have_diagonal_frequencies_and_grids_upright_ones() -> None:
    upright = {"checkerboard": [], "grid": []}  # type: dict[str, list[float]]
    for name, angles in upright.items():
        direction = main_direction(plain(name, 2, count=24))
        angles.append(float(torch.minimum(apart(direction, 0), apart(direction, 90)).mean()))
    assert upright["checkerboard"][0] > 28 > upright["grid"][0]


@pytest.mark.parametrize("name", ["square", "triangle", "star", "heart", "flower"])
def test_the_middle_of_a_plain_figure_is_inside_it(name: str) -> None:
    pictures = plain(name, 3)
    corner, middle = pictures[:, :, :4, :4].mean((2, 3)), pictures[:, :, 46:50, 46:50].mean((2, 3))
    assert ((corner - middle).norm(dim=1) > 0.1).all()


def outline(name: str) -> Tensor:
    """The figure's signed distance on a plane of radius 1.6, (1, 401, 401), upright."""
    line = torch.linspace(-1.6, 1.6, 401)
    v, u = torch.meshgrid(line, line, indexing="ij")
    small = torch.full((1, 1, 1), 0.008)
    figure = PATTERNS[name].figure
    assert figure is not None
    return figure(Plane(u[None], v[None], small, small, rng(4)))


@pytest.mark.parametrize(
    ("name", "area"),
    [
        # n / 2 sin(2 pi / n) for a regular polygon of radius 1.
        ("triangle", 3 / 2 * math.sin(2 * math.pi / 3)),
        ("pentagon", 5 / 2 * math.sin(2 * math.pi / 5)),
        ("square", 1.6**2),
        # A square of half side 0.55 and two half discs of that radius.
        ("heart", 1.1**2 + math.pi * 0.55**2),
    ],
)
def test_figures_have_the_area_of_their_geometry(name: str, area: float) -> None:
    inside = (outline(name) > 0).float().mean() * 3.2**2
    assert float(inside) == pytest.approx(area, rel=0.02)


def test_figures_are_upright() -> None:
    for name in ("triangle", "star", "pentagon"):
        inside = (outline(name)[0] > 0).any(1).nonzero().flatten()
        top, bottom = int(inside[0]), int(inside[-1])
        rows = (outline(name)[0] > 0).sum(1)
        assert rows[top + 4] < rows[bottom - 4], name
        assert torch.equal(outline(name) > 0, (outline(name) > 0).flip(2)), name


def test_stars_have_five_points() -> None:
    angle = torch.linspace(0, 2 * math.pi, 721)[None, None, :-1]
    small = torch.full((1, 1, 1), 0.01)
    star = PATTERNS["star"].figure
    assert star is not None
    ring = star(Plane(0.75 * angle.cos(), 0.75 * angle.sin(), small, small, rng(0))) > 0
    assert int((ring != ring.roll(1, 2)).sum()) == 10


def test_labyrinths_have_the_wavelength_that_was_asked_for() -> None:
    size, period = 128, 12.0
    zero = torch.zeros(4, size, size)
    pixel = torch.full((4, 1, 1), 1 / period)
    texture = PATTERNS["labyrinth"].texture
    assert texture is not None
    ink, _ = texture(Plane(zero, zero, pixel, pixel, rng(0)))
    power = spectrum(ink[:, None]).sum(0).flatten()
    line = torch.arange(size) - size // 2
    ring = torch.hypot(line[:, None].float(), line[None, :].float()).round().long().flatten()
    strongest = int(torch.bincount(ring, power).argmax())
    assert strongest / size == pytest.approx(1 / period, rel=0.12)


def test_smooth_noise_passes_through_its_nodes() -> None:
    nodes = torch.randn(1, 1, 5, 5, generator=rng(9))
    noise = smooth_noise(rng(9), (1, 1), 33, 4)
    assert torch.allclose(noise[..., ::8, ::8], nodes, atol=1e-5)


def test_smooth_noise_treats_opposite_borders_alike() -> None:
    weights = plane._interpolation(33, 4)
    assert torch.allclose(weights, weights.flip(0, 1), atol=1e-6)
    assert torch.allclose(weights.sum(1), torch.ones(33))


def test_fractal_noise_falls_with_the_fourth_power_of_frequency() -> None:
    # The window hides the jump at the border, which has a spectrum of its own.
    window = torch.hann_window(64)[:, None] * torch.hann_window(64)
    power = spectrum(window * fractal_noise(rng(0), (64, 1), 64, 2)).mean(0)
    low, high = power[32, 35:38].mean(), power[32, 44:53].mean()
    assert -5.5 < float((high / low).log() / math.log(4)) < -3.7


def test_palettes_keep_ink_apart_from_ground() -> None:
    ground, first, second = patterns.palette(rng(0), torch.full((500, 3, 1, 1), 0.5))
    for ink in (first, second):
        distance = (ink - ground).norm(dim=1).flatten()
        assert distance.quantile(0.02) > 0.35
    weights = torch.tensor([0.3, 0.6, 0.1]).view(1, 3, 1, 1)
    equal = ((first - ground) * weights).sum(1).abs().flatten() < 0.02
    assert 0.05 < equal.float().mean() < 0.3
