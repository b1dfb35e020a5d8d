"""A device that is absent is an error that lists those that exist, whatever the command."""

from pathlib import Path

import pytest

COMMANDS = {
    "layers": (),
    "maps": ("a.jpg",),
    "filters": (),
    "rf": (),
    "maximize": ("-l", "conv1", "--steps", "1"),
}


@pytest.fixture(params=COMMANDS)
def command(request, tiny):
    return (request.param, *COMMANDS[request.param], *tiny)


def assert_absent(run):
    assert run.code == 2
    assert "no device 'cuda:99' here; choose from auto, " in run.error
    assert run.error.endswith("cpu")
    assert not Path("cnnviz-out").exists() or not list(Path("cnnviz-out").rglob("*.png"))


def test_an_absent_device_is_refused(cli, command):
    assert_absent(cli(*command, "--device", "cuda:99"))


def test_so_it_is_in_the_environment(cli, command, monkeypatch):
    monkeypatch.setenv("CNNVIZ_DEVICE", "cuda:99")
    assert_absent(cli(*command))


def test_so_it_is_in_the_configuration(cli, command, monkeypatch):
    monkeypatch.delenv("CNNVIZ_DEVICE")
    Path("c.yaml").write_text("device: cuda:99\n")
    assert_absent(cli(*command, "-c", "c.yaml"))


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "mps:1", ""])
def test_what_is_no_device_is_refused_with_what_may_be_written(cli, command, name):
    run = cli(*command, "--device", name)
    assert run.code == 2
    assert f"unknown device {name!r}; choose from auto, cpu, cuda, cuda:N, mps" in run.error
