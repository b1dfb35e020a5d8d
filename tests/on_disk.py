"""What tests of several modules put on disk, and how they look at what is there."""

import os
from pathlib import Path

# conv1, relu, pool, conv2, relu#2 and head run in this order; relu is called twice.
NETWORK = """
import torch
from torch import nn


class Network(nn.Module):
    def __init__(self, num_classes=5):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(4, 6, 3, padding=1)
        self.head = nn.Linear(6, num_classes)

    def forward(self, x):
        x = self.pool(self.relu(self.conv1(x)))
        return self.head(self.relu(self.conv2(x)).mean((2, 3)))


def tiny(num_classes=5):
    torch.manual_seed(1)
    return Network(num_classes)


def twin():
    return tiny()


def fails():
    raise RuntimeError("no luck today")
"""


class Bomb:
    """Pickles as a call that makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def tree(root: str | Path) -> dict[str, bytes]:
    """Return the content of all files below a folder, by their paths from there."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(Path(root).rglob("*"))
        if path.is_file()
    }
