"""The bundled network: a ResNet with one block per stage, and where its weights lie.

Layers have the names and the order that torchvision's ResNet gives them (He et al. 2015, "Deep
Residual Learning for Image Recognition"). It is written out here because importing torchvision
takes as long again as importing torch.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

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
    return DemoNet(num_classes)


class DemoNet(nn.Module):
    """A ResNet of four stages, each one basic block."""

    def __init__(self, num_classes: int) -> None:
        """Draw random weights for so many classes."""
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = nn.Sequential(Block(64, 64, stride=1))
        self.layer2 = nn.Sequential(Block(64, 128, stride=2))
        self.layer3 = nn.Sequential(Block(128, 256, stride=2))
        self.layer4 = nn.Sequential(Block(256, 512, stride=2))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Return logits for (N, 3, H, W) pictures."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


class Block(nn.Module):
    """Two convolutions and a shortcut past them."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        """Take `inputs` channels to `outputs`, a `stride`-th as high and wide."""
        super().__init__()
        # Drawn first and registered last, as in torchvision.
        shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False) if stride != 1 else None
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = shortcut and nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of both ways, rectified."""
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += x if self.downsample is None else self.downsample(x)
        rectified: Tensor = self.relu(y)
        return rectified
