"""What Typer finds wrong with a command line, told with the value and the way on."""

from collections.abc import Iterator, Sequence
from os.path import isfile
from typing import Any

import typer

from cnnviz.networks.catalog import is_named_network, split_factory


def complaint(error: typer.TyperException, words: Sequence[str]) -> str:
    """Return what is wrong, and where to read what a command takes.

    Args:
        error: What Typer raised.
        words: The command line.
    """
    said = _with_value(error)
    context = getattr(error, "ctx", None)
    if context is None:
        return said
    hints = [said if said.endswith((".", "?", "!")) else f"{said}."]
    hints += _ways_on(error, context, said, words)
    return " ".join([*hints, f"{context.command_path} --help tells more."])


def _with_value(error: typer.TyperException) -> str:
    # Pydantic checks the values for Typer; it says what they should be, and not what they are.
    said = error.format_message().replace("Value error, ", "")
    checked: Any = error.__cause__
    if not hasattr(checked, "errors"):
        return said
    value = repr(checked.errors()[0]["input"])
    if "Input should" in said:
        return said.replace("Input should", f"{value} should")
    return said if value in said else f"{said}: {value}"


def _ways_on(error: Any, context: Any, said: str, words: Sequence[str]) -> Iterator[str]:
    command = context.command
    no_option = said.startswith("No such option")
    if said.startswith("Missing argument"):
        yield f"{error.param.metavar} is: {error.param.help}"
    elif said.startswith("Got unexpected") and not _takes_arguments(command):
        yield f"{context.command_path} takes options only."
        yield from _options_for(said.partition("(s) (")[2].rstrip(")").split(), context)
    elif no_option and context.parent is None:
        yield f"Options stand behind a command: {context.command_path} maps PHOTO.jpg --json."
    elif said.startswith("No such command") and "Did you mean" not in said:
        names = ", ".join(command.commands)
        yield f"A command comes first, as in {context.command_path} maps PHOTO.jpg: {names}."
    if no_option:
        dashed = [word for word in words if word.startswith("-") and isfile(word)]
        yield from (f"The file is written ./{word}." for word in dashed)


def _options_for(words: Sequence[str], context: Any) -> Iterator[str]:
    from cnnviz.photos.images import EXTENSIONS

    for word in words:
        if is_named_network(word) or split_factory(word):
            yield f"A network is named with -m: {context.command_path} -m {word}."
        elif word.lower().endswith(EXTENSIONS):
            yield f"Photos are for {context.parent.command_path} maps and rf."


def _takes_arguments(command: Any) -> bool:
    return any(parameter.param_type_name == "argument" for parameter in command.params)
