"""Terminals of several kinds and widths, pipes, and Ctrl-C."""

import errno
import os
import re
import shlex
import signal
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cnnviz.cli import app

fcntl = pytest.importorskip("fcntl", reason="needs Unix")
pty = pytest.importorskip("pty")
termios = pytest.importorskip("termios")

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[(?:[0-9]+;)*[39][0-9]m")

# Where tests run in the background, children ignore Ctrl-C unless told otherwise.
CNNVIZ = (
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from cnnviz.cli import app; app(prog_name='cnnviz')",
)


@pytest.fixture
def on_terminal(monkeypatch):
    """Run a command line on a terminal of its own; returns exit code and what it shows."""

    def run(*words, columns=80, **environment):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        with monkeypatch.context() as patch, ThreadPoolExecutor() as pool:
            for name, value in {"TERM": "xterm-256color", **environment}.items():
                patch.setenv(name, value)
            shown = pool.submit(_read_all, ours)
            with open(theirs, "w", encoding="utf-8") as terminal:
                patch.setattr(sys, "stdout", terminal)
                patch.setattr(sys, "stderr", terminal)
                with pytest.raises(SystemExit) as end:
                    app(list(words))
            return end.value.code, shown.result().decode().replace("\r\n", "\n")

    return run


def _read_all(terminal):
    shown = b""
    try:
        while piece := os.read(terminal, 65536):
            shown += piece
    except OSError:
        pass  # Linux reports the end of a terminal this way.
    finally:
        os.close(terminal)
    return shown


def lines_of(shown):
    return [line.rstrip() for line in ESCAPE.sub("", shown).splitlines()]


class TestTerminal:
    @pytest.mark.parametrize("columns", [60, 80, 200])
    def test_the_table_fits_the_width(self, on_terminal, tiny, columns):
        code, shown = on_terminal(
            "maps", "a.jpg", *tiny, "-o", "a-folder-with-a-rather-long-name", columns=columns
        )
        assert code == 0, shown
        table = [line for line in lines_of(shown) if re.match("layer|relu", line)]
        assert len(table) == 3, shown
        assert all(len(line) <= columns for line in table)
        assert table[1].split()[:2] == ["relu", "4×32×32"]
        assert ("relu#2.png" in table[2]) == (columns == 200)

    def test_colours_unless_no_color_is_set(self, on_terminal, tiny):
        assert COLOUR.search(on_terminal("maps", "a.jpg", *tiny)[1])
        assert not COLOUR.search(on_terminal("maps", "a.jpg", *tiny, NO_COLOR="1")[1])

    def test_a_dumb_terminal_gets_plain_text_of_its_width(self, on_terminal, tiny, photo):
        photo(Path("photos/a.jpg"))
        photo(Path("photos/b.jpg"))
        code, shown = on_terminal("maps", "photos", *tiny, "-o", "o", columns=200, TERM="dumb")
        assert code == 0, shown
        assert "\x1b" not in shown
        assert "o/*/relu#2.png" in shown

    def test_progress_shows_on_a_terminal_and_not_when_quiet(self, on_terminal, tiny, photo):
        photo(Path("photos/a.jpg"))
        photo(Path("photos/b.jpg"))
        assert "/2" in on_terminal("maps", "photos", *tiny)[1]
        quiet = on_terminal("maps", "photos", *tiny, "-q")[1]
        assert "/2" not in quiet
        assert "layer" in quiet


class TestPipes:
    @pytest.mark.parametrize("terminal", ["dumb", "xterm"])
    def test_a_piped_table_is_not_cut(self, cli, tiny, monkeypatch, terminal):
        monkeypatch.setenv("COLUMNS", "60")
        monkeypatch.setenv("TERM", terminal)
        out = "a-folder-with-a-rather-long-name/" * 5
        run = cli("maps", "a.jpg", *tiny, "-o", out)
        assert run.code == 0, run.stderr
        assert f"{out}a.jpg/relu#2.png" in run.stdout
        assert len(run.stdout.splitlines()) == 4
        assert "\x1b" not in run.stdout + run.stderr

    def test_names_with_line_breaks_and_escapes_are_shown_in_one_line(self, cli, tiny, photo):
        photo(Path("red\x1b[31m\n.jpg"))
        run = cli("maps", "red\x1b[31m\n.jpg", *tiny, "-l", "conv1", "-v")
        assert run.code == 0, run.stderr
        assert "\x1b" not in run.stdout + run.stderr
        assert len(run.stdout.splitlines()) == 3
        assert r"'cnnviz-out/red\x1b[31m\n.jpg/conv1.png'" in run.stdout
        assert r"2 files in cnnviz-out: 'cnnviz-out/red\x1b[31m\n.jpg/<layer>.png'" in run.stderr

    def test_output_that_takes_ascii_only_is_survived(self, tiny, photo):
        photo(Path("naïve.jpg"))
        words = ["maps", "naïve.jpg", *tiny, "-l", "conv1"]
        plain = CliRunner(charset="ascii").invoke(app, words)
        assert plain.exit_code == 0, plain.stderr
        assert b"na\\xefve.jpg" in plain.stdout_bytes
        document = CliRunner(charset="ascii").invoke(app, [*words, "--json"])
        assert "naïve.jpg" in document.stdout_bytes.decode("utf-8")

    @pytest.mark.parametrize("into", [">&-", "> /dev/full"])
    def test_output_that_goes_nowhere_is_no_traceback(self, into):
        # Lists layers, so that torch is imported once and nothing runs.
        command = shlex.join([sys.executable, "-m", "cnnviz", "layers", "-l", "conv1"])
        done = subprocess.run(["sh", "-c", f"{command} {into}"], capture_output=True, check=False)
        said = "" if into == ">&-" else "error: cannot write to stdout: No space left on device\n"
        assert (done.stderr.decode(), done.returncode) == (said, 1 if said else 0)

    def test_a_home_folder_that_cannot_be_written_is_not_talked_about(self, process, tiny):
        home = {"HOME": "/proc/nowhere", "XDG_CONFIG_HOME": "", "MPLCONFIGDIR": ""}
        run = process("filters", *tiny[:2], **home)
        assert run.code == 0
        assert not re.search("(?i)matplotlib", run.stderr)

    def test_completion_that_cannot_be_installed_is_no_traceback(self, cli, monkeypatch):
        def refuse(**_):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/home/me")

        monkeypatch.setattr("typer.completion.install", refuse)
        run = cli("--install-completion")
        assert run.code == 1
        assert run.error.endswith(
            "cannot write /home/me: Permission denied; --show-completion prints it instead"
        )

    @pytest.mark.parametrize("how", ["--json", "-q"])
    def test_a_reader_that_leaves_is_no_traceback(self, tiny, how):
        with subprocess.Popen(
            [*CNNVIZ, "maps", "a.jpg", *tiny, how], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as child:
            child.stdout.close()
            talk = child.stderr.read().decode()
        assert child.returncode == 1
        assert "Traceback" not in talk
        assert "Exception ignored" not in talk
        assert Path("cnnviz-out/manifest.json").is_file()


def test_ctrl_c_exits_with_130_and_leaves_no_half_file(tiny, photo):
    original = photo(Path("big.jpg"), size=(1600, 1200))
    Path("photos").mkdir()
    for i in range(1000):
        os.link(original, f"photos/{i}.jpg")
    command = [*CNNVIZ, "maps", "photos", *tiny, "-o", "out"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        give_up = time.monotonic() + 60
        while not Path("out/3.jpg/overview.png").exists() and time.monotonic() < give_up:
            assert child.poll() is None
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        shown, talk = child.communicate(timeout=60)
    assert child.returncode == 130
    assert shown == b""
    way_on = "the same command with --resume goes on from here"
    assert talk.decode().splitlines()[-2:] == [way_on, "interrupted"]
    assert "Traceback" not in talk.decode()
    assert not Path("out/999.jpg").exists()
    assert not Path("out/manifest.json").exists()
    assert list(Path("out").rglob("*.tmp")) == []
