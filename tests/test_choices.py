"""Closed sets of option values are spelled as in the command line's documentation."""

from cnnviz.choices import Normalize, Reduce


def test_values_are_the_documented_ones() -> None:
    assert [choice.value for choice in Reduce] == ["none", "mean", "max", "sum", "std"]
    assert [choice.value for choice in Normalize] == ["channel", "layer", "none"]


def test_a_choice_reads_as_its_value_in_a_message() -> None:
    assert f"{Reduce.MEAN}" == "mean"
