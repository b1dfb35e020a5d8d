"""torchvision's networks: numbers worked out by hand, and algebra against probe."""

import re
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
from toys import compared

from cnnviz.networks.catalog import torchvision_names
from cnnviz.networks.models import load_model, load_structure
from cnnviz.records import LayerRecord
from cnnviz.tracer import trace

HAND_MADE = [
    ("alexnet", "features.12", 195, 32, 66),
    ("vgg16", "features.30", 212, 32, 90),
    ("resnet18", "layer1", 43, 4, 21),
    ("resnet18", "layer2", 99, 8, 49),
    ("resnet18", "layer3", 211, 16, 105),
    ("resnet18", "layer4", 435, 32, 217),
    ("resnet50", "layer4", 427, 32, 213),
]


@pytest.fixture(scope="module")
def traced() -> dict[str, dict[str, LayerRecord]]:
    names = {name for name, *_ in HAND_MADE}
    return {name: {r.label: r for r in trace(name)} for name in names}


@pytest.mark.parametrize(("name", "layer", "size", "stride", "padding"), HAND_MADE)
def test_published_and_hand_made_numbers(
    traced: dict[str, dict[str, LayerRecord]],
    name: str, layer: str, size: int, stride: int, padding: int,
) -> None:  # fmt: skip
    field = traced[name][layer].receptive_field
    assert field is not None
    assert (field.size, field.stride) == ((size, size), (stride, stride))
    assert field.start == (-padding, -padding)
    assert field.aligned


def test_totals_are_those_of_the_literature(traced: dict[str, dict[str, LayerRecord]]) -> None:
    assert (traced["resnet18"][""].params, traced["resnet18"][""].macs) == (11689512, 1814073344)
    assert traced["resnet50"][""].params == 25557032
    # torchinfo adds one for each weight of a batch normalisation and each bias: 10,600 of them.
    small = trace("resnet18", 64)[-1].macs
    assert small == 148557824
    assert round((small + 10600) / 1e6, 2) == 148.57


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "alexnet", "vgg16"])
def test_leaves_sum_to_the_totals(traced: dict[str, dict[str, LayerRecord]], name: str) -> None:
    records = traced[name].values()
    whole = traced[name][""]
    assert sum(r.params for r in records if r.leaf) == whole.params
    assert sum(r.macs for r in records if r.leaf) == whole.macs


QUICK = {
    "alexnet": (64, 70), "squeezenet1_1": (33, 40), "resnet18": (40, 33),
    "mobilenet_v3_small": (33, 40), "shufflenet_v2_x0_5": (40, 33), "mnasnet0_5": (33, 32),
    "googlenet": (40, 33), "regnet_y_400mf": (40, 33),
}  # fmt: skip
SLOW = {
    "vgg11_bn": (48, 40), "densenet121": (48, 33), "efficientnet_b0": (48, 40),
    "inception_v3": (80, 76), "convnext_tiny": (40, 48), "resnet50": (48, 40),
    "mobilenet_v2": (48, 40), "efficientnet_v2_s": (40, 33), "vit_b_32": (64, 64),
    "swin_t": (64, 70), "swin_v2_t": (90, 64),
}  # fmt: skip


def hold(name: str, size: tuple[int, int]) -> None:
    model = load_model(name, "none", device="cpu", input_size=size)
    records = compared(model.module, size)
    assert sum(r.receptive_field is not None for r in records.values()) > len(records) / 2


@pytest.mark.parametrize("name", QUICK)
def test_the_algebra_is_what_the_network_does(name: str) -> None:
    hold(name, QUICK[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_the_algebra_is_what_larger_networks_do(name: str) -> None:
    hold(name, SLOW[name])


LEAST = [n for n in torchvision_names() if n.endswith(("_b0", "18", "11", "tiny", "121", "_400mf"))]


def every_map_has_a_field(name: str) -> None:
    model = load_structure(name)
    # A scale of ones that ConvNeXt makes itself is real; nothing that is initialised is.
    real = sum(p.numel() for p in model.module.parameters() if not p.is_meta)
    assert real <= 1e-3 * sum(p.numel() for p in model.module.parameters())
    records = trace(model)
    layers = [r for r in records if r.leaf and ("Conv" in r.type or "Pool" in r.type)]
    assert layers
    assert layers[0].receptive_field is not None
    for record in layers:
        if record.receptive_field is None:
            # What a detector's heads read, and flow after its first guess, is told by values; and
            # the first guess of flow, that nothing moves, is told by nothing.
            assert re.search("depends? on the (values|picture)", record.reason or ""), record.label
            continue
        shape = tuple(len(record.receptive_field.reach(of)) for of in (0, 1))
        # A layer that runs for each head of attention has no map of the picture.
        assert record.grid == shape or record.output_shape[0] > 1


@pytest.mark.parametrize("name", LEAST)
def test_every_convolution_and_pooling_has_a_field(name: str) -> None:
    every_map_has_a_field(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", torchvision_names())
def test_every_convolution_and_pooling_of_all_networks_has_a_field(name: str) -> None:
    every_map_has_a_field(name)


def test_windows_have_the_sizes_that_are_counted_by_hand() -> None:
    records = {r.label: r for r in trace("swin_t")}
    counted = {
        # Patches of 4 x 4 pixels in windows of 7 x 7.
        "features.0": (4, 4, 0), "features.1.0": (28, 4, 0),
        # Shifted windows of 7 reach into two of the windows before: from patch -7 to 6.
        "features.1.1": (56, 4, -28),
        # Two places that are merged may lie in two shifted windows: from patch -7 to 13.
        "features.2": (84, 8, -28), "features.3.0": (112, 8, -28),
    }  # fmt: skip
    for label, (size, stride, start) in counted.items():
        field = records[label].receptive_field
        assert field is not None
        assert (field.size, field.stride) == ((size, size), (stride, stride))
        assert field.start == (start, start)
        assert (field.aligned, field.is_global) == (True, False)


def test_layers_inside_windows_are_no_maps_and_all_others_have_a_field() -> None:
    for record in trace("maxvit_t"):
        if record.grid:
            assert record.receptive_field is not None, record.label
            if "grid_attention" in record.name:
                # Nothing tells where a grid would go on.
                field = record.receptive_field
                assert field.box_without_border(3, 5) == field.box(3, 5)
        elif "attn_layer" in record.name and record.output_shape[1] > 1:
            assert "cut" in (record.reason or ""), record.label
            assert "cut into windows" in (record.layout.reason or ""), record.label


def test_weights_of_attention_are_no_map_even_where_they_look_like_one() -> None:
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before, self.weights = nn.Conv2d(3, 4, 4, 4), nn.Softmax(-1)

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.before(x).flatten(2).mT
            # As many queries and keys as the picture has rows and columns.
            return self.weights((tokens @ tokens.mT)[:, None])

    record = next(r for r in trace(Attends().eval(), 16) if r.name == "weights")
    assert record.output_shape == (1, 1, 16, 16)
    assert "several places" in (record.layout.reason or "")
    assert "several places" in (record.reason or "")


def test_a_window_that_runs_on_around_the_border_is_not_the_whole_picture() -> None:
    records = {r.label: r for r in trace("swin_t")}
    field = records["features.1.1"].receptive_field
    assert field is not None
    # The last shifted window has the first three rows, too.
    assert field.box(55, 0) == (0, 0, 224, 224)
    assert field.box_without_border(55, 0) == (-28, 196, 28, 252)
    assert field.box(28, 28) == field.box_without_border(28, 28) == (84, 84, 140, 140)
    assert not field.is_global
    assert records["features.5.0"].receptive_field.is_global


def test_attention_over_all_tokens_is_global() -> None:
    records = {r.label: r for r in trace("vit_b_32")}
    field = records["encoder.layers.encoder_layer_0"].receptive_field
    assert field is not None
    assert field.is_global
    assert not records["conv_proj"].receptive_field.is_global


def test_squeeze_and_excitation_keeps_the_local_span_and_is_global() -> None:
    records = {r.label: r for r in trace("mobilenet_v3_small")}
    field = records["features.1.block.1"].receptive_field
    assert field is not None
    assert field.is_global
    assert field.size == records["features.1.block.0.0"].receptive_field.size


def test_tracing_leaves_a_module_as_it_was() -> None:
    model = load_model("squeezenet1_1", "none", device="cpu")
    module = model.module.train()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    trace(module, 64)
    assert module.training
    assert all(m.training for m in module.modules())
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())
