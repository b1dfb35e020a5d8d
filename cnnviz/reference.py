"""The statistics of an earlier run, and how far those of this run are from them."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnviz.checks import Change
from cnnviz.errors import InputError
from cnnviz.selection import label

INPUT = "input"
_SHARES = ("zero_fraction", "saturated_fraction")
# Where a layer was the same everywhere, any other value is a change.
_SMALLEST = 1e-12


@dataclass(frozen=True)
class Reference:
    """The layers of an earlier run.

    Attributes:
        path: Where they were read from.
        layers: By label, entries as the JSON document of `maps` has them; its input too.
    """

    path: Path
    layers: Mapping[str, Mapping[str, Any]]

    def change(self, name: str, entry: Mapping[str, Any]) -> Change:
        """Return what changed the most in a layer.

        Mean and standard deviation are compared in units of the deviation there was, smallest and
        largest value in units of the range there was, shares (zeros, units at a bound, dead
        channels) as they are, and the gradient in units of what it was.

        Args:
            name: The layer's label, or `input`.
            entry: Its entry in the document of this run.
        """
        before = self.layers.get(name)
        if before is None:
            return Change(math.inf, f"is not in {self.path}")
        for key in ("output_shape", "type"):
            if before.get(key) != entry.get(key):
                return Change(math.inf, f"{key} was {before.get(key)} and is {entry.get(key)}")
        return max(_changes(before, entry), key=lambda change: change.amount)


def read_reference(path: Path) -> Reference:
    """Return what `--save-reference`, `--json` or the manifest of a run of `maps` holds.

    Raises:
        InputError: If the file cannot be read, or holds nothing of that kind.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        entries = [(label(entry["name"], entry["call"]), entry) for entry in document["layers"]]
        entries.append((INPUT, document["input"]))
        measured = all(entry and entry["stats"] for _, entry in entries)
    except OSError as error:
        why = f"{error.strerror}; --save-reference writes it"
        raise InputError(f"cannot read {path}: {why}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path} is not what --save-reference writes") from error
    if not measured:
        raise InputError(f"{path} has no statistics: no photo of that run could be read")
    if len(dict(entries)) < len(entries):
        raise InputError(f"{path} is of several checkpoints; --fail-on change takes one")
    return Reference(path, dict(entries))


def reference_document(document: Mapping[str, object]) -> dict[str, object]:
    """Return what is kept of the document of `maps` to compare later runs with."""
    left_out = ("images", "skipped", "failed", "tripped", "top_images")
    return {key: value for key, value in document.items() if key not in left_out}


def _numbers(entry: Mapping[str, Any]) -> dict[str, float]:
    stats = entry["stats"]
    channels = (entry.get("output_shape") or [1, 3])[1]
    gradient = entry.get("gradient") or {}
    return {
        **{key: _number(stats[key]) for key in ("min", "max", "mean", "std")},
        **{key: float(stats[key]) for key in _SHARES if stats.get(key) is not None},
        "dead channels": stats.get("dead_channels", 0) / channels,
        "NaN or infinite values": float(stats["nan"] + stats["infinite"]),
        **({"gradient": _number(gradient["relative"])} if gradient else {}),
    }


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _changes(before: Mapping[str, Any], entry: Mapping[str, Any]) -> list[Change]:
    old, new = _numbers(before), _numbers(entry)
    extent = max(old["max"] - old["min"], _SMALLEST)
    deviation = max(old["std"], _SMALLEST)
    units = {"min": extent, "max": extent, "mean": deviation, "std": deviation}
    units["gradient"] = max(old.get("gradient", 0.0), _SMALLEST)
    found = []
    for key in old.keys() & new.keys():
        amount = abs(new[key] - old[key]) / units.get(key, 1.0)
        if math.isnan(amount):
            # NaN that was there before is no change.
            amount = 0.0 if math.isnan(old[key]) and math.isnan(new[key]) else math.inf
        said = f"{key.replace('_', ' ')} was {old[key]:.4g} and is {new[key]:.4g}"
        found.append(Change(amount, f"{said}, a change of {amount:.2g}"))
    return sorted(found, key=lambda change: change.said)
