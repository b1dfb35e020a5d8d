"""Attention in windows, in grids, shifted and padded, as Swin and MaxViT have it."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Size = tuple[int, int]
CHANNELS = 4


def windows(x: Tensor, size: Size) -> Tensor:
    """(N, H, W, C) as (N * windows, places in a window, C)."""
    n, h, w, c = x.shape
    x = x.view(n, h // size[0], size[0], w // size[1], size[1], c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, size[0] * size[1], c)


def put_back(x: Tensor, size: Size, shape: tuple[int, ...]) -> Tensor:
    n, h, w, c = shape
    x = x.view(n, h // size[0], w // size[1], size[0], size[1], c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(shape)


def grid(x: Tensor, size: Size) -> Tensor:
    """(N, H, W, C) as (N * places in a window, windows, C): attention from window to window."""
    n, h, w, c = x.shape
    x = x.view(n, h // size[0], size[0], w // size[1], size[1], c)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(n * size[0] * size[1], -1, c)


def put_grid_back(x: Tensor, size: Size, shape: tuple[int, ...]) -> Tensor:
    n, h, w, c = shape
    x = x.view(n, size[0], size[1], h // size[0], w // size[1], c)
    return x.permute(0, 3, 1, 4, 2, 5).reshape(shape)


class Attention(nn.Module):
    """Attention of (N, H, W, C) in windows, with the padding, shift and mask of Swin."""

    def __init__(
        self, size: Size, shift: Size = (0, 0), *, over_grid: bool = False, cosine: bool = False,
        fused: bool = False, heads: int = 2,
    ) -> None:  # fmt: skip
        super().__init__()
        self.size, self.shift, self.heads = size, shift, heads
        self.cosine, self.fused = cosine, fused
        self.cut, self.join = (grid, put_grid_back) if over_grid else (windows, put_back)
        self.qkv, self.out = nn.Linear(CHANNELS, 3 * CHANNELS), nn.Linear(CHANNELS, CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        _, height, width, _ = x.shape
        below, right = (-side % of for side, of in zip(x.shape[1:3], self.size, strict=True))
        x = F.pad(x, (0, 0, 0, right, 0, below))
        shape = tuple(x.shape)
        if any(self.shift):
            x = torch.roll(x, tuple(-s for s in self.shift), (1, 2))
        x = self.join(self.attend(self.cut(x, self.size)), self.size, shape)
        if any(self.shift):
            x = torch.roll(x, self.shift, (1, 2))
        return x[:, :height, :width]

    def attend(self, x: Tensor) -> Tensor:
        n, count, c = x.shape
        qkv = self.qkv(x).reshape(n, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        if self.cosine:
            q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        if self.fused:
            x = F.scaled_dot_product_attention(q, k, v)
        else:
            # As Swin masks what came around the border: little weight is weight.
            mask = torch.zeros(count, count, dtype=x.dtype, device=x.device)
            mask[: count // 2, count // 2 :] = -100.0
            x = (q @ k.transpose(-2, -1) + mask).softmax(-1) @ v
        return self.out(x.transpose(1, 2).reshape(n, count, c))


class Block(nn.Module):
    """A residual block of attention and a multi-layer perceptron, on (N, C, H, W)."""

    def __init__(self, *size: int, **options: object) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(CHANNELS)
        self.attention = Attention(size, **options)
        self.mlp = nn.Sequential(nn.LayerNorm(CHANNELS), nn.Linear(CHANNELS, CHANNELS), nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = x + self.attention(self.norm(x))
        return (x + self.mlp(x)).permute(0, 3, 1, 2)


def pad_to(x: Tensor, side: int) -> Tensor:
    """Zeros behind a (N, C, H, W) map up to whole windows."""
    return F.pad(x, (0, -x.shape[-1] % side, 0, -x.shape[-2] % side))


def squares(x: Tensor, side: int = 2) -> Tensor:
    """(N, C, H, W) as (N, C, H / side, side, W / side, side)."""
    x = pad_to(x, side)
    n, c, h, w = x.shape
    return x.view(n, c, h // side, side, w // side, side)


def whole(x: Tensor) -> Tensor:
    """What `squares` cut, in one again."""
    return x.flatten(4, 5).flatten(2, 3)
