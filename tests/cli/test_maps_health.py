"""What `maps` tells of a network's health: rules, references, gradients."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image


class TestChecks:
    @pytest.mark.parametrize(
        ("factory", "rule", "where"),
        [
            ("with_nan", "nan", "conv2"),
            ("with_dead", "dead=0.5", "conv1"),
            ("all_zero", "blank", "conv2"),
            ("all_zero", "dead=0.99", "conv2"),
        ],
    )
    def test_a_rule_that_trips_exits_with_3_and_names_the_layer(
        self, cli, tiny, factory, rule, where
    ):
        options = ("-m", f"net.py:{factory}", "--input-size", "32", "-l", "conv")
        run = cli("maps", "a.jpg", *options, "--fail-on", rule, "--json")
        assert run.code == 3
        assert any(
            line.startswith(f"error: --fail-on {rule}: {where}: ")
            for line in run.stderr.splitlines()
        )
        tripped = json.loads(run.stdout)["tripped"]
        assert (rule, where) in [(entry["rule"], entry["layer"]) for entry in tripped]
        assert Path("cnnviz-out/a.jpg/conv1.png").is_file()

    @pytest.mark.parametrize(
        ("factory", "rule"),
        [("tiny", "nan"), ("tiny", "blank"), ("tiny", "dead=0"), ("with_dead", "dead=0.75")],
    )
    def test_a_rule_that_is_kept_exits_with_0(self, cli, tiny, factory, rule):
        options = ("-m", f"net.py:{factory}", "--input-size", "32", "-l", "conv")
        assert cli("maps", "a.jpg", *options, "--fail-on", rule).code == 0

    def test_several_rules_are_all_checked(self, cli, tiny):
        options = ("-m", "net.py:all_zero", "--input-size", "32", "-l", "conv2")
        run = cli("maps", "a.jpg", *options, "--fail-on", "nan", "--fail-on", "blank")
        assert run.code == 3
        assert "--fail-on blank" in run.stderr
        assert "--fail-on nan" not in run.stderr

    def test_nan_values_are_counted_and_valid_json(self, cli, tiny):
        options = ("-m", "net.py:with_nan", "--input-size", "32", "-l", "conv2", "--json")
        document = json.loads(cli("maps", "a.jpg", *options).stdout, parse_constant=pytest.fail)
        assert document["layers"][0]["stats"]["nan"] == 16 * 16

    def test_a_channel_is_dead_only_when_constant_over_the_whole_run(self, cli, tiny, photo):
        Image.new("RGB", (40, 40), "white").save("white.png")
        options = ("-m", "net.py:tiny", "--input-size", "32", "-l", "pool", "--json")
        document = json.loads(cli("maps", "white.png", "a.jpg", *options).stdout)
        assert document["layers"][0]["stats"]["dead_channels"] == 0


class TestGates:
    def test_saturated_units_trip(self, cli, here):
        Path("gate.py").write_text(
            "from torch import nn\n\ndef build():\n"
            "    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sigmoid())\n"
            "    network[0].bias.data[:] = nn.Parameter(network[0].bias.new_tensor("
            "[99, -99, 99, 0]))\n"
            "    return network\n"
        )
        words = ("maps", "a.jpg", "-m", "gate.py:build", "--input-size", "16", "-l", "all")
        run = cli(*words, "--fail-on", "saturated=0.7", "--json")
        assert run.code == 3
        stats = json.loads(run.stdout)["layers"][1]["stats"]
        assert stats["bound_fractions"]["1"] >= 0.5
        assert stats["bound_fractions"]["0"] >= 0.25
        assert json.loads(run.stdout)["tripped"][0]["layer"] == "1"
        assert cli(*words, "--fail-on", "saturated=1").code == 0

    def test_vanishing_gradients_trip(self, cli, tiny):
        words = ("maps", "a.jpg", *tiny, "-l", "all", "--gradients")
        assert cli(*words, "--fail-on", "vanishing=1e-9").code == 0
        run = cli(*words, "--fail-on", "vanishing=0.999", "--json")
        assert run.code == 3
        tripped = {entry["layer"] for entry in json.loads(run.stdout)["tripped"]}
        assert "head" not in tripped
        assert "relu#2" in tripped

    def test_a_change_trips_and_the_same_run_does_not(self, cli, tiny, photo):
        words = ("maps", "a.jpg", *tiny, "-l", "all")
        assert cli(*words, "--save-reference", "new/ref.json").code == 0
        same = cli(*words, "--fail-on", "change=new/ref.json:0.001")
        assert same.code == 0, same.stderr
        manifest = cli(*words, "--fail-on", "change=cnnviz-out/manifest.json:0.001")
        assert manifest.code == 0, "a manifest is a reference, too"
        photo(Path("a.jpg"), seed=9)
        other = cli(*words, "--fail-on", "change=new/ref.json:0.001", "--json")
        assert other.code == 3
        tripped = [entry["layer"] for entry in json.loads(other.stdout)["tripped"]]
        assert tripped[:2] == ["input", "conv1"]

    def test_a_run_that_cannot_be_compared_is_an_error_that_names_the_difference(
        self, cli, tiny, photo
    ):
        assert cli("maps", "a.jpg", *tiny, "--save-reference", "ref.json").code == 0
        photo(Path("b.jpg"), seed=2)
        rule = ("--fail-on", "change=ref.json:1e5")
        for words, said in (
            (("a.jpg", "b.jpg", *tiny), "it is of 1 photos, and this run of 2;"),
            (("b.jpg", *tiny), "it is of 1 photos, and this run of 1 others;"),
            (("a.jpg", "-m", "net.py:twin", "--input-size", "32"), "its model is net.py:tiny, and"),
            (("a.jpg", "-m", "net.py:tiny", "--input-size", "48"), "its input-size is 32, 32, and"),
        ):
            run = cli("maps", *words, *rule, "-o", "other")
            assert run.code == 2
            assert f"cannot compare with ref.json: {said}" in run.error
            assert not list(Path("other").rglob("*.png"))

    def test_layers_and_photos_of_one_run_only_trip(self, cli, tiny, photo):
        photo(Path("b.jpg"), seed=2)
        words = ("maps", "a.jpg", "b.jpg", *tiny)
        assert cli(*words, "-l", "conv", "--save-reference", "ref.json").code == 0
        Path("b.jpg").write_text("no picture")
        run = cli(*words, "-l", "conv2,relu", "--fail-on", "change=ref.json:1e5", "--json")
        assert run.code == 3
        tripped = {one["layer"]: one["reason"] for one in json.loads(run.stdout)["tripped"]}
        assert tripped == {
            "input": "photos that failed in one of the runs only: b.jpg",
            "relu": "is not in ref.json",
            "relu#2": "is not in ref.json",
            "conv1": "was not looked at, and is in ref.json",
        }

    def test_what_tripped_is_a_table_and_a_line_for_each_rule(self, cli, tiny):
        words = ("-m", "net.py:all_zero", "--input-size", "32", "-l", "conv2,relu#2")
        run = cli("maps", "a.jpg", *words, "--fail-on", "blank", "--fail-on", "dead=0.5")
        assert run.code == 3
        table = [line.split() for line in run.stdout.splitlines()[5:]]
        assert table[0] == ["tripped", "layer", "reason"]
        assert [row[:2] for row in table[1:]] == [
            ["blank", "conv2"], ["dead=0.5", "conv2"], ["blank", "relu#2"], ["dead=0.5", "relu#2"],
        ]  # fmt: skip
        errors = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
        assert errors == [
            "error: --fail-on blank: conv2: the same value everywhere on 1 pictures (and 1 more)",
            "error: --fail-on dead=0.5: conv2: 6 of 6 channels are dead (and 1 more)",
        ]

    def test_junit_has_a_case_for_each_layer_and_rule_and_for_failed_photos(self, cli, tiny):
        Path("bad.png").write_text("no picture")
        words = ("-m", "net.py:all_zero", "--input-size", "32", "-l", "conv")
        rules = ("--fail-on", "blank", "--fail-on", "nan", "--junit", "ci/junit.xml")
        assert cli("maps", "a.jpg", "bad.png", *words, *rules).code == 3
        suite = ElementTree.parse("ci/junit.xml").getroot()
        assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("5", "1", "1")
        cases = {
            (case.get("classname"), case.get("name")): [child.tag for child in case]
            for case in suite
        }
        assert cases == {
            ("conv1", "blank"): [], ("conv1", "nan"): [], ("conv2", "blank"): ["failure"],
            ("conv2", "nan"): [], ("photos", "bad.png"): ["error"],
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("words", "code", "said"),
        [
            (("--fail-on", "vanishing=0.1"), 2, "--fail-on vanishing=0.1 needs --gradients"),
            (("--junit", "j.xml"), 2, "--junit tells of --fail-on rules; give one"),
            (("--fail-on", "change=gone.json:1"), 1, "cannot read gone.json"),
            (("--fail-on", "change=net.py:1"), 1, "net.py is not what --save-reference writes"),
            (("--save-reference", "."), 1, ". is a folder; name a file with --save-reference"),
            (("--save-reference", "net.py/x"), 1, "net.py is a file; choose another output folder"),
        ],
    )
    def test_wrong_usage(self, cli, tiny, words, code, said):
        run = cli("maps", "a.jpg", *tiny, *words)
        assert run.code == code
        assert said in run.error


class TestGradients:
    def test_each_layer_has_a_norm_and_a_picture_beside_its_maps(self, cli, tiny):
        run = cli("maps", "a.jpg", *tiny, "-l", "all", "--gradients", "--class", "2", "--json")
        assert run.code == 0, run.stderr
        layers = json.loads(run.stdout)["layers"]
        assert layers[-1]["gradient"] == {"norm": 1.0, "relative": 1.0}
        assert all(layer["gradient"]["relative"] > 0 for layer in layers)
        for label in ("conv1", "relu", "pool", "conv2", "relu#2", "head"):
            with Image.open(f"cnnviz-out/a.jpg/{label}.gradient.png") as picture:
                assert json.loads(picture.info["cnnviz"])["class"] == 2
        assert "grad." in cli("maps", "a.jpg", *tiny, "--gradients").stdout.splitlines()[0]

    def test_without_there_are_none(self, cli, tiny):
        document = json.loads(cli("maps", "a.jpg", *tiny, "--json").stdout)
        assert [layer["gradient"] for layer in document["layers"]] == [None, None]
        assert not list(Path("cnnviz-out").rglob("*.gradient.png"))

    def test_a_signal_that_vanishes_is_marked_and_trips(self, cli, here):
        Path("deep.py").write_text(
            "import torch\nfrom torch import nn\n\n"
            "def build():\n"
            "    blocks = [[nn.Conv2d(3, 3, 1), nn.Sigmoid()] for _ in range(12)]\n"
            "    return nn.Sequential(*sum(blocks, []))\n"
        )
        words = ("maps", "a.jpg", "-m", "deep.py:build", "--input-size", "16", "-l", "all")
        document = json.loads(cli(*words, "--gradients", "--json").stdout)
        norms = [layer["gradient"]["relative"] for layer in document["layers"]]
        assert norms == sorted(norms), "each sigmoid leaves a quarter at most"
        assert "vanishing" in document["layers"][0]["look"]
        assert "vanishing" not in document["layers"][-1]["look"]

    def test_the_class_may_stand_in_a_configuration(self, cli, tiny):
        Path("c.yaml").write_text("gradients: true\nclass: 3\nlayers: head\n")
        assert cli("maps", "a.jpg", *tiny, "-c", "c.yaml").code == 0
        with Image.open("cnnviz-out/a.jpg/head.gradient.png") as picture:
            assert json.loads(picture.info["cnnviz"])["class"] == 3

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("--class", "2"), "--class 2 is for --gradients"),
            (("--gradients", "--class", "9"), "has no class 9: they are 0 to 4"),
            (("--gradients", "--class", "cat"), "have no names; give a number, 0 to 4"),
            (("--gradients", "-w", "none", "-w", "default"), "--gradients is for one network"),
        ],
    )
    def test_wrong_usage(self, cli, tiny, words, said):
        run = cli("maps", "a.jpg", *tiny, *words)
        assert run.code == 2
        assert said in run.error
