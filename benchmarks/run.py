"""All comparisons with other tools in one go: `python benchmarks/run.py`.

Runs the programs beside this one, one after the other, each in a process of its own, and prints
one table. With `--write` the table, the machine and the versions go to `benchmarks/RESULTS.md`.
Nothing else should run meanwhile. `--only layers rf` runs a part.

The tools to compare with are installed apart from cnnviz, which needs none of them:

    pip install torchinfo torch-lucent==0.1.8 kornia==0.4.1 torchscan==0.2.0 receptivefield==0.5.0 \
        openerf timm

What is missing is said, and left out.
"""

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rows import Row, read_rows

import cnnviz

HERE = Path(__file__).parent
PROGRAMS: dict[str, tuple[str, ...]] = {
    "layers": (),
    "gate": (),
    "folder": ("--memory", "2000"),
    "rf": (),
    "maps": ("--repeat", "2"),
    "maximize": ("--channels", "1"),
}
PACKAGES = (
    "torch", "torchvision", "matplotlib", "pillow", "torchinfo", "torchscan", "receptivefield",
    "openerf", "timm", "torch-lucent", "kornia",
)  # fmt: skip
COLUMNS = ("work", "peer", "theirs", "cnnviz", "ratio", "aim")


def run(program: str) -> tuple[str, list[Row]]:
    """Return what a program printed, and its rows; both are empty where it failed."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "rows.jsonl")
        words = [sys.executable, str(HERE / f"{program}.py"), *PROGRAMS[program]]
        done = subprocess.run(
            [*words, "--rows", str(file)], stdout=subprocess.PIPE, text=True, check=False
        )
        print(done.stdout, flush=True)
        if done.returncode or not file.is_file():
            print(f"{program}.py failed, or gave no rows", file=sys.stderr)
            return done.stdout, []
        return done.stdout, read_rows(file)


def table(rows: Sequence[Row]) -> str:
    """Return rows as a table in Markdown."""
    lines = [COLUMNS, ("---",) * len(COLUMNS)]
    lines += [(r.work, r.peer, r.theirs, r.ours, r.ratio, r.aim) for r in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def machine() -> str:
    """Return in words what the figures were measured on."""
    told = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", told.read_text()) if told.is_file() else None
    name = found[1] if found else platform.processor() or platform.machine()
    return (
        f"{os.cpu_count()} cores ({name}), {platform.system()}, Python {platform.python_version()}"
    )


def versions() -> str:
    """Return the versions of what took part."""
    told = [f"cnnviz {cnnviz.__version__}"]
    for package in PACKAGES:
        try:
            told.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            told.append(f"{package} not installed")
    return ", ".join(told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PROGRAMS, default=list(PROGRAMS))
    parser.add_argument("--write", action="store_true", help="write benchmarks/RESULTS.md")
    options = parser.parse_args()
    printed: dict[str, str] = {}
    rows: list[Row] = []
    for program in options.only:
        print(f"--- {program}.py {' '.join(PROGRAMS[program])}", flush=True)
        printed[program], found = run(program)
        rows += found
        if options.write:
            (HERE / "RESULTS.md").write_text(page(printed, rows), "utf-8")
    print(table(rows))
    print(f"{machine()}\n{versions()}")


def page(printed: Mapping[str, str], rows: Sequence[Row]) -> str:
    """Return what programs printed, and the table of all, as a page."""
    day = datetime.now(UTC).date().isoformat()
    parts = [
        f"# Beside other tools\n\nWritten by `python benchmarks/run.py --write` on {day}. Ratios "
        "are of runs in turn on the same machine; the larger, the better, but where the aim says "
        f'"at most".\n\n{table(rows)}\n{machine()}\n\n{versions()}\n',
        *(
            f"\n## {' '.join((f'{name}.py', *PROGRAMS[name]))}\n\n```\n{text.strip()}\n```\n"
            for name, text in printed.items()
        ),
    ]
    return "".join(parts)


if __name__ == "__main__":
    main()
