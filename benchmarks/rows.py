"""The rows of the table that `python benchmarks/run.py` prints: one per piece of work and peer."""

import json
from argparse import ArgumentParser
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One piece of work, done by cnnviz and by another tool in the same run.

    Attributes:
        work: What is done.
        peer: By which other tool, or by hand.
        theirs: What it took the peer, with its unit.
        ours: What it took cnnviz.
        ratio: How they compare; the larger, the better for cnnviz, but where `aim` says "at most".
        aim: What the ratio should be; empty where none was set.
    """

    work: str
    peer: str
    theirs: str
    ours: str
    ratio: str
    aim: str = ""


def add_rows_option(parser: ArgumentParser) -> None:
    """Let a program be asked for its rows."""
    parser.add_argument("--rows", type=Path, metavar="FILE", help="also write a row per comparison")


def write_rows(path: Path | None, rows: Iterable[Row]) -> None:
    """Write rows as lines of JSON, where a file was asked for."""
    if path is not None:
        path.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows), "utf-8")


def read_rows(path: Path) -> list[Row]:
    """Return the rows that a program wrote."""
    return [Row(**json.loads(line)) for line in path.read_text("utf-8").splitlines()]


def seconds(value: float) -> str:
    """Return a time with three digits and its unit."""
    return f"{value:.3g} s" if value >= 1 else f"{value * 1e3:.3g} ms"
