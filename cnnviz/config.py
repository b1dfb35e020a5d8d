"""Option values from a YAML file."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cnnviz.errors import ConfigError, UnknownNameError, UsageError


@dataclass(frozen=True)
class OptionType:
    """What an option takes.

    Attributes:
        kind: `bool`, `int`, `float` or `str`.
        repeated: Whether it may be given several times; then a list of values is taken too.
        pairs: Whether its values are `KEY=VALUE`; then a mapping is taken too.
    """

    kind: type
    repeated: bool = False
    pairs: bool = False


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
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{place}: {written}: {_one_line(error)}") from error
    option = options[name]
    if option.pairs and isinstance(content, dict):
        content = [f"{key}={json.dumps(value, default=str)}" for key, value in content.items()]
    many = option.repeated and isinstance(content, list)
    items = content if many else [content]
    if not all(_fits(item, option.kind) for item in items):
        wanted = _WORDS[option.kind] + (" or a list of them" if option.repeated else "")
        wanted = "KEY: VALUE, or a list of KEY=VALUE" if option.pairs else wanted
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


def parse_arguments(words: Sequence[str], option: str = "--model-args") -> dict[str, Any]:
    """Return keyword arguments from words such as `width=64`, `norm=null` or `depths=[3, 3, 9]`.

    Args:
        words: Names and values; a value is read as YAML.
        option: What they were given to, for messages.

    Raises:
        UsageError: If a word is no such pair, a name comes twice, or a value is not plain.
    """
    found: dict[str, Any] = {}
    for word in words:
        name, mark, text = word.partition("=")
        name = name.strip()
        if not mark or not name.isidentifier():
            raise UsageError(f"{option} {word!r} not understood; write NAME=VALUE, as in width=64")
        if name in found:
            raise UsageError(f"{option} {name} is given twice")
        found[name] = _value(f"{option} {word}", text)
    return found


def _value(what: str, text: str) -> Any:
    try:
        value = yaml.safe_load(text)
        # What a document of cnnviz can repeat: no dates, sets or bytes.
        json.dumps(value, allow_nan=False)
    except (yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"{what}: the value is not YAML: {_one_line(error)}") from error
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{what}: write a number, true, false, null, text, or a list or mapping of them"
        ) from error
    # In YAML 1.1 a number with an exponent needs a dot; nobody expects 1e-4 to be text.
    number = isinstance(value, str) and re.fullmatch(r"[+-]?\d+[eE][+-]?\d+", text.strip())
    return float(text) if number else value
