"""`cnnviz maximize`: pictures that units of a network want to see."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnnviz.ascent import DEFAULT_CHANNELS
from cnnviz.choices import Goal, Parameterization, Transforms
from cnnviz.cli import options
from cnnviz.cli.exit_codes import DONE, FAILED, INTERRUPTED
from cnnviz.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cnnviz.ascent.run import Maximized, Watch
    from cnnviz.ascent.units import Unit
    from cnnviz.cli.output import Output
    from cnnviz.report.maximize import MaximizeReport
    from cnnviz.selection import ChannelSpec

_UNITS, _ASCENT = "Units", "Ascent"
# Pictures have values of about 1; what is far beyond overflows.
_LONGEST_STEP = 1e6


def maximize(
    model: options.Model = "demo",
    model_args: options.ModelArgs = [],  # noqa: B006 - typer needs a list; it is not changed
    weights: options.Weights = "default",
    state_key: options.StateKey = None,
    layers: options.Layers = ["stages"],  # noqa: B006
    channels: Annotated[
        str,
        typer.Option(
            "--channels", metavar="SPEC", rich_help_panel=_UNITS,
            help="0-15,31 or all; for classes also names: star,rings.",
        ),
    ] = DEFAULT_CHANNELS,
    objective: Annotated[
        Goal,
        typer.Option(
            "--objective", rich_help_panel=_UNITS,
            help="A channel's mean, its centre unit (neuron), a class (-l is not needed), or all "
            "that a layer gives (DeepDream; best with --init).",
        ),
    ] = Goal.CHANNEL,
    negative: Annotated[
        bool, typer.Option("--negative", rich_help_panel=_UNITS, help="Also minimise each unit.")
    ] = False,
    steps: Annotated[
        int, typer.Option("--steps", min=1, rich_help_panel=_ASCENT, help="Of the ascent.")
    ] = 256,
    lr: Annotated[float, typer.Option("--lr", rich_help_panel=_ASCENT, help="Step length.")] = 0.05,
    size: Annotated[
        str,
        typer.Option(
            "--size", metavar="N|auto", rich_help_panel=_ASCENT,
            help="Side of the pictures; auto follows the layer's receptive field, or with --init "
            "the network's input.",
        ),
    ] = "auto",
    parameterization: Annotated[
        Parameterization,
        typer.Option("--parameterization", rich_help_panel=_ASCENT, help="What is optimised."),
    ] = Parameterization.FOURIER,
    transforms: Annotated[
        Transforms,
        typer.Option(
            "--transforms", rich_help_panel=_ASCENT,
            help="Jitter, scale and rotate the picture at every step, or hold it still.",
        ),
    ] = Transforms.ROBUST,
    init: Annotated[
        Path | None,
        typer.Option(
            "--init", metavar="PATH", rich_help_panel=_ASCENT, show_default="random",
            help="Start from a photo.",
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size", min=1, rich_help_panel=_ASCENT, show_default="by memory",
            help="Units optimised together.",
        ),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(
            "--frames", min=2, rich_help_panel=_ASCENT, show_default=False,
            help="Also write an animated PNG of the ascent, of so many frames.",
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
    """Make the pictures that units of a network want to see, by gradient ascent.

    OUT/maximize/LAYER.png shows a layer's units, OUT/maximize/LAYER/CHANNEL.png one alone,
    OUT/maximize/overview.png all layers.
    """
    from cnnviz.files import check_folder, write_all, write_atomically
    from cnnviz.networks.classes import read_classes
    from cnnviz.photos.images import open_image
    from cnnviz.photos.overrides import parse_overrides
    from cnnviz.selection import split_patterns

    patterns = split_patterns(layers)
    spec = _parse_units(channels, objective)
    sides = _parse_size(size)
    if not 0 < lr <= _LONGEST_STEP:
        raise UsageError(
            f"--lr {lr} is no length of a step; it must be above 0, such as 0.05, and at most "
            f"{_LONGEST_STEP:g}"
        )
    seen = parse_overrides(
        input_size=input_size, resize=resize, crop=crop, mean=mean, std=std, grey=grey
    )
    arguments = options.check_network(
        model, [weights], device, model_args=model_args, state_key=state_key
    )
    names = read_classes(classes) if classes else None
    photo = open_image(init) if init else None
    check_folder(out)

    from cnnviz.ascent.pictures import draw_results, unit_file, unit_png
    from cnnviz.ascent.run import Settings, maximize_units
    from cnnviz.ascent.units import Wanted, plan_units
    from cnnviz.cli.output import Output
    from cnnviz.networks.feeding import frame_count
    from cnnviz.networks.models import load_model
    from cnnviz.report.maximize import MaximizeReport
    from cnnviz.tracer import trace_module

    output = Output(quiet=quiet, verbose=verbose)
    settings = Settings(
        steps, lr, parameterization, transforms, photo, seed, batch_size, frames or 0
    )
    folder = out / "maximize"
    found: list[tuple[Maximized, Path]] = []

    def on_done(result: "Maximized") -> None:
        path = folder / unit_file(result)
        write_atomically(path, unit_png(network, result))
        found.append((result, path))
        output.detail(path.as_posix())

    interrupted = False
    with output.data_only():
        network = load_model(
            model, weights, device=device, preprocess=seen, classes=names, seed=seed,
            model_args=arguments, state_key=state_key, progress=output.shows_progress,
        )  # fmt: skip
        records = trace_module(network.module, network.preprocess.input_size)
        whole = network.preprocess.input_size if photo else None
        wanted = Wanted(patterns, spec, objective, negative, sides or whole)
        units, skipped = plan_units(network, records, wanted)
        if (count := frame_count(network.module)) > 1:
            output.note(
                f"{model} takes {count} frames at once: each is the picture, without motion"
            )
        with output.progress("units", len(units) * steps) as advance:
            watch = _watch(advance, on_done, output, len(units))
            try:
                maximize_units(network, records, units, settings, watch)
            except KeyboardInterrupt:
                interrupted = True
    found.sort(key=lambda pair: units.index(pair[0].unit))
    outputs = write_all(folder, draw_results(network, [one for one, _ in found], settings))
    report = MaximizeReport(network, settings, found, skipped, outputs, interrupted)
    _tell(report, output, folder, as_json=json)
    raise typer.Exit(INTERRUPTED if interrupted else FAILED if report.failed else DONE)


def _parse_units(text: str, objective: Goal) -> "ChannelSpec | tuple[str, ...]":
    """Return numbers of channels, or, for classes, numbers and names.

    Raises:
        UsageError: If the text is neither.
    """
    from cnnviz.selection import parse_channels

    words = tuple(word.strip() for word in text.split(",") if word.strip())
    if objective is Goal.CLASS and any(word[0].isalpha() for word in words) and text != "all":
        return words
    spec = parse_channels(text, clipped=text == DEFAULT_CHANNELS)
    if spec.top:
        raise UsageError(f"--channels {text} ranks channels on photos, of which there are none")
    return spec


def _parse_size(text: str) -> tuple[int, int] | None:
    """Return (rows, columns) from `128` or `128x64`, None for `auto`.

    Raises:
        UsageError: If the text is none of these.
    """
    from cnnviz.photos.preprocess import parse_input_size

    if text == "auto":
        return None
    try:
        return parse_input_size(text)
    except UsageError as error:
        raise UsageError(
            f"size {text!r} not understood; write auto, or pixels such as 128, 8192 at most"
        ) from error


def _watch(
    advance: "Callable[..., None]",
    on_done: "Callable[[Maximized], None]",
    output: "Output",
    total: int,
) -> "Watch":
    from cnnviz.ascent.run import Watch

    done = 0

    def finish(result: "Maximized") -> None:
        nonlocal done
        done += 1
        on_done(result)

    def step(units: "Sequence[Unit]", count: int, score: float) -> None:
        said = f"{units[0].record.label} {done + len(units)}/{total} step {count} score {score:.3g}"
        advance(len(units), said)

    return Watch(step, finish, output.note)


def _tell(report: "MaximizeReport", output: "Output", folder: Path, *, as_json: bool) -> None:
    if as_json:
        output.document(report.document())
    elif report.results:
        output.table(*report.tables())
    output.preparation(report.model.preprocess, photo=report.settings.init is not None)
    for record in report.skipped:
        output.note(f"skipped {record.label}: {record.layout.reason}")
    output.notes([report.model.note, *report.notes()])
    if report.failed and not report.interrupted:
        output.error("no unit ended higher than it started; try more --steps or another --lr")
    files = len(report.results) + len(report.outputs)
    shown = f": {report.outputs[-1]}" if report.outputs else ""
    output.note(f"{files} files in {folder}{shown}")
