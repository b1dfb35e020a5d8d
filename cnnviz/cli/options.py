"""The options that commands share, as annotated types, and the values that they stand for."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from cnnviz.config import OptionType, parse_arguments, read_config
from cnnviz.errors import UsageError
from cnnviz.networks.catalog import check_names

_MODEL, _PICTURES, _RUN = "Model", "Pictures", "Run"
_PREPROCESSING = "Preprocessing, otherwise as the weights expect"
_PAIR = "KEY=VALUE"


def _load_config(context: typer.Context, path: Path | None) -> Path | None:
    """Make the file's values the defaults, so that environment and command line win over them."""
    if path is not None:
        types = _option_types(context.command)
        found = read_config(path, {name.rstrip("_"): kind for name, kind in types.items()})
        # An option that is called as a Python keyword has a parameter with a line behind it.
        context.default_map = {
            name: found[key] for name in types if (key := name.rstrip("_")) in found
        }
    return path


def _option_types(command: Any) -> dict[str, OptionType]:
    """Return what each option of a command takes, as the function behind the command says."""
    hints = get_type_hints(inspect.unwrap(command.callback))
    return {
        parameter.name: _option_type(hints[parameter.name], parameter.metavar)
        for parameter in command.params
        if parameter.param_type_name == "option" and parameter.name not in ("config", "help")
    }


def _option_type(hint: Any, metavar: str | None) -> OptionType:
    # The first of `int | None` and of `list[str]` is what one value must be.
    kind = next(iter(get_args(hint)), hint)
    known = kind if kind in (bool, int, float) else str
    return OptionType(known, repeated=get_origin(hint) is list, pairs=metavar == _PAIR)


Model = Annotated[
    str,
    typer.Option(
        "-m", "--model", envvar="CNNVIZ_MODEL", rich_help_panel=_MODEL,
        help="demo (bundled), a torchvision builder such as resnet18, timm:NAME, or your own as "
        "FILE.py:FACTORY or package.module:FACTORY.",
    ),
]  # fmt: skip
Weights = Annotated[
    str,
    typer.Option(
        "-w", "--weights", rich_help_panel=_MODEL,
        help="default (pretrained), none (random, seeded), a torchvision weights name, "
        "or a checkpoint (.pth .pt .safetensors).",
    ),
]  # fmt: skip
Checkpoints = Annotated[
    list[str],
    typer.Option(
        "-w", "--weights", rich_help_panel=_MODEL,
        help="default (pretrained), none (random, seeded), a torchvision weights name, "
        "or a checkpoint (.pth .pt .safetensors). Repeat it to set several side by side.",
    ),
]  # fmt: skip
ModelArgs = Annotated[
    list[str],
    typer.Option(
        "--model-args", metavar=_PAIR, rich_help_panel=_MODEL, show_default=False,
        help="For the function or class that makes the network: width=64, norm=null, "
        "depths=[3,3,9]. Repeatable.",
    ),
]  # fmt: skip
StateKey = Annotated[
    str | None,
    typer.Option(
        "--state-key", metavar="KEY", rich_help_panel=_MODEL,
        help="Which weights of a checkpoint: model_ema, ema.module, or what their names begin "
        "with.", show_default="the usual place",
    ),
]  # fmt: skip
Frames = Annotated[
    bool,
    typer.Option(
        "--frames", rich_help_panel=_PICTURES,
        help="Also an animated PNG, with one frame for each --weights.",
    ),
]  # fmt: skip
InputSize = Annotated[
    str | None,
    typer.Option(
        "--input-size", metavar="N|HxW", rich_help_panel=_MODEL,
        help="Size of the network's input.", show_default="what the weights were made for",
    ),
]  # fmt: skip
Classes = Annotated[
    Path | None,
    typer.Option(
        "--classes", metavar="FILE", rich_help_panel=_MODEL, show_default=False,
        help="Names of the classes: one per line, or JSON.",
    ),
]  # fmt: skip
Resize = Annotated[
    str | None,
    typer.Option(
        "--resize", metavar="N|HxW", rich_help_panel=_PREPROCESSING, show_default=False,
        help="Size that the photo is made to just cover.",
    ),
]  # fmt: skip
Crop = Annotated[
    str | None,
    typer.Option(
        "--crop", metavar="N|HxW|none", rich_help_panel=_PREPROCESSING, show_default=False,
        help="What is cut from its centre: the network's input. none stretches the photo.",
    ),
]  # fmt: skip
Mean = Annotated[
    list[str],
    typer.Option(
        "--mean", metavar="X[,X,X]", rich_help_panel=_PREPROCESSING, show_default=False,
        help="Taken from values of 0 to 1: one number, or one per channel.",
    ),
]  # fmt: skip
Std = Annotated[
    list[str],
    typer.Option(
        "--std", metavar="X[,X,X]", rich_help_panel=_PREPROCESSING, show_default=False,
        help="What is then divided by.",
    ),
]  # fmt: skip
Grey = Annotated[
    bool,
    typer.Option(
        "--grey", rich_help_panel=_PREPROCESSING,
        help="Take colours away; networks that read one channel get grey anyway.",
    ),
]  # fmt: skip
Device = Annotated[
    str,
    typer.Option(
        "--device", envvar="CNNVIZ_DEVICE", rich_help_panel=_MODEL,
        help="auto, cpu, cuda, cuda:1 or mps. In float32 a GPU gives what the CPU gives, within "
        "1e-4 of a layer's largest value.",
    ),
]  # fmt: skip
Seed = Annotated[
    int,
    typer.Option(
        "--seed", min=0, max=2**63 - 1, rich_help_panel=_MODEL, help="Of every random choice."
    ),
]
Layers = Annotated[
    list[str],
    typer.Option(
        "-l", "--layers", metavar="PATTERN", rich_help_panel=_MODEL,
        help="Repeatable, or separated by commas: a name (layer1.0.conv1), a glob "
        "(layer?.*.conv2), type:Conv2d, or stages (the last layer of each resolution), first, "
        "last, conv, pool, all. NAME#2 is the second call of a module.",
    ),
]  # fmt: skip
Out = Annotated[
    Path, typer.Option("-o", "--out", rich_help_panel=_RUN, help="Folder for the pictures.")
]
Config = Annotated[
    Path | None,
    typer.Option(
        "-c", "--config", is_eager=True, callback=_load_config, rich_help_panel=_RUN,
        help="YAML file with option values; the command line and the environment win over it.",
        show_default=False,
    ),
]  # fmt: skip
Json = Annotated[
    bool, typer.Option("--json", rich_help_panel=_RUN, help="Print one JSON document on stdout.")
]
Quiet = Annotated[
    bool, typer.Option("-q", "--quiet", rich_help_panel=_RUN, help="Only errors on stderr.")
]
Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", rich_help_panel=_RUN, help="Tell of every file.")
]
Debug = Annotated[
    bool, typer.Option("--debug", rich_help_panel=_RUN, help="Show tracebacks of errors.")
]


def check_network(
    model: str,
    weights: Sequence[str],
    device: str,
    *,
    model_args: Sequence[str],
    state_key: str | None,
    frames: bool = False,
) -> dict[str, Any]:
    """Return the arguments for what makes a network, if all that is named can exist.

    Raises:
        CnnvizError: As `catalog.check_names` does, for each of the weights.
        UsageError: If an argument is not understood, weights are given twice, or frames are wanted
            of fewer than two.
    """
    arguments = parse_arguments(model_args)
    for one in weights:
        check_names(model, one, device, model_args=arguments, state_key=state_key)
        if weights.count(one) > 1:
            raise UsageError(f"--weights {one} is given twice")
    if frames and len(weights) < 2:
        raise UsageError("--frames needs several --weights: one for each frame")
    return arguments
