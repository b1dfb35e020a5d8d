"""What the tracer does with operators that no rule follows, with views, and with memory."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent))
from toys import Toy, compared, conv, seeded

from cnnviz.receptive_field.rules import CONSTANT, PICKED, RULES
from cnnviz.records import LayerRecord
from cnnviz.tracer import trace

Function = Callable[[Tensor], Tensor]


def traced(function: Function) -> dict[str, LayerRecord]:
    network = seeded(
        lambda: Toy(
            lambda net, x: net.after(function(net.before(x))),
            before=conv(3, 4, 3), after=conv(4, 2, 3, padding=1),
        )
    )  # fmt: skip
    return {record.label: record for record in trace(network, (12, 12))}


def size_after(function: Function) -> tuple[int, int] | None:
    field = traced(function)["end"].receptive_field
    return field.size if field else None


@pytest.mark.parametrize(
    ("function", "operator"),
    [
        (lambda x: torch.linalg.inv(x), "linalg_inv_ex"),
        (lambda x: x.kthvalue(2, dim=1, keepdim=True).values.expand_as(x), "kthvalue"),
        (lambda x: x.index_select(3, torch.arange(10, device=x.device)), "index_select"),
        (lambda x: torch.fft.fft2(x).real, "_fft_c2c"),
        (lambda x: torch.nn.functional.fold(x.flatten(2), (10, 10), 1)
            if x.dim() == 3 else torch.nn.functional.unfold(x, 1).view_as(x), "im2col"),
    ],
)  # fmt: skip
def test_an_operator_without_a_rule_is_named_and_all_after_it_is_unknown(
    function: Function, operator: str
) -> None:
    records = traced(function)
    assert records["before"].receptive_field is not None
    for label in ("after", "end"):
        assert records[label].receptive_field is None
        assert records[label].reason == f"no rule for the operator aten::{operator}"


def test_a_reason_that_is_unknown_wins_over_what_it_meets() -> None:
    assert traced(lambda x: x + torch.fft.fft2(x).real)["end"].receptive_field is None


def test_a_view_that_splits_rows_says_so() -> None:
    reason = traced(lambda x: x.view(1, 4, 5, 2, 10).amax(3).repeat(1, 1, 2, 1))["end"].reason
    assert reason == "aten::view: a view splits rows or columns, as windows do"


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x[:, :, torch.arange(10, device=x.device)],
        lambda x: F.grid_sample(x, x.new_zeros(1, 10, 10, 2), align_corners=False),
        lambda x: x.topk(10, dim=2).values,
    ],
)
def test_places_that_values_tell_are_unknown_for_good(function: Function) -> None:
    records = traced(function)
    assert records["after"].receptive_field is None
    assert "depends on the values" in (records["after"].reason or "")


def writes_a_shifted_view(x: Tensor) -> Tensor:
    x = x.clone()
    x[..., 1:] += x[..., :-1].clone()
    return x


def writes_into_memory_from_a_factory(x: Tensor) -> Tensor:
    canvas = torch.zeros(len(x), 4, 22, 26, device=x.device, dtype=x.dtype)
    canvas[:, :, 1:-1, 1:-1] = x
    return canvas


def writes_a_part_of_a_map_into_new_memory(x: Tensor) -> Tensor:
    canvas = x.new_zeros(len(x), 4, 22, 26)
    canvas[:, :, 2:9, 5:] = x[:, :, :7, 1:22]
    return canvas


def writes_into_one_channel(x: Tensor) -> Tensor:
    canvas = x.new_zeros(x.shape)
    canvas[:, 1].copy_(x[:, 0])
    return canvas


def looks_again_at_written_memory(x: Tensor) -> Tensor:
    memory = torch.zeros(len(x), 4, 20, 25, device=x.device, dtype=x.dtype)
    memory[..., 1:] = x
    return memory[..., :-1]


def adds_behind_a_class_token(x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    tokens = torch.cat((tokens.new_zeros(len(x), 1, 4), tokens), dim=1)
    tokens[:, 1:] += x.flip(3).flatten(2).transpose(1, 2)
    return tokens[:, 1:].transpose(1, 2).reshape(x.shape)


@pytest.mark.parametrize(
    "function",
    [
        writes_a_shifted_view, writes_into_memory_from_a_factory,
        writes_a_part_of_a_map_into_new_memory, writes_into_one_channel,
        looks_again_at_written_memory, adds_behind_a_class_token,
    ],
)  # fmt: skip
def test_what_is_written_through_slices_is_followed(function: Function) -> None:
    network = Toy(lambda net, x: function(net.before(x)), before=conv(3, 4, 3, padding=1))
    records = compared(seeded(lambda: network), (20, 24))
    assert records["end"].receptive_field is not None


def overwrites_a_part_with_zero(x: Tensor) -> Tensor:
    x = x.clone()
    x[:, :, 0] = 0
    return x


def overwrites_a_part_with_a_constant_map(x: Tensor) -> Tensor:
    x = x.clone()
    x[:, :, :1].copy_(torch.zeros_like(x[:, :, :1]))
    return x


def writes_through_a_turned_view(x: Tensor) -> Tensor:
    canvas = x.new_zeros(1, 12, 12, 4)
    canvas.permute(0, 3, 1, 2)[:, :, 1:-1, 1:-1] = x
    return canvas.permute(0, 3, 1, 2)


def overwrites_what_was_there_with_a_result(x: Tensor) -> Tensor:
    y = x.flip(3)
    torch.add(x[:, :, :9], 1, out=y[:, :, :9])
    return y


def adds_through_a_flattened_view(x: Tensor) -> Tensor:
    x = x.clone()
    x.flatten(2).add_(x.flip(3).flatten(2))
    return x


def adds_into_a_list(x: Tensor) -> Tensor:
    x = x.clone()
    torch._foreach_add_([x], [x.amax((2, 3), keepdim=True).expand_as(x).contiguous()])
    return x


@pytest.mark.parametrize(
    "function",
    [
        overwrites_a_part_with_zero, overwrites_a_part_with_a_constant_map,
        adds_through_a_flattened_view, adds_into_a_list, writes_through_a_turned_view,
        overwrites_what_was_there_with_a_result,
    ],
)  # fmt: skip
def test_what_is_written_through_a_view_is_never_silently_wrong(function: Function) -> None:
    record = traced(function)["end"]
    assert record.receptive_field is None
    assert record.reason


def test_writing_a_constant_into_constants_leaves_all_known() -> None:
    def biased(x: Tensor) -> Tensor:
        bias = torch.ones(1, 4, 1, 1, device=x.device)
        bias[:, 1:3].zero_()
        return x + bias

    assert size_after(biased) == (5, 5)


@pytest.mark.parametrize("function", [
    lambda x: x.relu_(),
    lambda x: x.add_(1).mul_(x),
    lambda x: x.view(1, 4, -1).relu_().view_as(x),
    lambda x: x.clone().copy_(x),
    lambda x: x.squeeze_().unsqueeze_(0),
    lambda x: torch.add(x, 1, out=torch.empty_like(x)),
    lambda x: torch.relu(x, ).add_(torch.rand_like(x)),
])  # fmt: skip
def test_in_place_operators_that_keep_every_element_in_its_place(function: Function) -> None:
    assert size_after(function) == (5, 5)


def test_in_place_operators_add_what_they_are_given() -> None:
    assert size_after(lambda x: x.add_(torch.nn.functional.avg_pool2d(x, 5, 1, 2))) == (9, 9)


def test_a_view_sees_what_is_done_in_place_to_its_base_element_by_element() -> None:
    def run(x: Tensor) -> Tensor:
        flat = x.flatten(2)
        x.relu_()
        return flat.view_as(x)

    assert size_after(run) == (5, 5)


@pytest.mark.parametrize("make", [
    torch.zeros_like, torch.ones_like, torch.empty_like, torch.rand_like, torch.randn_like,
    lambda x: torch.full_like(x, 2.0), lambda x: x.new_zeros(x.shape),
    lambda x: x.new_ones(4, 10, 10),
    lambda x: x.new_full((4, 10, 10), 3.0), lambda x: x.clone().zero_(),
    lambda x: x.clone().fill_(1),
])  # fmt: skip
def test_factories_read_nothing(make: Function) -> None:
    assert size_after(lambda x: x + make(x)) == (5, 5)
    assert traced(make)["end"].reason == "the output does not depend on the picture"


def test_a_tensor_filled_with_a_value_of_the_map_reads_it() -> None:
    records = traced(lambda x: x + torch.zeros_like(x).fill_(x.mean()))
    field = records["end"].receptive_field
    assert field is not None
    assert field.is_global


def test_outputs_beside_the_main_one_are_not_taken_for_it() -> None:
    values = traced(lambda x: torch.nn.functional.max_pool2d(x, 3, 1, 1, return_indices=True)[0])
    assert values["end"].receptive_field.size == (7, 7)


def test_every_name_has_a_rule_or_is_constant_but_not_both() -> None:
    assert not RULES.keys() & CONSTANT.keys()
    assert all(CONSTANT.values())


def test_names_in_the_table_are_operators_of_torch() -> None:
    composite = {"relu6", "contiguous"}
    names = [name.rpartition("::") for name in (*RULES, *CONSTANT, *PICKED)]
    rooms = [(getattr(torch.ops, room or "aten"), name) for room, _, name in names]
    unknown = [name for room, name in rooms if not hasattr(room, name)]
    assert set(unknown) <= composite


def test_multiply_adds_of_a_convolution_and_a_linear_layer() -> None:
    network = nn.Sequential(conv(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 5)).eval()
    records = trace(network, (8, 8))
    assert [r.macs for r in records] == [4 * 36 * 27, 0, 4 * 36 * 5, 4 * 36 * 27 + 4 * 36 * 5]
