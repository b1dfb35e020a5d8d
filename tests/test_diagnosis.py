"""What filters tell, against hand-made filters and plain sums."""

import numpy as np
import pytest
import torch
from torch import Tensor

from cnnviz.diagnosis import diagnose, noise, spectral_peaks


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


SOBEL = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
CHESS = torch.tensor([[1.0, -1, 1], [-1, 1, -1], [1, -1, 1]])


@pytest.mark.parametrize(
    ("kernel", "expected"), [(torch.ones(3, 3), 0), (CHESS, 2), (SOBEL, 0.5), (5 * SOBEL, 0.5)]
)
def test_noise_of_kernels_that_are_known(kernel: Tensor, expected: float) -> None:
    assert float(noise(kernel[None, None])) == pytest.approx(expected)


@pytest.mark.parametrize(
    "shape", [(3, 2, 2), (3, 3, 3), (64, 3, 3), (3, 7, 7), (3, 11, 11), (1, 25)]
)
def test_random_filters_have_a_noise_of_one(shape: tuple[int, ...]) -> None:
    assert float(noise(random(3000, *shape)).mean()) == pytest.approx(1, abs=0.02)


def test_smooth_filters_have_little_noise() -> None:
    axis = torch.linspace(-1, 1, 7)
    bell = torch.exp(-2 * (axis[:, None] ** 2 + axis**2))
    slope = axis.expand(7, 7)
    assert noise(torch.stack([bell, slope])[:, None]).max() < 0.15


def test_noise_is_the_plain_sum_over_neighbours() -> None:
    kernel = random(1, 2, 2, 3, 2)
    apart = total = 0.0
    array = kernel[0].double().numpy()
    for place in np.ndindex(array.shape):
        for axis in (1, 2, 3):
            other = list(place)
            other[axis] += 1
            if other[axis] < array.shape[axis]:
                a, b = array[place], array[tuple(other)]
                apart, total = apart + (a - b) ** 2, total + a * a + b * b
    assert float(noise(kernel)) == pytest.approx(apart / total, rel=1e-5)


def test_single_weights_have_no_noise() -> None:
    assert noise(random(4, 8, 1, 1)).isnan().all()
    assert diagnose(random(4, 8, 1, 1)).noise is None


@pytest.mark.parametrize("degrees", [0, 20, 45, 70, 90, 115, 135, 160])
def test_stripes_have_their_orientation_and_frequency(degrees: int) -> None:
    rows, columns = torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij")
    # Across stripes that rise at `degrees`, x to the right and y upwards.
    angle = torch.deg2rad(torch.tensor(degrees + 90.0))
    phase = 0.2 * (columns * torch.cos(angle) - rows * torch.sin(angle))
    stripes = torch.cos(2 * torch.pi * phase + 0.4)
    frequency, orientation = spectral_peaks(stripes.expand(1, 3, 9, 9) + 5)
    assert abs((orientation[0] - degrees + 90) % 180 - 90) < 6
    assert frequency[0] == pytest.approx(0.2, abs=0.03)


def test_a_chessboard_is_the_highest_frequency() -> None:
    frequency, orientation = spectral_peaks(CHESS[None, None])
    assert frequency[0] == pytest.approx(2**0.5 / 2)
    assert orientation[0] in (45, 135)


def test_constant_filters_have_no_orientation() -> None:
    frequency, orientation = spectral_peaks(torch.ones(2, 3, 5, 5) * 7)
    assert np.isnan(frequency).all()
    assert np.isnan(orientation).all()


def test_stripes_over_time_have_a_frequency() -> None:
    wave = torch.cos(2 * torch.pi * 0.25 * torch.arange(16.0))
    assert spectral_peaks(wave[None, None])[0][0] == pytest.approx(0.25, abs=0.01)


def test_a_norm_far_below_the_median_is_dead() -> None:
    filters = random(9, 3, 3, 3)
    filters[2] *= 1e-4
    filters[5] = 0
    found = diagnose(filters)
    assert found.dead == (2, 5)
    assert found.norms == pytest.approx(filters.flatten(1).norm(dim=1).numpy())
    assert found.health.dead == 2
    assert found.health.parts == 9


def test_a_layer_of_zeros_is_dead_and_has_no_noise() -> None:
    found = diagnose(torch.zeros(4, 3, 3, 3))
    assert found.dead == (0, 1, 2, 3)
    assert found.noise is None
    assert found.duplicates == 0


def test_near_duplicates_are_those_that_point_the_same_way() -> None:
    filters = random(6, 4, 3, 3)
    filters[3] = 2 * filters[1]
    filters[5] = filters[1] + 0.1 * random(4, 3, 3, seed=1)
    filters[4] = -filters[0]  # the opposite is no duplicate
    found = diagnose(filters)
    assert found.duplicates == 3
    assert [pair[:2] for pair in found.pairs] == [(1, 3), (1, 5), (3, 5)]
    flat = filters.flatten(1).double()
    for i, j, cosine in found.pairs:
        assert cosine == pytest.approx(
            float(torch.cosine_similarity(flat[i], flat[j], 0)), abs=1e-5
        )


def test_comparing_in_parts_finds_the_same_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    filters = random(40, 8).repeat(2, 1)[:, None, :, None]
    whole = diagnose(filters)
    monkeypatch.setattr("cnnviz.diagnosis._COMPARED", 80 * 7)
    assert whole.duplicates == 80
    assert diagnose(filters).pairs == whole.pairs


def test_nan_is_counted_and_spares_the_other_filters() -> None:
    filters = random(5, 3, 3, 3)
    filters[1, 0, 0, 0] = torch.nan
    filters[2, 0, 0, 0] = torch.inf
    found = diagnose(filters)
    assert (found.health.nan, found.health.infinite) == (1, 1)
    assert found.dead == ()
    assert found.noise is not None
    assert 0.5 < found.noise < 1.5


def test_near_zero_is_a_share_of_the_weights() -> None:
    filters = torch.ones(2, 1, 5, 2)
    filters[0, 0, 0] = 1e-5
    assert diagnose(filters).near_zero == pytest.approx(0.1)
