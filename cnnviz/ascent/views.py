"""Optimised pictures as images that people can look at, and photos as starts."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cnnviz.errors import UsageError
from cnnviz.photos.preprocess import Preprocess


def as_image(picture: Tensor) -> Image.Image:
    """Return a picture as an image: one channel is grey, three are red, green and blue.

    Of any other number the first three principal components are shown, each over its own range.

    Args:
        picture: (C, H, W) in [0, 1], on any device.
    """
    values = picture.detach().float().cpu().permute(1, 2, 0).numpy()
    if values.shape[2] not in (1, 3):
        values = _components(values)
    levels = np.rint(values.clip(0, 1) * 255).astype(np.uint8)
    return Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels)


def _components(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the first three principal components of (H, W, C) values, each within [0, 1]."""
    flat = values.reshape(-1, values.shape[2]).astype(np.float64)
    flat -= flat.mean(axis=0)
    _, axes = np.linalg.eigh(flat.T @ flat)
    axes = axes[:, ::-1][:, :3]
    # An axis has no direction of its own: its largest part is made positive.
    axes *= np.sign(axes[abs(axes).argmax(axis=0), range(axes.shape[1])])
    found = np.full((len(flat), 3), 0.5)
    shares = flat @ axes
    spread = np.ptp(shares, axis=0)
    shares = (shares - shares.min(axis=0)) / np.where(spread > 0, spread, 1)
    found[:, : shares.shape[1]] = np.where(spread > 0, shares, 0.5)
    return found.reshape(*values.shape[:2], 3).astype(np.float32)


def as_start(
    photo: Image.Image, preprocess: Preprocess, size: tuple[int, int], channels: int
) -> Tensor:
    """Return what a network sees of a photo, (C, H, W) float32 in [0, 1].

    Args:
        photo: RGB, upright.
        preprocess: How the network's pictures are resized and cropped.
        size: (rows, columns) wanted.
        channels: 3, or 1 for grey.

    Raises:
        UsageError: If the network reads another number of channels.
    """
    if channels not in (1, 3):
        raise UsageError(f"a photo cannot be the start: the network reads {channels} channels")
    seen = preprocess.with_input_size(size).crop(photo).convert("RGB" if channels == 3 else "L")
    values = torch.from_numpy(np.array(seen, dtype=np.float32) / 255)
    return values[None] if channels == 1 else values.permute(2, 0, 1)
