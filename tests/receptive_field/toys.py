"""Toy networks, and the question that is asked of all of them."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from cnnviz.receptive_field.probe import Measured, disagreement, probe
from cnnviz.records import LayerRecord
from cnnviz.tracer import trace


class ConvEnd(nn.Identity):
    """Gives back what it is given; by its name, the tracer knows that these are maps."""


class Toy(nn.Module):
    """A forward pass written as a function of the network and its input."""

    def __init__(self, run: Callable[["Toy", Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self._run = run
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.end = ConvEnd()

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self._run(self, x))


def chain(*layers: nn.Module) -> Toy:
    return Toy(lambda net, x: net.chain(x), chain=nn.Sequential(*layers))


def conv(inputs: int, outputs: int, kernel: int | tuple[int, int], **options: object) -> nn.Module:
    return nn.Conv2d(inputs, outputs, kernel, **options)  # type: ignore[arg-type]


def compared(network: nn.Module, size: tuple[int, int]) -> dict[str, LayerRecord]:
    """Hold algebra against probe for every unit of every map; return the records by label."""
    records = trace(network.eval(), size)
    maps = [r for r in records if r.grid and r.name]
    measured = probe(network, maps, size)
    for record in maps:
        if record.receptive_field is not None:
            complaint = disagreement(record, measured[record.label])
            assert complaint is None, f"{record.label} of {size}: {complaint}"
            whole = is_whole(measured[record.label], size)
            # The hull of a local span and of what is seen besides may reach from end to end too.
            local = all(b.besides == (None, None) for b in record.receptive_field.branches)
            if local or not whole:
                assert record.receptive_field.is_global == whole
    return {record.label: record for record in records}


def is_whole(measured: Measured, size: tuple[int, int]) -> bool:
    """Whether some unit was seen to read the first and the last row and column."""
    return all(
        any(first == 0 and last == side - 1 for first, last in pairs)
        for pairs, side in zip((measured.rows, measured.columns), size, strict=True)
    )


def field_of(network: nn.Module, size: tuple[int, int] = (24, 24)) -> LayerRecord:
    """Return the record of the last layer but the network itself, and see that it has a field."""
    record = trace(network.eval(), size)[-2]
    assert record.receptive_field is not None, record.reason
    return record


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make().eval()


SIZES: Sequence[tuple[int, int]] = ((17, 23), (24, 16), (20, 20))
