"""What `layers` tells."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

from cnnviz.errors import UnknownNameError
from cnnviz.networks.feeding import frame_count
from cnnviz.networks.models import LoadedModel
from cnnviz.records import LayerRecord
from cnnviz.report.document import SCHEMA_VERSION, field_entry
from cnnviz.report.table import field_texts, tables

Cell = str | int | float | bool | None


@dataclass(frozen=True)
class Column:
    """One column of the table.

    Attributes:
        title: What stands above it.
        text: A record's cell for people.
        value: A record's cell for programs.
    """

    title: str
    text: Callable[[LayerRecord], str]
    value: Callable[[LayerRecord], Cell]


def _shape(record: LayerRecord) -> str:
    return "×".join(map(str, record.output_shape[1:]))


def _part(record: LayerRecord, name: str) -> Cell:
    entry = field_entry(record.receptive_field)
    value = entry and entry[name]
    return "x".join(map(str, value)) if isinstance(value, list) else value  # type: ignore[return-value]


def _frames(record: LayerRecord) -> str:
    """Return how many frames a unit reads, and how many it is to the next unit; empty for none."""
    time = record.receptive_field and record.receptive_field.time
    return f"{time.size}/{time.stride}" if time else ""


def _short(count: int) -> str:
    """Return a count in at most six characters."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            # 999.6 would be written 1e+03.
            digits = 3 if count < 999.5 * size else 4
            return f"{count / size:.{digits}g} {unit}"
    return str(count) if count else "–"


COLUMNS: dict[str, Column] = {
    "name": Column("layer", lambda r: escape(r.label), lambda r: r.label),
    "type": Column("type", lambda r: escape(r.type), lambda r: r.type),
    "shape": Column("output", _shape, lambda r: "x".join(map(str, r.output_shape))),
    "params": Column("params", lambda r: f"{r.params:,}" if r.params else "–", lambda r: r.params),
    "macs": Column("mult-adds", lambda r: _short(r.macs), lambda r: r.macs),
    "field": Column(
        "field", lambda r: field_texts(r.receptive_field)[0], lambda r: _part(r, "size")
    ),
    "stride": Column(
        "stride", lambda r: field_texts(r.receptive_field)[1], lambda r: _part(r, "stride")
    ),
    "time": Column("frames", lambda r: _frames(r), lambda r: _frames(r) or None),
    "start": Column("start", lambda r: str(_part(r, "start") or "–"), lambda r: _part(r, "start")),
    "global": Column(
        "global", lambda r: "yes" if _part(r, "global") else "", lambda r: _part(r, "global")
    ),
    "reason": Column("reason", lambda r: escape(r.reason or ""), lambda r: r.reason),
}
DEFAULT_COLUMNS = ("name", "type", "shape", "params", "macs", "field", "stride")


def parse_columns(text: str | None) -> tuple[str, ...]:
    """Return the names of the wanted columns from a list with commas; None for the usual ones.

    Raises:
        UnknownNameError: If there is no such column.
    """
    names = [part.strip() for part in (text or "").split(",") if part.strip()]
    for name in names:
        if name not in COLUMNS:
            raise UnknownNameError("column", name, list(COLUMNS))
    return tuple(names) or DEFAULT_COLUMNS


@dataclass(frozen=True)
class LayersReport:
    """All that is told about the layers of a network.

    Attributes:
        model: The network.
        records: Every record of the trace, the whole network's last.
        chosen: The records that are listed.
    """

    model: LoadedModel
    records: Sequence[LayerRecord]
    chosen: Sequence[LayerRecord]

    @property
    def never_ran(self) -> list[str]:
        """Names of modules without children that the forward pass did not call."""
        ran = {record.name for record in self.records}
        inside = {name.rpartition(".")[0] for name in ran}
        return [
            name
            for name, module in self.model.module.named_modules()
            if name not in ran
            and not any(module.children())
            # What is used without being called, as in attention, is part of its parent.
            and not self._is_part(name, ran - inside)
        ]

    def _is_part(self, name: str, leaves: set[str]) -> bool:
        parents = name.split(".")[:-1]
        return any(".".join(parents[: i + 1]) in leaves for i in range(len(parents)))

    def document(self) -> dict[str, object]:
        """Return the JSON document."""
        rows, columns = self.model.preprocess.input_size
        whole = self.records[-1]
        return {
            "schema_version": SCHEMA_VERSION,
            "command": "layers",
            "model": self.model.name,
            **self.model.asked,
            "input_shape": [1, self.model.preprocess.channels, rows, columns],
            "frames": frame_count(self.model.module),
            "totals": {"params": whole.params, "macs": whole.macs},
            "layers": [layer_entry(record) for record in self.chosen],
            "never_ran": self.never_ran,
        }

    def csv(self, columns: Sequence[str]) -> str:
        """Return one line per layer, and one with the columns' names before them."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        for record in self.chosen:
            writer.writerow([COLUMNS[name].value(record) for name in columns])
        return text.getvalue()

    def tables(self, columns: Sequence[str]) -> list[Table]:
        """Return one row per layer, with fewer of the usual columns for narrow terminals."""
        usual = tuple(columns) == DEFAULT_COLUMNS
        clips = usual and any(_frames(record) for record in self.chosen)
        shown = [COLUMNS[name] for name in (*columns, *(("time",) if clips else ()))]
        rows = [{column.title: column.text(record) for column in shown} for record in self.chosen]
        # Columns that were asked for stay, however narrow the terminal is.
        spare = ("mult-adds", "params", "type", "frames", "stride")
        return tables(rows, spare if usual else ())

    def totals(self) -> str:
        """Return the line below the table."""
        whole = self.records[-1]
        rows, columns = self.model.preprocess.input_size
        return (
            f"{self.model.name}: {whole.params:,} parameters, {whole.macs:,} multiply-adds "
            f"for an input of 1×{self.model.preprocess.channels}×{rows}×{columns}{self._frames()}"
        )

    def _frames(self) -> str:
        count = frame_count(self.model.module)
        return f" in {count} frames" if count > 1 else ""

    def notes(self) -> list[str]:
        """Return what else is to be said: fields that are unknown, and modules that never ran."""
        unknown: dict[str, list[str]] = {}
        for record in self.chosen:
            if record.reason and not record.reason.startswith("the output"):
                unknown.setdefault(record.reason, []).append(record.label)
        notes = [
            f"field unknown for {len(labels)} layers from {labels[0]} on: {reason}"
            for reason, labels in unknown.items()
        ]
        if self.never_ran:
            notes.append(f"never ran: {', '.join(self.never_ran)}")
        return notes


def layer_entry(record: LayerRecord) -> dict[str, object]:
    """Return a record as the documents of `layers` and `rf` have it."""
    return {
        "name": record.name,
        "call": record.call,
        "type": record.type,
        "output_shape": list(record.output_shape),
        "params": record.params,
        "macs": record.macs,
        "receptive_field": field_entry(record.receptive_field),
        "reason": record.reason,
    }
