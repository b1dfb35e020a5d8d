import numpy as np
import pytest
import torch
from PIL import Image

from cnnviz.ascent.views import as_image, as_start
from cnnviz.errors import UsageError
from cnnviz.photos.preprocess import Preprocess


def test_three_channels_are_red_green_and_blue():
    picture = torch.zeros(3, 2, 4)
    picture[0, 0, 1], picture[2, 1, 3] = 1.0, 0.5
    image = as_image(picture)
    assert (image.mode, image.size) == ("RGB", (4, 2))
    assert image.getpixel((1, 0)) == (255, 0, 0)
    assert image.getpixel((3, 1)) == (0, 0, 128)


def test_one_channel_is_grey():
    image = as_image(torch.tensor([[[0.0, 0.2, 1.0]]]))
    assert image.mode == "L"
    assert list(image.tobytes()) == [0, 51, 255]


def test_of_many_channels_the_strongest_directions_are_shown():
    """Ten channels that follow two patterns: red follows the stronger, green the weaker."""
    rng = np.random.default_rng(0)
    strong, weak = rng.random((6, 6)), rng.random((6, 6))
    strong, weak = strong - strong.mean(), weak - weak.mean()
    weak -= strong * (weak * strong).sum() / (strong * strong).sum()
    stack = [0.5 + 0.4 * strong] * 7 + [0.5 + 0.1 * weak] * 3
    shown = np.asarray(as_image(torch.tensor(np.stack(stack)))).astype(float)
    assert abs(np.corrcoef(shown[..., 0].ravel(), strong.ravel())[0, 1]) > 0.999
    assert abs(np.corrcoef(shown[..., 1].ravel(), weak.ravel())[0, 1]) > 0.999
    assert (shown[..., 0].min(), shown[..., 0].max()) == (0, 255)


@pytest.mark.parametrize("channels", [2, 5])
def test_a_picture_without_any_contrast_is_grey(channels):
    assert set(as_image(torch.full((channels, 3, 3), 0.7)).tobytes()) == {128}


def test_two_channels_leave_the_third_colour_out():
    shown = np.asarray(as_image(torch.rand(2, 5, 5, generator=torch.Generator().manual_seed(0))))
    assert (shown[..., 2] == 128).all()
    assert np.ptp(shown[..., 0]) == 255


def test_a_photo_is_cropped_to_the_size_wanted():
    photo = Image.new("RGB", (40, 20), (255, 0, 51))
    preprocess = Preprocess((10, 10), (10, 10))
    start = as_start(photo, preprocess, (8, 8), 3)
    assert start.shape == (3, 8, 8)
    assert torch.allclose(start[:, 4, 4], torch.tensor([1.0, 0.0, 0.2]))
    assert as_start(photo, preprocess, (6, 6), 1).shape == (1, 6, 6)
    with pytest.raises(UsageError, match="reads 4 channels"):
        as_start(photo, preprocess, (8, 8), 4)
