"""`cnnviz rf`: what part of the input a unit of each layer sees."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnnviz.cli import options
from cnnviz.cli.exit_codes import DONE, FAILED
from cnnviz.errors import UsageError

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from cnnviz.cli.output import Output
    from cnnviz.networks.models import LoadedModel
    from cnnviz.report.rf import FieldsReport
    from cnnviz.rf import Unit

_FIELDS = "Receptive fields"


def rf(
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE", show_default=False,
            help="A photo to draw on; several are averaged by --effective.",
        ),
    ] = None,
    model: options.Model = "demo",
    model_args: options.ModelArgs = [],  # noqa: B006 - typer needs a list; it stays
    weights: options.Checkpoints = ["default"],  # noqa: B006
    state_key: options.StateKey = None,
    layers: options.Layers = ["stages"],  # noqa: B006
    at: Annotated[
        str,
        typer.Option(
            "--at", metavar="R,C|center|max", rich_help_panel=_FIELDS,
            help="The unit: row and column of the map; max is the most active one on IMAGE.",
        ),
    ] = "center",
    effective: Annotated[
        bool,
        typer.Option(
            "--effective", rich_help_panel=_FIELDS,
            help="Also the effective field: the gradient of the unit with respect to the input.",
        ),
    ] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", rich_help_panel=_FIELDS,
            help="Measure the fields on the network; exit with 1 where they differ.",
        ),
    ] = False,
    frames: options.Frames = False,
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
    """Show what part of the input a unit of each layer sees, exact at the border too.

    OUT/rf/LAYER.png has one layer's box on the photo, OUT/rf/overview.png all of them.
    """
    from cnnviz.files import check_folder, write_all
    from cnnviz.photos.images import open_image
    from cnnviz.photos.overrides import parse_overrides
    from cnnviz.selection import parse_place, select_layers, split_patterns

    patterns = split_patterns(layers)
    place = parse_place(at)
    wanted = parse_overrides(
        input_size=input_size, resize=resize, crop=crop, mean=mean, std=std, grey=grey
    )
    arguments = options.check_network(
        model, weights, device, model_args=model_args, state_key=state_key, frames=frames
    )
    if len(weights) > 1 and not effective:
        raise UsageError("the field is the same with all --weights; compare them with --effective")
    if place == "max" and not images:
        raise UsageError("--at max needs an IMAGE: it is the most active unit on it")
    photos = [open_image(Path(path)) for path in images or []]
    check_folder(out)

    from cnnviz.cli.output import Output
    from cnnviz.field_pictures import blank_photo, draw_development, draw_units
    from cnnviz.networks.models import check_takes_photos, load_model, load_structure
    from cnnviz.report.rf import FieldsReport
    from cnnviz.rf import find_units
    from cnnviz.tracer import trace_module

    output = Output(quiet=quiet, verbose=verbose)
    with output.data_only():
        if place == "max" or effective or verify:
            networks = [
                load_model(
                    model, one, device=device, preprocess=wanted, seed=seed,
                    model_args=arguments, state_key=state_key, progress=output.shows_progress,
                )
                for one in weights
            ]  # fmt: skip
        else:
            networks = [
                load_structure(
                    model, weights[0], device=device, preprocess=wanted, model_args=arguments,
                    state_key=state_key,
                )
            ]  # fmt: skip
        network = networks[-1]
        if photos:
            check_takes_photos(network)
        records = trace_module(network.module, network.preprocess.input_size)
        chosen = [records[i] for i in select_layers(patterns, records)]
        known = [record for record in chosen if record.receptive_field and record.grid]
        if not known:
            raise UsageError(f"no layer of {', '.join(patterns)} has a field: {chosen[0].reason}")
        picture = _batch(network, photos[:1]) if place == "max" else None
        units = find_units(network, known, place, picture)
        complaints: dict[str, str] = {}
        if verify:
            units, complaints = _verified(network, units, output)
        snapshots = [units]
        if effective:
            snapshots = [_with_effective(one, photos, units, seed) for one in networks]
    photo = photos[0] if photos else blank_photo(network.preprocess.input_size)
    key = Path(images[0]).name if images else "no photo"
    pictures = (
        draw_units(network, snapshots[0], photo, key)
        if len(networks) == 1
        else draw_development(networks, snapshots, photo, key, frames=frames)
    )
    outputs = write_all(out / "rf", pictures)
    unknown = [record for record in chosen if record not in known]
    report = FieldsReport(networks, snapshots, unknown, outputs, complaints)
    more = []
    if len(photos) > 1 and not effective:
        more.append(f"only the first photo, {key}, is looked at: --effective averages several")
    if verify and not complaints:
        more.append("verified: the fields are as measured on the network")
    _tell(report, output, more, photo=bool(photos), as_json=json)
    raise typer.Exit(FAILED if complaints else DONE)


def _batch(network: "LoadedModel", photos: "list[Image.Image]") -> "torch.Tensor":
    import numpy as np
    import torch

    prepare = network.preprocess
    pictures = [prepare.normalize(prepare.crop(photo)) for photo in photos]
    return torch.from_numpy(np.stack(pictures))


def _with_effective(
    network: "LoadedModel", photos: "list[Image.Image]", units: "list[Unit]", seed: int
) -> "list[Unit]":
    from cnnviz.receptive_field.effective import effective_fields, noise

    pictures = _batch(network, photos) if photos else noise(network, seed)
    places = {unit.record.label: unit.at for unit in units}
    found = effective_fields(network, pictures, places, [unit.record for unit in units])
    return [replace(unit, effective=found[unit.record.label]) for unit in units]


def _verified(
    network: "LoadedModel", units: "list[Unit]", output: "Output"
) -> "tuple[list[Unit], dict[str, str]]":
    from cnnviz.networks.feeding import running
    from cnnviz.receptive_field.probe import disagreement, probe, steps

    size = network.preprocess.input_size
    records = [unit.record for unit in units]
    count = steps(network.module, size)
    with running(network.name), output.progress("verify", count) as advance:
        measured = probe(network.module, records, size, on_step=advance)
    found = {r.label: disagreement(r, measured[r.label]) for r in records}
    checked = [replace(unit, verified=found[unit.record.label] is None) for unit in units]
    return checked, {label: said for label, said in found.items() if said}


def _tell(
    report: "FieldsReport", output: "Output", more: list[str], *, photo: bool, as_json: bool
) -> None:
    if as_json:
        output.document(report.document())
    else:
        output.table(*report.tables())
    if photo:
        output.preparation(report.model.preprocess)
    output.notes([*more, *(one.note for one in report.models)])
    for record in report.unknown:
        output.note(f"no field for {record.label}: {record.reason}")
    for label, complaint in report.complaints.items():
        output.error(f"{label}: {complaint}")
    *_, overview = report.outputs
    output.note(f"{len(report.outputs)} files in {overview.parent}: {overview}")
