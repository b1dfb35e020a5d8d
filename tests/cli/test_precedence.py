"""The command line wins over the environment, that over the file, that over the defaults."""

import json
from pathlib import Path

import pytest


def model_of(run):
    assert run.code == 0, run.stderr
    return json.loads(run.stdout)["model"]


@pytest.fixture
def arguments(here):
    return ("maps", "a.jpg", "-w", "default", "-l", "conv1", "--input-size", "32", "--json")


class TestModel:
    def test_default_is_the_bundled_network(self, cli, here):
        options = ("-w", "none", "-l", "conv1", "--input-size", "32", "--json")
        assert model_of(cli("maps", "a.jpg", *options)) == "demo"

    @pytest.mark.parametrize(
        ("line", "environment", "file", "winner"),
        [
            ("tiny", "twin", "triplet", "tiny"),
            ("tiny", None, "triplet", "tiny"),
            (None, "twin", "triplet", "twin"),
            (None, "twin", None, "twin"),
            (None, None, "triplet", "triplet"),
        ],
    )
    def test_order(self, cli, arguments, monkeypatch, line, environment, file, winner):
        options = ["-m", f"net.py:{line}"] if line else []
        if environment:
            monkeypatch.setenv("CNNVIZ_MODEL", f"net.py:{environment}")
        if file:
            Path("c.yaml").write_text(f"model: net.py:{file}\n")
            options += ["-c", "c.yaml"]
        assert model_of(cli(*arguments, *options)) == f"net.py:{winner}"


class TestDevice:
    def test_environment_is_read(self, cli, arguments, monkeypatch):
        monkeypatch.setenv("CNNVIZ_DEVICE", "warp")
        run = cli(*arguments, "-m", "net.py:tiny")
        assert run.code == 2
        assert "unknown device 'warp'" in run.error

    def test_environment_wins_over_the_file(self, cli, arguments):
        Path("c.yaml").write_text("device: warp\n")
        assert cli(*arguments, "-m", "net.py:tiny", "-c", "c.yaml").code == 0

    def test_command_line_wins_over_the_environment(self, cli, arguments, monkeypatch):
        monkeypatch.setenv("CNNVIZ_DEVICE", "warp")
        assert cli(*arguments, "-m", "net.py:tiny", "--device", "cpu").code == 0


class TestFile:
    def test_every_kind_of_value_is_taken(self, cli, here):
        Path("c.yaml").write_text(
            "model: net.py:tiny\n"
            "input-size: 32\n"
            "layers: [conv1, 'relu#2']\n"
            "channels: 0\n"
            "batch_size: 2\n"
            "save-activations: true\n"
            "fail-on:\n  - nan\n  - dead=0.9\n"
            "out: pictures\n"
            "json: true\n"
        )
        run = cli("maps", "a.jpg", "-c", "c.yaml")
        assert run.code == 0, run.stderr
        assert [layer["name"] for layer in json.loads(run.stdout)["layers"]] == ["conv1", "relu"]
        assert Path("pictures/a.jpg/activations.npz").is_file()

    def test_a_single_text_is_taken_where_many_may_stand(self, cli, here):
        Path("c.yaml").write_text("model: net.py:tiny\ninput_size: 32x40\nlayers: conv1,pool\n")
        document = json.loads(cli("maps", "a.jpg", "-c", "c.yaml", "--json").stdout)
        assert [layer["name"] for layer in document["layers"]] == ["conv1", "pool"]
        assert document["input_shape"] == [1, 3, 32, 40]

    def test_layers_on_the_command_line_replace_those_of_the_file(self, cli, here):
        Path("c.yaml").write_text("model: net.py:tiny\ninput_size: 32\nlayers: [conv1]\n")
        run = cli("maps", "a.jpg", "-c", "c.yaml", "-l", "pool", "--json")
        assert [layer["name"] for layer in json.loads(run.stdout)["layers"]] == ["pool"]

    def test_an_empty_file_changes_nothing(self, cli, tiny):
        Path("c.yaml").write_text("# nothing yet\n")
        assert cli("maps", "a.jpg", *tiny, "-c", "c.yaml").code == 0
