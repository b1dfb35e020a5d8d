"""Every call of a forward pass, written down without running it."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torchvision import models as zoo
from torchvision.models import convnext

from cnnviz.errors import ModelError
from cnnviz.layout import Axes
from cnnviz.networks.sources import structure_arguments
from cnnviz.records import LayerRecord, first_tensor
from cnnviz.tracer import trace, trace_module


def tiny_vit() -> nn.Module:
    return zoo.VisionTransformer(64, 16, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32)


def tiny_swin() -> nn.Module:
    return zoo.SwinTransformer([4, 4], 8, depths=[2, 2], num_heads=[2, 2], window_size=[7, 7])


def tiny_maxvit() -> nn.Module:
    return zoo.MaxVit((64, 64), 8, 4, block_channels=[8, 16], block_layers=[1, 2], head_dim=8,
                      stochastic_depth_prob=0.0)  # fmt: skip


def tiny_convnext() -> nn.Module:
    blocks = [convnext.CNBlockConfig(8, 16, 1), convnext.CNBlockConfig(16, None, 2)]
    return zoo.ConvNeXt(blocks)


def quick_googlenet() -> nn.Module:
    return zoo.googlenet(weights=None, init_weights=False)


def quick_inception() -> nn.Module:
    return zoo.inception_v3(weights=None, init_weights=False)


# One of every family, and the side of an input that it takes.
FAMILIES: dict[Callable[[], nn.Module], int] = {
    zoo.alexnet: 64, zoo.efficientnet_b0: 32, quick_googlenet: 32,
    quick_inception: 75, zoo.mnasnet0_5: 32, zoo.mobilenet_v2: 32, zoo.mobilenet_v3_small: 32,
    zoo.regnet_y_400mf: 32, zoo.resnet50: 32, zoo.shufflenet_v2_x0_5: 32, zoo.squeezenet1_1: 32,
    tiny_vit: 64, tiny_swin: 64, tiny_maxvit: 64, tiny_convnext: 24,
}  # fmt: skip


def build(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        return make().eval()


def observed(module: nn.Module, picture: Tensor) -> list[tuple[str, int, tuple[int, ...]]]:
    """Return name, call number and shape of every module call of a real forward pass."""
    calls: Counter[str] = Counter()
    seen: list[tuple[str, int, tuple[int, ...]]] = []

    def watch(name: str) -> None:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            calls[name] += 1
            tensor = first_tensor(output)
            seen.append((name, calls[name], () if tensor is None else tuple(tensor.shape)))

        handles.append(module.get_submodule(name).register_forward_hook(hook))

    handles: list[torch.utils.hooks.RemovableHandle] = []
    for name, _ in module.named_modules():
        watch(name)
    with torch.inference_mode():
        module(picture)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("make", FAMILIES)
def test_names_calls_and_shapes_are_those_of_a_real_pass(make: Callable[[], nn.Module]) -> None:
    module, side = build(make), FAMILIES[make]
    expected = observed(module, torch.zeros(1, 3, side, side))
    records = trace(module, (side, side))
    assert [(r.name, r.call, r.output_shape) for r in records] == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.list_models(module=zoo))
def test_every_classification_network_can_be_traced_at_its_own_size(name: str) -> None:
    crop = zoo.get_model_weights(name).DEFAULT.transforms().crop_size[0]
    module = zoo.get_model_builder(name)(
        weights=None, **structure_arguments(name, (crop, crop))
    ).eval()
    expected = observed(module, torch.zeros(1, 3, crop, crop))
    records = trace(module, (crop, crop))
    assert [(r.name, r.call, r.output_shape) for r in records] == expected
    assert records[-1].output_shape == (1, 1000)


@pytest.fixture(scope="module")
def resnet() -> tuple[LayerRecord, ...]:
    with torch.device("meta"):
        return trace(zoo.resnet18().eval(), (224, 224))


def test_a_module_that_is_called_twice_has_two_records(resnet: tuple[LayerRecord, ...]) -> None:
    relus = [r for r in resnet if r.name == "layer1.0.relu"]
    assert [(r.call, r.label) for r in relus] == [(1, "layer1.0.relu"), (2, "layer1.0.relu#2")]


def test_the_network_itself_and_blocks_are_no_leaves(resnet: tuple[LayerRecord, ...]) -> None:
    leaf = {record.name: record.leaf for record in resnet}
    assert not leaf[""]
    assert not leaf["layer1"]
    assert not leaf["layer1.0"]
    assert leaf["layer1.0.conv1"]
    assert leaf["fc"]
    assert resnet[-1].name == ""


def test_records_know_their_maps(resnet: tuple[LayerRecord, ...]) -> None:
    by_label = {record.label: record for record in resnet}
    assert by_label["conv1"].grid == (112, 112)
    assert by_label["conv1"].type == "Conv2d"
    assert by_label["layer4"].output_shape == (1, 512, 7, 7)
    assert by_label["fc"].layout.axes is Axes.VECTOR


def axes(make: Callable[[], nn.Module]) -> dict[str, Axes | None]:
    records = trace(build(make), (FAMILIES[make],) * 2)
    return {record.label: record.layout.axes for record in records}


def test_transformers_are_read_as_tokens_and_channels_last() -> None:
    vit, swin, next_ = axes(tiny_vit), axes(tiny_swin), axes(tiny_convnext)
    assert vit["conv_proj"] is Axes.MAPS
    assert vit["encoder.layers.encoder_layer_0.mlp"] is Axes.CLASS_TOKEN
    assert swin["features.0.0"] is Axes.MAPS
    assert swin["features.1.0"] is Axes.MAPS_LAST
    assert swin["features.2"] is Axes.MAPS_LAST
    assert next_["features.1.0.block.3"] is Axes.MAPS_LAST
    assert next_["features.1.0"] is Axes.MAPS


def test_windows_of_maxvit_are_no_picture_and_say_why() -> None:
    records = trace(build(tiny_maxvit), (64, 64))
    unknown = [r for r in records if r.layout.axes is None]
    assert any("attn" in record.name for record in unknown)
    assert all(record.layout.reason for record in unknown)
    grids = {r.name: r.grid for r in records}
    assert grids["blocks.0.layers.0.layers.MBconv"] == (16, 16)
    assert grids["blocks.1"] == (8, 8)


def test_the_network_is_left_as_it_was() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    module[0].weight.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    random = torch.get_rng_state()
    module.eval()
    trace(module, (8, 8))
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert [p.requires_grad for p in module.parameters()] == [False, True, True, True]
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in module.modules())
    assert all(parameter.device.type == "cpu" for parameter in module.parameters())
    assert torch.equal(torch.get_rng_state(), random)


def test_a_network_in_training_is_left_as_it_was() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    trace_module(module, (8, 8))
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


class LooksAtValues(nn.Module):
    """Decides by a value, which a tensor without values does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)
        self.never = nn.Conv2d(2, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.never(x) if (x * 0).sum().item() else x


class MakesTensors(nn.Module):
    """Adds a tensor that is no parameter and no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)
        self.table = [torch.ones(1)]

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + self.table[0] + torch.arange(2.0)[:, None, None]


@pytest.mark.parametrize("network", [LooksAtValues(), MakesTensors()])
def test_what_needs_values_is_run_for_real(network: nn.Module) -> None:
    records = trace(network.eval(), (8, 8))
    assert [(r.name, r.output_shape) for r in records] == [
        ("conv", (1, 2, 6, 6)), ("", (1, 2, 6, 6)),
    ]  # fmt: skip
    assert not network.conv._forward_hooks


class Asserts(nn.Module):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)
        self.error = error

    def forward(self, x: Tensor) -> Tensor:
        self.conv(x)
        raise self.error


@pytest.mark.parametrize(
    "error",
    [AssertionError("wrong size"), KeyError("x"), IndexError("y"), ZeroDivisionError("z"),
     RuntimeError("r"), AttributeError("a"), NotImplementedError("n")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_whatever_a_forward_pass_raises_is_told_with_the_last_layer(error: Exception) -> None:
    network = Asserts(error)
    kind = type(error).__name__
    with pytest.raises(ModelError, match=rf"input of 1x3x8x9: {kind}: .*last layer.*: conv\)"):
        trace(network.eval(), (8, 9))
    assert not network.conv._forward_hooks


def test_an_input_that_does_not_fit_names_the_last_layer_that_ran() -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Conv2d(5, 2, 3)).eval()
    with pytest.raises(ModelError, match=r"1x3x8x8: RuntimeError: .*\(last layer that ran: 1\)"):
        trace(network, (8, 8))
    with pytest.raises(ModelError, match=r"last layer that ran: none"):
        trace(nn.Sequential(nn.Linear(5, 2)).eval(), (8, 8))


def test_layers_may_be_registered_in_another_order_than_they_run_in() -> None:
    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.late = nn.Conv2d(4, 2, 1)
            self.first = nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.late(self.first(x))

    assert [record.name for record in trace(Late().eval(), (4, 4))] == ["first", "late", ""]


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_a_network_is_traced_with_as_many_channels_as_it_reads(channels: int) -> None:
    network = nn.Sequential(nn.Conv2d(channels, 2, 3), nn.ReLU()).eval()
    records = trace(network, (8, 8))
    assert records[-1].output_shape == (1, 2, 6, 6)
    assert records[0].macs == channels * 2 * 9 * 36


def test_a_network_for_another_size_is_an_expected_error() -> None:
    with torch.device("meta"):
        network = zoo.vit_b_32(image_size=64).eval()
    with pytest.raises(ModelError, match=r"96x96: AssertionError: .*Wrong image height"):
        trace(network, (96, 96))


def test_shared_weights_and_half_precision_are_traced() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)).half().eval()
    network[1].weight = network[0].weight
    assert [r.name for r in trace(network, (4, 4))] == ["0", "1", ""]


def test_a_module_under_two_names_is_told_by_the_first() -> None:
    shared = nn.Conv2d(3, 3, 1)
    network = nn.Sequential(shared, shared).eval()
    assert [r.label for r in trace(network, (4, 4))] == ["0", "0#2", ""]


def test_a_network_without_parameters_is_traced() -> None:
    assert trace(nn.Sequential(nn.AvgPool2d(2)), (4, 6))[0].grid == (2, 3)


@pytest.mark.parametrize("output", [None, "text", [], {}, (None, ["x", {}]), 3])
def test_an_output_without_a_tensor_has_none(output: object) -> None:
    assert first_tensor(output) is None


@dataclass
class Answer:
    loss: Tensor | None
    logits: Tensor


@pytest.mark.parametrize(
    "wrap",
    [lambda t: {"x": None, "y": t}, lambda t: [[], (t,)], lambda t: Answer(None, t), lambda t: t],
    ids=["dict", "list", "dataclass", "tensor"],
)
def test_the_tensor_is_found_in_what_a_module_returns(wrap: Callable[[Tensor], object]) -> None:
    class Wrapping(nn.Conv2d):
        def forward(self, x: Tensor) -> object:  # type: ignore[override]
            return wrap(super().forward(x))

    record = trace(Wrapping(3, 4, 3), (9, 8))[-1]
    assert record.output_shape == (1, 4, 7, 6)
    assert record.receptive_field is not None
    assert record.receptive_field.size == (3, 3)


def test_an_output_without_a_tensor_is_recorded_without_a_shape() -> None:
    class Says(nn.Module):
        def forward(self, x: Tensor) -> str:
            return "text"

    class Uses(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.says = Says()

        def forward(self, x: Tensor) -> Tensor:
            self.says(x)
            return x

    record = trace(Uses(), (4, 4))[0]
    assert record.output_shape == ()
    assert record.layout.axes is None


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    before = torch.is_grad_enabled()
    yield
    assert torch.is_grad_enabled() == before


def test_a_parametrized_layer_is_a_leaf_with_its_own_type() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    nn.utils.parametrizations.weight_norm(network[0])
    records = trace(network, 8)
    assert [(r.name, r.type, r.leaf) for r in records] == [
        ("0", "Conv2d", True), ("1", "ReLU", True), ("", "Sequential", False),
    ]  # fmt: skip
    assert records[0].params == 3 * 4 * 9 + 4 + 4
