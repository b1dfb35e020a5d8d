"""Bounds of activation functions: what is left of the slope there, by autograd."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cnnviz.choices import Reduce
from cnnviz.maps import look, plan_layers
from cnnviz.networks.models import LoadedModel
from cnnviz.saturation import Bound
from cnnviz.selection import parse_channels
from cnnviz.tracer import trace_module

LoadToy = Callable[..., LoadedModel]

ACTIVATIONS = [
    nn.Sigmoid(), nn.Tanh(), nn.ReLU6(inplace=True), nn.Hardtanh(-2.0, 0.5), nn.Hardsigmoid(),
    nn.Hardswish(inplace=True),
]  # fmt: skip


def bounds_of(module: nn.Module) -> tuple[Bound, ...]:
    return trace_module(nn.Sequential(nn.Conv2d(3, 2, 1), module).eval(), (4, 4))[1].bounds


class Block(nn.Module):
    """Applies a plain function to what a convolution gives."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 2, 1)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.convolution(x))


FUNCTIONS = [
    (lambda x: functional.relu6(x), [6]), (lambda x: functional.relu6(x, inplace=True), [6]),
    (torch.sigmoid, [0, 1]), (lambda x: x.sigmoid_(), [0, 1]), (torch.tanh, [-1, 1]),
    (lambda x: functional.hardtanh(x, -3, 0.5), [-3, 0.5]), (functional.hardsigmoid, [0, 1]),
    (functional.hardswish, [0]), (torch.relu, []),
    # Only what comes right out of an activation function is at its bounds.
    (lambda x: torch.sigmoid(x) * x, []), (lambda x: torch.sigmoid(x).add_(x), []),
    (lambda x: (torch.sigmoid(x), x)[1], []),
]  # fmt: skip


@pytest.mark.parametrize(("function", "expected"), FUNCTIONS)
def test_a_block_that_ends_with_a_plain_activation_function_has_its_bounds(
    function: Callable[[Tensor], Tensor], expected: list[float]
) -> None:
    inner, block = trace_module(Block(function).eval(), (4, 4))
    assert [bound.value for bound in block.bounds] == expected
    assert inner.bounds == ()


@pytest.mark.parametrize("module", ACTIVATIONS, ids=lambda module: type(module).__name__)
def test_units_at_a_bound_have_hardly_any_slope_and_others_have_some(module: nn.Module) -> None:
    inputs = torch.linspace(-12, 12, 2401, requires_grad=True)
    outputs = module(inputs * 1)
    (slope,) = torch.autograd.grad(outputs.sum(), inputs)
    there = torch.zeros(len(inputs), dtype=torch.bool)
    for bound in bounds_of(module):
        there |= bound.reached(outputs.detach())
    assert there.any()
    flat = slope.abs() < 0.04 * slope.abs().max()
    inputs = inputs.detach()
    if isinstance(module, nn.ReLU6):
        flat &= inputs > 0  # below it is a ReLU, whose zeros are told as zeros
    if isinstance(module, nn.Hardswish):
        flat = (inputs <= -3) | (inputs.abs() < 1e-6)  # it is level at its lowest point, too
    assert (there != flat).sum() <= 3, "but for rounding at the edges"


@pytest.mark.parametrize("module", [nn.ReLU(), nn.Conv2d(2, 1, 1), nn.GELU(), nn.SiLU()])
def test_others_have_no_bounds(module: nn.Module) -> None:
    assert bounds_of(module) == ()


def test_nan_is_at_no_bound() -> None:
    values = torch.tensor([torch.nan])
    for module in ACTIVATIONS:
        assert not any(bound.reached(values).any() for bound in bounds_of(module))


def test_a_layer_is_measured_at_the_bounds_of_its_own_module(as_model: LoadToy) -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Hardtanh(-0.25, 0.5, inplace=True), nn.Tanh())
    model = as_model(network, (4, 4))
    plans, _ = plan_layers(model, ["all"], parse_channels("all"), Reduce.NONE)
    batch = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = network[0](batch)
    for maps, picture in zip(look(model, batch, plans), plain, strict=True):
        convolution, clipped, tanh = (one.statistics for one in maps)
        assert convolution.saturated_fraction is None
        expected = (int((picture <= -0.25).sum()), int((picture >= 0.5).sum()))
        assert clipped.at_bounds == ((-0.25, expected[0]), (0.5, expected[1]))
        assert [bound for bound, _ in tanh.at_bounds] == [-1.0, 1.0]
        assert tanh.saturated_fraction == 0


class Quantized(nn.Module):
    """Has the scale and zero point of a layer of torch.ao.nn.quantized."""

    def __init__(self, scale: float, zero_point: int) -> None:
        super().__init__()
        self.scale, self.zero_point = scale, zero_point

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize(("zero_point", "ends"), [(100, {-50.0, 77.5}), (0, {127.5})])
def test_a_quantized_layer_ends_where_its_eight_bits_do(zero_point: int, ends: set[float]) -> None:
    integers = torch.tensor([0, 1, 128, 254, 255], dtype=torch.uint8)
    quantized = torch._make_per_tensor_quantized_tensor(integers, 0.5, zero_point)
    bounds = bounds_of(Quantized(0.5, zero_point))
    assert {bound.value for bound in bounds} == ends
    reached = torch.stack([bound.reached(quantized.dequantize()) for bound in bounds]).any(0)
    assert reached.tolist() == [zero_point > 0, False, False, False, True]
