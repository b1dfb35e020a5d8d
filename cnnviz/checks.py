"""Rules that a run must pass, for jobs that watch a network's health."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnnviz.errors import UsageError

if TYPE_CHECKING:
    from cnnviz.statistics import Statistics


@dataclass(frozen=True)
class Rule:
    """One `--fail-on` rule.

    Attributes:
        name: `nan`, `dead` or `blank`.
        limit: For `dead`, the share of a layer's channels that may be.
    """

    name: str
    limit: float = 0.0

    def complaint(self, found: "Statistics") -> str | None:
        """Return how a layer breaks the rule, or None where it keeps it."""
        if self.name == "nan" and found.nan + found.infinite:
            return f"{found.nan} NaN and {found.infinite} infinite values"
        if self.name == "blank" and found.blank:
            return f"the same value everywhere on {found.blank} pictures"
        if self.name == "dead" and found.dead_channels > self.limit * len(found.low):
            return f"{found.dead_channels} of {len(found.low)} channels are dead"
        return None

    def __str__(self) -> str:
        """Return the rule as it is written."""
        return f"{self.name}={self.limit:g}" if self.name == "dead" else self.name


def parse_rules(texts: Iterable[str]) -> tuple[Rule, ...]:
    """Return the rules that are written `nan`, `blank`, or `dead=SHARE`.

    Raises:
        UsageError: If one is none of these, or its share is not from 0 to 1.
    """
    return tuple(_parse_rule(text.strip()) for text in texts)


def _parse_rule(text: str) -> Rule:
    if text in ("nan", "blank"):
        return Rule(text)
    match = re.fullmatch(r"dead=(\d*\.?\d+)", text)
    if match and float(match[1]) <= 1:
        return Rule("dead", float(match[1]))
    raise UsageError(
        f"rule {text!r} not understood; write nan, blank, or dead=SHARE with a share from 0 to 1"
    )
