"""Which models, weights and devices can be named, told without importing torch (seconds)."""

import re
import zipfile
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from os.path import isdir, isfile
from pathlib import Path

from cnnviz.errors import InputError, UnknownNameError, UsageError
from cnnviz.files import absence

# Unlike the methods of Path, `isfile` and `isdir` take any text: too long ones are no files.

DEMO = "demo"
TIMM = "timm"
CHECKPOINT_SUFFIXES = (
    ".pth", ".pt", ".bin", ".ckpt", ".pt2", ".safetensors", ".safetensors.index.json",
)  # fmt: skip
TORCHSCRIPT, EXPORTED = "TorchScript", "torch.export"

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


def is_named_network(text: str) -> bool:
    """Return whether `text` names a network that needs no code of the user's."""
    return text in (DEMO, *torchvision_names())


def split_factory(model: str) -> tuple[str, str] | None:
    """Return home and name of `FILE.py:NAME`, `package.module:NAME` or `timm:NAME`.

    None where `model` is not of that form.
    """
    home, mark, name = model.rpartition(":")
    dotted = all(part.isidentifier() for part in home.split("."))
    return (home, name) if mark and (home.endswith(".py") or dotted) else None


def is_checkpoint(weights: str) -> bool:
    """Return whether `weights` names a file and not a set of torchvision's weights."""
    return weights.endswith(CHECKPOINT_SUFFIXES) or isfile(weights)


def program_kind(path: Path) -> str | None:
    """Return what program a file is an archive of; None where it is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile, NotImplementedError):
        return None
    kinds = {TORCHSCRIPT: "/code/", EXPORTED: "/archive_format"}
    return next((k for k, mark in kinds.items() if any(mark in f"/{n}" for n in names)), None)


def tell_weights(weights: str) -> str:
    """Return in words which weights a network has."""
    plain = {"none": "random weights", "default": "its own weights"}
    return plain.get(weights, f"weights {weights}")


def checkpoint_names(weights: Sequence[str]) -> list[str]:
    """Return short names of checkpoints: those of their files, where that tells them apart."""
    stems = [Path(name).stem for name in weights]
    return stems if len(set(stems)) == len(set(weights)) else list(weights)


def check_names(
    model: str,
    weights: str,
    device: str,
    *,
    model_args: Mapping[str, object] | None = None,
    state_key: str | None = None,
) -> None:
    """Raise an error for a model, weights or device that cannot exist.

    What passes may still turn out wrong: weights that exist for another model only, a device
    that this machine lacks.

    Raises:
        UnknownNameError: For an unknown model or weights name; it lists the closest names.
        InputError: If a model file or a checkpoint file does not exist.
        UsageError: If the device is of no known form, or arguments or a key are given to what
            takes none.
    """
    _check_model(model)
    if model == DEMO and model_args:
        raise UsageError(f"demo takes no --model-args; given {', '.join(model_args)}")
    if is_checkpoint(weights):
        _check_checkpoint(weights)
    elif weights not in (known := ["default", "none", *_scan(_WEIGHTS)]):
        if isdir(weights):
            raise InputError(f"weights {weights} is a folder; name a file in it")
        raise UnknownNameError("weights", weights, known, see="or a checkpoint file")
    elif state_key is not None:
        raise UsageError(
            f"--state-key {state_key} is for a checkpoint, and --weights {weights} is none"
        )
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise UsageError(f"unknown device {device!r}; choose from auto, cpu, cuda, cuda:N, mps")


def _check_model(model: str) -> None:
    factory = split_factory(model)
    if factory is None and not is_named_network(model):
        _refuse_weights(model)
        known = [DEMO, *torchvision_names()]
        raise UnknownNameError("model", model, known, see="or your own as FILE.py:FACTORY")
    if factory is not None and factory[0].endswith(".py") and not isfile(factory[0]):
        raise InputError(f"model file {factory[0]} {absence(factory[0])}")


_NO_HOOKS = {
    TORCHSCRIPT: "hooks do not reach its layers",
    EXPORTED: "loading it could run code (where you trust it, a function of your own may return "
    "torch.export.unflatten(torch.export.load(PATH)))",
}


def _refuse_weights(model: str) -> None:
    """Raise an error for a file of weights, or of a network that cannot be looked into."""
    path = Path(model)
    if not isfile(path) or path.suffix == ".py":
        return
    kind = program_kind(path)
    what = f"a {kind} archive, and {_NO_HOOKS[kind]}" if kind else "a file, and no network's name"
    raise UsageError(
        f"model {model} is {what}: name the network with -m, and give the file with -w {model}"
    )


def _check_checkpoint(weights: str) -> None:
    if isdir(weights):
        raise InputError(f"checkpoint {weights} is a folder; name a file in it")
    if not isfile(weights):
        raise InputError(f"checkpoint {weights} {absence(weights)}")
