"""Layer patterns to layer calls, and channel specifications to channel numbers.

Plain strings and numbers in, plain numbers out: nothing here needs a network.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol

from cnnviz.errors import UnknownNameError, UsageError

WORDS = ("stages", "first", "last", "conv", "pool", "all")

_CONVOLUTION = re.compile(r"Conv(Transpose|ReLU)?[123]d")
# More than any number here needs; int() itself refuses thousands of digits.
_MOST_DIGITS = 18
_POOLING = re.compile(r"(Max|Avg|LP|FractionalMax)Pool[123]d|Adaptive(Max|Avg)Pool[123]d")


class LayerCall(Protocol):
    """What selection reads of a layer call: one output of one module in one forward pass."""

    @property
    def name(self) -> str:
        """The dotted name, as `named_modules()` gives it."""

    @property
    def call(self) -> int:
        """1 for the module's first call in a forward pass, 2 for its second."""

    @property
    def type(self) -> str:
        """The module's class name."""

    @property
    def leaf(self) -> bool:
        """Whether no other module ran inside this call."""

    @property
    def grid(self) -> tuple[int, int] | None:
        """(rows, columns) of the output where it is a map."""


def label(name: str, call: int) -> str:
    """Return how a layer call is written: `conv1`, or `relu#2` for a second call."""
    return name if call == 1 else f"{name}#{call}"


def file_stem(layer: str) -> str:
    """Return what the picture of a layer is called, without an ending.

    A name of the user's may hold a slash, which must not become a folder, or a NUL, or be dots
    alone, which are a folder already.
    """
    stem = layer.replace("/", "_").replace("\0", "_")
    return stem if stem.strip(".") else stem.replace(".", "_")


def parse_number(text: str) -> int | None:
    """Return the whole number from 0 that a text is, or None where it is none, or absurdly long."""
    digits = text.strip()
    return int(digits) if digits.isdecimal() and len(digits) <= _MOST_DIGITS else None


def split_patterns(patterns: Iterable[str]) -> tuple[str, ...]:
    """Return the single patterns of repeated, comma-separated options.

    Raises:
        UsageError: If nothing is left, or a call number is not a whole number from 1.
    """
    single = tuple(part.strip() for text in patterns for part in text.split(",") if part.strip())
    if not single:
        raise UsageError(f"no layer given; name one, or use a word: {', '.join(WORDS)}")
    for pattern in single:
        _split_call(pattern)
    return single


def select_layers(patterns: Sequence[str], calls: Sequence[LayerCall]) -> list[int]:
    """Return the positions in `calls` that match any of `patterns`, in order of execution.

    A pattern is a word of `WORDS`, `type:CLASS`, a dotted name, or a glob whose `*` crosses dots.
    A glob matches leaf layers, and blocks where it matches no leaf. `#2` behind a name or a glob
    picks the second call; without it every call is meant.

    Raises:
        UnknownNameError: If a pattern matches nothing; it lists the closest names.
    """
    chosen: set[int] = set()
    for pattern in patterns:
        matched = _match(pattern, calls)
        if not matched:
            names = dict.fromkeys(label(call.name, call.call) for call in calls if call.name)
            raise UnknownNameError("layer", pattern, [*names, *WORDS], see=f"or {', '.join(WORDS)}")
        chosen.update(matched)
    return sorted(chosen)


def _match(pattern: str, calls: Sequence[LayerCall]) -> list[int]:
    leaves = [i for i, call in enumerate(calls) if call.leaf]
    if pattern in WORDS:
        return _match_word(pattern, calls, leaves)
    if pattern.startswith("type:"):
        wanted = pattern.removeprefix("type:").lower()
        return [i for i, call in enumerate(calls) if call.type.lower() == wanted]
    name, number = _split_call(pattern)
    return (
        _match_name(name, number, calls, range(len(calls)), exact=True)
        or _match_name(name, number, calls, leaves, exact=False)
        or _match_name(name, number, calls, range(len(calls)), exact=False)
    )


def _match_name(
    name: str,
    number: int | None,
    calls: Sequence[LayerCall],
    among: Iterable[int],
    *,
    exact: bool,
) -> list[int]:
    return [
        i
        for i in among
        if (calls[i].name == name if exact else fnmatchcase(calls[i].name, name))
        and number in (None, calls[i].call)
    ]


def _match_word(word: str, calls: Sequence[LayerCall], leaves: list[int]) -> list[int]:
    convolutions = [i for i in leaves if _CONVOLUTION.fullmatch(calls[i].type)]
    if word == "all":
        return leaves
    if word == "conv":
        return convolutions
    if word == "pool":
        return [i for i in leaves if _POOLING.fullmatch(calls[i].type)]
    if word == "first":
        return (convolutions or leaves)[:1]
    if word == "last":
        return (convolutions or leaves)[-1:]
    return _stages(calls, leaves)


def _stages(calls: Sequence[LayerCall], leaves: list[int]) -> list[int]:
    """Return the last leaf of each resolution; single values count only where there is no map."""
    last_of = {calls[i].grid: i for i in leaves if calls[i].grid is not None}
    maps = [i for grid, i in last_of.items() if grid != (1, 1)]
    return maps or list(last_of.values()) or leaves[-1:]


def _split_call(pattern: str) -> tuple[str, int | None]:
    name, mark, number = pattern.partition("#")
    if not mark:
        return name, None
    if not (call := parse_number(number)):
        raise UsageError(f"layer {pattern!r}: a whole number from 1 must follow '#', as in relu#2")
    return name, call


@dataclass(frozen=True)
class ChannelSpec:
    """Which channels of a layer are wanted: a fixed list, all of them, or the most active ones.

    Attributes:
        text: What the user typed.
        ranges: (first, last) pairs, both included; empty for `all` and `top:N`.
        top: How many of the most active channels are wanted; 0 where they are not ranked.
        clipped: Whether numbers beyond the layer's last channel are left out silently. True only
            for the default, which must suit layers of every width.
    """

    text: str
    ranges: tuple[tuple[int, int], ...] = ()
    top: int = 0
    clipped: bool = False

    def indices(self, count: int) -> list[int]:
        """Return the wanted numbers, in the order typed, of a layer with `count` channels.

        For `top:N` these are all channels: the caller ranks them by activation.

        Raises:
            UsageError: If a number is beyond the layer's last channel.
        """
        if not self.ranges:
            return list(range(count))
        if not self.clipped:
            for _, last in self.ranges:
                if last >= count:
                    raise UsageError(
                        f"channel {last} does not exist: the layer has {count} channels, "
                        f"0 to {count - 1}"
                    )
        numbers = (n for first, last in self.ranges for n in range(first, min(last + 1, count)))
        return list(dict.fromkeys(numbers))


def parse_channels(text: str, *, clipped: bool = False) -> ChannelSpec:
    """Return the meaning of `0-15,31`, `all`, or `top:16`.

    Raises:
        UsageError: If the text is none of these.
    """
    plain = text.strip().lower()
    if plain == "all":
        return ChannelSpec(text)
    if plain.startswith("top:") and (top := parse_number(plain.removeprefix("top:"))):
        return ChannelSpec(text, top=top)
    ranges = tuple(_parse_range(part, text) for part in plain.split(","))
    return ChannelSpec(text, ranges=ranges, clipped=clipped)


def _parse_range(part: str, text: str) -> tuple[int, int]:
    ends = [parse_number(end) for end in part.split("-", 1)]
    first, last = ends[0], ends[-1]
    if first is None or last is None or first > last:
        raise UsageError(f"channels {text!r} not understood; write 0-15,31 or all or top:16")
    return first, last


def parse_place(text: str) -> str | tuple[int, int]:
    """Return the meaning of `center`, `max`, or `R,C`.

    Raises:
        UsageError: If the text is none of these.
    """
    if text in ("center", "max"):
        return text
    row, *column = (parse_number(part) for part in text.split(","))
    if row is not None and len(column) == 1 and column[0] is not None:
        return row, column[0]
    raise UsageError(f"unit {text!r} not understood; write center, max, or ROW,COLUMN as in 3,4")
