"""Rules that a run must pass, for jobs that watch a network's health."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from cnnviz.errors import UsageError

# How each rule is written, and the largest limit that makes sense.
_FORMS = {
    "nan": ("nan", None),
    "blank": ("blank", None),
    "dead": ("dead=SHARE with a share from 0 to 1", 1.0),
    "noise": ("noise=LEVEL with a level from 0 to 2", 2.0),
}
MAPS_RULES = ("nan", "blank", "dead")
FILTERS_RULES = ("nan", "dead", "noise")


@dataclass(frozen=True)
class Health:
    """What the rules look at in one layer.

    Attributes:
        nan: How many values are NaN.
        infinite: How many values are infinite.
        parts: How many channels or filters the layer has.
        dead: How many of them are dead.
        what: What they are called.
        blank: On how many pictures the whole layer had one and the same value.
        noise: How far filters are from smooth; None where that means nothing.
        saturated: The share of values at a bound of an activation function; None where there is
            no bound.
        largest: The largest finite value without its sign.
        gradient: The norm of the gradient there, relative to that at the network's output; None
            where it was not measured.
    """

    nan: int
    infinite: int
    parts: int
    dead: int
    what: str
    blank: int = 0
    noise: float | None = None
    saturated: float | None = None
    largest: float = 0.0
    gradient: float | None = None


@dataclass(frozen=True)
class Rule:
    """One `--fail-on` rule.

    Attributes:
        name: `nan`, `dead`, `blank` or `noise`.
        limit: For `dead`, the share of a layer's parts that may be; for `noise`, its level.
    """

    name: str
    limit: float | None = None

    def complaint(self, found: Health) -> str | None:
        """Return how a layer breaks the rule, or None where it keeps it."""
        limit = self.limit or 0.0
        if self.name == "nan" and found.nan + found.infinite:
            return f"{found.nan} NaN and {found.infinite} infinite values"
        if self.name == "blank" and found.blank:
            return f"the same value everywhere on {found.blank} pictures"
        if self.name == "dead" and found.dead > limit * found.parts:
            return f"{found.dead} of {found.parts} {found.what} are dead"
        if self.name == "noise" and found.noise is not None and found.noise > limit:
            return f"noise of {found.noise:.2g}; smooth filters have 0, random ones 1"
        return None

    def __str__(self) -> str:
        """Return the rule as it is written."""
        return self.name if self.limit is None else f"{self.name}={self.limit:g}"


def parse_rules(texts: Iterable[str], known: Iterable[str] = MAPS_RULES) -> tuple[Rule, ...]:
    """Return the rules that are written `nan`, `blank`, `dead=SHARE` or `noise=LEVEL`.

    Args:
        texts: One rule each.
        known: The names of the rules that the command checks.

    Raises:
        UsageError: If one is none of these, or its limit makes no sense.
    """
    names = tuple(known)
    return tuple(_parse_rule(text.strip(), names) for text in texts)


def _parse_rule(text: str, known: tuple[str, ...]) -> Rule:
    match = re.fullmatch(r"(\w+)(?:=(\d*\.?\d+))?", text)
    if match and match[1] in known:
        _, largest = _FORMS[match[1]]
        if largest is None and match[2] is None:
            return Rule(match[1])
        if largest is not None and match[2] is not None and float(match[2]) <= largest:
            return Rule(match[1], float(match[2]))
    *forms, last = (_FORMS[name][0] for name in known)
    raise UsageError(f"rule {text!r} not understood; write {', '.join(forms)}, or {last}")
