"""Tables that lose columns, one by one, where a terminal is narrow."""

from rich.console import Console
from rich.table import Table

from cnnviz.report.table import tables

ROW = {"layer": "layer4.0.downsample.0", "params": "131,072", "type": "Conv2d", "field": "99"}


def lines(table: Table) -> list[str]:
    console = Console(width=200, force_terminal=False)
    with console.capture() as captured:
        console.print(table)
    return [line.strip() for line in captured.get().splitlines()]


def test_columns_are_left_out_one_by_one_and_named() -> None:
    whole, less, least = tables([ROW], ("type", "start", "params"))
    assert [line.split() for line in lines(whole)] == [list(ROW), list(ROW.values())]
    assert lines(less)[-1] == "no room for type"
    assert [line.split() for line in lines(least)[:2]] == [
        ["layer", "field"], ["layer4.0.downsample.0", "99"],
    ]  # fmt: skip
    assert lines(least)[-1] == "no room for type, params"


def test_a_table_that_spares_nothing_is_one() -> None:
    assert len(tables([ROW])) == 1
