"""Small random movements of the pictures, so that what is found does not hang on exact pixels.

A picture that must excite a unit wherever it is shifted, turned and enlarged a little cannot use
the patterns of single pixels that only networks see (Olah et al. 2017). Each movement is a matrix
of its own; they are multiplied, and the picture is resampled once.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

# The most that a picture is moved: pixels, share of its size, degrees.
JITTER, SCALE, ROTATE = 4.0, 0.05, 5.0
# Numbers that one movement is drawn from.
DRAWS = 4


def draw(steps: int, generator: torch.Generator) -> Tensor:
    """Return (steps, DRAWS) float32 in [-1, 1): all that is random about a picture's movements."""
    return torch.rand((steps, DRAWS), generator=generator) * 2 - 1


def jitter(pixels: Tensor) -> Tensor:
    """Return matrices that shift by (N, 2) pixels: down, and to the right."""
    matrix = _identity(pixels[:, 0])
    matrix[:, 0, 2] = -pixels[:, 1]
    matrix[:, 1, 2] = -pixels[:, 0]
    return matrix


def scale(factor: Tensor) -> Tensor:
    """Return matrices that enlarge (N,) times, about the middle."""
    matrix = _identity(factor)
    matrix[:, 0, 0] = matrix[:, 1, 1] = 1 / factor
    return matrix


def rotate(degrees: Tensor) -> Tensor:
    """Return matrices that turn clockwise by (N,) degrees, about the middle."""
    angle = degrees * (math.pi / 180)
    matrix = _identity(degrees)
    matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos()
    matrix[:, 0, 1] = angle.sin()
    matrix[:, 1, 0] = -angle.sin()
    return matrix


def _identity(like: Tensor) -> Tensor:
    return torch.eye(3, device=like.device).repeat(len(like), 1, 1)


def warp(pictures: Tensor, matrices: Tensor) -> Tensor:
    """Return pictures resampled as matrices say, of the same size.

    Pictures are padded with their mirror image: no border comes into view that a unit could see.

    Args:
        pictures: (N, C, H, W).
        matrices: (N, 3, 3), from places (x, y, 1) on the result, in pixels from the middle, to
            places on the picture.
    """
    height, width = pictures.shape[2:]
    # What torch calls a place runs from -1 to 1 along each axis.
    to_pixels = torch.tensor([width / 2, height / 2, 1.0], device=matrices.device).diag()
    from_pixels = torch.tensor([2 / width, 2 / height, 1.0], device=matrices.device).diag()
    theta = (from_pixels @ matrices @ to_pixels)[:, :2]
    places = functional.affine_grid(theta, list(pictures.shape), align_corners=False)
    # Apple's GPUs do not resample with mirror images, or give no gradients.
    where = torch.device("cpu") if pictures.device.type == "mps" else pictures.device
    moved = functional.grid_sample(
        pictures.to(where), places.to(where),
        mode="bilinear", padding_mode="reflection", align_corners=False,
    )  # fmt: skip
    return moved.to(pictures.device)


def robust(pictures: Tensor, draws: Tensor, strength: float = 1.0) -> Tensor:
    """Return pictures jittered, scaled and rotated as drawn, each in its own way.

    Args:
        pictures: (N, C, H, W).
        draws: (N, DRAWS) in [-1, 1].
        strength: Share of the largest movements.
    """
    draws = draws * strength
    moved = jitter(draws[:, :2] * JITTER)
    moved = moved @ scale(1 + draws[:, 2] * SCALE)
    return warp(pictures, moved @ rotate(draws[:, 3] * ROTATE))
