"""Two streams: stdout is data, stderr is talk."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cnnviz.photos.preprocess import Preprocess
from cnnviz.report.document import to_json
from cnnviz.report.preparation import is_guess, preprocess_text

# Wider than any table: what is piped is not cut.
_PIPE_WIDTH = 1000


def _console(stream: TextIO) -> Console:
    if stream.isatty():
        try:
            size = os.get_terminal_size(stream.fileno())
        except OSError:
            return Console(file=stream)
        # Both are given because rich otherwise takes 80 columns on a dumb terminal.
        return Console(file=stream, width=size.columns or 80, height=size.lines or 24)
    return Console(file=stream, width=_PIPE_WIDTH, height=100)


class Output:
    """Where a command prints."""

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        """Bind to the streams as they are now.

        Args:
            quiet: Whether notes and progress are left out.
            verbose: Whether details are told.
        """
        self._quiet = quiet
        self._verbose = verbose
        self._stdout = _console(sys.stdout)
        self._stderr = _console(sys.stderr)

    def document(self, content: Mapping[str, object]) -> None:
        """Print one JSON document on stdout."""
        # JSON is UTF-8, whatever the terminal takes.
        sys.stdout.buffer.write(to_json(content).encode())
        sys.stdout.flush()

    def table(self, *choices: Table) -> None:
        """Print a table on stdout: the first of these that fits the terminal, or the last."""
        free = self._stdout.options.update(width=_PIPE_WIDTH)
        room = self._stdout.width
        fitting = (t for t in choices if self._stdout.measure(t, options=free).maximum <= room)
        self._stdout.print(next(fitting, choices[-1]))

    def line(self, text: str) -> None:
        """Print a line on stdout."""
        self._stdout.print(text, markup=False, highlight=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """Print a line of talk on stderr, unless quiet."""
        if not self._quiet:
            self._stderr.print(text, markup=False, highlight=False, soft_wrap=True)

    def notes(self, texts: Iterable[str]) -> None:
        """Print lines of talk on stderr, but for those that are empty."""
        for text in filter(None, texts):
            self.note(text)

    def detail(self, text: str) -> None:
        """Print a line of talk on stderr, where the user asked for details."""
        if self._verbose:
            self.note(text)

    def preparation(self, preprocess: Preprocess, *, photo: bool = True) -> None:
        """Tell how pictures are prepared: always where that is a guess, else as a detail."""
        tell = self.note if is_guess(preprocess) else self.detail
        tell(preprocess_text(preprocess, photo=photo))

    @contextmanager
    def data_only(self) -> Iterator[None]:
        """Send what networks and libraries print to stderr: stdout is for data alone."""
        with redirect_stdout(sys.stderr):
            yield

    @property
    def shows_progress(self) -> bool:
        """Whether progress bars are drawn: on a terminal, unless quiet."""
        return not self._quiet and self._stderr.is_terminal

    def error(self, text: str) -> None:
        """Print one `error: …` line on stderr."""
        self._stderr.print(f"error: {text}", markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[..., None]]:
        """Draw a progress bar on stderr, on a terminal only.

        Yields:
            What advances it: `advance()` by one, `advance(3, "doing so")` by three and says so.
        """
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TimeRemainingColumn(),
        )  # fmt: skip
        if not self.shows_progress or total < 2:
            yield lambda *_: None
            return
        with Progress(*columns, console=self._stderr, transient=True) as bar:
            task = bar.add_task(what, total=total)
            yield lambda by=1, said=what: bar.update(task, advance=by, description=said)
