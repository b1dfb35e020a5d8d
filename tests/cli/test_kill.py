"""Runs that are killed at any moment and go on: in the end, the tree of a run that was not."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from on_disk import tree

pytest.importorskip("fcntl", reason="needs Unix")

PHOTOS = 40
COMMAND = (
    sys.executable, "-m", "cnnviz", "maps", "photos", "-m", "net.py:tiny", "--input-size", "32",
    "-l", "conv1,relu", "--batch-size", "4", "--top-images", "3", "-o", "out",
)  # fmt: skip
JOURNAL, MANIFEST = Path("out/manifest.jsonl"), Path("out/manifest.json")


def finished():
    """Return the lines of photos that are finished, by key."""
    text = JOURNAL.read_text("utf-8") if JOURNAL.exists() else ""
    whole = [json.loads(line) for line in text.split("\n")[1:-1]]
    return {line["key"]: line for line in whole if line["error"] is None}


def times(lines):
    """Return when each of the files of finished photos was written."""
    return {
        path: Path(path).stat().st_mtime_ns for line in lines.values() for path in line["outputs"]
    }


# Kill a run while it starts, while it does photos, and while it writes what excites channels.
STARTS, WORKS, ENDS = "starts", "works", "ends"


def until_the_journal_is_replaced(child):
    """Wait; the journal is written anew once a run has started, and again after its last photo."""
    before = JOURNAL.stat().st_ino if JOURNAL.exists() else None
    while child.poll() is None and not (JOURNAL.exists() and JOURNAL.stat().st_ino != before):
        time.sleep(0.001)


def kill_one_run(moments, phase):
    """Start or resume a run and kill it, workers and all; return whether it was still running.

    Args:
        moments: Where random numbers come from.
        phase: In which part of the run to kill it.
    """
    with subprocess.Popen(
        [*COMMAND, "--resume"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as child:
        if phase == STARTS:
            time.sleep(moments.uniform(0, 2))
        else:
            for _ in range(1 if phase == WORKS else 2):
                until_the_journal_is_replaced(child)
            time.sleep(moments.uniform(0, 0.12))
        running = child.poll() is None
        os.killpg(child.pid, signal.SIGKILL)
    return running


@pytest.fixture
def undisturbed(here, photo, monkeypatch):
    """Return the tree of a run in peace; then stand where another one can be made."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("peace", "war"):
        for i in range(PHOTOS):
            photo(Path(name, "photos", f"{i}.jpg"), seed=i)
        Path(name, "photos", "broken.jpg").write_text("no picture")
        Path(name, "net.py").write_text(Path("net.py").read_text())
    done = subprocess.run(COMMAND, cwd="peace", capture_output=True, check=False)
    assert done.returncode == 1, done.stderr
    monkeypatch.chdir(here / "war")
    return tree(here / "peace" / "out")


def survive(phases, undisturbed, seed):
    """Kill runs, each of which goes on from the last, until one of them reaches its end."""
    moments = random.Random(seed)
    killed, kept = 0, {}
    for phase in phases:
        if not kill_one_run(moments, phase):
            break
        killed += 1
        lines = finished()
        assert kept.items() <= times(lines).items(), "what is finished is not done again"
        kept = times(lines)
        for path in kept:
            name = Path(path).relative_to("out").as_posix()
            assert Path(path).read_bytes() == undisturbed[name]
        if MANIFEST.exists():  # it comes last: there is nothing left to disturb
            break
    done = subprocess.run([*COMMAND, "--resume"], capture_output=True, check=False)
    assert done.returncode == 1, done.stderr
    assert b"1 of 41 photos failed" in done.stderr
    assert kept.items() <= times(finished()).items()
    assert tree("out") == undisturbed
    return killed


def test_three_kills_leave_no_trace(undisturbed):
    assert any(name.startswith("top/") for name in undisturbed)
    assert survive([WORKS, WORKS, ENDS], undisturbed, seed=3) >= 2


@pytest.mark.slow
def test_fifty_kills_leave_no_trace(undisturbed):
    killed = seed = 0
    while killed < 50:
        phases = random.Random(seed).choices([STARTS, WORKS, ENDS], [15, 70, 15], k=50 - killed)
        killed += survive(phases, undisturbed, seed)
        seed += 1
        subprocess.run(["rm", "-r", "out"], check=True)
