"""cnnviz beside torchinfo: `python benchmarks/layers.py`.

For each of torchvision's classification networks, one after the other and in turn, from the name to
the records of all layers:

torchinfo  `builder(weights=None)` and `torchinfo.summary(model, input_size)`: types, shapes,
           parameters and multiply-adds.
cnnviz     `load_structure` and `trace_module`: the same, and receptive fields.

Both run in this process, warm: each does one network before the first is timed. The time of a
network is the least of some rounds.
"""

import argparse
import math
from collections.abc import Callable
from importlib.metadata import version
from time import perf_counter

import torch
import torchinfo
import torchvision
from rows import Row, add_rows_option, seconds, write_rows
from torchvision.models import get_model_builder, list_models

from cnnviz.networks.models import load_structure
from cnnviz.networks.sources import structure_arguments
from cnnviz.tracer import trace_module


def by_torchinfo(name: str, size: tuple[int, int]) -> None:
    model = get_model_builder(name)(weights=None, **structure_arguments(name, size))
    torchinfo.summary(model, (1, 3, *size), verbose=0)


def by_cnnviz(name: str, size: tuple[int, int]) -> None:
    loaded = load_structure(name, "none", input_size=size)
    trace_module(loaded.module, size)


def time_of(
    work: Callable[[str, tuple[int, int]], None], name: str, size: tuple[int, int]
) -> float:
    start = perf_counter()
    work(name, size)
    return perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description="cnnviz beside torchinfo, warm, in one process")
    parser.add_argument("names", nargs="*", help="networks; all of them when none is given")
    parser.add_argument("--rounds", type=int, default=1, help="the least time of so many counts")
    parser.add_argument("--cnnviz-only", action="store_true", help="time cnnviz alone")
    add_rows_option(parser)
    options = parser.parse_args()
    print(f"torch {torch.__version__}, torchinfo {version('torchinfo')}, "
          f"{torch.get_num_threads()} threads")  # fmt: skip
    workers = [by_cnnviz] if options.cnnviz_only else [by_torchinfo, by_cnnviz]
    for work in workers:
        work("resnet18", (224, 224))
    print(f"{'network':<22}{'torchinfo s':>12}{'cnnviz s':>10}{'ratio':>8}")
    ratios: dict[str, float] = {}
    totals = [0.0, 0.0]
    for name in options.names or list_models(module=torchvision.models):
        size = load_structure(name).preprocess.input_size
        rounds = [[time_of(work, name, size) for work in workers] for _ in range(options.rounds)]
        *others, ours = (min(times) for times in zip(*rounds, strict=True))
        theirs = others[0] if others else math.nan
        ratios[name] = theirs / ours
        totals = [total + took for total, took in zip(totals, (theirs, ours), strict=True)]
        print(f"{name:<22}{theirs:>12.3f}{ours:>10.3f}{ratios[name]:>8.1f}", flush=True)
    mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
    worst = min(ratios, key=ratios.__getitem__)
    print(f"geometric mean {mean:.1f}, worst {ratios[worst]:.1f} ({worst})")
    work = f"`layers`: name to table of {len(ratios)} networks, geometric mean (worst)"
    took = (seconds(total) for total in totals)
    said = f"{mean:.1f} ({ratios[worst]:.1f})"
    write_rows(options.rows, [Row(work, "torchinfo", *took, said, "8, none below 1")])


if __name__ == "__main__":
    main()
