"""Command lines made of the options that the app has, with good, odd and bad values.

The options are read from the app itself: one that is added is tried without a word here. Only
values of which a good one cannot be guessed are listed.
"""

import inspect
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from random import Random
from typing import Any, get_args, get_type_hints

import hostile
from typer.main import get_command

from cnnviz.cli import app

COMMANDS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]

# What is needed for a small and short run.
SMALL = {
    "layers": ("-m", "net.py:tiny", "--input-size", "16"),
    "maps": ("a.jpg", "-m", "net.py:tiny", "--input-size", "16"),
    "filters": ("-m", "net.py:tiny",),
    "rf": ("-m", "net.py:tiny", "--input-size", "16"),
    "maximize": ("-m", "net.py:tiny", "--steps", "1", "--size", "8", "--channels", "0"),
}  # fmt: skip

PATTERNS = (
    "conv1", "relu", "relu#2", "conv?", "*", "type:Conv2d", "stages", "first", "last", "conv",
    "pool", "all", "conv1,relu", "relu#3", "head", "cnov1", "CONV1", "[c]*", "head,relu#1",
)  # fmt: skip
CHANNELS = (
    "0", "0-3", "0,2", "all", "top:1", "top:2", "3-0", "0-0,0-1", " 1 ", "0 - 2", "4", "-1", "0-",
    "top:0", "ALL", "0,,1",
)  # fmt: skip
_PATHS = ("out", "new/folder", "a.jpg", "folder", "net.py/x", "gone.jpg", "ä ö", "c.yaml")
_GOOD: dict[str, tuple[str, ...]] = {
    "inputs": ("a.jpg", "folder", "gone.jpg", "-", "a.png", "broken.jpg", "net.py"),
    "images": ("a.jpg", "folder", "gone.jpg", "broken.jpg"),
    "model": ("net.py:tiny", "net.py:twin", "net.py:fails", "net:tiny", "tdemo", "resnt18"),
    "weights": ("none", "default", "w.pth", "w.safetensors", "gone.pth", "NONE", "a.jpg"),
    "layers": PATTERNS,
    "channels": CHANNELS,
    "in_channels": CHANNELS,
    "input_size": ("16", "9x16", "1", "0", "16x", "8193", "16x16x16", " 16"),
    "size": ("8", "8x9", "auto", "0", "x", "AUTO"),
    "steps": ("1", "2", "0", "-1", "1.5"),
    "device": ("cpu", "auto", "gpu", "cuda:99", "CPU"),
    "cmap": ("viridis", "gray", "virdis", "RdBu_r"),
    "fail_on": ("nan", "blank", "dead=0.5", "dead=2", "saturated=0", "noise=0.1", "vanishing=1",
                "change=r.json:0.1", "change=a.jpg:1"),
    "class_": ("0", "4", "5", "-1", "rings"),
    "at": ("center", "max", "0,0", "3,4", "99,99", "1", "-1,0"),
    "columns": ("name", "name,type", "reason,global", "nmae", ""),
    "config": ("c.yaml", "gone.yaml", "a.jpg", "folder", "empty.yaml"),
    "seed": ("0", "1", "-1"),
}  # fmt: skip
# Numbers by which the work grows: large ones are legal, and take long.
_WORK = (
    "steps",
    "frames",
)


def value(random: Random, option: Any, kind: type) -> str:
    """Return a value for an option: mostly one that it takes, or nearly takes."""
    if random.random() < 0.15:
        return hostile.tame(hostile.text(random))
    good = list(_candidates(option, kind))
    chosen = str(random.choice(good))
    return hostile.tame(hostile.bent(random, chosen) if random.random() < 0.15 else chosen)


def _candidates(option: Any, kind: type) -> Iterator[object]:
    yield from _GOOD.get(option.name, ())
    if issubclass(kind, Enum):
        yield from (choice.value for choice in kind)
    elif kind is int and option.name not in _WORK:
        bounds = [edge for edge in (option.min, option.max) if edge is not None]
        yield from (edge + i for edge in bounds for i in (-1, 0, 1))
        yield from hostile.WHOLE
    elif kind is float:
        yield from hostile.REAL
    elif kind is Path:
        yield from _PATHS
    elif option.name not in _GOOD:
        # A text of unknown form: what its help speaks of may be what it takes.
        yield from (option.help or option.name).replace(",", " ").replace(":", " ").split()


def _kind(command: str, option: Any) -> type:
    """Return what one value of an option is, as the function behind the command says."""
    hint = get_type_hints(inspect.unwrap(COMMANDS[command].callback))[option.name]
    while get_args(hint):
        hint = get_args(hint)[0]
    return hint if isinstance(hint, type) else str


KINDS = {(c, p.name): _kind(c, p) for c in COMMANDS for p in COMMANDS[c].params if p.name != "help"}


def command_line(random: Random, wanted: Callable[[Any], bool] = lambda _: True) -> list[str]:
    """Return a random command line of any command.

    Args:
        random: Decides.
        wanted: Which of the options are tried.
    """
    command = random.choice(list(COMMANDS))
    words = list(SMALL[command])
    options = [p for p in COMMANDS[command].params if p.name != "help" and wanted(p)]
    for option in random.sample(options, k=min(len(options), random.choice((1, 1, 2, 2, 3, 6)))):
        for _ in range(random.choice((1, 1, 1, 2)) if option.multiple else 1):
            words += _written(random, option, KINDS[command, option.name])
    if random.random() < 0.05:
        random.shuffle(words)
    if random.random() < 0.05:
        words.pop(random.randrange(len(words)))
    return [command, *words] if random.random() < 0.97 else [*words, command]


def _written(random: Random, option: Any, kind: type) -> list[str]:
    if option.param_type_name == "argument":
        return [value(random, option, kind)]
    name = random.choice(option.opts)
    if random.random() < 0.02:
        name = hostile.bent(random, name)
    if option.is_flag:
        return [name]
    said = value(random, option, kind)
    return [f"{name}={said}"] if name.startswith("--") and random.random() < 0.2 else [name, said]
