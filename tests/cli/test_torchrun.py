"""One run shared among processes: the tree of a single one, one table, and deaths survived."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from on_disk import tree

pytest.importorskip("fcntl", reason="needs Unix")

WORDS = (
    "maps", "photos", "-m", "net.py:tiny", "--input-size", "32", "-l", "conv1,relu",
    "--batch-size", "2", "-o", "out",
)  # fmt: skip
PYTHON = (sys.executable, "-m")
TORCHRUN = (*PYTHON, "torch.distributed.run", "--standalone")
CNNVIZ = ("-m", "cnnviz", *WORDS)
TOP = ("--top-images", "3")
# Tells the test which process is which, and works for long enough to be killed.
TELLING = """
import os, time
open(f"pid{os.environ.get('RANK', 0)}", "w").write(str(os.getpid()))
forward = Network.forward
def slowly(self, x):
    time.sleep(0.1)
    return forward(self, x)
Network.forward = slowly
"""


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


@pytest.fixture
def alone(here, photo, monkeypatch):
    """What one process shows, and its tree; then stand where several can make theirs."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("alone", "together"):
        for i in range(21):
            photo(Path(name, "photos", f"{i}.jpg"), seed=i)
        Path(name, "net.py").write_text(Path("net.py").read_text())
    done = run(*PYTHON, "cnnviz", *WORDS, cwd="alone", check=True)
    monkeypatch.chdir(here / "together")
    return done, tree(here / "alone" / "out")


def test_two_processes_give_the_tree_of_one_and_one_table(alone):
    done, expected = alone
    both = run(*TORCHRUN, "--nproc-per-node", "2", *CNNVIZ)
    assert both.returncode == 0, both.stderr
    assert both.stdout == done.stdout
    assert both.stderr.count("84 files in out") == 1
    assert tree("out") == expected


@pytest.mark.slow
def test_four_processes_give_the_tree_of_one_and_one_document(alone):
    _, expected = alone
    all_ = run(*TORCHRUN, "--nproc-per-node", "4", *CNNVIZ, "--json")
    assert all_.returncode == 0, all_.stderr
    assert all_.stdout.encode() == expected["manifest.json"]
    assert tree("out") == expected


@pytest.mark.slow
def test_what_excites_channels_is_ranked_over_all_processes(alone, here):
    options = (*TOP, "--gradients")
    run(*PYTHON, "cnnviz", *WORDS, *options, cwd=here / "alone", check=True)
    both = run(*TORCHRUN, "--nproc-per-node", "2", *CNNVIZ, *options)
    assert both.returncode == 0, both.stderr
    expected = tree(here / "alone" / "out")
    assert any(name.startswith("top/conv1/") for name in expected)
    assert tree("out") == expected


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
@pytest.mark.parametrize(("count", "options"), [(2, TOP), (4, TOP), (2, ())])
def test_a_process_that_dies_is_started_again_and_what_is_finished_stays(
    alone, here, killed, count, options
):
    run(*PYTHON, "cnnviz", *WORDS, *options, cwd=here / "alone", check=True)
    expected = tree(here / "alone" / "out")
    Path("net.py").write_text(Path("net.py").read_text() + TELLING)
    part = Path("out", f"manifest.{killed}.jsonl" if killed else "manifest.jsonl")
    command = (*TORCHRUN, "--nproc-per-node", str(count), "--max-restarts", "1", *CNNVIZ, *options)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as launcher:
        give_up = time.monotonic() + 120
        while not part.exists() or part.read_bytes().count(b"\n") < 3:
            assert launcher.poll() is None, launcher.stderr.read().decode()
            assert time.monotonic() < give_up
            time.sleep(0.01)
        os.kill(int(Path(f"pid{killed}").read_text()), signal.SIGKILL)
        lines = [json.loads(line) for line in part.read_bytes().splitlines()[1:]]
        kept = {path: Path(path).stat().st_mtime_ns for line in lines for path in line["outputs"]}
        shown, talk = launcher.communicate(timeout=300)
    assert launcher.returncode == 0, talk.decode()
    assert shown.decode().count("conv1") == 2, "one table, whose line also names the file"
    assert kept
    assert {path: Path(path).stat().st_mtime_ns for path in kept} == kept
    assert tree("out") == expected


def start_under_slurm(count):
    """Start processes as srun does, on one machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "SLURM_NTASKS": str(count)}
    return [
        subprocess.Popen(
            [*PYTHON, "cnnviz", *WORDS],
            env={**os.environ, **meet, "SLURM_PROCID": f"{rank}", "SLURM_LOCALID": f"{rank}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


@pytest.mark.slow
def test_processes_under_slurm_find_one_another(alone):
    done, expected = alone
    children = start_under_slurm(2)
    shown = [child.communicate(timeout=300) for child in children]
    assert [child.returncode for child in children] == [0, 0], shown
    assert [stdout for stdout, _ in shown] == [done.stdout, ""]
    assert tree("out") == expected


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_process_that_nobody_starts_again_is_noticed_by_the_other(alone, killed):
    _, expected = alone
    network = Path("net.py").read_text()
    Path("net.py").write_text(network + TELLING.replace("RANK", "SLURM_PROCID"))
    children = start_under_slurm(2)
    give_up = time.monotonic() + 120
    while not list(Path("out").glob("0.jpg/*.png")) and time.monotonic() < give_up:
        time.sleep(0.01)
    children[killed].kill()
    shown = [child.communicate(timeout=60) for child in children]
    assert children[1 - killed].returncode == 1
    assert "error: a process that shares the run has died; --resume" in shown[1 - killed][1]
    assert run(*PYTHON, "cnnviz", *WORDS, "--resume").returncode == 0
    assert tree("out") == expected


@pytest.mark.slow
def test_an_error_of_the_first_process_ends_all(alone):
    run(*PYTHON, "cnnviz", *WORDS, check=True)
    done = run(
        *TORCHRUN, "--nproc-per-node", "2", *CNNVIZ, "--resume", "--cmap", "plasma", check=False
    )
    assert done.returncode == 1
    assert "cmap was viridis and is now plasma" in done.stderr
    assert done.stdout == ""
