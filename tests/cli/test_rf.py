import json
from pathlib import Path

import pytest
from PIL import Image

from cnnviz.receptive_field import probe


def document(cli, *arguments, code=0):
    run = cli("rf", *arguments, "--json")
    assert run.code == code, run.stderr
    return json.loads(run.stdout)


def layer(told, name, call=1):
    (found,) = (x for x in told["layers"] if (x["name"], x["call"]) == (name, call))
    return found


def test_json_is_to_the_letter(cli, tiny):
    told = document(cli, *tiny, "-l", "conv")
    assert (told["schema_version"], told["command"]) == (1, "rf")
    assert told["input_shape"] == [1, 3, 32, 32]
    conv2 = layer(told, "conv2")
    field = conv2["receptive_field"]
    assert (field["size"], field["stride"], field["start"]) == ([8, 8], [2, 2], [-3, -3])
    assert conv2["unit"] == {"at": [8, 8], "box": [13, 13, 21, 21], "coverage": 64 / 1024}
    assert "effective" not in conv2
    assert "verified" not in conv2


def test_a_unit_at_the_border_is_cut(cli, tiny):
    conv2 = layer(document(cli, *tiny, "-l", "conv2", "--at", "0,15"), "conv2")
    assert conv2["unit"]["box"] == [27, 0, 32, 5]
    assert conv2["unit"]["coverage"] == 25 / 1024


@pytest.mark.parametrize("at", ["16,0", "0,16", "99,99"])
def test_a_unit_outside_of_the_map_is_wrong_usage(cli, tiny, at):
    run = cli("rf", *tiny, "-l", "conv2", "--at", at)
    assert run.code == 2
    assert "its map is 16x16" in run.error


@pytest.mark.parametrize("at", ["middle", "1", "1,2,3", "-1,2"])
def test_a_place_that_is_none_is_wrong_usage(cli, tiny, at):
    assert cli("rf", *tiny, f"--at={at}").code == 2


def test_max_needs_a_photo_and_finds_a_unit_on_it(cli, tiny):
    assert cli("rf", *tiny, "--at", "max").code == 2
    unit = layer(document(cli, "a.jpg", *tiny, "-l", "conv2", "--at", "max"), "conv2")["unit"]
    assert all(0 <= place < 16 for place in unit["at"])


def test_effective_adds_the_squares_that_hold_the_gradient(cli, tiny):
    told = layer(document(cli, "a.jpg", *tiny, "-l", "conv2", "--effective"), "conv2")
    effective = told["effective"]
    assert set(effective) == {"mass_box", "area_fraction"}
    assert set(effective["mass_box"]) == {"0.5", "0.95"}
    assert 0 < effective["mass_box"]["0.5"] <= effective["mass_box"]["0.95"] <= 8
    assert effective["area_fraction"] == effective["mass_box"]["0.95"] ** 2 / 64


def test_effective_without_a_photo_takes_noise_of_a_seed(cli, tiny):
    one, other = (document(cli, *tiny, "-l", "conv1", "--effective") for _ in range(2))
    assert one == other


def test_verify_says_true(cli, tiny):
    told = document(cli, *tiny, "-l", "conv", "--verify")
    assert [x["verified"] for x in told["layers"]] == [True, True]


def test_verify_and_a_photo_too_many_are_talked_about(cli, tiny, photo):
    photo(Path("b.jpg"))
    run = cli("rf", "a.jpg", "b.jpg", *tiny, "-l", "conv", "--verify")
    assert run.code == 0
    assert "only the first photo, a.jpg, is looked at" in run.stderr
    assert "verified: the fields are as measured on the network" in run.stderr
    assert "only the first" not in cli("rf", "a.jpg", *tiny, "-l", "conv").stderr


def test_verify_exits_with_one_where_the_network_differs(cli, tiny, monkeypatch):
    real = probe._pairs
    monkeypatch.setattr(probe, "_pairs", lambda broken: ((0, 0), *real(broken)[1:]))
    run = cli("rf", *tiny, "-l", "conv2", "--verify", "--json")
    assert run.code == 1
    assert "error: conv2: row 0 reads 0 to 0, not 0 to 4" in run.stderr
    assert json.loads(run.stdout)["layers"][0]["verified"] is False


def test_pictures_are_written(cli, tiny):
    told = document(cli, "a.jpg", *tiny, "-l", "conv1,relu#2", "-o", "out")
    written = sorted(p.relative_to("out").as_posix() for p in Path("out").rglob("*.png"))
    assert written == ["rf/conv1.png", "rf/overview.png", "rf/relu#2.png"]
    assert sorted(told["outputs"]) == [f"out/{name}" for name in written]
    for name in written:
        with Image.open(Path("out", name)) as picture:
            assert picture.format == "PNG"


def test_the_table_tells_field_unit_and_what_it_reads(cli, tiny):
    run = cli("rf", *tiny, "-l", "conv2")
    assert run.code == 0
    assert run.stdout.splitlines()[1].split() == [
        "conv2", "8", "2", "8,8", "13-20", "13-20", "6.2%",
    ]  # fmt: skip


def test_a_layer_without_a_field_is_told_and_alone_is_wrong_usage(cli, tiny):
    told = document(cli, *tiny, "-l", "conv1,head")
    assert layer(told, "head")["receptive_field"] is None
    run = cli("rf", *tiny, "-l", "head")
    assert run.code == 2
    assert "no spatial axes" in run.error


def test_a_folder_is_no_photo(cli, tiny):
    assert cli("rf", ".", *tiny).code in (1, 2)


class TestCheckpoints:
    def test_effective_fields_of_several_stand_below_one_another(self, cli, tiny):
        words = (*tiny, "-l", "conv", "-w", "none", "-w", "default", "--effective")
        told = document(cli, "a.jpg", *words, "--frames")
        assert told["weights"] == ["none", "default"]
        entries = [(x["name"], x["weights"]) for x in told["layers"]]
        assert entries == [(n, w) for n in ("conv1", "conv2") for w in ("none", "default")]
        alone = document(cli, "a.jpg", *tiny, "-l", "conv", "--effective", "-o", "alone")
        assert [x["effective"] for x in told["layers"][1::2]] == [
            x["effective"] for x in alone["layers"]
        ]
        with (
            Image.open("cnnviz-out/rf/conv2.png") as both,
            Image.open("alone/rf/conv2.png") as one,
            Image.open("cnnviz-out/rf/conv2.frames.png") as frames,
        ):
            assert both.height == 2 * one.height
            assert frames.n_frames == 2

    def test_the_table_names_them(self, cli, tiny):
        run = cli("rf", *tiny, "-l", "conv1", "-w", "none", "-w", "default", "--effective")
        rows = [row.split()[:2] for row in run.stdout.splitlines()]
        assert rows == [["layer", "weights"], ["conv1", "none"], ["conv1", "default"]]

    def test_the_theoretical_field_needs_no_comparison(self, cli, tiny):
        run = cli("rf", *tiny, "-w", "none", "-w", "default")
        assert run.code == 2
        assert "compare them with --effective" in run.error
