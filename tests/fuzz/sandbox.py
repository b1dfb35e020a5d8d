"""A working folder in which command lines are run one after another, and judged."""

import contextlib
import gc
import io
import json
import os
import shutil
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch
from PIL import Image
from typer.main import get_command

from cnnviz.cli import app

DONE, FAILED, WRONG_USAGE, TRIPPED = 0, 1, 2, 3
# No case needs a second; one that takes this long hangs.
_PATIENCE = 60
# The options that name a file to be written.
_WRITTEN = ("--junit", "--save-reference")
_COMMAND: Any = get_command(app)


@dataclass(frozen=True)
class Run:
    """What a command line gave.

    Attributes:
        words: The command line.
        code: With which exit code it ended.
        stdout: What it wrote there.
        stderr: What it wrote there.
    """

    words: Sequence[str]
    code: object
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        """The JSON on stdout; a second document or a NaN is an error."""
        return _strict_json(self.stdout)


class Sandbox:
    """The folder; what a case adds to it is judged and removed before the next."""

    def __init__(self, folder: Path) -> None:
        """Take the files in `folder`, the working folder, as those that no command may touch."""
        self.folder = folder
        self.keep()

    def run(self, words: Sequence[str], stdin: bytes = b"") -> Run:
        """Run a command line, judge what came of it, and remove what it wrote."""
        before = _global_state()
        run = _invoke(words, stdin)
        try:
            after = _global_state()
            moved = {k: (v, after[k]) for k, v in before.items() if after[k] != v}
            assert not moved, f"not left as it was: {moved}"
            seen = self._seen()
            changed = [path for path in self._files if seen.get(path) != self._files[path]]
            assert all(_is_named(path, words) for path in changed), f"overwritten: {changed}"
            judge(run, [path for path in seen if path not in self._files and path.is_file()])
        finally:
            self.clean()
        return run

    def keep(self) -> None:
        """Take what is in the folder now as the files that no command may touch."""
        self._files = self._seen()
        self._content = {path: path.read_bytes() for path in self._files if path.is_file()}

    def clean(self) -> None:
        """Remove what is not known, and bring back what the command line said to overwrite."""
        seen = self._seen()
        for path, content in self._content.items():
            if seen.get(path) != self._files[path]:
                path.write_bytes(content)
                self._files[path] = _stamp(path)
        for entry in self.folder.iterdir():
            if entry not in self._files:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        for path in self._seen().keys() - self._files.keys():
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def _seen(self) -> dict[Path, object]:
        found: dict[Path, object] = {}
        for root, folders, files in os.walk(self.folder):
            if "__pycache__" in folders:
                folders.remove("__pycache__")
            found.update({Path(root, name): "folder" for name in folders})
            for name in files:
                found[Path(root, name)] = _stamp(Path(root, name))
        return found


def _stamp(path: Path) -> tuple[int, int]:
    told = path.lstat()
    return told.st_size, told.st_mtime_ns


def _is_named(path: Path, words: Sequence[str]) -> bool:
    """Return whether a command line says to write that file."""
    pairs = zip(words, [*words[1:], ""], strict=True)
    said = [w.partition("=")[2] or then for w, then in pairs if w.startswith(_WRITTEN)]
    return path in [Path(name).resolve() for name in said if "\0" not in name]


def judge(run: Run, files: Sequence[Path]) -> None:
    """Raise an AssertionError for a run that broke a promise."""
    debug = any("debug" in word for word in run.words)
    errors = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
    assert run.code in (DONE, FAILED, WRONG_USAGE, TRIPPED), run.code
    assert debug or "Traceback" not in run.stderr
    assert bool(errors) == (run.code != DONE), "error lines and exit code disagree"
    assert all(len(line) > len("error: ") + 5 for line in errors), "an error without words"
    if run.code == WRONG_USAGE:
        assert run.stdout == "", "data although the usage was wrong"
        assert not [path for path in files if path.suffix in (".png", ".json", ".xml", ".npz")]
    for path in files:
        _check_file(path)
    if run.stdout.startswith("{"):
        document = run.document
        assert document["schema_version"] == 1
        for output in _outputs(document):
            assert Path(output).is_file(), f"{output} is named, and is not there"


def _outputs(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("output", "outputs", "overview", "files"):
                yield from (v for v in (inner if isinstance(inner, list) else [inner]) if v)
            else:
                yield from _outputs(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _outputs(inner)


def _check_file(path: Path) -> None:
    assert not path.name.endswith((".tmp", ".lock")), f"{path} was left behind"
    data = path.read_bytes()
    assert data, f"{path} is empty"
    if path.suffix == ".png":
        with Image.open(path) as image:
            image.load()
    elif path.suffix == ".json":
        _strict_json(data.decode())
    elif path.suffix == ".jsonl":
        assert data.endswith(b"\n")
        assert all(_strict_json(line) is not None for line in data.decode().split("\n")[:-1])
    elif data.startswith(b"<?xml"):
        ElementTree.fromstring(data)
    elif path.suffix == ".npz":
        with np.load(path) as arrays:
            assert all(arrays[name] is not None for name in arrays.files)


def _strict_json(text: str) -> Any:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def _global_state() -> dict[str, object]:
    """Return what a library must leave as it was."""
    return {
        "folder": os.getcwd(),
        "path": list(sys.path),
        # Torch tells its own parts there, once they are imported.
        "environment": {k: v for k, v in os.environ.items() if "INDUCTOR" not in k},
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "random": torch.random.get_rng_state().sum().item(),
        "numpy": np.random.get_state()[2],
        "hooks": len(torch.nn.modules.module._global_forward_hooks),
        "collector": gc.isenabled(),
        "silence": [entry for entry in warnings.filters if entry[:3] == ("ignore", None, Warning)],
        "pixels": Image.MAX_IMAGE_PIXELS,
        "python threads": threading.active_count(),
        "interrupt": signal.getsignal(signal.SIGINT),
    }


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    def ring(*_: object) -> None:
        raise TimeoutError(f"a command took more than {_PATIENCE} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(_PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _invoke(words: Sequence[str], stdin: bytes) -> Run:
    streams = [
        io.TextIOWrapper(io.BytesIO(), "utf-8", errors=e) for e in ("strict", "backslashreplace")
    ]
    given = io.TextIOWrapper(io.BytesIO(stdin), "utf-8")
    before = sys.stdin
    sys.stdin = given
    code: object = None
    try:
        with (
            _alarm(),
            contextlib.redirect_stdout(streams[0]),
            contextlib.redirect_stderr(streams[1]),
        ):
            _COMMAND.main(list(words), prog_name="cnnviz")
    except SystemExit as end:
        code = end.code
    finally:
        sys.stdin = before
    out, err = (_text(stream) for stream in streams)
    return Run(words, code, out, err)


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode()  # type: ignore[attr-defined]
