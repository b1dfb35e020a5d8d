"""YAML files: the project's recipes bent out of shape, and documents made to be awkward."""

from pathlib import Path
from random import Random

import hostile

_RECIPES = [
    path.read_text("utf-8")
    for path in sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
]
_KEYS = (
    "model", "layers", "channels", "reduce", "cmap", "out", "seed", "steps", "lr", "fail-on",
    "fail_on", "batch-size", "workers", "top-images", "frames", "json", "quiet", "verbose",
    "input-size", "class", "at", "junit", "columns", "config", "help", "inputs", "class_", "size",
)  # fmt: skip
_VALUES = (
    "1", "-1", "0x1F", "1_000", "1e3", ".nan", ".inf", "-.inf", "~", "null", "yes", "No", "on",
    "'text'", '"a\\0b"', '"\\ud800"', "2026-11-21", "12:30:45", "0o17", "!!str 3", "!!int 'x'",
    "!!binary aGk=", "!!binary '*'", "!!set {a, b}", "!!omap [a: 1]", "!!timestamp 2026-99-99",
    "!!python/object/apply:os.mkdir [attacked]", "!!python/name:os.system", "!unknown x", "&a [*a]",
    "&a {k: *a}", "*gone", "[conv1, relu]", "[1, [2, [3]]]", "{a: b}", "[]", "{}",
    "|\n  text\n  more",
    ">-\n  folded", "? x", "- x", "!!float '.'", "1.5", "99999999999999999999", "9" * 5000, "<<: 1",
    "conv1, relu", "all", "nan", "top:1", "dead=0.5", "viridis", "true", "false", "#", "@x",
    "`x", "%x",
)  # fmt: skip


def config_file(random: Random) -> bytes:
    """Return the bytes of a file that is YAML, or nearly."""
    if random.random() < 0.4:
        text = hostile.bent(random, random.choice(_RECIPES))
    elif random.random() < 0.1:
        depth = random.choice((5, 100, 3000))
        text = f"layers: {random.choice('[{') * depth}" + "]" * random.choice((0, depth))
    else:
        text = "".join(_line(random) for _ in range(random.choice((1, 1, 2, 3, 8))))
    data = hostile.tame(text).encode(errors="surrogateescape")
    if random.random() < 0.1:
        coding = random.choice(("utf-16", "utf-8-sig", "utf-32", "cp037", "latin-1"))
        data = data.decode(errors="replace").encode(coding, errors="replace")
    return hostile.damaged(random, data) if random.random() < 0.1 else data


def _line(random: Random) -> str:
    key = hostile.text(random) if random.random() < 0.1 else random.choice(_KEYS)
    value = hostile.text(random) if random.random() < 0.2 else random.choice(_VALUES)
    between = random.choice((": ", ": ", ": ", ": ", ":", ":\t", " : ", ":\n  ", ":\n- "))
    return f"{key}{between}{value}{random.choice(('', '', ' # why'))}\n"
