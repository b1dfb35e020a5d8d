"""What the documents of all commands have in common."""

import json
import math
from collections.abc import Iterable, Mapping
from fractions import Fraction

from cnnviz.photos.preprocess import Preprocess
from cnnviz.receptive_field.algebra import ReceptiveField
from cnnviz.statistics import Statistics

SCHEMA_VERSION = 1


def to_json(document: Mapping[str, object]) -> str:
    """Return a document as indented JSON text with a line end."""
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    # Names of files that are not UTF-8 hold lone surrogates; Python escapes them as JSON does.
    return text.encode(errors="backslashreplace").decode()


def statistics_entry(found: Statistics) -> dict[str, object]:
    """Return what the values of a layer are like as the documents have it."""
    return {
        "min": finite(found.min),
        "max": finite(found.max),
        "mean": finite(found.mean),
        "std": finite(found.std),
        "zero_fraction": found.zero_fraction,
        "nan": found.nan,
        "infinite": found.infinite,
    }


def tripped_entries(tripped: Iterable[tuple[str, str, str]]) -> list[dict[str, str]]:
    """Return (rule, layer, complaint) of rules that layers break as the documents have it."""
    return [{"rule": rule, "layer": layer, "reason": reason} for rule, layer, reason in tripped]


def preprocess_entry(told: Preprocess) -> dict[str, object]:
    """Return how photos are prepared as the documents have it."""
    return {
        "input_size": list(told.input_size),
        "resize": list(told.resize),
        "stretch": told.stretch,
        "grey": told.grey,
        "mean": list(told.mean),
        "std": list(told.std),
        "interpolation": told.interpolation.name.lower(),
        "source": told.source,
        "options": list(told.options),
    }


def finite(value: float) -> float | None:
    """Return a number as JSON has it, which has no NaN: None where there is none."""
    return value if math.isfinite(value) else None


def field_entry(field: ReceptiveField | None) -> dict[str, object] | None:
    """Return a receptive field as the documents have it."""
    if field is None:
        return None
    entry: dict[str, object] = {
        "size": list(field.size),
        "stride": [plain_number(step) for step in field.stride],
        "start": list(field.start),
        "global": field.is_global,
        "aligned": field.aligned,
    }
    if field.time is not None:
        entry["time"] = {
            "size": field.time.size,
            "stride": plain_number(field.time.stride),
            "start": field.time.start,
        }
    return entry


def plain_number(value: Fraction) -> int | float:
    """Return a fraction as JSON has it: whole where it is whole."""
    return value.numerator if value.denominator == 1 else float(value)
