"""`cnnviz filters`: the learned weights as pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnnviz.checks import FILTERS_RULES, parse_rules
from cnnviz.choices import Normalize, ReduceInputs, Sort
from cnnviz.cli import options
from cnnviz.cli.exit_codes import DONE, TRIPPED

if TYPE_CHECKING:
    from cnnviz.cli.output import Output
    from cnnviz.report.filters import FiltersReport

_FILTERS = "Filters"
_DEFAULT_CHANNELS = "0-63"
# Side by side there is room for fewer.
_DEFAULT_SERIES = "0-15"


def filters(
    model: options.Model = "demo",
    model_args: options.ModelArgs = [],  # noqa: B006 - typer needs a list; it stays
    weights: options.Checkpoints = ["default"],  # noqa: B006
    state_key: options.StateKey = None,
    layers: options.Layers = ["first"],  # noqa: B006
    channels: Annotated[
        str | None,
        typer.Option(
            "--channels", metavar="SPEC", rich_help_panel=_FILTERS,
            help="Which filters: 0-15,31 or all or top:16 (the largest norms).",
            show_default="0-63; 0-15 of several checkpoints; a matrix whole",
        ),
    ] = None,
    in_channels: Annotated[
        str | None,
        typer.Option(
            "--in-channels", metavar="SPEC", rich_help_panel=_FILTERS,
            help="Which input channels of each filter.", show_default="0-63; a matrix whole",
        ),
    ] = None,
    reduce: Annotated[
        ReduceInputs,
        typer.Option(
            "--reduce", rich_help_panel=_FILTERS,
            help="One tile per filter, over its input channels, not one for each; pca is the "
            "kernel that they have most in common.",
        ),
    ] = ReduceInputs.NONE,
    normalize: Annotated[
        Normalize | None,
        typer.Option(
            "--normalize", rich_help_panel=_FILTERS,
            help="Colours reach as far as each filter's largest weight, the layer's, or 1.",
            show_default="channel; layer for a matrix",
        ),
    ] = None,
    sort: Annotated[
        Sort,
        typer.Option(
            "--sort", rich_help_panel=_FILTERS,
            help="By number, largest norm, or the strongest component of the spectrum.",
        ),
    ] = Sort.INDEX,
    cmap: Annotated[
        str | None,
        typer.Option(
            "--cmap", rich_help_panel=_FILTERS, help="Any matplotlib colour map.",
            show_default="RdBu_r; viridis for norms",
        ),
    ] = None,
    frames: options.Frames = False,
    fail_on: Annotated[
        list[str],
        typer.Option(
            "--fail-on", metavar="RULE", rich_help_panel="Checks", show_default=False,
            help="Exit with 3 on: nan, dead=0.2 (more than a fifth of a layer's filters dead), "
            "noise=0.3 (0 is smooth, 1 is random). Repeatable.",
        ),
    ] = [],  # noqa: B006
    classes: options.Classes = None,
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
    """Draw the weights of convolutions and linear layers, and tell dead, alike and noisy filters.

    OUT/filters/LAYER.png has colours where the layer reads red, green and blue; otherwise a tile
    per filter and input channel, or a matrix. Several --weights give a row for each.
    """
    from cnnviz.files import check_folder, write_all
    from cnnviz.networks.classes import read_classes
    from cnnviz.photos.preprocess import parse_input_size
    from cnnviz.render.palette import check_cmap
    from cnnviz.selection import parse_channels, split_patterns

    patterns = split_patterns(layers)
    usual = _DEFAULT_CHANNELS if len(weights) == 1 else _DEFAULT_SERIES
    spec = parse_channels(channels or usual, clipped=channels is None)
    in_spec = parse_channels(in_channels or _DEFAULT_CHANNELS, clipped=in_channels is None)
    rules = parse_rules(fail_on, FILTERS_RULES)
    size = parse_input_size(input_size) if input_size else None
    if cmap:
        check_cmap(cmap)
    arguments = options.check_network(
        model, weights, device, model_args=model_args, state_key=state_key, frames=frames
    )
    names = read_classes(classes) if classes else None
    check_folder(out)

    from cnnviz.cli.output import Output
    from cnnviz.filter_pictures import FilterStyle, draw_view
    from cnnviz.filters import Choice, join, read_filters, view
    from cnnviz.networks.models import load_model
    from cnnviz.report.filters import FiltersReport

    output = Output(quiet=quiet, verbose=verbose)
    snapshots, notes = [], []
    with output.data_only(), output.progress("checkpoints", len(weights)) as advance:
        for one in weights:
            network = load_model(
                model, one, device=device, input_size=size, classes=names, seed=seed,
                model_args=arguments, state_key=state_key, progress=output.shows_progress,
            )  # fmt: skip
            found = read_filters(network, patterns)
            snapshots.append(found.layers)
            notes += [network.note, found.note]
            advance()
    choice = Choice(spec, in_spec, reduce, sort)
    views = [view(same, choice) for same in join(snapshots)]
    style = FilterStyle(model, normalize, cmap)
    outputs = [
        write_all(out / "filters", draw_view(network, one, style, frames=frames)) for one in views
    ]
    read = [layer.weights for layer in views[0].layers]
    report = FiltersReport(network, read, views, outputs, found.skipped, rules)
    output.notes(dict.fromkeys(notes))
    _tell(report, output, out / "filters", sort, as_json=json)
    raise typer.Exit(TRIPPED if report.tripped else DONE)


def _tell(
    report: "FiltersReport", output: "Output", folder: Path, sort: Sort, *, as_json: bool
) -> None:
    if as_json:
        output.document(report.document())
    else:
        output.table(*report.tables())
    for note in report.notes():
        output.note(note)
    for view in report.views:
        if view.sort is not sort:
            output.note(f"{view.last.name}: its kernels have no {sort.value}; sorted by index")
    for rule, layer, complaint in report.tripped:
        output.error(f"--fail-on {rule}: {layer}: {complaint}")
    files = [path for paths in report.outputs for path in paths]
    for path in files:
        output.detail(path.as_posix())
    count = f"{len(files)} files" if len(files) > 1 else "1 file"
    output.note(f"{count} in {folder}: {files[0]}")
