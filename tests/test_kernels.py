"""The weight that a layer uses, as one filter per output channel."""

import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune

from cnnviz.kernels import as_filters, is_quantized, type_of, used_weight


def filters_of(module: nn.Module) -> Tensor:
    weight = used_weight(module)
    assert weight is not None
    found = as_filters(module, weight)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Conv1d(2, 5, 7), (5, 2, 7)),
        (nn.Conv2d(6, 4, (3, 5), groups=2), (4, 3, 3, 5)),
        (nn.Conv3d(2, 3, (2, 3, 4)), (3, 2, 2, 3, 4)),
        (nn.ConvTranspose2d(6, 4, 3, groups=2), (4, 3, 3, 3)),
        (nn.Linear(7, 2), (2, 7, 1, 1)),
    ],
)
def test_there_is_a_filter_for_each_output_channel(
    module: nn.Module, shape: tuple[int, ...]
) -> None:
    assert filters_of(module).shape == shape


@pytest.mark.parametrize("groups", [1, 2])
def test_a_transposed_filter_is_what_an_input_value_paints(groups: int) -> None:
    module = nn.ConvTranspose2d(4, 6, 3, groups=groups, bias=False)
    filters = filters_of(module)
    per_group = 6 // groups
    for channel in range(4):
        dot = torch.zeros(1, 4, 1, 1)
        dot[0, channel] = 1
        painted = module(dot)[0].detach()
        group, within = divmod(channel, 4 // groups)
        for n in range(6):
            own = n // per_group == group
            expected = filters[n, within] if own else torch.zeros(3, 3)
            assert torch.allclose(painted[n], expected)


@pytest.mark.parametrize("module", [nn.BatchNorm2d(3), nn.ReLU(), nn.LayerNorm(4), nn.PReLU()])
def test_layers_that_mix_no_channels_have_no_filters(module: nn.Module) -> None:
    weight = used_weight(module)
    assert weight is None or as_filters(module, weight) is None


def test_an_embedding_is_no_layer_of_filters() -> None:
    assert as_filters(nn.Embedding(4, 3), torch.zeros(4, 3)) is None


def convolve(module: nn.Module, weight: Tensor) -> Tensor:
    picture = torch.randn(1, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        given = module(picture)
        ours = functional.conv2d(picture, weight, module.get_parameter("bias"))
    assert torch.allclose(given, ours, atol=1e-5)
    return given


@pytest.mark.parametrize("register", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_a_parametrized_layer_shows_the_weight_that_it_multiplies_with(register) -> None:
    module = register(nn.Conv2d(3, 2, 3)).eval()
    for parameter in module.parameters():
        parameter.data.mul_(3)
    convolve(module, filters_of(module))
    assert type_of(module) == "Conv2d"


def weight_norm_of_old(module: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(module)


@pytest.mark.parametrize(
    ("register", "stored"),
    [
        (weight_norm_of_old, "weight_g"),
        (lambda module: prune.l1_unstructured(module, "weight", amount=0.5), "weight_orig"),
    ],
)
def test_a_weight_that_is_made_anew_before_each_pass_is_made_anew(register, stored) -> None:
    module = register(nn.Conv2d(3, 2, 3)).eval()
    module.get_parameter(stored).data.mul_(5)  # as a checkpoint does, behind the hook's back
    ours = filters_of(module).clone()
    convolve(module, ours)


def test_quantized_weights_are_dequantized() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.ao.nn.quantized.Conv2d(3, 2, 3)
        real = torch.linspace(-1, 1, 54).reshape(2, 3, 3, 3)
        module.set_weight_bias(torch.quantize_per_tensor(real, 0.1, 0, torch.qint8), None)
        found = filters_of(module)
    assert found.dtype == torch.float32
    assert torch.allclose(found, torch.round(real / 0.1) * 0.1, atol=0.051)
    assert len(found.unique()) <= 21


def test_half_precision_becomes_single() -> None:
    assert filters_of(nn.Conv2d(3, 2, 3).bfloat16()).dtype == torch.float32


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_a_network_with_one_quantized_layer_is_quantized() -> None:
    quantized = torch.ao.nn.quantized.Linear(3, 2)
    assert is_quantized(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Sequential(quantized)))
    assert not is_quantized(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Linear(3, 2)))
