"""Multiply-adds of operators, beside those that torch's own counter finds in a real pass."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from cnnviz.receptive_field.field import plain
from cnnviz.receptive_field.work import WORK
from cnnviz.tracer import trace


class Applied(nn.Module):
    """A network of one function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def rows(x: Tensor) -> Tensor:
    """(1, 3, 12, 10) pixels as (3, 12, 10)."""
    return x[0]


OPERATORS: dict[str, Callable[[Tensor], Tensor]] = {
    "conv": lambda x: F.conv2d(x, torch.ones(6, 3, 3, 5), stride=2, padding=1, dilation=2),
    "depthwise": lambda x: F.conv2d(x, torch.ones(9, 1, 3, 3), groups=3),
    "1-d": lambda x: F.conv1d(rows(x), torch.ones(7, 12, 3), bias=torch.ones(7)),
    "3-d": lambda x: F.conv3d(x[:, None], torch.ones(2, 1, 2, 3, 3), stride=(1, 2, 2)),
    "transposed": lambda x: F.conv_transpose2d(x, torch.ones(3, 5, 4, 4), stride=2, padding=1),
    "transposed in groups": lambda x: F.conv_transpose2d(x, torch.ones(3, 2, 3, 3), groups=3),
    "mm": lambda x: x[0, 0] @ x[0, 1].T,
    "linear": lambda x: F.linear(x, torch.ones(4, 10), torch.ones(4)),
    "bmm": lambda x: rows(x) @ rows(x).mT,
    "baddbmm": lambda x: torch.baddbmm(torch.ones(3, 12, 12), rows(x), rows(x).mT),
    "attention": lambda x: F.scaled_dot_product_attention(x, x[..., :7, :], x[..., :7, :4]),
    "attention, fewer heads": lambda x: F.scaled_dot_product_attention(
        torch.cat([x, x], 1), x, x, enable_gqa=True
    ),
    "element by element": lambda x: (x * x + x).relu().mean((2, 3)),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_multiply_adds_are_those_of_the_counter_of_torch(name: str) -> None:
    network = Applied(OPERATORS[name]).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, 12, 10))
    # It counts a multiplication and an addition as two.
    assert trace(network, (12, 10))[-1].macs == counter.get_total_flops() // 2
    assert (counter.get_total_flops() > 0) == (name != "element by element")


def test_what_the_counter_of_torch_knows_of_a_forward_pass_is_in_the_table() -> None:
    names = {str(packet).removeprefix("aten.") for packet in flop_registry}
    behind = {name for name in names if name.endswith("backward")}
    # Ragged batches and compiled attention do not come up in a pass over one picture.
    other = {"_flash_attention_forward", "_efficient_attention_forward", "flex_attention"}
    assert names - behind - other - {"_slow_conv2d_forward"} <= WORK.keys()


@pytest.mark.parametrize("name", [name for name in WORK if "scaled_dot_product" in name])
def test_attention_that_a_device_computes_in_one_operator_is_counted(name: str) -> None:
    # Twice as many heads of queries as of keys, and values of another length.
    query, key, value = (2, 4, 5, 8), (2, 2, 7, 8), (2, 2, 7, 3)
    tensors = [torch.empty(shape, device="meta") for shape in (query, key, value)]
    counted = flop_registry[getattr(torch.ops.aten, name)](*tensors, out_val=None)
    arguments = {"query": plain(query), "key": plain(key), "value": plain(value)}
    assert WORK[name](arguments, (2, 4, 5, 3)) == counted // 2
