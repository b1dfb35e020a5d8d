"""What `maximize` tells."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from cnnviz.ascent.run import Maximized, Settings
from cnnviz.networks.models import LoadedModel
from cnnviz.records import LayerRecord
from cnnviz.render import text
from cnnviz.report.document import SCHEMA_VERSION, preprocess_entry
from cnnviz.report.table import tables


@dataclass(frozen=True)
class MaximizeReport:
    """All that is told about maximised units.

    Attributes:
        model: The network.
        settings: How they were maximised.
        results: The units, by layer, each with its file.
        skipped: Layers without channels.
        outputs: The files with several units.
        interrupted: Whether units are missing because the run was interrupted.
    """

    model: LoadedModel
    settings: Settings
    results: Sequence[tuple[Maximized, Path]]
    skipped: Sequence[LayerRecord]
    outputs: Sequence[Path]
    interrupted: bool = False

    @property
    def failed(self) -> bool:
        """Whether no unit at all ended higher than it started."""
        return not any(_rose(result) for result, _ in self.results)

    def document(self) -> dict[str, object]:
        """Return the JSON document."""
        return {
            "schema_version": SCHEMA_VERSION,
            "command": "maximize",
            **self.model.about,
            "preprocess": preprocess_entry(self.model.preprocess),
            "seed": self.settings.seed,
            "units": [_entry(result, path) for result, path in self.results],
            "skipped": [{"layer": r.label, "reason": r.layout.reason} for r in self.skipped],
            "outputs": [path.as_posix() for path in self.outputs],
            "interrupted": self.interrupted,
        }

    def tables(self) -> list[Table]:
        """Return one row per unit, with fewer columns for narrow terminals."""
        rows = [
            {
                "layer": escape(result.unit.record.label),
                "unit": escape(self._unit(result)),
                "size": _size_text(result.unit.size),
                "steps": str(result.steps),
                "start": _score(result.start),
                "final": _score(result.final),
            }
            for result, _ in self.results
        ]
        return tables(rows, ("steps", "size", "start"))

    def _unit(self, result: Maximized) -> str:
        unit = result.unit
        if unit.class_number is None:
            return unit.name
        return " ".join(filter(None, (unit.name, self.model.class_name(unit.class_number))))

    def notes(self) -> list[str]:
        """Return what did not go as usual, one line per unit."""
        return [f"{r.unit.objective.text}: {r.note}" for r, _ in self.results if r.note]


def _rose(result: Maximized) -> bool:
    return result.start is not None and result.final is not None and result.final > result.start


def _size_text(size: tuple[int, int]) -> str:
    return str(size[0]) if size[0] == size[1] else f"{size[0]}×{size[1]}"


def _score(score: float | None) -> str:
    # The minus sign of pictures is another one than that of the other tables.
    return "NaN" if score is None else text.number(score).replace("−", "-")


def _entry(result: Maximized, path: Path) -> dict[str, object]:
    unit = result.unit
    rows, columns = unit.size
    return {
        "layer": unit.record.name,
        "call": unit.record.call,
        "channel": unit.channel,
        "objective": unit.goal,
        "size": rows if rows == columns else [rows, columns],
        "steps": result.steps,
        "start": result.start,
        "final": result.final,
        "output": path.as_posix(),
        "note": result.note,
    }
