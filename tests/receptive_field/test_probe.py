"""The measurement itself: against brute force, and whether it notices what is wrong."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent))
from toys import Toy, chain, conv, seeded

from cnnviz.receptive_field.axis import NO_FIRST, NO_LAST
from cnnviz.receptive_field.probe import disagreement, probe, steps
from cnnviz.tracer import trace

SIZE = (7, 9)


def skipping() -> nn.Module:
    return Toy(
        lambda net, x: F.interpolate(net.up(net.down(x)), x.shape[-2:]) + net.flat(x),
        down=conv(3, 6, 3, stride=2, padding=1, groups=3),
        up=nn.ConvTranspose2d(6, 4, (2, 3), stride=2, groups=2),
        flat=conv(3, 4, 1),
    )


NETWORKS = {
    "chain": lambda: chain(conv(3, 4, 3, stride=2), nn.ReLU(), conv(4, 4, 2, padding=1)),
    "skipping": skipping,
    "padding": lambda: chain(conv(3, 4, 2, padding=4, stride=2)),
    "pools": lambda: chain(nn.MaxPool2d(2, 2, ceil_mode=True), nn.AdaptiveAvgPool2d((3, 2))),
}


def by_brute_force(network: nn.Module, size: tuple[int, int]) -> list[list[tuple[int, int]]]:
    """Change one pixel at a time, with the network's own weights; see which rows and columns move.

    Chance alone keeps a unit from moving where it reads; all channels together are looked at.
    """
    network = network.double()
    generator = torch.Generator().manual_seed(3)
    picture = torch.rand((1, 3, *size), generator=generator, dtype=torch.float64)
    with torch.no_grad():
        plain = network(picture)
        read: list[dict[int, set[int]]] = [
            {i: set() for i in range(side)} for side in plain.shape[-2:]
        ]
        for row in range(size[0]):
            for column in range(size[1]):
                for sign in (-9.0, 9.0):
                    changed = picture.clone()
                    changed[0, :, row, column] += sign
                    moved = (network(changed) != plain).any(dim=1)[0]
                    for r, c in moved.nonzero().tolist():
                        read[0][r].add(row)
                        read[1][c].add(column)
    return [
        [(min(p), max(p)) if p else (NO_FIRST, NO_LAST) for p in axis.values()] for axis in read
    ]


@pytest.mark.parametrize("name", NETWORKS)
def test_nan_finds_what_changing_single_pixels_finds(name: str) -> None:
    network = seeded(NETWORKS[name])
    records = [r for r in trace(network, SIZE) if r.name == "end"]
    measured = probe(network, records, SIZE)["end"]
    rows, columns = by_brute_force(network, SIZE)
    assert (list(measured.rows), list(measured.columns)) == (rows, columns)


def test_it_notices_a_field_that_is_one_pixel_off() -> None:
    network = seeded(NETWORKS["chain"])
    record = next(r for r in trace(network, SIZE) if r.name == "end")
    measured = probe(network, [record], SIZE)["end"]
    field = record.receptive_field
    assert disagreement(record, measured) is None
    (branch,) = field.branches
    first, last = branch.columns[1]
    wrong = replace(branch, columns=(branch.columns[0], (first, last - 1), *branch.columns[2:]))
    complaint = disagreement(
        replace(record, receptive_field=replace(field, branches=(wrong,))), measured
    )
    assert complaint == f"column 1 reads {first} to {last}, not {first} to {last - 1}"


def test_it_notices_a_network_that_is_not_what_was_traced() -> None:
    network = seeded(NETWORKS["chain"])
    records = [r for r in trace(network, SIZE) if r.name == "end"]
    network.chain[0].dilation = (1, 2)
    network.chain[0].padding = (0, 1)
    complaint = disagreement(records[0], probe(network, records, SIZE)["end"])
    assert complaint is not None
    assert complaint.startswith("column 0 reads ")


def test_a_layer_without_a_field_cannot_disagree() -> None:
    network = seeded(NETWORKS["chain"])
    record = trace(network, SIZE)[0]
    measured = probe(network, [record], SIZE)[record.label]
    assert disagreement(replace(record, receptive_field=None), measured) is None


def test_the_network_is_left_as_it_was_and_may_be_in_any_precision() -> None:
    network = seeded(NETWORKS["chain"]).bfloat16()
    before = [p.clone() for p in network.parameters()]
    records = [r for r in trace(network, SIZE) if r.name == "end"]
    assert disagreement(records[0], probe(network, records, SIZE)["end"]) is None
    assert all(torch.equal(p, q) for p, q in zip(network.parameters(), before, strict=True))
    assert not any(module._forward_hooks for module in network.modules())


def test_weights_that_are_zero_are_read_all_the_same() -> None:
    network = seeded(lambda: chain(conv(3, 4, 3)))
    network.chain[0].weight.data.zero_()
    records = [r for r in trace(network, SIZE) if r.name == "end"]
    assert probe(network, records, SIZE)["end"].rows[0] == (0, 2)


def test_a_network_that_divides_by_its_length_is_not_mistaken_for_global() -> None:
    def run(net: Toy, x: Tensor) -> Tensor:
        x = net.before(x)
        return x / x.norm(dim=1, keepdim=True)

    network = seeded(lambda: Toy(run, before=conv(3, 4, 3, bias=False)))
    records = [r for r in trace(network, SIZE) if r.name == "end"]
    assert disagreement(records[0], probe(network, records, SIZE)["end"]) is None


def test_steps_are_counted_as_they_are_told() -> None:
    network = seeded(NETWORKS["chain"])
    records = [r for r in trace(network, SIZE) if r.name == "end"]
    told: list[None] = []
    probe(network, records, SIZE, on_step=lambda: told.append(None))
    assert len(told) == steps(nn.Identity(), SIZE)
    assert steps(nn.Identity(), (224, 224)) == 2 * 28
