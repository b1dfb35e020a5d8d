"""What `filters` tells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.markup import escape
from rich.table import Table

from cnnviz.checks import Rule
from cnnviz.filters import FilterView, LayerFilters
from cnnviz.networks.catalog import checkpoint_names
from cnnviz.networks.models import LoadedModel
from cnnviz.report.document import SCHEMA_VERSION, finite, statistics_entry, tripped_entries
from cnnviz.report.table import tables


@dataclass(frozen=True)
class FiltersReport:
    """All that is told about filters.

    Attributes:
        model: What the user typed for the network.
        weights: The checkpoints.
        views: What was shown, one per layer.
        outputs: The files written, per layer: the picture, and the animation where there is one.
        skipped: Why layers that were asked for have no filters.
        rules: The rules to check.
    """

    model: LoadedModel
    weights: Sequence[str]
    views: Sequence[FilterView]
    outputs: Sequence[Sequence[Path]]
    skipped: Mapping[str, str]
    rules: Sequence[Rule]

    @property
    def tripped(self) -> list[tuple[str, str, str]]:
        """(rule, layer, complaint) for each rule that a layer breaks."""
        return [
            (str(rule), self._label(layer), complaint)
            for view in self.views
            for layer in view.layers
            for rule in self.rules
            if (complaint := rule.complaint(layer.diagnosis.health))
        ]

    def _label(self, layer: LayerFilters) -> str:
        return layer.name if len(self.weights) == 1 else f"{layer.name} in {layer.weights}"

    def document(self) -> dict[str, object]:
        """Return the JSON document: one entry per layer and checkpoint."""
        return {
            "schema_version": SCHEMA_VERSION,
            "command": "filters",
            "model": self.model.name,
            "weights": self.weights[0] if len(self.weights) == 1 else list(self.weights),
            **self.model.asked,
            "layers": [
                _entry(view, layer, outputs)
                for view, outputs in zip(self.views, self.outputs, strict=True)
                for layer in view.layers
            ],
            "skipped": [{"name": name, "reason": reason} for name, reason in self.skipped.items()],
            "tripped": tripped_entries(self.tripped),
        }

    def tables(self) -> list[Table]:
        """Return one row per layer and checkpoint, with fewer columns for narrow terminals."""
        names = checkpoint_names(self.weights)
        rows = [
            {
                "layer": escape(layer.name),
                **({"weights": escape(name)} if len(names) > 1 else {}),
                **_cells(layer),
                "file": escape(outputs[0].as_posix()),
            }
            for view, outputs in zip(self.views, self.outputs, strict=True)
            for name, layer in zip(names, view.layers, strict=True)
        ]
        return tables(rows, ("file", "type", "≈ 0", "alike"))

    def notes(self) -> list[str]:
        """Return what else is to be said: layers that have no filters."""
        reasons: dict[str, list[str]] = {}
        for name, reason in self.skipped.items():
            reasons.setdefault(reason, []).append(name or "the network")
        return [
            f"skipped {', '.join(names[:4])}{f' and {len(names) - 4} more' * (len(names) > 4)}: "
            f"{reason}"
            for reason, names in reasons.items()
        ]


def _cells(layer: LayerFilters) -> dict[str, str]:
    found = layer.diagnosis
    norms = found.finite_norms
    broken = found.values.nan + found.values.infinite
    dead = f"{len(found.dead)}/{len(found.norms)}"
    return {
        "type": escape(layer.type),
        "weight": "×".join(map(str, layer.weight_shape)),
        "norms": f"{norms.min():.2g} – {norms.max():.2g}" if len(norms) else "–",
        "≈ 0": f"[red]{broken} NaN[/red]" if broken else f"{found.near_zero:.0%}",
        "dead": f"[red]{dead}[/red]" if found.dead else dead,
        "alike": str(found.duplicates),
        "noise": "–" if found.noise is None else f"{found.noise:.2f}",
    }


def _entry(view: FilterView, layer: LayerFilters, outputs: Sequence[Path]) -> dict[str, object]:
    found = layer.diagnosis
    norms = found.finite_norms
    return {
        "name": layer.name,
        "type": layer.type,
        "weights": layer.weights,
        "weight_shape": list(layer.weight_shape),
        "groups": layer.groups,
        "stats": {
            **statistics_entry(found.values),
            "norm_min": float(norms.min()) if len(norms) else None,
            "norm_median": float(np.median(norms)) if len(norms) else None,
            "norm_max": float(norms.max()) if len(norms) else None,
            "near_zero_fraction": found.near_zero,
            "dead_filters": len(found.dead),
            "near_duplicates": found.duplicates,
            "noise": found.noise,
        },
        "dead": list(found.dead),
        "duplicates": [[i, j, round(cosine, 4)] for i, j, cosine in found.pairs],
        "filters": [
            {
                "channel": number,
                "norm": finite(float(found.norms[number])),
                "noise": finite(float(found.noises[number])),
                **_peak(view, layer, i),
            }
            for i, number in enumerate(view.numbers)
        ],
        "output": outputs[0].as_posix(),
        **({"frames": outputs[1].as_posix()} if len(outputs) > 1 else {}),
    }


def _peak(view: FilterView, layer: LayerFilters, i: int) -> dict[str, object]:
    """Return frequency and orientation, which are known of the last checkpoint."""
    if layer is not view.last:
        return {}
    return {
        "frequency": finite(float(view.frequencies[i])),
        "orientation": finite(float(view.orientations[i])),
    }
