"""Files appear whole or not at all."""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from cnnviz import files
from cnnviz.errors import OutputError
from cnnviz.files import check_folder, only_run, remove_leftovers, write_all, write_atomically


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_missing_folders_are_made(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a" / "b" / "c.bin", b"data")
    assert (tmp_path / "a" / "b" / "c.bin").read_bytes() == b"data"
    assert [p.name for p in (tmp_path / "a" / "b").iterdir()] == ["c.bin"]


def test_a_full_disk_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "x.png"
    target.write_bytes(b"old")
    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OutputError, match=r"cannot write .*x\.png: No space left on device"):
        write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_interruption_leaves_nothing_and_goes_on_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "x.png", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_a_folder_is_an_expected_error(tmp_path: Path) -> None:
    (tmp_path / "cat.jpg").write_bytes(b"a photo")
    with pytest.raises(OutputError, match="cannot write"):
        write_atomically(tmp_path / "cat.jpg" / "conv1.png", b"x")
    assert (tmp_path / "cat.jpg").read_bytes() == b"a photo"


def test_a_name_that_is_too_long_is_an_expected_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="too long"):
        write_atomically(tmp_path / ("x" * 300), b"x")
    assert list(tmp_path.iterdir()) == []


def test_threads_that_write_one_file_never_mix(tmp_path: Path) -> None:
    contents = [bytes([i]) * 100_000 for i in range(8)]
    threads = [
        threading.Thread(target=write_atomically, args=(tmp_path / "x", data)) for data in contents
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "x").read_bytes() in contents
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_checked_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    check_folder(tmp_path / "new" / "out")
    assert list((tmp_path / "new" / "out").iterdir()) == []


def test_checked_folder_that_is_a_file_is_an_error_that_names_the_option(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(OutputError, match=r"out is a file; choose another .* --out"):
        check_folder(tmp_path / "out")


def test_checked_folder_that_is_a_link_to_nowhere_is_not_called_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("gone")
    with pytest.raises(OutputError, match=r"out is a link that leads nowhere; choose"):
        check_folder(tmp_path / "out")


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "x", tmp_path / "file" / "a" / "b" / "x"):
        with pytest.raises(OutputError, match=r"cannot write .*/x: .*/file is a file$"):
            write_atomically(path, b"x")


def test_checked_folder_below_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="Not a directory"):
        check_folder(tmp_path / "file" / "out")


def test_checked_folder_that_cannot_be_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(OutputError, match="Permission denied; choose another folder"):
        check_folder(tmp_path)


HOLD = """
import sys, time
from pathlib import Path
from cnnviz import files
from cnnviz.files import check_folder, only_run, remove_leftovers, write_atomically
with only_run(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_belongs_to_one_run_until_that_ends_however_it_does(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match="another run writes into"), only_run(tmp_path):
            pass
        other.kill()
    with only_run(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [".cnnviz.lock"]
    assert [*tmp_path.iterdir()] == []


def test_a_lock_that_was_removed_after_it_was_opened_is_not_taken_for_the_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, taken = files._locked, []

    def slowly(path: Path) -> BinaryIO:
        file = lock(path)
        if not taken:  # the run before this one ends just now
            path.unlink()
        taken.append(file)
        return file

    monkeypatch.setattr(files, "_locked", slowly)
    with only_run(tmp_path):
        assert [file.closed for file in taken] == [True, False]
        assert (tmp_path / ".cnnviz.lock").exists()


def test_each_file_is_there_before_the_next_is_made(tmp_path: Path) -> None:
    def made() -> Iterator[tuple[str, bytes]]:
        yield "a.bin", b"1"
        assert (tmp_path / "out" / "a.bin").read_bytes() == b"1"
        yield "sub/b.bin", b"2"

    written = write_all(tmp_path / "out", made())
    assert written == [tmp_path / "out" / "a.bin", tmp_path / "out" / "sub" / "b.bin"]
    assert written[1].read_bytes() == b"2"


def test_only_what_was_half_written_is_removed(tmp_path: Path) -> None:
    for name in (".12-34.tmp", "12-34.tmp", ".notes.tmp", "a.png"):
        (tmp_path / name).write_text("x")
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"12-34.tmp", ".notes.tmp", "a.png"}
    remove_leftovers(tmp_path / "missing")
