"""In which form networks take their pictures, against what their own forward passes accept."""

import pytest
import torch
from torch import nn
from torchvision.models import get_model

from cnnviz.feeding import Form, as_arguments, feed, form_of, frame_count, input_channels
from cnnviz.tracer import first_tensor


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("squeezenet1_1", Form.BATCH),
        ("lraspp_mobilenet_v3_large", Form.BATCH),
        ("ssdlite320_mobilenet_v3_large", Form.LIST),
        ("r3d_18", Form.CLIP),
        ("raft_small", Form.PAIR),
    ],
)
def test_torchvision_networks_run_on_what_they_are_fed(name: str, form: Form) -> None:
    backbone = {"weights_backbone": None} if "mobilenet" in name else {}
    network = get_model(name, weights=None, **backbone).eval()
    assert form_of(network) is form
    with torch.inference_mode():
        output = feed(network, torch.rand(1, 3, 128, 128))
    assert first_tensor(output) is not None


def test_a_picture_stands_for_every_frame() -> None:
    network = nn.Sequential(nn.Conv3d(3, 4, 3))
    picture = torch.rand(2, 3, 8, 8)
    (clip,) = as_arguments(network, picture)
    assert isinstance(clip, torch.Tensor)
    assert clip.shape == (2, 3, frame_count(network), 8, 8)
    assert all(torch.equal(clip[:, :, t], picture) for t in range(frame_count(network)))


def test_frames_are_handed_on_as_they_are() -> None:
    frames = torch.rand(1, 3, 5, 8, 8)
    assert as_arguments(nn.Conv3d(3, 4, 3), frames)[0] is frames


def test_the_channels_of_video_networks_are_those_of_their_convolution() -> None:
    assert input_channels(nn.Sequential(nn.Conv3d(1, 4, 3))) == 1


def test_a_convolution_that_makes_three_channels_of_one_stands_in_front() -> None:
    assert input_channels(nn.Sequential(nn.Conv2d(1, 3, 1), nn.Conv2d(3, 8, 3))) == 1
    assert input_channels(nn.Sequential(nn.Conv2d(1, 6, 1), nn.Conv2d(3, 1, 3))) == 3
