"""What the documents of all commands have in common."""

import json
import math
from collections.abc import Iterable, Mapping
from fractions import Fraction

from cnnviz.preprocess import Preprocess
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


def preprocess_text(told: Preprocess, *, photo: bool = True) -> str:
    """Return how photos are prepared, in the words of the options, and who says so.

    Args:
        told: What is done.
        photo: Whether there is a photo; without, there are only mean and deviation.
    """
    parts = _size_parts(told) if photo else {}
    for name, values in (("mean", told.mean), ("std", told.std)):
        parts[name] = f"{name} {','.join(f'{value:.4g}' for value in values)}"
    said = ", ".join([*(["grey"] if told.grey else []), *parts.values()])
    rest = [name for name in parts if name not in _given(told)]
    if not rest:
        who = _SOURCES["options"]
    elif told.source == "assumed" or len(rest) < len(parts):
        who = f"{', '.join(rest)} {_SOURCES[told.source]}"
    else:
        who = _SOURCES[told.source]
    return f"{'photos' if photo else 'pictures'}: {said} ({who})"


_SOURCES = {
    "weights": "as the weights expect",
    "model": "as the model's usual weights expect",
    "timm": "as timm says",
    "assumed": "assumed as for ImageNet; options of these names set others",
    "options": "as set by options",
}


def is_guess(told: Preprocess) -> bool:
    """Return whether nobody told how a network's photos are normalised."""
    return told.source == "assumed" and not {"mean", "std"} <= _given(told)


def _given(told: Preprocess) -> set[str]:
    """Return the names of options that the user has set, also by one that sets two things."""
    given = {name.replace("_", "-") for name in told.options}
    if "crop" in given or "input-size" in given:
        given |= {"crop", "input-size"}
    # What is stretched is not cropped.
    return given | ({"input-size"} if told.stretch and "resize" in given else set())


def _size_parts(told: Preprocess) -> dict[str, str]:
    size, resize = (
        str(rows) if rows == columns else f"{rows}x{columns}"
        for rows, columns in (told.input_size, told.resize)
    )
    if told.stretch:
        return {"input-size": f"stretched to {size}"}
    return {"resize": f"resize {resize}", "crop": f"crop {size}"}


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


def field_texts(field: ReceptiveField | None) -> tuple[str, str]:
    """Return size and stride of a receptive field as a table has them: `27`, or `7×1`."""
    if field is None:
        return "–", "–"
    hull = "" if field.aligned else " hull"
    reach = " global" if field.is_global else ""
    return f"{field.size_text}{hull}{reach}", field.stride_text
