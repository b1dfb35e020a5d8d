"""Closed sets of option values are spelled as in the command line's documentation."""

import pytest

from cnnviz.choices import Normalize, Reduce, choose
from cnnviz.errors import UnknownNameError


def test_values_are_the_documented_ones() -> None:
    assert [choice.value for choice in Reduce] == ["none", "mean", "max", "sum", "std"]
    assert [choice.value for choice in Normalize] == ["channel", "layer", "none"]


def test_a_choice_reads_as_its_value_in_a_message() -> None:
    assert f"{Reduce.MEAN}" == "mean"


def test_a_choice_is_found_by_its_value_and_others_are_listed() -> None:
    assert choose(Reduce, "max") is Reduce.MAX
    with pytest.raises(UnknownNameError, match="unknown normalize 'row'; choose from channel, "):
        choose(Normalize, "row")
