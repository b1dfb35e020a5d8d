"""What a rule is told of an operator: its arguments, each tensor replaced by its field."""

from collections.abc import Callable, Mapping
from typing import Any

from cnnviz.receptive_field.field import Field, branches

# By the names of the operator's schema.
Arguments = Mapping[str, Any]
Shape = tuple[int, ...]
# From the arguments and the shape of the result to the field of the result. A rule raises
# `UnknownFieldError` where it cannot tell.
Rule = Callable[[Arguments, Shape], Field]


def fields_of(arguments: Arguments) -> list[Field]:
    """Return the fields among an operator's arguments, in lists too."""
    found: list[Field] = []
    for value in arguments.values():
        if isinstance(value, Field):
            found.append(value)
        elif isinstance(value, list):
            found += [item for item in value if isinstance(item, Field)]
    return found


def one_branch(arguments: Arguments, number: int) -> Arguments:
    """Return the arguments with one branch of each field; those that have fewer give the last.

    What an element reads through several operands is what it reads through one, and through the
    other: it is enough that each branch takes part.
    """

    def pick(value: Any) -> Any:
        if isinstance(value, list):
            return [pick(item) for item in value]
        return branches(value)[: number + 1][-1] if isinstance(value, Field) else value

    return {name: pick(value) for name, value in arguments.items()}
