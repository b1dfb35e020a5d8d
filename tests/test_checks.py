"""The --fail-on rules."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnviz.checks import FILTERS_RULES, Change, Health, Rule, parse_rules
from cnnviz.errors import UsageError
from cnnviz.statistics import Statistics


def found(*, dead: int = 0, nan: int = 0, infinite: int = 0, blank: int = 0) -> Health:
    """Return the health of four channels, some of them dead."""
    low = np.zeros(4)
    high = np.array([0.0] * dead + [1.0] * (4 - dead))
    return Statistics(16, Fraction(8), Fraction(5), 0, nan, infinite, low, high, 4, blank).health


def test_rules_read_as_they_are_written() -> None:
    rules = parse_rules(["nan", " blank ", "dead=0.5", "dead=1", "dead=.25"])
    assert [str(rule) for rule in rules] == ["nan", "blank", "dead=0.5", "dead=1", "dead=0.25"]
    assert parse_rules([]) == ()


def test_small_and_large_numbers_may_have_exponents_and_files_may_have_colons() -> None:
    rules = parse_rules(["vanishing=1e-4", "saturated=5E-1", "change=a b/r:1.json:2.5e-2"])
    assert [rule.limit for rule in rules] == [1e-4, 0.5, 0.025]
    assert rules[2].reference == Path("a b/r:1.json")
    assert [str(rule) for rule in rules] == [
        "vanishing=0.0001", "saturated=0.5", "change=a b/r:1.json:0.025",
    ]  # fmt: skip
    assert parse_rules(map(str, rules)) == rules


@pytest.mark.parametrize("text", ["change=r.json", "change=:0.1", "change=r.json:x", "change=0.1"])
def test_a_change_needs_a_file_and_a_tolerance(text: str) -> None:
    with pytest.raises(UsageError, match=r"or change=REFERENCE\.json:TOLERANCE"):
        parse_rules([text])


@pytest.mark.parametrize(
    ("rule", "value", "trips"),
    [
        ("saturated=0.5", None, False), ("saturated=0.5", 0.5, False),
        ("saturated=0.5", 0.51, True), ("vanishing=1e-4", None, False),
        ("vanishing=1e-4", 1e-4, False), ("vanishing=1e-4", 9e-5, True),
        ("vanishing=1e-4", float("nan"), True),
        ("change=r:0.1", None, False), ("change=r:0.1", Change(0.1, "mean"), False),
        ("change=r:0.1", Change(0.11, "mean"), True),
    ],
)  # fmt: skip
def test_limits(rule: str, value: Any, trips: bool) -> None:
    field = {"s": "saturated", "v": "gradient", "c": "change"}[rule[0]]
    (parsed,) = parse_rules([rule])
    assert (parsed.complaint(replace(found(), **{field: value})) is not None) == trips


@pytest.mark.parametrize("text", ["", "dead", "dead=", "dead=1.1", "dead=-0.1", "dead=x", "NaN=1"])
def test_a_rule_that_means_nothing_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match=f"rule {text!r} not understood; write nan, blank"):
        parse_rules([text])


@pytest.mark.parametrize(("dead", "trips"), [(1, False), (2, False), (3, True), (4, True)])
def test_dead_trips_only_beyond_its_share(dead: int, trips: bool) -> None:
    complaint = Rule("dead", 0.5).complaint(found(dead=dead))
    assert complaint == (f"{dead} of 4 channels are dead" if trips else None)


def test_nan_trips_on_nan_and_on_infinity() -> None:
    rule = Rule("nan")
    assert rule.complaint(found(dead=4, blank=1)) is None
    assert rule.complaint(found(nan=2)) == "2 NaN and 0 infinite values"
    assert rule.complaint(found(infinite=1)) == "0 NaN and 1 infinite values"


def test_blank_trips_on_a_picture_with_one_value_everywhere() -> None:
    rule = Rule("blank")
    assert rule.complaint(found(dead=4, nan=1)) is None
    assert rule.complaint(found(blank=3)) == "the same value everywhere on 3 pictures"


def test_each_command_has_its_own_rules() -> None:
    rules = parse_rules(["nan", "dead=0.2", "noise=0.3", "noise=2"], FILTERS_RULES)
    assert [str(rule) for rule in rules] == ["nan", "dead=0.2", "noise=0.3", "noise=2"]
    with pytest.raises(UsageError, match="'blank' not understood; write nan, dead=SHARE with"):
        parse_rules(["blank"], FILTERS_RULES)
    with pytest.raises(UsageError, match=r"'noise=0\.3' not understood; write nan, blank, dead"):
        parse_rules(["noise=0.3"])


@pytest.mark.parametrize(("noise", "trips"), [(None, False), (0.3, False), (0.31, True)])
def test_noise_trips_only_beyond_its_level(noise: float | None, trips: bool) -> None:
    health = Health(nan=0, infinite=0, parts=4, dead=0, what="filters", noise=noise)
    assert (Rule("noise", 0.3).complaint(health) is not None) == trips


def test_filters_are_called_so() -> None:
    health = Health(nan=0, infinite=0, parts=4, dead=2, what="filters")
    assert Rule("dead", 0.2).complaint(health) == "2 of 4 filters are dead"
