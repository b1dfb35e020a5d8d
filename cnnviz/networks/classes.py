"""Names of classes: from a file, and to numbers."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from cnnviz.errors import InputError, UnknownNameError

_FORMS = (
    'a list of names, {"0": NAME, ...}, {"0": [ID, NAME], ...} or {NAME: 0, ...} with numbers from '
    "0 on"
)


def read_classes(path: Path) -> tuple[str, ...]:
    """Return the names of classes in a file, by number.

    Args:
        path: A text with a name per line; or, called `.json`, a list of names, or an object of
            names by number or numbers by name. Keras's `imagenet_class_index.json` is one.

    Raises:
        InputError: If the file cannot be read, or is none of these.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"file of class names {path} does not exist") from error
    except OSError as error:
        raise InputError(f"cannot read class names from {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file in UTF-8") from error
    return _from_json(path, text) if path.suffix.lower() == ".json" else _from_lines(path, text)


def find_class(name: str, classes: Sequence[str]) -> int:
    """Return the number of a class by its name, in capitals or not.

    Raises:
        UnknownNameError: If no class has that name.
    """
    folded = [known.lower() for known in classes]
    if name.lower() not in folded:
        raise UnknownNameError("class", name, classes)
    return folded.index(name.lower())


def _from_lines(path: Path, text: str) -> tuple[str, ...]:
    lines = [line.strip() for line in text.rstrip().split("\n")]
    if "" in lines:
        # Left out, it would give all names after it another number.
        raise InputError(f"line {lines.index('') + 1} of {path} has no class name")
    return tuple(lines)


def _from_json(path: Path, text: str) -> tuple[str, ...]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    names = _by_number(content) if isinstance(content, dict) else content
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise InputError(f"{path} holds no class names; write {_FORMS}")
    return tuple(names)


def _by_number(content: Mapping[str, object]) -> list[object] | None:
    """Return the names in the order of their numbers; None where numbers are missing."""
    if all(type(value) is int for value in content.values()):
        named: dict[object, object] = {value: name for name, value in content.items()}
    else:
        named = {
            int(key): value[-1] if isinstance(value, list) and value else value
            for key, value in content.items()
            if key.isdecimal()
        }
    numbers = range(len(content))
    return [named[i] for i in numbers] if named.keys() == set(numbers) else None
