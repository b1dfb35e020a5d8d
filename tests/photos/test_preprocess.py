"""What the network sees of a photo: torchvision's own, to the bit, and the way back."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import models, transforms
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as torchvision_functional

from cnnviz.errors import UsageError
from cnnviz.networks.sources import _preprocess_of
from cnnviz.photos.images import open_image
from cnnviz.photos.preprocess import Preprocess


@pytest.mark.parametrize(
    "weights",
    [
        models.ResNet18_Weights.IMAGENET1K_V1,
        models.ResNet50_Weights.IMAGENET1K_V2,
        models.Inception_V3_Weights.IMAGENET1K_V1,
        models.EfficientNet_B0_Weights.IMAGENET1K_V1,
        models.EfficientNet_B3_Weights.IMAGENET1K_V1,
        models.EfficientNet_V2_S_Weights.IMAGENET1K_V1,
        models.EfficientNet_V2_L_Weights.IMAGENET1K_V1,
        models.Swin_T_Weights.IMAGENET1K_V1,
        models.ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1,
        models.ConvNeXt_Tiny_Weights.IMAGENET1K_V1,
        models.MaxVit_T_Weights.IMAGENET1K_V1,
        models.RegNet_Y_16GF_Weights.IMAGENET1K_SWAG_E2E_V1,
    ],
    ids=str,
)
def test_preprocessing_is_torchvisions_to_the_bit(photos: list[Path], weights: object) -> None:
    preset = weights.transforms()
    preprocess = _preprocess_of(preset)
    for path in photos:
        photo = open_image(path)
        ours = preprocess.normalize(preprocess.crop(photo))
        assert ours.dtype == np.float32
        assert ours.flags["C_CONTIGUOUS"]
        assert torch.equal(torch.from_numpy(ours), preset(photo))


@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(1, 90), height=st.integers(1, 90), crop=st.integers(1, 24),
    margin=st.integers(0, 9),
)  # fmt: skip
def test_every_proportion_is_cut_as_torchvision_cuts_it(
    width: int, height: int, crop: int, margin: int
) -> None:
    pixels = np.random.default_rng(width * 100 + height).integers(0, 256, (height, width, 3))
    photo = Image.fromarray(pixels.astype(np.uint8))
    resized = torchvision_functional.resize(
        photo, crop + margin, InterpolationMode.BILINEAR, antialias=True
    )
    theirs = torchvision_functional.center_crop(resized, crop)
    ours = Preprocess((crop, crop), (crop + margin, crop + margin)).crop(photo)
    assert (np.asarray(ours) == np.asarray(theirs)).all()


def test_normalisation_is_mean_and_deviation_of_each_channel() -> None:
    preprocess = Preprocess((1, 1), (1, 1), mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 0.25))
    values = preprocess.normalize(Image.new("RGB", (1, 1), (255, 255, 51)))
    assert values[:, 0, 0].tolist() == pytest.approx([1.0, 1.0, (0.2 - 1.0) / 0.25])


@pytest.mark.parametrize("size", [(64, 96), (96, 64), (50, 50), (31, 77)])
@pytest.mark.parametrize("photo_size", [(200, 120), (120, 200), (90, 90)])
def test_a_marked_pixel_ends_up_where_the_box_says(
    size: tuple[int, int], photo_size: tuple[int, int]
) -> None:
    preprocess = Preprocess((224, 224), (256, 256)).with_input_size(size)
    width, height = photo_size
    x, y = width // 2 + 8, height // 2 - 11
    marked = Image.new("RGB", photo_size)
    marked.paste((255, 255, 255), (x, y, x + 4, y + 4))
    seen = np.asarray(preprocess.crop(marked).convert("L"), dtype=float)
    assert seen.shape == size
    rows, columns = np.indices(size)
    found = ((columns + 0.5) * seen).sum() / seen.sum(), ((rows + 0.5) * seen).sum() / seen.sum()
    x0, y0, x1, y1 = preprocess.to_input((x, y, x + 4, y + 4), photo_size)
    assert found == pytest.approx(((x0 + x1) / 2, (y0 + y1) / 2), abs=0.6)


boxes = st.tuples(*[st.floats(-50, 300)] * 4)
sides = st.integers(4, 400)


@given(boxes, st.tuples(sides, sides), st.tuples(sides, sides))
def test_to_photo_and_to_input_undo_one_another(
    box: tuple[float, float, float, float], size: tuple[int, int], photo_size: tuple[int, int]
) -> None:
    preprocess = Preprocess((224, 224), (256, 256)).with_input_size(size)
    there = preprocess.to_photo(box, photo_size)
    assert preprocess.to_input(there, photo_size) == pytest.approx(box, abs=1e-6)


def test_the_whole_input_is_the_centre_of_the_photo() -> None:
    preprocess = Preprocess((224, 224), (256, 256))
    assert preprocess.to_photo((0, 0, 224, 224), (512, 512)) == (32, 32, 480, 480)
    assert preprocess.to_photo((0, 0, 224, 224), (1024, 512)) == (288, 32, 736, 480)


@pytest.mark.parametrize("size", [(224, 320), (320, 224), (64, 64)])
def test_another_input_size_keeps_the_margin_in_proportion(size: tuple[int, int]) -> None:
    preprocess = Preprocess((224, 224), (256, 256), interpolation=Image.Resampling.BICUBIC)
    other = preprocess.with_input_size(size)
    assert other.input_size == size
    assert other.resize == (round(size[0] * 256 / 224), round(size[1] * 256 / 224))
    assert other.interpolation is Image.Resampling.BICUBIC
    assert other.crop(Image.new("RGB", (300, 200))).size == (size[1], size[0])


def test_a_crop_larger_than_the_resized_photo_is_padded_with_black() -> None:
    preprocess = Preprocess((6, 6), (4, 4))
    seen = np.asarray(preprocess.crop(Image.new("RGB", (4, 4), "white")))[..., 0]
    assert (seen[1:5, 1:5] == 255).all()
    assert seen.sum() == 16 * 255
    assert preprocess.to_photo((1, 1, 5, 5), (4, 4)) == (0, 0, 4, 4)


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_is_torchvisions_to_the_bit(photos: list[Path], channels: int) -> None:
    theirs = transforms.Compose(
        [
            transforms.Resize(40), transforms.CenterCrop((32, 36)),
            transforms.Grayscale(channels), transforms.ToTensor(),
            transforms.Normalize([0.1307] * channels, [0.3081] * channels),
        ]
    )  # fmt: skip
    ours = Preprocess((32, 36), (40, 40), (0.1307,), (0.3081,), grey=True).with_channels(channels)
    for path in photos:
        photo = open_image(path)
        seen = ours.crop(photo)
        assert seen.mode == "RGB"
        assert torch.equal(torch.from_numpy(ours.normalize(seen)), theirs(photo))


def test_a_stretched_photo_is_torchvisions_with_two_sides_to_the_pixel(photos: list[Path]) -> None:
    ours = Preprocess((24, 50), (24, 50), stretch=True)
    for path in photos:
        photo = open_image(path)
        theirs = transforms.Resize((24, 50))(photo)
        assert (np.asarray(ours.crop(photo)) == np.asarray(theirs)).all()
        assert ours.to_photo((0, 0, 50, 24), photo.size) == pytest.approx((0, 0, *photo.size))
        assert ours.to_input((0, 0, *photo.size), photo.size) == pytest.approx((0, 0, 50, 24))


def test_a_network_that_reads_other_channels_has_means_for_them() -> None:
    usual = Preprocess((8, 8), (8, 8))
    assert usual.with_channels(3) == usual
    one, four = usual.with_channels(1), usual.with_channels(4)
    assert (one.channels, one.grey, four.channels, four.grey) == (1, True, 4, False)
    assert one.mean == pytest.approx([(0.485 + 0.456 + 0.406) / 3])
    assert four.std == pytest.approx([(0.229 + 0.224 + 0.225) / 3] * 4)


def test_means_that_the_user_gave_are_not_averaged() -> None:
    given = Preprocess((8, 8), (8, 8), mean=(0.1, 0.2, 0.3), options=("mean",))
    with pytest.raises(UsageError, match=r"mean 0.1,0.2,0.3 has 3 values, .* reads one channel"):
        given.with_channels(1)
    with pytest.raises(UsageError, match=r"reads 4 channels; give one value, or 4"):
        given.with_channels(4)
