"""In which form networks take their pictures, against what their own forward passes accept."""

import sys

import pytest
import torch
from torch import nn
from torchvision.models import get_model

from cnnviz.errors import ModelError, UsageError
from cnnviz.networks.feeding import (
    Form,
    as_arguments,
    feed,
    form_of,
    frame_count,
    input_channels,
    running,
    unresized,
)
from cnnviz.records import first_tensor
from cnnviz.tracer import trace_module


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


class GeneralizedRCNNTransform(nn.Module):
    """Enlarges pictures as torchvision's module of this name does, by which it is known."""

    def forward(self, pictures: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack([self.resize(picture)[0] for picture in pictures])

    def resize(self, picture: torch.Tensor, target: object = None) -> tuple[torch.Tensor, object]:
        return nn.functional.interpolate(picture[None], size=(80, 80))[0], target


class Detector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.transform = GeneralizedRCNNTransform()

    def forward(self, pictures: list[torch.Tensor]) -> torch.Tensor:
        seen: torch.Tensor = self.transform(pictures)
        return seen


def test_a_detector_sees_pictures_at_their_own_size_only_while_it_is_asked_to() -> None:
    network, picture = Detector(), torch.rand(2, 3, 16, 24)
    attributes = dict(network.transform.__dict__)
    with unresized(network):
        torch.testing.assert_close(feed(network, picture), picture)
    assert network.transform.__dict__ == attributes
    assert first_tensor(feed(network, picture)).shape == (2, 3, 80, 80)


def test_a_forward_pass_that_ends_the_program_is_an_error() -> None:
    class Quits(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            sys.exit("enough")

    with pytest.raises(RuntimeError, match=r"ends the program \(SystemExit: enough\)"):
        feed(Quits(), torch.zeros(1, 3, 8, 8))
    with pytest.raises(ModelError, match=r"does not run on an input of 1x3x8x8: .*SystemExit"):
        trace_module(Quits(), (8, 8))


def test_what_fails_while_a_network_runs_names_it() -> None:
    with pytest.raises(ModelError, match="net fails: KeyError: 'x'"), running("net"):
        raise KeyError("x")
    with pytest.raises(UsageError, match=r"^as it is$"), running("net"):
        raise UsageError("as it is")


def test_flow_gets_the_first_frame_and_the_second() -> None:
    frames = torch.rand(1, 3, 2, 128, 128)
    first, second = as_arguments(get_model("raft_small", weights=None), frames)
    assert isinstance(first, torch.Tensor)
    assert isinstance(second, torch.Tensor)
    assert torch.equal(first, frames[:, :, 0])
    assert torch.equal(second, frames[:, :, 1])
