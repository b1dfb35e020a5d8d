"""What operators are said to give on meta is what they give on real tensors."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from cnnviz.receptive_field import shapes

IMAGE = (2, 6, 11, 14)
NHWC = torch.channels_last


class Answered(TorchDispatchMode):
    """Runs operators by `shapes.run`, and counts those that were answered without torch."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        known = shapes._ANSWERS.get(func)
        self.answered += known is not None and known(*args) is not None
        return shapes.run(func, args, kwargs or {})


def conv(**options: object) -> Callable[[Tensor], Tensor]:
    return lambda x: nn.Conv2d(6, 4, **{"kernel_size": 3, **options}).to(x.device)(x)  # type: ignore[arg-type]


def weighted(
    function: Callable[..., Tensor], *sides: tuple[int, ...]
) -> Callable[[Tensor], Tensor]:
    return lambda x: function(x, *(torch.ones(side, device=x.device) for side in sides))


CASES: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu in place": lambda x: F.relu(x, inplace=True),
    "silu in place": lambda x: F.silu(x, inplace=True),
    "gelu": F.gelu,
    "hardswish": F.hardswish,
    "relu6": F.relu6,
    "hardsigmoid": F.hardsigmoid,
    "sigmoid": torch.sigmoid,
    "softmax": lambda x: x.softmax(1),
    "add a number": lambda x: x + 1.5,
    "scale": lambda x: torch.mul(x, 2),
    "add": weighted(torch.add, (2, 6, 11, 14)),
    "multiply by one per channel": weighted(torch.mul, (6, 1, 1)),
    "multiply, the larger behind": weighted(lambda x, y: y * x, (2, 6, 1, 1)),
    "multiply the smaller first": lambda x: torch.ones(6, 1, 1, device=x.device) * x,
    "add in place": weighted(Tensor.add_, (6, 1, 14)),
    "convolution": conv(),
    "strided, padded, dilated": conv(stride=2, padding=(2, 1), dilation=(2, 1)),
    "even kernel": conv(kernel_size=(2, 4), stride=(1, 3), bias=False),
    "grouped": conv(groups=2),
    "batch norm": lambda x: nn.BatchNorm2d(6).eval().to(x.device)(x),
    "layer norm": lambda x: F.layer_norm(x, (11, 14)),
    "max pool": lambda x: F.max_pool2d(x, 3, 2, padding=1),
    "max pool, ceil": lambda x: F.max_pool2d(x, 2, ceil_mode=True),
    "max pool, ceil, window in the padding": lambda x: F.max_pool2d(x, 2, 3, 1, ceil_mode=True),
    "max pool, dilated": lambda x: F.max_pool2d(x, (2, 3), (1, 2), dilation=3),
    "average pool": lambda x: F.avg_pool2d(x, 3),
    "average pool, ceil": lambda x: F.avg_pool2d(x, (3, 2), 2, (1, 0), ceil_mode=True),
    "global pool": lambda x: F.adaptive_avg_pool2d(x, 1),
    "adaptive pool": lambda x: F.adaptive_avg_pool2d(x, (3, 5)),
    "mean": lambda x: x.mean((-1, 2)),
    "mean kept": lambda x: x.mean([1], keepdim=True),
    "concatenation": lambda x: torch.cat([x, x, x], 1),
    "concatenation from behind": lambda x: torch.cat([x, x.abs()], -1),
    "linear": lambda x: nn.Linear(14, 5).to(x.device)(x),
    "linear without bias": lambda x: nn.Linear(14, 5, bias=False).to(x.device)(x),
    "product": lambda x: torch.bmm(x[0], x[1].transpose(1, 2)),
}  # fmt: skip


@pytest.mark.parametrize("layout", [torch.contiguous_format, NHWC], ids=["NCHW", "NHWC"])
@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_a_told_shape_is_that_of_the_real_operator(name: str, layout: torch.memory_format) -> None:
    real = CASES[name](torch.rand(IMAGE).to(memory_format=layout))
    with Answered() as mode:
        hollow = torch.empty(IMAGE, device="meta").to(memory_format=layout)
        told = CASES[name](hollow)
    assert told.is_meta
    assert (told.shape, told.dtype) == (real.shape, real.dtype)
    if layout is torch.contiguous_format:
        assert told.stride() == real.stride()
        assert mode.answered


@pytest.mark.parametrize(
    "mistake",
    [
        lambda x: F.conv2d(x, torch.ones(4, 5, 3, 3, device="meta")),
        lambda x: F.conv2d(x, torch.ones(4, 6, 20, 3, device="meta")),
        lambda x: F.max_pool2d(x, 30),
        lambda x: F.max_pool2d(x, 2, padding=2),
        lambda x: torch.cat([x, torch.ones(2, 6, 10, 14, device="meta")], 1),
        lambda x: x + torch.ones(5, 14, device="meta"),
        lambda x: x.add_(torch.ones(3, *IMAGE, device="meta")),
        lambda x: nn.Linear(13, 5, device="meta")(x),
    ],
)
def test_what_torch_refuses_is_still_refused(mistake: Callable[[Tensor], Tensor]) -> None:
    with Answered(), torch.no_grad(), pytest.raises(RuntimeError):
        mistake(torch.empty(IMAGE, device="meta"))


def test_other_types_meet_as_torch_has_them() -> None:
    with Answered(), torch.no_grad():
        both = torch.empty(3, 4, device="meta") + torch.empty(4, dtype=torch.float64, device="meta")
        whole = torch.sigmoid(torch.empty(3, dtype=torch.int64, device="meta"))
    assert both.dtype == torch.float64
    assert whole.dtype == torch.float32
