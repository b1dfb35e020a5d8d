"""`cnnviz maps`: feature maps of photos as PNG grids."""

import io
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
from cnnviz.reference import find_reference, reference_document

if TYPE_CHECKING:
    from cnnviz.cli.output import Output
    from cnnviz.report.maps import MapsReport

_MAPS, _FOLDERS, _HEALTH = "Maps", "Folders", "Diagnosis and checks"
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
    model_args: options.ModelArgs = [],  # noqa: B006 - typer needs a list; it stays
    weights: options.Checkpoints = ["default"],  # noqa: B006
    state_key: options.StateKey = None,
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
    top_images: Annotated[
        int,
        typer.Option(
            "--top-images", metavar="N", min=0, rich_help_panel=_MAPS, show_default=False,
            help="Also the N photos that excite each of --channels most, cut to what the unit "
            "sees: OUT/top/LAYER/CHANNEL.png, and a sheet for each layer.",
        ),
    ] = 0,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size", min=1, rich_help_panel=_FOLDERS,
            help="Photos per forward pass.", show_default="by memory, 8 at most",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=1, rich_help_panel=_FOLDERS,
            help="Threads that decode, compute and draw.", show_default="one per core",
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
    gradients: Annotated[
        bool,
        typer.Option(
            "--gradients", rich_help_panel=_HEALTH,
            help="Also the gradient of a class's score at each layer: its norm in the table, its "
            "maps in LAYER.gradient.png.",
        ),
    ] = False,
    class_: Annotated[
        str | None,
        typer.Option(
            "--class", metavar="CLASS", rich_help_panel=_HEALTH,
            help="Whose score --gradients takes: number or name.",
            show_default="the strongest of each photo",
        ),
    ] = None,
    fail_on: Annotated[
        list[str],
        typer.Option(
            "--fail-on", metavar="RULE", rich_help_panel=_HEALTH, show_default=False,
            help="Exit with 3 on: nan; dead=0.5 (more than half of a layer's channels dead); "
            "blank (a layer with one value everywhere); saturated=0.5 (units at a bound of their "
            "activation function); vanishing=1e-4 (gradients, with --gradients); "
            "change=REFERENCE.json:0.1 (statistics against --save-reference). Repeatable.",
        ),
    ] = [],  # noqa: B006
    save_reference: Annotated[
        Path | None,
        typer.Option(
            "--save-reference", metavar="FILE", rich_help_panel=_HEALTH, show_default=False,
            help="Write the statistics for --fail-on change of later runs.",
        ),
    ] = None,
    junit: Annotated[
        Path | None,
        typer.Option(
            "--junit", metavar="FILE", rich_help_panel=_HEALTH, show_default=False,
            help="Write JUnit XML: a test case for each layer and --fail-on rule.",
        ),
    ] = None,
    classes: options.Classes = None,
    input_size: options.InputSize = None,
    resize: options.Resize = None,
    crop: options.Crop = None,
    mean: options.Mean = [],  # noqa: B006
    std: options.Std = [],  # noqa: B006
    grey: options.Grey = False,
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
    from cnnviz.files import check_file, check_folder, only_run
    from cnnviz.networks.classes import read_classes
    from cnnviz.photos.images import check_places, find_images
    from cnnviz.photos.overrides import parse_overrides
    from cnnviz.render.palette import check_cmap
    from cnnviz.runs.ranks import find_place
    from cnnviz.selection import parse_channels, split_patterns

    # What can be found wrong without torch, which takes seconds to import, is found first.
    patterns = split_patterns(layers)
    usual = _DEFAULT_CHANNELS if len(weights) == 1 else _DEFAULT_SERIES
    spec = parse_channels(channels or usual, clipped=channels is None)
    rules = parse_rules(fail_on)
    wanted = parse_overrides(
        input_size=input_size, resize=resize, crop=crop, mean=mean, std=std, grey=grey
    )
    check_cmap(cmap)
    arguments = options.check_network(
        model, weights, device, model_args=model_args, state_key=state_key, frames=frames
    )
    for_one_network = {
        "--overlay": overlay,
        f"--channels {channels}": bool(spec.top),
        "--gradients": gradients,
        "--top-images": top_images > 0,
        "--save-reference": save_reference is not None,
        "--fail-on change": any(rule.name == "change" for rule in rules),
    }
    given = [name for name, is_given in for_one_network.items() if is_given]
    if len(weights) > 1 and given:
        raise UsageError(f"{given[0]} is for one network; the maps of several stand side by side")
    if top_images and (spec.top or overlay or reduce is not Reduce.NONE):
        raise UsageError(
            "--top-images ranks photos, not channels, of single channels: leave out "
            "--channels top:K, --reduce and --overlay"
        )
    if class_ is not None and not gradients:
        raise UsageError(f"--class {class_} is for --gradients")
    for rule in rules:
        if rule.name == "vanishing" and not gradients:
            raise UsageError(f"--fail-on {rule} needs --gradients")
    reference = find_reference(rules)
    if junit and not rules:
        raise UsageError("--junit tells of --fail-on rules; give one")
    names = read_classes(classes) if classes else None
    place = find_place(os.environ)
    sources = find_images(_paths(inputs), exclude=out) if place.first else []
    if reference and place.first:
        reference.check_photos(source.key for source in sources)
    check_folder(out)
    check_places(sources, out)
    for file, option in ((save_reference, "--save-reference"), (junit, "--junit")):
        if file:
            check_file(file, option)

    with only_run(out) if place.first else nullcontext():
        from cnnviz.cli.output import Output
        from cnnviz.gradients import find_target
        from cnnviz.maps import plan_layers
        from cnnviz.networks.feeding import Form, form_of, frame_count
        from cnnviz.networks.models import check_takes_photos, load_model
        from cnnviz.networks.precision import check_precision
        from cnnviz.photos.clips import as_clips
        from cnnviz.pictures import Style
        from cnnviz.report.maps import MapsReport
        from cnnviz.runs.batch import MapsJob
        from cnnviz.runs.folder import describe, run_folder
        from cnnviz.runs.team import joined
        from cnnviz.top_pictures import write_top_images

        output = Output(quiet=quiet, verbose=verbose)
        one_map = Reduce.MEAN if overlay and reduce is Reduce.NONE else reduce
        with output.data_only(), joined(place) as team:
            *earlier, network = (
                load_model(
                    model, one, device=team.device(device), preprocess=wanted, classes=names,
                    seed=seed, model_args=arguments, state_key=state_key,
                    progress=output.shows_progress,
                )
                for one in weights
            )  # fmt: skip
            check_takes_photos(network)
            check_precision(precision, network.device)
            form, count = form_of(network.module), frame_count(network.module)
            if top_images and count > 1:
                raise UsageError(
                    f"--top-images ranks single pictures, and {model} takes {count} at once"
                )
            plans, skipped = plan_layers(network, patterns, spec, one_map)
            style = Style(normalize, cmap, overlay, frames)
            target = find_target(network, class_) if gradients else None
            if count > 1 and place.first:
                sources, note = as_clips(sources, count=count, pairs=form is Form.PAIR)
                output.note(note)
            job = MapsJob(
                network, plans, style, out, save_activations, earlier, precision, target, top_images
            )
            settings = describe(job)
            if reference:
                reference.check_settings(settings)
            try:
                with output.progress("photos", len(sources)) as advance:
                    result = run_folder(
                        job, settings, sources, team, resume=team.any(resume or place.restarted),
                        max_failures=max_failures, batch_size=batch_size, workers=workers,
                        on_done=advance,
                    )  # fmt: skip
            except KeyboardInterrupt:
                output.note("the same command with --resume goes on from here")
                raise
            if result is None:  # the first process tells it all
                raise typer.Exit(DONE)
            ranked = list(zip(plans, result.peaks, strict=False))
            top = write_top_images(network, ranked, sources, out)
        report = MapsReport(
            network, plans, skipped, result, settings, rules, out, earlier, reference, top
        )
        _write(report, save_reference, junit)
        _tell(report, output, as_json=json)
        raise typer.Exit(TRIPPED if report.tripped else FAILED if report.failed else DONE)


def _paths(inputs: list[str]) -> list[Path]:
    """Return the inputs as paths, `-` replaced by the lines of stdin."""
    paths: list[Path] = []
    if isinstance(sys.stdin, io.TextIOWrapper):
        # Names of files need not be UTF-8.
        sys.stdin.reconfigure(errors="surrogateescape")
    for text in inputs:
        lines = (line.rstrip("\r\n") for line in sys.stdin or ()) if text == "-" else [text]
        paths.extend(Path(line) for line in lines if line)
    return paths


def _write(report: "MapsReport", save_reference: Path | None, junit: Path | None) -> None:
    """Write the manifest, and the files that were asked for."""
    from cnnviz.files import write_atomically
    from cnnviz.report.document import to_json
    from cnnviz.report.junit import junit_xml

    report.write_manifest()
    if save_reference and report.result.input:
        content = to_json(reference_document(report.document()))
        write_atomically(save_reference, content.encode())
    if junit:
        suite = f"cnnviz maps {report.model.name}"
        write_atomically(junit, junit_xml(suite, report.checks, report.result.outcomes))


def _tell(report: "MapsReport", output: "Output", *, as_json: bool) -> None:
    from cnnviz.photos.images import shown

    if as_json:
        output.document(report.document())
    elif report.result.statistics:
        output.table(*report.tables())
        if report.tripped:
            output.line("")
            output.table(report.tripped_table())
    output.preparation(report.model.preprocess)
    output.notes(one.note for one in (*report.earlier, report.model))
    for skipped in report.skipped:
        output.note(f"skipped {skipped.record.label}: {skipped.reason}")
    for outcome in report.result.outcomes:
        for path in outcome.outputs:
            output.detail(shown(path))
        if outcome.error:
            output.error(outcome.error)
    by_rule: dict[str, list[str]] = {}
    for rule, layer, complaint in report.tripped:
        by_rule.setdefault(rule, []).append(f"{layer}: {complaint}")
    for rule, (first, *others) in by_rule.items():
        more = f" (and {len(others)} more)" if others else ""
        output.error(f"--fail-on {rule}: {first}{more}")
    if report.result.peaks:
        output.note(report.top_summary())
    output.note(report.summary())
