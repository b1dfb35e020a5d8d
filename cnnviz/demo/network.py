"""The bundled network: a ResNet with one block per stage, and where its weights lie."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from cnnviz.demo.patterns import CLASSES

INPUT_SIZE = 224
MEAN = (0.5, 0.5, 0.5)
STD = (0.25, 0.25, 0.25)
WEIGHTS = Path(__file__).with_name("weights.safetensors")


def demo(num_classes: int = len(CLASSES)) -> nn.Module:
    """Return the network with random weights, drawn from torch's global generator.

    It takes (N, 3, H, W) float32, normalised with `MEAN` and `STD`, and returns
    (N, len(CLASSES)) float32 logits in the order of `CLASSES`. Any H and W of 64 or more work.
    """
    from torchvision.models.resnet import BasicBlock, ResNet

    network: nn.Module = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=num_classes)
    return network
