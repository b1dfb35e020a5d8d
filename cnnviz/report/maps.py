"""What `maps` tells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from cnnviz.checks import Change, Health, Rule
from cnnviz.files import write_atomically
from cnnviz.maps import LayerPlan, Skipped
from cnnviz.networks.catalog import checkpoint_names
from cnnviz.networks.feeding import Form, form_of
from cnnviz.networks.models import LoadedModel
from cnnviz.photos.images import shown
from cnnviz.reference import Reference, tell_photos
from cnnviz.report.document import (
    SCHEMA_VERSION,
    field_entry,
    finite,
    preprocess_entry,
    statistics_entry,
    to_json,
    tripped_entries,
)
from cnnviz.report.table import field_texts, tables
from cnnviz.runs.tally import RunResult
from cnnviz.statistics import GradientNorms, Statistics
from cnnviz.symptoms import input_symptoms, symptoms
from cnnviz.top_pictures import TopChannel

_COLUMNS = (
    "layer", "weights", "shape", "field", "stride", "min", "mean", "max", "std", "zeros", "dead",
    "sat.", "grad.", "look", "file",
)  # fmt: skip


@dataclass(frozen=True)
class MapsReport:
    """All that is told about a run of `maps`.

    Attributes:
        model: The network.
        plans: The layers that were looked at.
        skipped: Layers that were asked for and cannot be shown.
        result: What became of the photos.
        settings: What the run was given.
        rules: The rules to check.
        out: The output folder.
        earlier: The network with other weights, where several were compared.
        reference: An earlier run, where a rule compares with one.
        top: What excites channels most, where that was asked for.
    """

    model: LoadedModel
    plans: Sequence[LayerPlan]
    skipped: Sequence[Skipped]
    result: RunResult
    settings: Mapping[str, object]
    rules: Sequence[Rule]
    out: Path
    earlier: Sequence[LoadedModel] = ()
    reference: Reference | None = None
    top: Sequence[TopChannel] = ()

    @property
    def _weights(self) -> list[str]:
        return [model.weights for model in (*self.earlier, self.model)]

    @property
    def _layers(self) -> list[tuple[LayerPlan, str, Statistics | None]]:
        """(plan, weights, statistics), the checkpoints of a layer together."""
        nothing = [None] * len(self.plans) * len(self._weights)
        found: Sequence[Statistics | None] = self.result.statistics or nothing
        return [
            (plan, weights, found[checkpoint * len(self.plans) + i])
            for i, plan in enumerate(self.plans)
            for checkpoint, weights in enumerate(self._weights)
        ]

    def _label(self, plan: LayerPlan, weights: str) -> str:
        return f"{plan.record.label} in {weights}" if self.earlier else plan.record.label

    @property
    def failed(self) -> int:
        """How many photos failed."""
        return len(self._failed)

    @property
    def _failed(self) -> list[str]:
        return [outcome.source.key for outcome in self.result.outcomes if outcome.error]

    @property
    def checks(self) -> list[tuple[str, str, str | None]]:
        """(rule, layer, complaint) for each rule and layer; None where the layer keeps the rule."""
        found = [
            (str(rule), name, rule.complaint(health))
            for name, health in self._healths
            for rule in self.rules
        ]
        changes = [rule for rule in self.rules if rule.name == "change"]
        if self.reference and self.result.input:
            entry = self._input() or {}
            change = self.reference.change_of_input(entry, self._failed)
            health = replace(self.result.input.health, change=change)
            gone = self.reference.missing(plan.record.label for plan in self.plans)
            found = [
                *((str(rule), "input", rule.complaint(health)) for rule in changes),
                *found,
                *(
                    (str(rule), name, f"was not looked at, and is in {rule.reference}")
                    for rule in changes
                    for name in gone
                ),
            ]
        return found

    @property
    def _healths(self) -> list[tuple[str, Health]]:
        """(layer, what the rules look at), of each layer that was measured."""
        return [
            (
                self._label(plan, weights),
                replace(found.health, change=self._change(plan, weights, found)),
            )
            for plan, weights, found in self._layers
            if found
        ]

    def _change(self, plan: LayerPlan, weights: str, found: Statistics) -> Change | None:
        if self.reference is None:
            return None
        return self.reference.change(plan.record.label, _layer(plan, weights, found))

    @property
    def tripped(self) -> list[tuple[str, str, str]]:
        """(rule, layer, complaint) for each rule that a layer breaks."""
        return [(rule, name, complaint) for rule, name, complaint in self.checks if complaint]

    def tripped_table(self) -> Table:
        """Return one row per rule that a layer breaks."""
        titles = ("tripped", "layer", "reason")
        rows = [dict(zip(titles, map(escape, row), strict=True)) for row in self.tripped]
        return tables(rows)[0]

    def document(self) -> dict[str, object]:
        """Return the run as the JSON document of `maps` and `manifest.json`."""
        preprocess = self.model.preprocess
        return {
            "schema_version": SCHEMA_VERSION,
            "command": "maps",
            "model": self.model.name,
            "weights": self._weights if self.earlier else self.model.weights,
            **self.model.asked,
            "input_shape": [1, preprocess.channels, *preprocess.input_size],
            "preprocess": preprocess_entry(preprocess),
            "settings": self.settings,
            "photos": tell_photos((o.source.key for o in self.result.outcomes), self._failed),
            "input": self._input(),
            "layers": [_layer(*layer) for layer in self._layers],
            "skipped": [
                {"name": s.record.name, "call": s.record.call, "reason": s.reason}
                for s in self.skipped
            ],
            "images": [
                {
                    "path": str(outcome.source.path),
                    "outputs": [path.as_posix() for path in outcome.outputs],
                    "error": outcome.error,
                }
                for outcome in self.result.outcomes
            ],
            **({"top_images": [_top_channel(one) for one in self.top]} if self.top else {}),
            "failed": self.failed,
            "tripped": tripped_entries(self.tripped),
        }

    def write_manifest(self) -> None:
        """Write `manifest.json` into the output folder.

        Raises:
            OutputError: If it cannot be written.
        """
        write_atomically(self.out / "manifest.json", to_json(self.document()).encode())

    def summary(self) -> str:
        """Return how much was done, in one line."""
        outcomes = self.result.outcomes
        pictures = sum(len(outcome.outputs) for outcome in outcomes)
        failed = f", {self.failed} of {len(outcomes)} photos failed" if self.failed else ""
        place = f": {shown(self._folder / '<layer>.png')}" if pictures else ""
        return f"{pictures} files in {self.out}{place}{failed}"

    def top_summary(self) -> str:
        """Return where the pictures of what excites channels are, in one line."""
        layers = {channel.plan.record.label for channel in self.top}
        place = (self.out / "top" / "<layer>").as_posix()
        without = [plan.record.label for plan in self.plans if plan.record.label not in layers]
        but = f"; not of {', '.join(without)}: no known places" if without else ""
        channels = "1 channel" if len(self.top) == 1 else f"{len(self.top)} channels"
        of = "1 layer" if len(layers) == 1 else f"{len(layers)} layers"
        return f"{channels} of {of}: {place}/<channel>.png{but}"

    def tables(self) -> list[Table]:
        """Return one row per layer, with fewer and fewer columns for narrow terminals."""
        names = dict(zip(self._weights, checkpoint_names(self._weights), strict=True))
        rows = [self._input_row(self.result.input)] if self.result.input else []
        rows += [
            {
                "layer": escape(plan.record.label),
                **({"weights": escape(names[weights])} if self.earlier else {}),
                **_row(plan, found),
                "look": ", ".join(symptoms(found.health)),
                "file": escape(shown(self._folder / plan.file_name)),
            }
            for plan, weights, found in self._layers
            if found
        ]
        # A column that says nothing is left out.
        titles = [title for title in _COLUMNS if any(row.get(title) for row in rows)]
        cells = [{title: row.get(title, "") for title in titles} for row in rows]
        return tables(cells, ("file", "stride", "field", "std", "min", "max", "shape"))

    def _input_row(self, found: Statistics) -> dict[str, str]:
        preprocess = self.model.preprocess
        return {
            "layer": "input",
            "shape": "×".join(map(str, (preprocess.channels, *preprocess.input_size))),
            **_values(found),
            "look": ", ".join(self._input_look(found)),
        }

    def _input(self) -> dict[str, object] | None:
        found = self.result.input
        if found is None:
            return None
        return {"stats": statistics_entry(found), "look": self._input_look(found)}

    def _input_look(self, found: Statistics) -> list[str]:
        raw = form_of(self.model.module) is Form.LIST
        return input_symptoms(found.health, found.mean, found.std, raw=raw)

    @property
    def _folder(self) -> Path:
        """Where a photo's pictures are, with a star for the photo where there are many."""
        keys = [o.source.key for o in self.result.outcomes if o.outputs]
        return self.out / (keys[0] if len(keys) == 1 else "*")


def _layer(plan: LayerPlan, weights: str, found: Statistics | None) -> dict[str, object]:
    record = plan.record
    return {
        "name": record.name,
        "call": record.call,
        "type": record.type,
        "weights": weights,
        "output_shape": list(record.output_shape),
        "receptive_field": field_entry(record.receptive_field),
        "stats": None if found is None else _stats(found),
        "gradient": _gradient(found.gradient) if found and found.gradient else None,
        "look": [] if found is None else symptoms(found.health),
    }


def _gradient(found: GradientNorms) -> dict[str, object]:
    return {"norm": finite(found.norm), "relative": finite(found.relative)}


def _top_channel(found: TopChannel) -> dict[str, object]:
    record = found.plan.record
    return {
        "layer": record.name,
        "call": record.call,
        "channel": found.channel,
        "images": [
            {
                "path": str(patch.source.path),
                "at": list(patch.at),
                "score": finite(patch.score),
                "box": list(patch.box),
                "photo_box": patch.photo_box and list(patch.photo_box),
            }
            for patch in found.patches
        ],
        "output": found.output.as_posix(),
    }


def _stats(found: Statistics) -> dict[str, object]:
    shares = {f"{bound:g}": share for bound, share in found.bound_fractions.items()}
    return {
        **statistics_entry(found),
        "dead_channels": found.dead_channels,
        "saturated_fraction": found.saturated_fraction,
        "bound_fractions": shares,
    }


def _row(plan: LayerPlan, found: Statistics) -> dict[str, str]:
    dead = f"{found.dead_channels}/{len(found.low)}"
    field, stride = field_texts(plan.record.receptive_field)
    return {
        "shape": "×".join(map(str, plan.record.output_shape[1:])),
        "field": field,
        "stride": stride,
        **_values(found),
        "dead": f"[red]{dead}[/red]" if found.dead_channels else dead,
        "grad.": f"{found.gradient.relative:.2g}" if found.gradient else "",
        "sat.": "" if found.saturated_fraction is None else f"{found.saturated_fraction:.0%}",
    }


def _values(found: Statistics) -> dict[str, str]:
    broken = found.nan + found.infinite
    return {
        "min": f"{found.min:.3g}",
        "mean": f"{found.mean:.3g}",
        "max": f"{found.max:.3g}",
        "std": f"{found.std:.3g}",
        "zeros": f"[red]{broken} NaN[/red]" if broken else f"{found.zero_fraction:.0%}",
    }
