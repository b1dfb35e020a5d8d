"""The job of `configs/ci-smoke.yaml` beside the import of torchvision: `python benchmarks/gate.py`.

Each in a process of its own, in turn, several times; what counts is the ratio within a round. Aim:
the job takes less than 1.5 times the import.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

from rows import Row, add_rows_option, seconds, write_rows

PROJECT = Path(__file__).parents[1]
IMPORT = ("-c", "import torchvision")
JOB = (
    "-m", "cnnviz", "maps", str(PROJECT / "sample_images"),
    "-c", str(PROJECT / "configs" / "ci-smoke.yaml"), "--device", "cpu",
)  # fmt: skip


def cost(words: tuple[str, ...], folder: str) -> tuple[float, float]:
    """Return seconds on the wall and seconds of CPU of a process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter()
    subprocess.run([sys.executable, *words], cwd=folder, stdout=subprocess.DEVNULL, check=True)
    wall, after = perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=7, help="rounds (default: 7)")
    add_rows_option(parser)
    options = parser.parse_args()
    ratios, walls = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.repeat):
            base, job = cost(IMPORT, folder), cost(JOB, folder)
            walls.append((base[0], job[0]))
            ratios.append([a / b for a, b in zip(job, base, strict=True)])
            print(f"import {base[0]:.2f} s, job {job[0]:.2f} s, ratio {ratios[-1][0]:.2f}")
    for name, column in zip(("wall", "CPU"), zip(*ratios, strict=True), strict=True):
        print(
            f"job / import, {name}: {median(column):.2f} ({min(column):.2f} to {max(column):.2f})"
        )
    base, job = (seconds(median(times)) for times in zip(*walls, strict=True))
    said = f"{median(wall for wall, _ in ratios):.2f}"
    work = "the job of `configs/ci-smoke.yaml`, over an import of torchvision"
    write_rows(options.rows, [Row(work, "`import torchvision`", base, job, said, "at most 1.5")])


if __name__ == "__main__":
    main()
