"""Networks that do not take a picture and give a map: clips, detectors, flow, 8-bit numbers."""

import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model_weights, mobilenet_v3_small
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator

sys.path.insert(0, str(Path(__file__).parent))
from toys import Toy, compared, seeded

from cnnviz.errors import ModelError
from cnnviz.layout import Axes
from cnnviz.networks.catalog import torchvision_names
from cnnviz.networks.feeding import detector_size
from cnnviz.networks.models import load_model, load_structure
from cnnviz.receptive_field.effective import effective_fields
from cnnviz.receptive_field.probe import probe
from cnnviz.records import LayerRecord
from cnnviz.tracer import trace


def clip_toy(run: Callable[[Toy, Tensor], Tensor] | None = None) -> nn.Module:
    return seeded(
        lambda: Toy(
            run or (lambda net, x: net.pool(net.second(net.norm(net.first(x))))),
            first=nn.Conv3d(3, 4, (3, 5, 3), stride=(2, 1, 2), padding=(1, 2, 0)),
            norm=nn.BatchNorm3d(4),
            second=nn.Conv3d(4, 4, (2, 3, 3), dilation=(1, 1, 2)),
            pool=nn.MaxPool3d((2, 3, 2), stride=(1, 2, 2), padding=(1, 1, 0)),
        )
    )


def tokens(net: Toy, x: Tensor) -> Tensor:
    """As video transformers do: places and frames in one row behind a class token, and back."""
    x = net.first(x)
    row = x.flatten(2).transpose(1, 2)
    row = torch.cat((row.new_zeros(len(x), 1, 4), row), dim=1)
    token, rest = torch.tensor_split(row, (1,), dim=1)
    maps = net.second(rest.transpose(1, 2).reshape(x.shape))
    row = torch.cat((token, maps.flatten(2).transpose(1, 2)), dim=1)
    return row[:, 1:].transpose(1, 2).reshape(maps.shape)


@pytest.mark.parametrize("run", [None, tokens])
def test_rows_and_columns_of_clips_are_what_the_network_reads(
    run: Callable[[Toy, Tensor], Tensor] | None,
) -> None:
    records = compared(clip_toy(run), (18, 21))
    assert records["end"].receptive_field is not None
    assert records["end"].layout.axes is Axes.CLIPS


def frames_read(network: nn.Module, record: LayerRecord) -> list[list[int]]:
    """Return which of 16 frames turn each stretch of a layer NaN."""
    read: list[list[int]] = [[] for _ in range(record.layout.frames or 0)]
    for frame in range(16):
        clip = torch.zeros(1, 3, 16, 18, 21)
        clip[:, :, frame] = torch.nan
        with torch.no_grad():
            broken = network(clip).isnan().any(dim=(0, 1, 3, 4))
        for stretch in broken.nonzero().flatten().tolist():
            read[stretch].append(frame)
    return read


def test_the_frames_that_a_unit_reads_are_those_that_turn_it_nan() -> None:
    network = clip_toy()
    record = trace(network, (18, 21))[-2]
    assert record.receptive_field is not None
    time = record.receptive_field.time
    assert time is not None
    measured = frames_read(network, record)
    for i, frames in enumerate(measured):
        first = int(time.stride * i + time.start)
        assert frames == [f for f in range(first, first + time.size) if 0 <= f < 16]
    assert (time.stride, len(measured)) == (Fraction(2), 8)


def test_a_video_transformer_has_maps_of_tokens_over_time() -> None:
    records = {r.label: r for r in trace("mvit_v2_s")}
    first, later = records["blocks.0.norm1"], records["blocks.5.norm2"]
    assert (first.layout.axes, first.layout.grid, first.layout.frames) == (
        Axes.CLASS_TOKEN, (56, 56), 8,
    )  # fmt: skip
    assert (later.layout.grid, later.layout.frames) == ((14, 14), 8)
    assert later.receptive_field is not None
    assert later.receptive_field.is_global
    assert not records["conv_proj"].receptive_field.is_global


def tiny_detector() -> nn.Module:
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3))
    backbone.out_channels = 8
    anchors = AnchorGenerator(((8, 16),), ((1.0,),))
    # 40 rows are resized to 48, and padded to 64.
    return FasterRCNN(backbone, 3, min_size=48, max_size=70, rpn_anchor_generator=anchors)


def test_a_detector_resizes_and_pads_and_its_boxes_are_unknown() -> None:
    network = seeded(tiny_detector)
    records = compared(network, (40, 44))
    for label in ("backbone.0", "backbone.2", "rpn.head.cls_logits"):
        assert records[label].receptive_field is not None, records[label].reason
    box = records["roi_heads.box_head.fc6"]
    assert box.receptive_field is None
    assert "depends on the values" in (box.reason or "")


def test_a_detector_runs_after_a_trace_as_before() -> None:
    network = seeded(tiny_detector)
    anchors = network.rpn.anchor_generator.cell_anchors
    picture = torch.rand(3, 40, 44, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = network([picture])[0]["boxes"]
        trace(network, (40, 44))
        after = network([picture])[0]["boxes"]
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    assert all(not anchor.is_meta for anchor in anchors)


SIZES = {"ssd300_vgg16": (300, 300), "fasterrcnn_mobilenet_v3_large_320_fpn": (320, 320)}


@pytest.mark.parametrize("name", SIZES)
def test_a_detector_tells_its_size_and_normalises_by_itself(name: str) -> None:
    model = load_structure(name)
    assert model.preprocess.input_size == SIZES[name]
    assert (model.preprocess.mean, model.preprocess.std) == ((0.0,) * 3, (1.0,) * 3)
    assert load_structure(name, input_size=96).preprocess.input_size == (96, 96)


def test_a_detector_of_ones_own_tells_its_size() -> None:
    assert detector_size(tiny_detector()) == (48, 48)
    assert detector_size(nn.Conv2d(3, 3, 1)) is None


# Counts that torchvision publishes with its weights; of what it has none for, or counts otherwise:
# of detectors with fewer boxes, down to none at all.
ELSEWHERE = (
    "keypointrcnn", "maskrcnn_resnet50_fpn", "fasterrcnn_mobilenet", "raft", "swin", "maxvit",
    "ssd", "mvit",
)  # fmt: skip


DETECTORS = ("fasterrcnn", "maskrcnn", "keypointrcnn", "retinanet", "fcos", "ssd")


def hold_to_published(name: str) -> None:
    meta = get_model_weights(name).DEFAULT.meta
    whole = trace(name)[-1]
    if not name.startswith(("quantized_", *DETECTORS)):
        # Quantization takes batch normalisation into the convolutions before it, and pretrained
        # detectors do not train theirs.
        assert whole.params == meta["num_params"]
    if not name.startswith(ELSEWHERE):
        assert whole.macs / 1e9 == pytest.approx(meta["_ops"], rel=0.01, abs=0.0006)


@pytest.mark.parametrize(
    "name", ["fasterrcnn_resnet50_fpn", "quantized_shufflenet_v2_x0_5", "r3d_18"]
)
def test_parameters_and_multiply_adds_are_those_that_torchvision_publishes(name: str) -> None:
    hold_to_published(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", torchvision_names())
def test_all_counts_are_those_that_torchvision_publishes(name: str) -> None:
    hold_to_published(name)


@pytest.mark.parametrize(
    ("name", "plain"), [("quantized_mobilenet_v3_large", "mobilenet_v3_large")]
)
def test_quantized_layers_have_the_fields_and_work_of_the_plain_network(
    name: str, plain: str
) -> None:
    quantized = {r.label: r for r in trace(name)}
    expected = {r.label: r for r in trace(plain)}
    convolutions = [
        label for label, r in quantized.items() if "Conv" in r.type and label in expected
    ]
    assert len(convolutions) > 40
    for label in convolutions:
        found, wanted = quantized[label], expected[label]
        if found.grid != (1, 1):  # one unit has no next one, whose distance is anything
            assert found.receptive_field == wanted.receptive_field, found.reason
        assert (found.output_shape, found.macs) == (wanted.output_shape, wanted.macs)


def test_8_bit_numbers_cannot_be_probed_and_have_no_gradients() -> None:
    model = load_model("quantized_shufflenet_v2_x0_5", "none", device="cpu", input_size=64)
    records = [r for r in trace(model) if r.name == "conv1.0"]
    with pytest.raises(ModelError, match="8-bit numbers have no NaN"):
        probe(model.module, records, (64, 64))
    with pytest.raises(ModelError, match="needs gradients"):
        effective_fields(model, torch.zeros(1, 3, 64, 64), {"conv1.0": (0, 0)}, records)


def test_flow_is_known_up_to_what_values_tell() -> None:
    records = {r.label: r for r in trace("raft_small", 128)}
    assert records["context_encoder.conv"].receptive_field is not None
    flow = records["update_block.flow_head.conv2#12"]
    assert flow.reason == "aten::grid_sampler_2d: which places are read depends on the values"


def test_a_size_that_a_network_does_not_take_is_told() -> None:
    with pytest.raises(ModelError, match="divisible by 8"):
        trace("raft_small", 100)


def test_what_values_tell_is_not_made_up_for_other_networks() -> None:
    def branching(net: Toy, x: Tensor) -> Tensor:
        return net.first(x) if x.mean() > 0 else net.second(x)

    network = Toy(branching, first=mobilenet_v3_small().features[0][0], second=nn.Conv2d(3, 2, 1))
    assert [r.name for r in trace(network.eval(), 32)] == ["second", "end", ""]
