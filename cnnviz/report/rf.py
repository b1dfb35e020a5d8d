"""What `rf` tells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from cnnviz.catalog import checkpoint_names
from cnnviz.models import LoadedModel
from cnnviz.receptive_field.effective import SHARES
from cnnviz.report.document import SCHEMA_VERSION, field_texts
from cnnviz.report.layers import layer_entry
from cnnviz.rf import Unit
from cnnviz.tracer import LayerRecord


@dataclass(frozen=True)
class FieldsReport:
    """All that is told about receptive fields.

    Attributes:
        model: The network.
        units: One per layer that has a field.
        unknown: Layers whose field is not known.
        outputs: The files written.
        complaints: Where a measurement differed from what was computed, by layer.
        weights: The checkpoint of each unit, where several were compared; empty otherwise.
    """

    model: LoadedModel
    units: Sequence[Unit]
    unknown: Sequence[LayerRecord]
    outputs: Sequence[Path]
    complaints: Mapping[str, str]
    weights: Sequence[str] = ()

    def document(self) -> dict[str, object]:
        """Return the JSON document."""
        size = self.model.preprocess.input_size
        return {
            "schema_version": SCHEMA_VERSION,
            "command": "rf",
            "model": self.model.name,
            "weights": list(dict.fromkeys(self.weights)) or self.model.weights,
            "input_shape": [1, 3, *size],
            "layers": [
                *(
                    {**layer_entry(unit.record), **self._weights_of(i), **unit_entry(unit, size)}
                    for i, unit in enumerate(self.units)
                ),
                *(layer_entry(record) for record in self.unknown),
            ],
            "outputs": [path.as_posix() for path in self.outputs],
        }

    def _weights_of(self, i: int) -> dict[str, object]:
        return {"weights": self.weights[i]} if self.weights else {}

    def table(self) -> Table:
        """Return one row per layer: its field, and what its unit really reads."""
        table = Table(box=None, header_style="bold", pad_edge=False)
        table.add_column("layer", style="cyan", overflow="fold")
        if self.weights:
            table.add_column("weights", overflow="fold")
        names = ["field", "stride", "unit", "reads x", "reads y", "of input"]
        measured = any(unit.effective for unit in self.units)
        names += ["50 %", "95 %"] if measured else []
        for name in names:
            table.add_column(name, justify="right", no_wrap=True)
        short = checkpoint_names(self.weights)
        for i, unit in enumerate(self.units):
            label, *cells = _row(unit, self.model.preprocess.input_size, measured)
            table.add_row(label, *map(escape, short[i : i + 1]), *cells)
        return table


def _row(unit: Unit, input_size: tuple[int, int], measured: bool) -> list[str]:
    x0, y0, x1, y1 = unit.box
    share = (x1 - x0) * (y1 - y0) / (input_size[0] * input_size[1])
    cells = [
        escape(unit.record.label),
        *field_texts(unit.field),
        f"{unit.at[0]},{unit.at[1]}",
        f"{x0}-{x1 - 1}" if x1 else "nothing",
        f"{y0}-{y1 - 1}" if y1 else "nothing",
        f"{share:.1%}" if share < 0.1 else f"{share:.0%}",
    ]
    if measured and unit.effective is not None:
        sides = [unit.effective.mass_side(share) for share in SHARES]
        cells += ["no gradient" if side is None else str(side) for side in sides]
    return cells


def unit_entry(unit: Unit, input_size: tuple[int, int]) -> Mapping[str, object]:
    """Return what the document of `rf` adds to the entry of a layer."""
    x0, y0, x1, y1 = unit.box
    coverage = (x1 - x0) * (y1 - y0) / (input_size[0] * input_size[1])
    entry: dict[str, object] = {
        "unit": {"at": list(unit.at), "box": [x0, y0, x1, y1], "coverage": coverage}
    }
    if unit.effective is not None:
        sides = {f"{share:g}": unit.effective.mass_side(share) for share in SHARES}
        largest = sides[f"{SHARES[-1]:g}"]
        area = None if largest is None else largest**2 / (unit.field.size[0] * unit.field.size[1])
        entry["effective"] = {"mass_box": sides, "area_fraction": area}
    if unit.verified is not None:
        entry["verified"] = unit.verified
    return entry
