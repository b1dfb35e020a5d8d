"""The statistics of an earlier run, and how far those of this run are from them."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnviz.checks import Change, Rule
from cnnviz.errors import InputError, UsageError
from cnnviz.selection import label

# What must be the same for statistics to be compared; other weights are what one compares.
_COMPARED = ("model", "model-args", "input-size", "resize", "crop", "mean", "std", "grey")
_PHOTOS = ("count", "digest", "failed")
_SHARES = ("zero_fraction", "saturated_fraction")
# Where a layer was the same everywhere, any other value is a change.
_SMALLEST = 1e-12


@dataclass(frozen=True)
class Reference:
    """What an earlier run found.

    Attributes:
        path: Where it was read from.
        settings: What that run was given.
        photos: Which photos, as `tell_photos` does.
        input: What the network got, as the JSON document of `maps` has it.
        layers: By label, entries as that document has them.
    """

    path: Path
    settings: Mapping[str, object]
    photos: Mapping[str, Any]
    input: Mapping[str, Any]
    layers: Mapping[str, Mapping[str, Any]]

    def check_photos(self, keys: Iterable[str]) -> None:
        """Make sure that a run is of the same photos, by their names.

        Raises:
            UsageError: If it is not.
        """
        now = tell_photos(keys)
        before, count = self.photos["count"], now["count"]
        if self.photos["digest"] != now["digest"]:
            others = " others" if before == count else ""
            self._refuse(f"it is of {before} photos, and this run of {count}{others}")

    def check_settings(self, settings: Mapping[str, object]) -> None:
        """Make sure that a run is of the same network, with the same preprocessing.

        Raises:
            UsageError: If it is not.
        """
        now = json.loads(json.dumps(settings))
        for name in _COMPARED:
            if self.settings[name] != now[name]:
                said = f"its {name} is {_said(self.settings[name])}, and that of this run "
                self._refuse(said + _said(now[name]))

    def _refuse(self, why: str) -> None:
        raise UsageError(
            f"cannot compare with {self.path}: {why}; give what it was given, or write it anew "
            "with --save-reference"
        )

    def missing(self, labels: Iterable[str]) -> list[str]:
        """Return the labels of layers that are not among those of a run."""
        there = set(labels)
        return [name for name in self.layers if name not in there]

    def change_of_input(self, entry: Mapping[str, Any], failed: Iterable[str]) -> Change:
        """Return what changed the most in what the network got.

        Args:
            entry: Its entry in the document of this run.
            failed: The keys of photos that failed.
        """
        other = sorted({*self.photos["failed"]} ^ {*failed})
        if other:
            names = ", ".join(other[:3]) + (" …" if other[3:] else "")
            return Change(math.inf, f"photos that failed in one of the runs only: {names}")
        return max(_changes(self.input, entry), key=lambda change: change.amount)

    def change(self, name: str, entry: Mapping[str, Any]) -> Change:
        """Return what changed the most in a layer.

        Mean and standard deviation are compared in units of the deviation there was, smallest and
        largest value in units of the range there was, shares (zeros, units at a bound, dead
        channels) as they are, and the gradient in units of what it was.

        Args:
            name: The layer's label.
            entry: Its entry in the document of this run.
        """
        before = self.layers.get(name)
        if before is None:
            return Change(math.inf, f"is not in {self.path}")
        for key in ("output_shape", "type"):
            if before.get(key) != entry.get(key):
                return Change(math.inf, f"{key} was {before.get(key)} and is {entry.get(key)}")
        return max(_changes(before, entry), key=lambda change: change.amount)


def find_reference(rules: Iterable[Rule]) -> Reference | None:
    """Return the earlier run that rules compare with; None where none does.

    Raises:
        UsageError: If there are several.
        InputError: If it cannot be read.
    """
    paths = {rule.reference for rule in rules if rule.reference}
    if len(paths) > 1:
        raise UsageError("--fail-on change takes one reference: " + ", ".join(map(str, paths)))
    return read_reference(paths.pop()) if paths else None


def read_reference(path: Path) -> Reference:
    """Return what `--save-reference`, `--json` or the manifest of a run of `maps` holds.

    Raises:
        InputError: If the file cannot be read, or holds nothing of that kind.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        entries = [(label(entry["name"], entry["call"]), entry) for entry in document["layers"]]
        known = {key: document[key] for key in ("settings", "photos", "input")}
        measured = all(
            entry and entry["stats"] for entry in (known["input"], *dict(entries).values())
        )
        told = {*_COMPARED} <= {*known["settings"]} and {*_PHOTOS} <= {*known["photos"]}
    except OSError as error:
        why = f"{error.strerror}; --save-reference writes it"
        raise InputError(f"cannot read {path}: {why}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path} is not what --save-reference writes") from error
    if not told:
        raise InputError(f"{path} is not what --save-reference writes")
    if not measured:
        raise InputError(f"{path} has no statistics: no photo of that run could be read")
    if len(dict(entries)) < len(entries):
        raise InputError(f"{path} is of several checkpoints; --fail-on change takes one")
    return Reference(path, layers=dict(entries), **known)


def tell_photos(keys: Iterable[str], failed: Iterable[str] = ()) -> dict[str, object]:
    """Return which photos a run was of, as its document has it.

    Args:
        keys: The keys of all photos, in any order.
        failed: Of those that failed.
    """
    names = sorted(keys)
    # Names that are not UTF-8 hold lone surrogates.
    digest = hashlib.sha256("\0".join(names).encode(errors="surrogatepass")).hexdigest()
    return dict(zip(_PHOTOS, (len(names), digest, sorted(failed)), strict=True))


def reference_document(document: Mapping[str, object]) -> dict[str, object]:
    """Return what is kept of the document of `maps` to compare later runs with."""
    left_out = ("images", "skipped", "failed", "tripped", "top_images")
    return {key: value for key, value in document.items() if key not in left_out}


def _said(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


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
