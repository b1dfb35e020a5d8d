"""Files appear whole or not at all."""

import os
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from cnnviz.errors import OutputError


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
        raise OutputError(
            f"{folder} is a file; choose another output folder with {option}"
        ) from error
    except OSError as error:
        raise OutputError(
            f"cannot write to {folder}: {error.strerror}; choose another folder with {option}"
        ) from error


def check_file(path: Path, option: str) -> None:
    """Make sure, before any slow work, that a file can be written; its folder is made.

    Args:
        path: The file.
        option: What sets it, for the message.

    Raises:
        OutputError: If it is a folder, or its folder cannot be made or written.
    """
    if path.is_dir():
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
            raise OutputError(f"cannot write {path}: {error.strerror}") from error
        raise
