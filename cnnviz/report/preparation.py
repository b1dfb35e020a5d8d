"""How photos are prepared, in words: what is done, and who says so."""

from cnnviz.photos.preprocess import Preprocess


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
