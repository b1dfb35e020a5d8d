"""Rules that a run must pass, for jobs that watch a network's health."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cnnviz.errors import UsageError

# How each rule is written, and the largest limit that makes sense.
_FORMS = {
    "nan": ("nan", None),
    "blank": ("blank", None),
    "dead": ("dead=SHARE with a share from 0 to 1", 1.0),
    "saturated": ("saturated=SHARE", 1.0),
    "vanishing": ("vanishing=RATIO with a ratio from 0 to 1", 1.0),
    "noise": ("noise=LEVEL with a level from 0 to 2", 2.0),
}
# The file of a `change` rule stands before its limit.
_CHANGE, _LARGEST_CHANGE = "change=REFERENCE.json:TOLERANCE", 1e6
MAPS_RULES = ("nan", "blank", "dead", "saturated", "vanishing", "change")
FILTERS_RULES = ("nan", "dead", "noise")
_NUMBER = r"\d*\.?\d+(?:[eE][+-]?\d+)?"


@dataclass(frozen=True)
class Change:
    """How far a layer is from what it was in an earlier run.

    Attributes:
        amount: Of the statistic that changed the most, in its own unit.
        said: Which that is, and what it was.
    """

    amount: float
    said: str


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
        change: What changed the most since an earlier run; None where there is none.
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
    change: Change | None = None


@dataclass(frozen=True)
class Rule:
    """One `--fail-on` rule.

    Attributes:
        name: `nan`, `dead`, `blank`, `saturated`, `vanishing`, `change` or `noise`.
        limit: How large, or for `vanishing` how small, what it is about may be.
        reference: For `change`, the earlier run.
    """

    name: str
    limit: float | None = None
    reference: Path | None = None

    def complaint(self, found: Health) -> str | None:
        """Return how a layer breaks the rule, or None where it keeps it."""
        limit = self.limit or 0.0
        if self.name == "nan" and found.nan + found.infinite:
            return f"{found.nan} NaN and {found.infinite} infinite values"
        if self.name == "blank" and found.blank:
            return f"the same value everywhere on {found.blank} pictures"
        if self.name == "dead" and found.dead > limit * found.parts:
            return f"{found.dead} of {found.parts} {found.what} are dead"
        if self.name == "saturated" and found.saturated is not None and found.saturated > limit:
            return f"{found.saturated:.0%} of the units are at a bound"
        # Not: smaller than the limit, which NaN is not.
        if self.name == "vanishing" and found.gradient is not None and not found.gradient >= limit:
            return f"the gradient is {found.gradient:.2g} of that at the output"
        if self.name == "change" and found.change is not None and found.change.amount > limit:
            return found.change.said
        if self.name == "noise" and found.noise is not None and found.noise > limit:
            return f"noise of {found.noise:.2g}; smooth filters have 0, random ones 1"
        return None

    def __str__(self) -> str:
        """Return the rule as it is written."""
        if self.limit is None:
            return self.name
        file = f"{self.reference}:" if self.reference else ""
        return f"{self.name}={file}{self.limit:g}"


def parse_rules(texts: Iterable[str], known: Iterable[str] = MAPS_RULES) -> tuple[Rule, ...]:
    """Return the rules that are written `nan`, `dead=SHARE`, `change=FILE:TOLERANCE` and so on.

    Args:
        texts: One rule each.
        known: The names of the rules that the command checks.

    Raises:
        UsageError: If one is none of these, or its limit makes no sense.
    """
    names = tuple(known)
    return tuple(_parse_rule(text.strip(), names) for text in texts)


def _parse_rule(text: str, known: tuple[str, ...]) -> Rule:
    change = re.fullmatch(rf"change=(.+):({_NUMBER})", text)
    if change and "change" in known and float(change[2]) <= _LARGEST_CHANGE:
        return Rule("change", float(change[2]), Path(change[1]))
    match = re.fullmatch(rf"(\w+)(?:=({_NUMBER}))?", text)
    if match and match[1] in known and match[1] in _FORMS:
        _, largest = _FORMS[match[1]]
        if largest is None and match[2] is None:
            return Rule(match[1])
        if largest is not None and match[2] is not None and float(match[2]) <= largest:
            return Rule(match[1], float(match[2]))
    *forms, last = (_CHANGE if name == "change" else _FORMS[name][0] for name in known)
    raise UsageError(f"rule {text!r} not understood; write {', '.join(forms)}, or {last}")
