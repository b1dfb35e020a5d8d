"""Which commands work on which of torchvision's networks: `python benchmarks/coverage.py`.

Each command runs inside this process, on a sample photo, with random weights, over every builder
that torchvision lists or over those that are named. A cell says how much the command showed, or
points to the reason why it cannot. With `--write` the rows go into benchmarks/COVERAGE.md, where
other rows stay, and the summary into README.md.
"""

import argparse
import json
import random
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torchvision.models import get_model_builder
from typer.testing import CliRunner

from cnnviz.cli import app
from cnnviz.networks import models
from cnnviz.networks.catalog import torchvision_names
from cnnviz.networks.models import LoadedModel

ROOT = Path(__file__).parent.parent
PHOTO = ROOT / "sample_images" / "grace_hopper.jpg"
TABLE = ROOT / "benchmarks" / "COVERAGE.md"
README = ROOT / "README.md"
MARKS = ("<!-- coverage -->", "<!-- end of coverage -->")
COMMANDS = ("layers", "rf", "maps", "filters", "maximize")
KINDS = ("classification", "segmentation", "detection", "video", "optical_flow", "quantization")


@dataclass(frozen=True)
class Cell:
    """What a command did with a network.

    Attributes:
        shown: How much it showed; empty where it failed.
        reason: Why it failed, or why not all of it is known; empty where there is nothing to say.
    """

    shown: str
    reason: str = ""


Row = Mapping[str, Cell]


def kind_of(name: str) -> str:
    parts = get_model_builder(name).__module__.split(".")
    return parts[2] if parts[2] in KINDS else "classification"


def small_size(name: str) -> list[str]:
    """Return options for an input that is as small as the network takes, for speed."""
    kind = kind_of(name)
    if kind == "detection" or name.startswith(("maxvit", "s3d", "mvit")):
        return []  # these set their size themselves, or take no other
    least = {"optical_flow": 128, "segmentation": 64, "video": 64}.get(kind, 64)
    if "inception" in name:
        least = 96
    if name == "vit_h_14":
        least = 56
    return ["--input-size", str(least)]


def words(command: str, name: str, out: Path) -> list[str]:
    """Return the command line that is tried; the heavy ones see a small picture and few layers."""
    model = ["-m", name, "--json", "-q"]
    heavy = [*model, "-w", "none", "--device", "cpu", "-o", str(out), *small_size(name)]
    # The first convolution of optical flow sees both pictures at once.
    layer = "context_encoder.layer1" if kind_of(name) == "optical_flow" else "first"
    return {
        "layers": ["layers", *model],
        "rf": ["rf", str(PHOTO), *model, "-o", str(out)],
        "maps": ["maps", str(PHOTO), *heavy, "-l", "first,stages", "--channels", "0"],
        "filters": ["filters", *heavy, "--channels", "0-7"],
        "maximize": ["maximize", *heavy, "-l", layer, "--channels", "0", "--steps", "2"],
    }[command]


def try_command(command: str, name: str) -> Cell:
    with tempfile.TemporaryDirectory() as out:
        result = CliRunner().invoke(app, words(command, name, Path(out)))
    if result.exit_code == 0:
        return told(command, json.loads(result.stdout))
    errors = re.findall(r"^error: (.*)", result.stderr, re.MULTILINE)
    if not errors or not isinstance(result.exception, SystemExit):
        return Cell("", f"TRACEBACK {result.exception!r}")
    # So that networks that fail alike have one reason.
    said = errors[-1].replace(name, "the network")
    return Cell("", said.replace(name.removeprefix("quantized_"), "the plain network"))


def told(command: str, document: Mapping[str, list[Mapping[str, object]]]) -> Cell:
    """Return how much a document shows: layers, of which fields are known; files; units."""
    if command == "maximize":
        return Cell(str(len(document["units"])))
    layers = document["layers"]
    if command not in ("layers", "rf"):
        return Cell(str(len(layers)))
    known = sum(layer["receptive_field"] is not None for layer in layers)
    # That a vector has no rows and columns needs no footnote.
    reasons = Counter(
        str(layer["reason"])
        for layer in layers
        if layer["reason"] and not str(layer["reason"]).startswith("the output")
    )
    return Cell(f"{known}/{len(layers)}", "; ".join(reason for reason, _ in reasons.most_common()))


def try_all(names: Sequence[str], commands: Sequence[str] = COMMANDS) -> dict[str, Row]:
    """Run the commands over networks, and tell on stderr how it goes."""
    # Weights are random, and made once for the three commands that want any.
    models.load_model = keeping_last(models.load_model)
    found: dict[str, Row] = {}
    for name in names:
        found[name] = {command: try_command(command, name) for command in commands}
        print(name, {c: cell.shown or cell.reason for c, cell in found[name].items()}, flush=True)
    return found


def keeping_last(load: Callable[..., LoadedModel]) -> Callable[..., LoadedModel]:
    """Return a `load_model` that gives the network once more when it is asked for the same."""
    kept: dict[str, LoadedModel] = {}

    def again(*given: object, **named: object) -> LoadedModel:
        # Some arguments are dictionaries, which cannot be keys.
        asked = repr((given, sorted(named.items())))
        if asked not in kept:
            kept.clear()
            kept[asked] = load(*given, **named)
        return kept[asked]

    return again


def sample(count: int, seed: int = 0) -> list[str]:
    """Return some networks, of every kind at least one."""
    chooser = random.Random(seed)
    by_kind = {kind: [n for n in torchvision_names() if kind_of(n) == kind] for kind in KINDS}
    chosen = [chooser.choice(names) for names in by_kind.values()]
    rest = [name for name in torchvision_names() if name not in chosen]
    return sorted(chosen + chooser.sample(rest, max(0, count - len(chosen))))


def write_table(rows: Mapping[str, Row]) -> str:
    """Return COVERAGE.md: a row per network, and the reasons below."""
    reasons: dict[str, int] = {}
    lines = []
    for name, row in sorted(rows.items()):
        cells = [_written(row[command], reasons) for command in COMMANDS]
        lines.append(f"| {kind_of(name)} | {name} | {' | '.join(cells)} |")
    numbered = [f"{number}. {reason}" for reason, number in reasons.items()]
    return "\n".join(
        [
            "# What works on which network",
            "",
            "Written by `python benchmarks/coverage.py --write`, with random weights and small",
            "pictures. `layers` and `rf`: layers with a known field, of those listed; `maps` and",
            "`filters`: layers drawn (first and stages; first); `maximize`: units. A number in",
            "brackets points to the reason below, also where nothing can be shown.",
            "",
            f"| kind | network | {' | '.join(COMMANDS)} |",
            "|---" * (2 + len(COMMANDS)) + "|",
            *lines,
            "",
            *numbered,
            "",
        ]
    )


def _written(cell: Cell, reasons: dict[str, int]) -> str:
    if not cell.reason:
        return cell.shown
    number = reasons.setdefault(cell.reason, len(reasons) + 1)
    return f"{cell.shown} ({number})".strip()


def read_table(text: str) -> dict[str, Row]:
    """Return the rows of COVERAGE.md."""
    reasons = dict(re.findall(r"^(\d+)\. (.*)$", text, re.MULTILINE))
    rows: dict[str, Row] = {}
    for line in re.findall(r"^\| (?!kind)(\w.*) \|$", text, re.MULTILINE):
        _, name, *cells = line.split(" | ")
        rows[name] = {c: _read(cell, reasons) for c, cell in zip(COMMANDS, cells, strict=True)}
    return rows


def _read(text: str, reasons: Mapping[str, str]) -> Cell:
    shown, _, number = text.partition("(")
    return Cell(shown.strip(), reasons[number.rstrip(")")] if number else "")


def summary(rows: Mapping[str, Row]) -> str:
    """Return the table in README: of how many networks of a kind each command shows something."""
    lines = [f"| networks | {' | '.join(COMMANDS)} |", "|---" * (1 + len(COMMANDS)) + "|"]
    why: dict[str, None] = {}
    for kind in KINDS:
        of_kind = [row for name, row in sorted(rows.items()) if kind_of(name) == kind]
        cells = []
        for command in COMMANDS:
            shown = sum(bool(row[command].shown) for row in of_kind)
            cells.append(str(shown) if shown == len(of_kind) else f"{shown} of {len(of_kind)}")
            why |= {
                f"`{command}`: {row[command].reason}": None
                for row in of_kind
                if not row[command].shown
            }
        lines.append(f"| {len(of_kind)} {kind.replace('_', ' ')} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"- {reason}" for reason in why), *([""] if why else [])])


def with_block(readme: str, block: str) -> str:
    """Return README with the summary between its marks."""
    before, rest = readme.split(MARKS[0])
    _, after = rest.split(MARKS[1])
    return f"{before}{MARKS[0]}\n{block}{MARKS[1]}{after}"


def complaints(rows: Mapping[str, Row]) -> Iterable[str]:
    """Yield the cells that neither show anything nor say why, as users would want it."""
    for name, row in rows.items():
        for command, cell in row.items():
            if cell.reason.startswith("TRACEBACK") or not (cell.shown or cell.reason):
                yield f"{command} -m {name}: {cell.reason}"


def main() -> None:
    parser = argparse.ArgumentParser(description="which commands work on which networks")
    parser.add_argument("names", nargs="*", help="networks; all of them when none is given")
    parser.add_argument("--sample", type=int, metavar="N", help="only so many, of every kind one")
    parser.add_argument("--missing", action="store_true", help="only those without a row so far")
    parser.add_argument("--write", action="store_true", help="write COVERAGE.md and README.md")
    options = parser.parse_args()
    names = options.names or (sample(options.sample) if options.sample else torchvision_names())
    known = read_table(TABLE.read_text("utf-8")) if TABLE.exists() else {}
    rows = try_all([name for name in names if not (options.missing and name in known)])
    if options.write:
        rows = {**known, **rows}
        TABLE.write_text(write_table(rows), "utf-8")
        README.write_text(with_block(README.read_text("utf-8"), summary(rows)), "utf-8")
    else:
        print(summary(rows))
    wrong = list(complaints(rows))
    raise SystemExit("\n".join(wrong) if wrong else 0)


if __name__ == "__main__":
    main()
