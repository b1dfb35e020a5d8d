"""Networks that nobody thought of: random graphs, where algebra and probe must agree."""

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent))
from toys import ConvEnd, compared
from window_toys import Attention, Block, squares, whole

_SMALL = st.integers(1, 3)
CHANNELS = 4


class Apply(nn.Module):
    """A function as a layer; what does not fit a small map leaves it as it is."""

    def __init__(self, said: str, function: object) -> None:
        super().__init__()
        self.said, self.function = said, function

    def extra_repr(self) -> str:
        return self.said

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Fitting(nn.Module):
    """Runs a layer where its output is a map of a reasonable size, and else nothing."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.end = ConvEnd()

    def forward(self, x: Tensor) -> Tensor:
        try:
            y = self.layer(x)
        except RuntimeError:
            return x
        return self.end(y) if min(y.shape[-2:]) > 0 and max(y.shape[-2:]) <= 40 else x


class Residual(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        h, w = (min(a, b) for a, b in zip(x.shape[-2:], y.shape[-2:], strict=True))
        return x[..., :h, :w] + y[..., :h, :w]


class Beside(nn.Module):
    """Branches side by side, concatenated and mixed."""

    def __init__(self, one: nn.Module, other: nn.Module, resized: bool) -> None:
        super().__init__()
        self.one, self.other, self.resized = one, other, resized
        self.mix = nn.Conv2d(2 * CHANNELS, CHANNELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        one, other = self.one(x), self.other(x)
        if self.resized:
            other = F.interpolate(other, one.shape[-2:])
        h, w = (min(a, b) for a, b in zip(one.shape[-2:], other.shape[-2:], strict=True))
        return self.mix(torch.cat([one[..., :h, :w], other[..., :h, :w]], dim=1))


class Excited(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Conv2d(CHANNELS, CHANNELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc(x.mean((2, 3), keepdim=True)).sigmoid()


class WindowMean(nn.Module):
    """Each place, and the mean of its window, or of the places alike in all windows."""

    def __init__(self, side: int, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.side, self.dims = side, dims

    def forward(self, x: Tensor) -> Tensor:
        x = squares(x, self.side)
        return whole(x - x.mean(self.dims, keepdim=True))


class LastNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@st.composite
def convolutions(draw: st.DrawFn) -> nn.Module:
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    groups = draw(st.sampled_from([1, 2, CHANNELS]))
    if draw(st.booleans()):
        return nn.Conv2d(
            CHANNELS, CHANNELS, kernel, padding="same", dilation=dilation, groups=groups
        )
    stride = draw(st.tuples(_SMALL, _SMALL))
    padding = draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    mode = draw(st.sampled_from(["zeros", "replicate"]))
    return nn.Conv2d(
        CHANNELS, CHANNELS, kernel, stride, padding, dilation, groups, padding_mode=mode
    )


@st.composite
def transposed(draw: st.DrawFn) -> nn.Module:
    stride = draw(_SMALL)
    return nn.ConvTranspose2d(
        CHANNELS, CHANNELS, draw(st.integers(1, 4)), stride, draw(st.integers(0, 1)),
        output_padding=draw(st.integers(0, stride - 1)), dilation=draw(st.integers(1, 2)),
        groups=draw(st.sampled_from([1, 2])),
    )  # fmt: skip


@st.composite
def pools(draw: st.DrawFn) -> nn.Module:
    kernel = draw(st.integers(1, 4))
    stride, padding = draw(_SMALL), draw(st.integers(0, kernel // 2))
    ceil = draw(st.booleans())
    if draw(st.booleans()):
        return nn.AvgPool2d(kernel, stride, padding, ceil_mode=ceil)
    return nn.MaxPool2d(kernel, stride, padding, draw(st.integers(1, 2)), ceil_mode=ceil)


@st.composite
def resizes(draw: st.DrawFn) -> nn.Module:
    mode = draw(st.sampled_from(["nearest", "nearest-exact", "bilinear", "bicubic"]))
    corners = draw(st.booleans()) if mode.startswith("bi") else None
    if draw(st.booleans()):
        size = draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
        return Apply(
            f"{mode} {size} {corners}",
            lambda x: F.interpolate(x, size, mode=mode, align_corners=corners),
        )
    scale = draw(st.sampled_from([0.4, 0.5, 0.75, 1.0, 1.3, 1.5, 2.0, 2.5]))
    return Apply(
        f"{mode} {scale} {corners}",
        lambda x: F.interpolate(x, scale_factor=scale, mode=mode, align_corners=corners),
    )


@st.composite
def windows(draw: st.DrawFn) -> nn.Module:
    if draw(st.integers(0, 3)) == 0:
        dims = draw(st.sampled_from([(3, 5), (2, 4), (3,), (2, 5), (1, 4)]))
        return WindowMean(draw(st.integers(2, 4)), dims)
    size = draw(st.tuples(st.integers(1, 5), st.integers(2, 6)))
    shift = draw(st.sampled_from([(0, 0), (1, 2), (2, 0), (-1, 3)]))
    return Block(*size, shift=shift, over_grid=draw(st.booleans()), fused=draw(st.booleans()))


@st.composite
def others(draw: st.DrawFn) -> nn.Module:
    a, b, c, d = (draw(st.integers(0, 2)) for _ in range(4))
    step = draw(_SMALL)
    size = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    return draw(
        st.sampled_from(
            [
                nn.ReLU(inplace=True), nn.BatchNorm2d(CHANNELS), nn.ZeroPad2d((a, b, c, d)),
                nn.ReplicationPad2d((a, b, c, d)), nn.ReflectionPad2d((a, b, c, d)),
                nn.AdaptiveAvgPool2d(size), nn.AdaptiveMaxPool2d(size), Excited(), LastNorm(),
                nn.GroupNorm(2, CHANNELS),
                nn.Sequential(nn.Conv2d(CHANNELS, 4 * CHANNELS, 1), nn.PixelShuffle(2)),
                nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * CHANNELS, CHANNELS, 1)),
                Apply(f"crop {a} {b} {step}", lambda x: x[..., a:, b::step]),
                Apply("rolled", lambda x: x.roll((a, -b), (2, 3))),
                Apply("flip", lambda x: x.flip(3)),
                Apply("flip both", lambda x: x.flip((2, 3))),
                Apply("mean of rows", lambda x: x - x.mean(2, keepdim=True)),
                Apply("mean of channels", lambda x: x - x.mean(1, keepdim=True)),
                Apply("along rows", lambda x: torch.cat([x, x], dim=2)),
                Apply("zeros behind", lambda x: torch.cat([x, torch.zeros_like(x)], dim=3)),
                Apply("shuffle", lambda x: x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)),
            ]
        )
    )  # fmt: skip


def _grown(inner: st.SearchStrategy[nn.Module]) -> st.SearchStrategy[nn.Module]:
    return st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda layers: nn.Sequential(*layers)),
        inner.map(Residual),
        st.builds(Beside, inner, inner, st.booleans()),
    )


PLAIN = st.one_of(convolutions(), pools(), resizes(), transposed(), others())
LAYERS = st.one_of(PLAIN, windows()).map(Fitting)
GRAPHS = st.recursive(LAYERS, _grown, max_leaves=6)
SIDES = st.tuples(st.integers(5, 22), st.integers(5, 22))


def agree(graph: nn.Module, size: tuple[int, int]) -> None:
    network = nn.Sequential(nn.Conv2d(3, CHANNELS, 1), graph, ConvEnd()).eval()
    wraps = any(
        isinstance(m, (Attention, WindowMean)) or "rolled" in str(m) for m in network.modules()
    )
    record = compared(network, size, wraps=wraps)["2"]
    nothing = "the output does not depend on the picture"
    assert record.receptive_field is not None or record.reason == nothing, record.reason


class TestAlgebraIsProbe:
    @settings(
        max_examples=60, deadline=None, derandomize=True, database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )  # fmt: skip
    @given(GRAPHS, SIDES)
    def test_on_random_graphs(self, graph: nn.Module, size: tuple[int, int]) -> None:
        agree(graph, size)

    @pytest.mark.slow
    @settings(
        max_examples=400, deadline=None, database=None, derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )  # fmt: skip
    @given(GRAPHS, SIDES)
    def test_on_many_random_graphs(self, graph: nn.Module, size: tuple[int, int]) -> None:
        agree(graph, size)
