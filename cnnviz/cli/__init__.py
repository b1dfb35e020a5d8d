"""The command line: the Typer app, and the one place where errors become exit codes."""

import errno
import importlib
import io
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cnnviz import __version__
from cnnviz.cli.complaints import complaint
from cnnviz.cli.exit_codes import DONE, FAILED, INTERRUPTED, WRONG_USAGE
from cnnviz.errors import CnnvizError, UsageError


class _Boundary(TyperGroup):
    """Runs a command and exits: an expected error is one line, a mistake of ours a traceback."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:
        words = list(sys.argv[1:] if args is None else args)
        debug = "--debug" in words
        options["standalone_mode"] = False
        for stream in ("stdout", "stderr"):
            if getattr(sys, stream) is None:  # closed by whoever started us
                nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - it stays open
                setattr(sys, stream, nowhere)
        if isinstance(sys.stdout, io.TextIOWrapper):
            # A name that the terminal's encoding lacks is shown escaped, as on stderr.
            sys.stdout.reconfigure(errors="backslashreplace")
        # It complains where it cannot write to the home folder, of which we need nothing.
        logging.getLogger("matplotlib").setLevel(logging.ERROR)
        try:
            code = super().main(words, *rest, **options)
            sys.stdout.flush()
        except CnnvizError as error:
            _say(error, debug)
            code = WRONG_USAGE if isinstance(error, UsageError) else FAILED
        except typer.TyperException as error:
            _say(error, debug, complaint(error, words))
            code = error.exit_code
        except (KeyboardInterrupt, typer.Abort):
            code = INTERRUPTED
        except BrokenPipeError:
            # Whoever read our output has gone; Python must not complain when it closes stdout.
            sys.stdout = None
            code = FAILED
        except OSError as error:
            # Files have errors of their own; what is left is Typer's, and where stdout goes.
            if "--install-completion" in words:
                where = f"{error.filename}: {error.strerror}"
                _say(error, debug, f"cannot write {where}; --show-completion prints it instead")
            elif error.errno == errno.ENOSPC:
                _say(error, debug, f"cannot write to stdout: {error.strerror}")
                sys.stdout = None
            else:
                raise
            code = FAILED
        if code == INTERRUPTED:  # also what Typer makes of Ctrl-C inside a command
            print("interrupted", file=sys.stderr)
        sys.exit(code if isinstance(code, int) else DONE)


def _say(error: Exception, debug: bool, message: str = "") -> None:
    if debug:
        traceback.print_exception(error)
    print(f"error: {message or error}", file=sys.stderr)


app = typer.Typer(
    cls=_Boundary,
    help="See inside convolutional networks: feature maps, filters, layers, receptive fields,"
    " and what units want to see.",
    epilog="COMMAND --help tells more. Try: cnnviz maps PHOTO.jpg",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(f"cnnviz {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


for _name in ("layers", "maps", "filters", "rf", "maximize"):
    _command = getattr(importlib.import_module(f"cnnviz.cli.{_name}"), _name)
    app.command(_name)(_command)
