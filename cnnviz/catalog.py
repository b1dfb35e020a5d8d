"""Which models, weights and devices can be named, told without importing torch (seconds)."""

import re
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from cnnviz.errors import InputError, UnknownNameError, UsageError

DEMO = "demo"
TIMM = "timm"
CHECKPOINT_SUFFIXES = (".pth", ".pt", ".safetensors", ".safetensors.index.json")

# torchvision registers its builders by decorator, some under a name that is not the function's,
# and lists weights in enums. A decorator's arguments may take several lines.
_BUILDER = re.compile(
    r"^@register_model\((?:name=\"(?P<name>\w+)\")?\)\n(?:[@ )].*\n)*def (?P<function>\w+)\(",
    re.MULTILINE,
)
_WEIGHTS = re.compile(r"^    ([A-Z]\w+) = Weights\($", re.MULTILINE)


def torchvision_names() -> tuple[str, ...]:
    """Return what `torchvision.models.list_models()` would, sorted."""
    return _scan(_BUILDER)


@cache
def _scan(pattern: re.Pattern[str]) -> tuple[str, ...]:
    spec = find_spec("torchvision")
    if spec is None or spec.origin is None:
        return ()
    sources = (Path(spec.origin).parent / "models").rglob("*.py")
    found = (match for path in sources for match in pattern.finditer(path.read_text("utf-8")))
    return tuple(sorted({next(filter(None, match.groups())) for match in found}))


def split_factory(model: str) -> tuple[str, str] | None:
    """Return home and name of `FILE.py:NAME`, `package.module:NAME` or `timm:NAME`.

    None where `model` is not of that form.
    """
    home, mark, name = model.rpartition(":")
    dotted = all(part.isidentifier() for part in home.split("."))
    return (home, name) if mark and (home.endswith(".py") or dotted) else None


def is_checkpoint(weights: str) -> bool:
    """Return whether `weights` names a file and not a set of torchvision's weights."""
    return weights.endswith(CHECKPOINT_SUFFIXES) or Path(weights).is_file()


def tell_weights(weights: str) -> str:
    """Return in words which weights a network has."""
    plain = {"none": "random weights", "default": "its own weights"}
    return plain.get(weights, f"weights {weights}")


def checkpoint_names(weights: Sequence[str]) -> list[str]:
    """Return short names of checkpoints: those of their files, where that tells them apart."""
    stems = [Path(name).stem for name in weights]
    return stems if len(set(stems)) == len(set(weights)) else list(weights)


def check_names(model: str, weights: str, device: str) -> None:
    """Raise an error for a model, weights or device that cannot exist.

    What passes may still turn out wrong: weights that exist for another model only, a device
    that this machine lacks.

    Raises:
        UnknownNameError: For an unknown model or weights name; it lists the closest names.
        InputError: If a model file or a checkpoint file does not exist.
        UsageError: If the device is of no known form.
    """
    factory = split_factory(model)
    if factory is None and model not in (DEMO, *torchvision_names()):
        known = [DEMO, *torchvision_names()]
        raise UnknownNameError("model", model, known, see="or your own as FILE.py:FACTORY")
    if factory is not None and factory[0].endswith(".py") and not Path(factory[0]).is_file():
        raise InputError(f"model file {factory[0]} does not exist")
    if is_checkpoint(weights):
        if not Path(weights).is_file():
            raise InputError(f"checkpoint {weights} does not exist")
    elif weights not in (known := ["default", "none", *_scan(_WEIGHTS)]):
        raise UnknownNameError("weights", weights, known, see="or a checkpoint file")
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise UsageError(f"unknown device {device!r}; choose from auto, cpu, cuda, cuda:N, mps")
