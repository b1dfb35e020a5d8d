"""Option values from a YAML file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cnnviz.errors import ConfigError, UnknownNameError


@dataclass(frozen=True)
class OptionType:
    """What an option takes.

    Attributes:
        kind: `bool`, `int`, `float` or `str`.
        repeated: Whether it may be given several times; then a list of values is taken too.
    """

    kind: type
    repeated: bool = False


def read_config(path: Path, options: Mapping[str, OptionType]) -> dict[str, Any]:
    """Return the option values in a YAML file, by the names in `options`.

    Args:
        path: The file: one mapping from option names, written with `-` or `_`, to values.
        options: The options that may be set, their names written with `_`.

    Raises:
        ConfigError: If the file cannot be read, is no such mapping, or has an unknown key or a
            value of the wrong type; it names the key and the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, yaml.SafeLoader)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text file in UTF-8") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path} is not YAML: {_one_line(error)}") from error
    if root is None:
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{path} must hold option names with values, such as `model: vgg16`")
    loader = yaml.SafeLoader("")
    return dict(_entry(path, loader, options, *pair) for pair in root.value)


def _entry(
    path: Path,
    loader: yaml.SafeLoader,
    options: Mapping[str, OptionType],
    key: yaml.Node,
    value: yaml.Node,
) -> tuple[str, Any]:
    place = f"{path}, line {key.start_mark.line + 1}"
    written = str(key.value)
    name = written.replace("-", "_")
    if name not in options:
        known = [option.replace("_", "-") for option in options]
        raise ConfigError(f"{place}: {UnknownNameError('option', written, known)}")
    try:
        content = loader.construct_object(value, deep=True)
    except Exception as error:  # what yaml's types raise on a text that is none of them
        raise ConfigError(f"{place}: {written}: {_one_line(error)}") from error
    option = options[name]
    many = option.repeated and isinstance(content, list)
    items = content if many else [content]
    if not all(_fits(item, option.kind) for item in items):
        wanted = _WORDS[option.kind] + (" or a list of them" if option.repeated else "")
        raise ConfigError(f"{place}: {written} must be {wanted}, not {content!r}")
    values = [str(item) if option.kind is str else item for item in items]
    return name, values if option.repeated else values[0]


_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _fits(value: object, kind: type) -> bool:
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if kind is float:
        return isinstance(value, (int, float))
    # A size or a channel number is text on the command line, and a plain number in YAML.
    return isinstance(value, (str, int, float) if kind is str else int)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
