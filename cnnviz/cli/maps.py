"""`cnnviz maps`: feature maps of photos as PNG grids."""

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnnviz.checks import parse_rules
from cnnviz.choices import Normalize, Precision, Reduce
from cnnviz.cli import options
from cnnviz.cli.exit_codes import DONE, FAILED, TRIPPED
from cnnviz.errors import UsageError

if TYPE_CHECKING:
    from cnnviz.cli.output import Output
    from cnnviz.report.maps import MapsReport

_MAPS, _FOLDERS = "Maps", "Folders and checks"
_DEFAULT_CHANNELS = "0-63"
# Side by side there is room for fewer.
_DEFAULT_SERIES = "0-7"


def maps(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT", show_default=False,
            help="Images, folders (searched recursively), or - for a list of paths on stdin.",
        ),
    ],
    model: options.Model = "demo",
    weights: options.Checkpoints = ["default"],  # noqa: B006 - typer needs a list; it stays
    layers: options.Layers = ["stages"],  # noqa: B006
    channels: Annotated[
        str | None,
        typer.Option(
            "--channels", metavar="SPEC", rich_help_panel=_MAPS,
            help="0-15,31 or all or top:16 (the most active).",
            show_default="0-63; 0-7 of several checkpoints",
        ),
    ] = None,
    reduce: Annotated[
        Reduce,
        typer.Option("--reduce", rich_help_panel=_MAPS, help="One map per layer, not per channel."),
    ] = Reduce.NONE,
    normalize: Annotated[
        Normalize,
        typer.Option(
            "--normalize", rich_help_panel=_MAPS,
            help="Colours span each channel's range, the layer's, or 0 to 1.",
        ),
    ] = Normalize.CHANNEL,
    cmap: Annotated[
        str, typer.Option("--cmap", rich_help_panel=_MAPS, help="Any matplotlib colour map.")
    ] = "viridis",
    overlay: Annotated[
        bool,
        typer.Option(
            "--overlay", rich_help_panel=_MAPS,
            help="Lay the reduced map (the mean, unless --reduce says otherwise) over the photo.",
        ),
    ] = False,
    frames: options.Frames = False,
    save_activations: Annotated[
        bool,
        typer.Option(
            "--save-activations", rich_help_panel=_MAPS,
            help="Also write the maps as numbers, activations.npz.",
        ),
    ] = False,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size", min=1, rich_help_panel=_FOLDERS,
            help="Photos per forward pass.", show_default="by memory, 16 at most",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=1, rich_help_panel=_FOLDERS,
            help="Threads that decode and draw.", show_default="one per core",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", rich_help_panel=_FOLDERS,
            help="Go on with the run that OUT is of: what is finished is not done again.",
        ),
    ] = False,
    max_failures: Annotated[
        int | None,
        typer.Option(
            "--max-failures", min=1, metavar="N", rich_help_panel=_FOLDERS,
            help="Stop after N photos that failed.", show_default="never",
        ),
    ] = None,
    precision: Annotated[
        Precision,
        typer.Option(
            "--precision", rich_help_panel=_FOLDERS,
            help="In which numbers the network computes, where the device has them.",
        ),
    ] = Precision.FP32,
    fail_on: Annotated[
        list[str],
        typer.Option(
            "--fail-on", metavar="RULE", rich_help_panel=_FOLDERS, show_default=False,
            help="Exit with 3 on: nan, dead=0.5 (more than half of a layer's channels dead), "
            "blank (a layer with one value everywhere). Repeatable.",
        ),
    ] = [],  # noqa: B006
    input_size: options.InputSize = None,
    device: options.Device = "auto",
    seed: options.Seed = 0,
    out: options.Out = Path("cnnviz-out"),
    config: options.Config = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:  # fmt: skip
    """Write the feature maps of photos as labelled PNG grids, with an overview and a table.

    OUT/PHOTO/LAYER.png shows a layer's channels, OUT/PHOTO/overview.png all layers. A run that
    was interrupted goes on with --resume; torchrun -m cnnviz maps ... shares it among GPUs.
    """
    from cnnviz.files import check_folder, only_run
    from cnnviz.images import find_images, parse_input_size
    from cnnviz.ranks import find_place
    from cnnviz.render.palette import check_cmap
    from cnnviz.selection import parse_channels, split_patterns

    # What can be found wrong without torch, which takes seconds to import, is found first.
    patterns = split_patterns(layers)
    usual = _DEFAULT_CHANNELS if len(weights) == 1 else _DEFAULT_SERIES
    spec = parse_channels(channels or usual, clipped=channels is None)
    rules = parse_rules(fail_on)
    size = parse_input_size(input_size) if input_size else None
    check_cmap(cmap)
    options.check_checkpoints(model, weights, device, frames=frames)
    if len(weights) > 1 and (spec.top or overlay):
        what = "--overlay" if overlay else f"--channels {channels}"
        raise UsageError(f"{what} is for one network; the maps of several stand side by side")
    place = find_place(os.environ)
    sources = find_images(_paths(inputs), exclude=out) if place.first else []
    check_folder(out)

    with only_run(out) if place.first else nullcontext():
        from cnnviz.batch import MapsJob
        from cnnviz.cli.output import Output
        from cnnviz.maps import check_precision, plan_layers
        from cnnviz.models import load_model
        from cnnviz.pictures import Style
        from cnnviz.report.maps import MapsReport
        from cnnviz.runs import run_folder
        from cnnviz.team import joined

        output = Output(quiet=quiet, verbose=verbose)
        one_map = Reduce.MEAN if overlay and reduce is Reduce.NONE else reduce
        with (
            output.data_only(),
            output.progress("photos", len(sources)) as advance,
            joined(place) as team,
        ):
            *earlier, network = (
                load_model(
                    model, one, device=team.device(device), input_size=size, seed=seed,
                    progress=output.shows_progress,
                )
                for one in weights
            )  # fmt: skip
            check_precision(precision, network.device)
            plans, skipped = plan_layers(network, patterns, spec, one_map)
            style = Style(normalize, cmap, overlay, frames)
            job = MapsJob(network, plans, style, out, save_activations, earlier, precision)
            result = run_folder(
                job, sources, team, resume=team.any(resume or place.restarted),
                max_failures=max_failures, batch_size=batch_size, workers=workers,
                on_done=advance,
            )  # fmt: skip
        if result is None:  # the first process tells it all
            raise typer.Exit(DONE)
        report = MapsReport(network, plans, skipped, result, rules, out, earlier)
        report.write_manifest()
        _tell(report, output, as_json=json)
        raise typer.Exit(TRIPPED if report.tripped else FAILED if report.failed else DONE)


def _paths(inputs: list[str]) -> list[Path]:
    """Return the inputs as paths, `-` replaced by the lines of stdin."""
    paths: list[Path] = []
    for text in inputs:
        lines = (line.rstrip("\r\n") for line in sys.stdin) if text == "-" else [text]
        paths.extend(Path(line) for line in lines if line)
    return paths


def _tell(report: "MapsReport", output: "Output", *, as_json: bool) -> None:
    if as_json:
        output.document(report.document())
    elif report.result.statistics:
        output.table(*report.tables())
    for layer in report.skipped:
        output.note(f"skipped {layer.record.label}: {layer.reason}")
    for outcome in report.result.outcomes:
        for path in outcome.outputs:
            output.detail(path.as_posix())
        if outcome.error:
            output.error(outcome.error)
    for rule, layer_label, complaint in report.tripped:
        output.error(f"--fail-on {rule}: {layer_label}: {complaint}")
    output.note(report.summary())
