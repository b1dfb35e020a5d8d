"""`cnnviz layers`: what a network is made of, and how far each layer sees."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from cnnviz.cli import options
from cnnviz.errors import UsageError


def layers(
    model: options.Model = "demo",
    model_args: options.ModelArgs = [],  # noqa: B006 - typer needs a list; it is not changed
    weights: options.Weights = "default",
    state_key: options.StateKey = None,
    layers: options.Layers = ["all"],  # noqa: B006
    input_size: options.InputSize = None,
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns", metavar="NAMES", show_default=False,
            help="Separated by commas: name, type, shape, params, macs, field, stride, time, "
            "start, global, reason.",
        ),
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print lines of CSV on stdout.")] = False,
    device: options.Device = "auto",
    seed: options.Seed = 0,
    out: options.Out = Path("cnnviz-out"),
    config: options.Config = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:  # fmt: skip
    """List every layer call: type, output shape, parameters, multiply-adds, receptive field.

    Weights are neither made nor downloaded, and nothing is multiplied.
    """
    from cnnviz.photos.preprocess import parse_input_size
    from cnnviz.selection import select_layers, split_patterns

    patterns = split_patterns(layers)
    size = parse_input_size(input_size) if input_size else None
    arguments = options.check_network(
        model, [weights], device, model_args=model_args, state_key=state_key
    )
    if csv and json:
        raise UsageError("--csv and --json are two formats; choose one")

    from cnnviz.report.layers import LayersReport, parse_columns

    shown = parse_columns(columns)

    from cnnviz.cli.output import Output
    from cnnviz.networks.models import load_structure
    from cnnviz.tracer import trace_module

    output = Output(quiet=quiet, verbose=verbose)
    with output.data_only():
        network = load_structure(
            model, weights, device=device, input_size=size, model_args=arguments,
            state_key=state_key,
        )  # fmt: skip
        records = trace_module(network.module, network.preprocess.input_size)
    listed = [records[i] for i in select_layers(patterns, records)]
    report = LayersReport(network, records, listed)
    if json:
        output.document(report.document())
    elif csv:
        sys.stdout.write(report.csv(shown))
    else:
        output.table(*report.tables(shown))
        output.line(report.totals())
    output.notes([network.note, *report.notes()])
