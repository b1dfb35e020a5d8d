"""What `rf` tells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from cnnviz.networks.catalog import checkpoint_names
from cnnviz.networks.models import LoadedModel
from cnnviz.receptive_field.effective import SHARES
from cnnviz.records import LayerRecord
from cnnviz.report.document import SCHEMA_VERSION, preprocess_entry
from cnnviz.report.layers import layer_entry
from cnnviz.report.table import field_texts, tables
from cnnviz.rf import Unit


@dataclass(frozen=True)
class FieldsReport:
    """All that is told about receptive fields.

    Attributes:
        models: The network with each of its weights.
        snapshots: With each of them, one unit per layer that has a field.
        unknown: Layers whose field is not known.
        outputs: The files written.
        complaints: Where a measurement differed from what was computed, by layer.
    """

    models: Sequence[LoadedModel]
    snapshots: Sequence[Sequence[Unit]]
    unknown: Sequence[LayerRecord]
    outputs: Sequence[Path]
    complaints: Mapping[str, str]

    @property
    def model(self) -> LoadedModel:
        """The network, with the last of its weights."""
        return self.models[-1]

    @property
    def _weights(self) -> list[str]:
        return [model.weights for model in self.models]

    def _units(self, names: Sequence[str]) -> list[tuple[Unit, dict[str, str]]]:
        """Return units with their checkpoint, those of a layer together; nothing of a single one.

        Args:
            names: Of the checkpoints.
        """
        several = len(names) > 1
        return [
            (unit, {"weights": name} if several else {})
            for same in zip(*self.snapshots, strict=True)
            for unit, name in zip(same, names, strict=True)
        ]

    def document(self) -> dict[str, object]:
        """Return the JSON document."""
        size = self.model.preprocess.input_size
        return {
            "schema_version": SCHEMA_VERSION,
            "command": "rf",
            "model": self.model.name,
            "weights": self._weights if len(self.models) > 1 else self.model.weights,
            **self.model.asked,
            "input_shape": [1, self.model.preprocess.channels, *size],
            "preprocess": preprocess_entry(self.model.preprocess),
            "layers": [
                *(
                    {**layer_entry(unit.record), **weights, **unit_entry(unit, size)}
                    for unit, weights in self._units(self._weights)
                ),
                *(layer_entry(record) for record in self.unknown),
            ],
            "outputs": [path.as_posix() for path in self.outputs],
        }

    def tables(self) -> list[Table]:
        """Return one row per layer: its field, and what its unit really reads."""
        names = [escape(name) for name in checkpoint_names(self._weights)]
        rows = [
            {
                "layer": escape(unit.record.label),
                **weights,
                **_cells(unit, self.model.preprocess.input_size),
            }
            for unit, weights in self._units(names)
        ]
        return tables(rows, ("reads y", "reads x", "unit", "stride"))


def _cells(unit: Unit, input_size: tuple[int, int]) -> dict[str, str]:
    x0, y0, x1, y1 = unit.box
    share = _coverage(unit, input_size)
    size, stride = field_texts(unit.field)
    cells = {
        "field": size,
        "stride": stride,
        "unit": f"{unit.at[0]},{unit.at[1]}",
        "reads x": f"{x0}-{x1 - 1}" if x1 else "nothing",
        "reads y": f"{y0}-{y1 - 1}" if y1 else "nothing",
        "of input": f"{share:.1%}" if share < 0.1 else f"{share:.0%}",
    }
    if unit.effective is not None:
        for mass in SHARES:
            side = unit.effective.mass_side(mass)
            cells[f"{mass:.0%}".replace("%", " %")] = "no gradient" if side is None else str(side)
    return cells


def _coverage(unit: Unit, input_size: tuple[int, int]) -> float:
    """Return the share of the input that a unit reads."""
    x0, y0, x1, y1 = unit.box
    return (x1 - x0) * (y1 - y0) / (input_size[0] * input_size[1])


def unit_entry(unit: Unit, input_size: tuple[int, int]) -> Mapping[str, object]:
    """Return what the document of `rf` adds to the entry of a layer."""
    entry: dict[str, object] = {
        "unit": {
            "at": list(unit.at),
            "box": list(unit.box),
            "coverage": _coverage(unit, input_size),
        }
    }
    if unit.effective is not None:
        sides = {f"{share:g}": unit.effective.mass_side(share) for share in SHARES}
        largest = sides[f"{SHARES[-1]:g}"]
        area = None if largest is None else largest**2 / (unit.field.size[0] * unit.field.size[1])
        entry["effective"] = {"mass_box": sides, "area_fraction": area}
    if unit.verified is not None:
        entry["verified"] = unit.verified
    return entry
