"""Small networks whose units have an answer that can be worked out by hand."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from cnnviz.networks.models import LoadedModel
from cnnviz.tracer import trace_module


class Colours(nn.Module):
    """Channel 0 wants red, 1 blue, 2 whatever is not green; 3 never fires; a classifier on top."""

    def __init__(self, channels: int = 3, inplace: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 1)
        self.relu = nn.ReLU(inplace=inplace)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(4, 3)
        weight = torch.zeros(4, channels, 1, 1)
        weight[0, 0] = weight[1, -1] = weight[3, 0] = 1
        weight[2, min(1, channels - 1)] = -1
        self.conv.weight = nn.Parameter(weight)
        self.conv.bias = nn.Parameter(torch.tensor([0.0, 0.0, 1.0, -5.0]))
        self.head.weight = nn.Parameter(torch.eye(3, 4))
        self.head.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.relu(self.conv(x)))
        return self.head(x.mean((2, 3)))


@pytest.fixture
def colours(as_model: Callable[..., LoadedModel]) -> LoadedModel:
    return as_model(Colours(), (16, 16))


@pytest.fixture
def records(colours: LoadedModel):
    return trace_module(colours.module, (16, 16))
