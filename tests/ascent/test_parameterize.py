import math

import numpy as np
import pytest
import torch

from cnnviz.ascent.parameterize import Canvas
from cnnviz.choices import Parameterization

KINDS = list(Parameterization)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_pictures(shape, seed=0):
    return torch.rand(shape, generator=generator(seed)) * 0.9 + 0.05


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("channels", "rows", "columns"), [(3, 8, 8), (1, 7, 9), (5, 6, 11)])
def test_decode_undoes_encode(kind, channels, rows, columns):
    canvas = Canvas(channels, rows, columns, kind)
    picture = random_pictures((channels, rows, columns))
    coefficients = canvas.encode(picture)
    assert coefficients.shape == canvas.shape
    assert torch.allclose(canvas.decode(coefficients[None])[0], picture, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_black_and_white_can_be_started_from(kind):
    picture = torch.zeros(3, 4, 4)
    picture[:, :, 2:] = 1
    again = Canvas(3, 4, 4, kind)
    found = again.decode(again.encode(picture)[None])[0]
    assert torch.allclose(found, picture, atol=0.011)


@pytest.mark.parametrize("kind", KINDS)
def test_a_start_is_nearly_grey_and_the_same_for_the_same_seed(kind):
    canvas = Canvas(3, 32, 32, kind)
    one, other = (canvas.start(generator(3)) for _ in range(2))
    assert torch.equal(one, other)
    assert not torch.equal(one, canvas.start(generator(4)))
    picture = canvas.decode(one[None])
    assert 0 < (picture - 0.5).abs().max() < 0.05
    assert torch.allclose(canvas.start(generator(3), contrast=10.0), one * 10)


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_stay_within_0_and_1_whatever_the_coefficients(kind):
    canvas = Canvas(3, 8, 8, kind)
    wild = torch.randn((2, *canvas.shape), generator=generator()) * 1e4
    picture = canvas.decode(wild)
    assert picture.isfinite().all()
    assert (picture >= 0).all()
    assert (picture <= 1).all()


def test_one_coefficient_is_a_wave_as_tall_as_it_is_slow():
    """A wave of frequency k over the picture, computed by hand with numpy."""
    canvas = Canvas(1, 16, 16)
    tall = []
    for k in (1, 2, 4):
        coefficients = torch.zeros(1, *canvas.shape)
        coefficients[0, 0, 0, k, 0] = 0.01
        logits = canvas.decode(coefficients)[0, 0].double().logit().numpy()
        wave = np.cos(2 * math.pi * k * np.arange(16) / 16)
        height = logits[0, 0]
        assert np.allclose(logits, height * wave[None, :], atol=1e-5)
        tall.append(height)
    assert tall[0] / tall[1] == pytest.approx(2, rel=1e-3)
    assert tall[0] / tall[2] == pytest.approx(4, rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_three_channels_vary_together_as_colours_of_photos_do(kind):
    canvas = Canvas(3, 8, 8, kind)
    coefficients = torch.zeros(1, *canvas.shape)
    coefficients[:, 0] = canvas.start(generator())[0] * 10
    red, green, blue = canvas.decode(coefficients)[0].logit()
    assert torch.allclose(red / red.abs().max(), green / green.abs().max(), atol=1e-3)
    assert torch.allclose(green, blue, rtol=0.02, atol=1e-4)
    assert (red * blue >= -1e-6).all(), "the first axis is brightness"


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_channels_do_not_mix(channels):
    canvas = Canvas(channels, 8, 8)
    coefficients = torch.zeros(1, *canvas.shape)
    coefficients[:, 0] = 0.01
    picture = canvas.decode(coefficients)[0]
    assert (picture[0] != 0.5).any()
    assert (picture[1:] == 0.5).all()
