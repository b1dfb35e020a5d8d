"""Files appear whole or not at all."""

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from cnnviz.errors import OutputError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_LOCK = ".cnnviz.lock"
_TEMPORARY = re.compile(r"\.\d+-\d+\.tmp")


def check_folder(folder: Path, option: str = "--out") -> None:
    """Make sure, before any slow work, that files can be written into `folder`.

    The folder is made where it does not exist.

    Args:
        folder: The folder.
        option: What sets it, for the message.

    Raises:
        OutputError: If it is a file, or cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except FileExistsError as error:
        what = "a link that leads nowhere" if folder.is_symlink() else "a file"
        raise OutputError(
            f"{folder} is {what}; choose another output folder with {option}"
        ) from error
    except OSError as error:
        raise OutputError(
            f"cannot write to {folder}: {error.strerror}; choose another folder with {option}"
        ) from error


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Keep `folder`, which exists, to one run at a time.

    The lock is the kernel's: however a run ends, it ends with its process.

    Raises:
        OutputError: If another run writes into the folder, or no file can be locked there.
    """
    path = folder / _LOCK
    file = _locked(path)
    # A run that waited for nothing may have opened the file just before the last one removed it.
    while not _is_at(path, file):
        file.close()
        file = _locked(path)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        file.close()


def _locked(path: Path) -> BinaryIO:
    try:
        file = path.open("ab")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
    try:
        if sys.platform == "win32":
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise OutputError(
            f"another run writes into {path.parent}; wait for it, or choose another folder with "
            "--out"
        ) from error
    except OSError as error:
        file.close()
        raise OutputError(f"cannot lock {path}: {error.strerror}") from error
    return file


def _is_at(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def remove_leftovers(folder: Path) -> None:
    """Remove what a process that was killed left half written in `folder`, if that exists."""
    with suppress(OSError):
        for entry in os.scandir(folder):
            if _TEMPORARY.fullmatch(entry.name):
                os.unlink(entry)


def check_file(path: Path, option: str) -> None:
    """Make sure, before any slow work, that a file can be written; its folder is made.

    Args:
        path: The file.
        option: What sets it, for the message.

    Raises:
        OutputError: If it is a folder, or its folder cannot be made or written.
    """
    if os.path.isdir(path):
        raise OutputError(f"{path} is a folder; name a file with {option}")
    check_folder(path.parent, option)


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` under a temporary name beside `path`, then move it into place.

    Missing parent folders are made.

    Raises:
        OutputError: If the disk is full or the place cannot be written; nothing is left behind.
    """
    # One thread writes one file at a time, so process and thread make the name unique.
    temporary = path.with_name(f".{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except BaseException as error:
        # Where a folder could not be made, a part of the path may be a file, and unlink fails too.
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise OutputError(f"cannot write {path}: {_why(path, error)}") from error
        raise


def _why(path: Path, error: OSError) -> str | None:
    blocked = next((str(folder) for folder in path.parents if os.path.isfile(folder)), None)
    return f"{blocked} is a file" if blocked else error.strerror


def absence(path: Path | str) -> str:
    """Return what is said of a path at which nothing was found: not there, or out of reach."""
    try:
        os.stat(path)
    except PermissionError as error:
        return f"cannot be reached: {error.strerror}"
    except (OSError, ValueError):
        pass  # Odd names, such as those that are too long, are no files either.
    return "does not exist"


def write_all(folder: Path, files: Iterable[tuple[str, bytes]]) -> list[Path]:
    """Write files by their names in `folder`, each as soon as it is made, and return their paths.

    Raises:
        OutputError: As `write_atomically` does.
    """
    written = []
    for name, data in files:
        write_atomically(folder / name, data)
        written.append(folder / name)
    return written
