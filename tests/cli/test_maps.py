import json
import os
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

LAYER_KEYS = {"name", "call", "type", "output_shape", "receptive_field", "stats"}
STATISTICS = {"min", "max", "mean", "std", "zero_fraction", "nan", "dead_channels"}


def files_below(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def labels(document):
    return [
        layer["name"] + (f"#{layer['call']}" if layer["call"] > 1 else "")
        for layer in document["layers"]
    ]


def activations(cli, *arguments):
    run = cli("maps", "a.jpg", *arguments, "--save-activations")
    assert run.code == 0, run.stderr
    with np.load("cnnviz-out/a.jpg/activations.npz") as stored:
        return dict(stored)


class TestFiles:
    def test_one_photo_gives_a_grid_per_layer_an_overview_and_a_manifest(self, cli, tiny):
        run = cli("maps", "a.jpg", *tiny)
        assert run.code == 0
        names = [
            "a.jpg/overview.png", "a.jpg/relu#2.png", "a.jpg/relu.png", "manifest.json",
            "manifest.jsonl",
        ]  # fmt: skip
        assert files_below(Path("cnnviz-out")) == names
        with Image.open("cnnviz-out/a.jpg/relu.png") as grid:
            assert (grid.format, grid.mode) == ("PNG", "P")

    def test_out_is_made_with_its_parents(self, cli, tiny):
        assert cli("maps", "a.jpg", *tiny, "-o", "new/deep/out").code == 0
        assert Path("new/deep/out/a.jpg/relu.png").is_file()

    def test_folders_are_searched_recursively_and_keep_relative_paths(self, cli, tiny, photo):
        photo(Path("photos/img1.jpg"))
        photo(Path("photos/sub/img2.jpg"))
        run = cli("maps", "photos", *tiny, "-l", "conv1", "-o", "out", "--json")
        assert Path("out/sub/img2.jpg/conv1.png").is_file()
        assert Path("out/img1.jpg/conv1.png").is_file()
        paths = [image["path"] for image in json.loads(run.stdout)["images"]]
        assert paths == ["photos/img1.jpg", "photos/sub/img2.jpg"]

    def test_output_inside_the_input_folder_is_not_read_again(self, cli, tiny, photo):
        photo(Path("photos/img1.jpg"))
        for _ in range(2):
            run = cli("maps", "photos", *tiny, "-l", "conv1", "-o", "photos/out", "--json")
            assert run.code == 0
            assert len(json.loads(run.stdout)["images"]) == 1

    def test_non_ascii_names_and_spaces_are_kept(self, cli, tiny, photo):
        photo(Path("bil der/naïve ☕ 猫.jpg"))
        run = cli("maps", "bil der", *tiny, "-l", "conv1", "-o", "aus gabe")
        assert run.code == 0, run.stderr
        assert Path("aus gabe/naïve ☕ 猫.jpg/conv1.png").is_file()
        manifest = json.loads(Path("aus gabe/manifest.json").read_text("utf-8"))
        assert manifest["images"][0]["path"] == "bil der/naïve ☕ 猫.jpg"

    @pytest.mark.parametrize("name", ["[bold]x[red].jpg", "two\nlines.jpg", b"\xff\xfe.jpg"])
    def test_strange_names_do_no_harm(self, cli, tiny, photo, name):
        name = name if isinstance(name, str) else os.fsdecode(name)
        try:
            photo(Path("photos/plain.jpg")).rename(Path("photos", name))
        except (OSError, UnicodeError):
            pytest.skip("this file system has no such names")
        run = cli("maps", "photos", *tiny, "-l", "conv1", "-o", "[/out]")
        assert run.code == 0, run.stderr
        assert Path("[/out]", name, "conv1.png").is_file()
        manifest = json.loads(Path("[/out]/manifest.json").read_text("utf-8"))
        assert manifest["images"][0]["path"] == f"photos/{name}"

    def test_stdin_lists_paths(self, cli, tiny, photo):
        photo(Path("b c.jpg"))
        run = cli("maps", "-", *tiny, "-l", "conv1", stdin="a.jpg\nb c.jpg\n\n")
        assert run.code == 0
        assert Path("cnnviz-out/b c.jpg/conv1.png").is_file()
        assert Path("cnnviz-out/a.jpg/conv1.png").is_file()

    def test_a_second_run_gives_the_same_bytes(self, cli, tiny):
        for out in ("one", "two"):
            assert cli("maps", "a.jpg", *tiny, "-o", out).code == 0
        for name in files_below(Path("one/a.jpg")):
            assert Path("one/a.jpg", name).read_bytes() == Path("two/a.jpg", name).read_bytes()


class TestDocument:
    def test_json_is_the_only_thing_on_stdout_and_equals_the_manifest(self, cli, tiny):
        run = cli("maps", "a.jpg", *tiny, "--json")
        document = json.loads(run.stdout)
        assert document == json.loads(Path("cnnviz-out/manifest.json").read_text("utf-8"))

    def test_keys_are_those_of_the_contract(self, cli, tiny):
        document = json.loads(cli("maps", "a.jpg", *tiny, "--json").stdout)
        head = {name: document[name] for name in ("schema_version", "command", "model", "failed")}
        assert head == {
            "schema_version": 1, "command": "maps", "model": "net.py:tiny", "failed": 0
        }  # fmt: skip
        assert document["weights"] == "default"
        assert document["input_shape"] == [1, 3, 32, 32]
        for layer in document["layers"]:
            assert set(layer) >= LAYER_KEYS
            assert set(layer["stats"]) >= STATISTICS
        layer = document["layers"][1]
        assert (layer["name"], layer["call"], layer["type"]) == ("relu", 2, "ReLU")
        assert layer["output_shape"] == [1, 6, 16, 16]
        (image,) = document["images"]
        assert image["path"] == "a.jpg"
        assert image["error"] is None
        assert "cnnviz-out/a.jpg/relu#2.png" in image["outputs"]
        assert all(Path(path).is_file() for path in image["outputs"])

    def test_statistics_are_those_of_the_saved_activations(self, cli, tiny):
        stored = activations(cli, *tiny, "-l", "conv1,relu", "--channels", "all")
        document = json.loads(Path("cnnviz-out/manifest.json").read_text("utf-8"))
        for layer, label in zip(document["layers"], labels(document), strict=True):
            values, found = stored[label].astype(np.float64), layer["stats"]
            assert found["min"] == pytest.approx(values.min(), abs=1e-6)
            assert found["max"] == pytest.approx(values.max(), rel=1e-6)
            assert found["mean"] == pytest.approx(values.mean(), rel=1e-4)
            assert found["std"] == pytest.approx(values.std(), rel=1e-4)
            assert found["zero_fraction"] == pytest.approx((values == 0).mean())
            assert found["nan"] == 0

    def test_convolutions_keep_what_an_in_place_relu_overwrites(self, cli, tiny):
        stored = activations(cli, *tiny, "-l", "conv1,relu")
        assert stored["conv1"].min() < 0
        assert np.array_equal(stored["conv1"].clip(0), stored["relu"])

    def test_a_failed_photo_is_told_in_the_document(self, cli, tiny):
        Path("bad.png").write_text("no picture")
        run = cli("maps", "a.jpg", "bad.png", *tiny, "--json")
        document = json.loads(run.stdout)
        assert run.code == 1
        assert document["failed"] == 1
        good, bad = document["images"]
        assert good["error"] is None
        assert "bad.png" in bad["error"]
        assert bad["outputs"] == []


class TestTalk:
    def test_the_table_is_on_stdout_and_the_summary_on_stderr(self, cli, tiny):
        run = cli("maps", "a.jpg", *tiny)
        assert [line.split()[0] for line in run.stdout.splitlines()] == [
            "layer", "input", "relu", "relu#2",
        ]  # fmt: skip
        assert run.stderr.splitlines()[-1].startswith("3 files in cnnviz-out")

    def test_quiet_says_nothing_on_stderr(self, cli, tiny):
        run = cli("maps", "a.jpg", *tiny, "-q")
        assert run.code == 0
        assert run.stderr == ""

    def test_quiet_still_tells_errors(self, cli, tiny):
        Path("bad.png").write_text("no picture")
        run = cli("maps", "a.jpg", "bad.png", *tiny, "-q")
        assert run.stderr.splitlines() == ["error: bad.png is not a picture that can be read"]

    def test_verbose_names_every_file(self, cli, tiny):
        run = cli("maps", "a.jpg", *tiny, "-v")
        assert "cnnviz-out/a.jpg/relu#2.png\n" in run.stderr


class TestLayers:
    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            ("stages", ["relu", "relu#2"]),
            ("first", ["conv1"]),
            ("last", ["conv2"]),
            ("conv", ["conv1", "conv2"]),
            ("pool", ["pool"]),
            ("all", ["conv1", "relu", "pool", "conv2", "relu#2", "head"]),
            ("conv?", ["conv1", "conv2"]),
            ("*2", ["conv2"]),
            ("type:ReLU", ["relu", "relu#2"]),
            ("relu", ["relu", "relu#2"]),
            ("relu#2", ["relu#2"]),
            ("head, conv1", ["conv1", "head"]),
        ],
    )
    def test_pattern(self, cli, tiny, pattern, expected):
        run = cli("maps", "a.jpg", *tiny, "-l", pattern, "--json")
        assert run.code == 0, run.stderr
        assert labels(json.loads(run.stdout)) == expected
        written = {name.removesuffix(".png") for name in files_below(Path("cnnviz-out/a.jpg"))}
        assert written - {"overview"} == set(expected)

    def test_the_option_may_be_repeated(self, cli, tiny):
        run = cli("maps", "a.jpg", *tiny, "-l", "pool", "-l", "conv1", "--json")
        assert labels(json.loads(run.stdout)) == ["conv1", "pool"]


class TestPictures:
    def test_channels_are_picked_in_the_order_typed(self, cli, tiny):
        every = activations(cli, *tiny, "-l", "conv1", "--channels", "all")["conv1"]
        some = activations(cli, *tiny, "-l", "conv1", "--channels", "3,0-1")
        assert some["conv1:channels"].tolist() == [3, 0, 1]
        assert np.array_equal(some["conv1"], every[[3, 0, 1]])

    def test_top_channels_have_the_largest_means(self, cli, tiny):
        every = activations(cli, *tiny, "-l", "conv1", "--channels", "all")["conv1"]
        top = activations(cli, *tiny, "-l", "conv1", "--channels", "top:2")["conv1:channels"]
        assert top.tolist() == np.argsort(-every.mean((1, 2)))[:2].tolist()

    @pytest.mark.parametrize("how", ["mean", "max", "sum", "std"])
    def test_reduce(self, cli, tiny, how):
        every = activations(cli, *tiny, "-l", "conv1", "--channels", "all")["conv1"]
        one = activations(cli, *tiny, "-l", "conv1", "--reduce", how)["conv1"]
        assert one.shape == (1, 32, 32)
        assert np.allclose(one[0], getattr(np, how)(every, axis=0), atol=1e-5)

    def test_normalize_changes_what_the_colours_span(self, cli, tiny):
        pictures = set()
        for how in ("channel", "layer", "none"):
            assert cli("maps", "a.jpg", *tiny, "-l", "conv1", "--normalize", how).code == 0
            with Image.open("cnnviz-out/a.jpg/conv1.png") as image:
                pictures.add(image.convert("RGB").tobytes())
        assert len(pictures) == 3

    @pytest.mark.parametrize("cmap", ["viridis", "gray", "plasma"])
    def test_cmap_is_the_palette(self, cli, tiny, cmap):
        assert cli("maps", "a.jpg", *tiny, "-l", "conv1", "--cmap", cmap).code == 0
        with Image.open("cnnviz-out/a.jpg/conv1.png") as image:
            used = {image.getpalette()[3 * i] for i in range(200)}
            first = tuple(image.getpalette()[:3])
        assert first == tuple(matplotlib.colormaps[cmap](0.0, bytes=True)[:3])
        assert len(used) > 20

    def test_overlay_lies_over_the_photo_in_colour(self, cli, tiny, photo):
        photo(Path("a.jpg"), size=(300, 200))
        assert cli("maps", "a.jpg", *tiny, "-l", "conv1", "--overlay").code == 0
        with Image.open("cnnviz-out/a.jpg/conv1.png") as overlay, Image.open("a.jpg") as original:
            assert overlay.mode == "RGB"
            assert overlay.width >= original.width
            assert overlay.height >= original.height

    def test_input_size_may_have_two_sides(self, cli, tiny):
        run = cli("maps", "a.jpg", "-m", "net.py:tiny", "--input-size", "24x40", "--json")
        document = json.loads(run.stdout)
        assert document["input_shape"] == [1, 3, 24, 40]
        assert document["layers"][0]["output_shape"] == [1, 4, 24, 40]

    def test_activations_are_saved_only_when_asked_for(self, cli, tiny):
        assert cli("maps", "a.jpg", *tiny).code == 0
        assert not Path("cnnviz-out/a.jpg/activations.npz").exists()
        stored = activations(cli, *tiny, "-l", "conv1,head")
        assert stored["conv1"].shape == (4, 32, 32)
        assert stored["head"].shape == (5,)

    def test_batches_and_workers_do_not_change_the_pictures(self, cli, tiny, photo):
        for i in range(5):
            photo(Path(f"photos/{i}.jpg"), seed=i)
        for out, size, workers in (("one", "1", "1"), ("four", "4", "3")):
            options = (*tiny, "-o", out, "--batch-size", size, "--workers", workers)
            assert cli("maps", "photos", *options).code == 0
        for name in files_below(Path("one")):
            if name.endswith(".png"):
                one, four = (np.asarray(Image.open(Path(out, name))) for out in ("one", "four"))
                assert (one == four).mean() > 0.99


class TestRealNetworks:
    def test_resnet18_runs_without_weights(self, cli, here):
        run = cli("maps", "a.jpg", "-m", "resnet18", "-w", "none", "--input-size", "64", "--json")
        document = json.loads(run.stdout)
        assert run.code == 0
        assert document["weights"] == "none"
        assert labels(document)[0] == "relu"
        assert document["layers"][-1]["output_shape"] == [1, 512, 2, 2]

    def test_random_weights_follow_the_seed(self, cli, here):
        def largest(seed):
            options = ("-w", "none", "--input-size", "32", "-l", "conv1", "--seed", seed, "--json")
            return json.loads(cli("maps", "a.jpg", *options).stdout)["layers"][0]["stats"]["max"]

        assert largest(0) == largest(0) != largest(1)


class TestTopImages:
    def test_each_channel_has_a_picture_and_each_layer_a_sheet(self, cli, tiny, photo):
        for i in range(4):
            photo(Path(f"photos/{i}.jpg"), seed=i)
        words = ("photos", *tiny, "-l", "conv1,relu#2,head", "--top-images", "3")
        run = cli("maps", *words, "--json")
        assert run.code == 0, run.stderr
        top = json.loads(run.stdout)["top_images"]
        names = [(one["layer"], one["call"], one["channel"]) for one in top]
        assert names == [("conv1", 1, i) for i in range(4)] + [("relu", 2, i) for i in range(6)]
        assert top[0]["output"] == "cnnviz-out/top/conv1/0.png"
        written = [*(one["output"] for one in top), "cnnviz-out/top/conv1.png",
                   "cnnviz-out/top/relu#2.png"]  # fmt: skip
        assert files_below(Path("cnnviz-out/top")) == sorted(w[15:] for w in written)
        (first, *_) = top[0]["images"]
        assert set(first) == {"path", "at", "score", "box", "photo_box"}
        assert Path(first["path"]).is_file()
        scores = [image["score"] for image in top[0]["images"]]
        assert scores == sorted(scores, reverse=True)
        assert len({image["path"] for image in top[0]["images"]}) == 3
        assert "not of head: no known places" in run.stderr

    def test_one_is_not_counted_as_many(self, cli, tiny):
        run = cli("maps", "a.jpg", *tiny, "-l", "conv1", "--channels", "0", "--top-images", "1")
        assert "1 channel of 1 layer: cnnviz-out/top/" in run.stderr

    def test_without_there_are_none(self, cli, tiny):
        assert "top_images" not in json.loads(cli("maps", "a.jpg", *tiny, "--json").stdout)
        assert not Path("cnnviz-out/top").exists()

    @pytest.mark.parametrize(
        "words", [("--reduce", "mean"), ("--overlay",), ("--channels", "top:2")]
    )
    def test_photos_are_ranked_for_single_channels_only(self, cli, tiny, words):
        run = cli("maps", "a.jpg", *tiny, "--top-images", "2", *words)
        assert run.code == 2
        assert "leave out --channels top:K, --reduce and --overlay" in run.error


class TestCheckpoints:
    @pytest.fixture
    def series(self, tiny):
        for epoch in (1, 5):
            torch.manual_seed(epoch)
            state = {
                **nn.ModuleDict({"conv1": nn.Conv2d(3, 4, 3), "conv2": nn.Conv2d(4, 6, 3)})
                .state_dict(),
                **nn.ModuleDict({"head": nn.Linear(6, 5)}).state_dict(),
            }  # fmt: skip
            torch.save(state, f"epoch{epoch}.pth")
        return ("-w", "epoch1.pth", "-w", "epoch5.pth", *tiny, "-l", "conv1,head")

    def test_a_layer_has_an_entry_for_each_and_one_picture(self, cli, series):
        run = cli("maps", "a.jpg", *series, "--json")
        assert run.code == 0, run.stderr
        told = json.loads(run.stdout)
        assert told["weights"] == ["epoch1.pth", "epoch5.pth"]
        entries = [(x["name"], x["weights"]) for x in told["layers"]]
        assert entries == [(n, w) for n in ("conv1", "head") for w in told["weights"]]
        alone = json.loads(cli("maps", "a.jpg", *series[2:], "--json").stdout)
        assert alone["weights"] == "epoch5.pth"
        assert [x["stats"] for x in told["layers"][1::2]] == [x["stats"] for x in alone["layers"]]
        names = sorted(path.rpartition("/")[2] for path in told["images"][0]["outputs"])
        assert names == ["conv1.png", "head.png", "overview.png"]

    def test_the_rows_of_the_picture_are_the_checkpoints(self, cli, series):
        assert cli("maps", "a.jpg", *series).code == 0
        with Image.open("cnnviz-out/a.jpg/conv1.png") as picture:
            assert json.loads(picture.info["cnnviz"])["weights"] == ["epoch1.pth", "epoch5.pth"]
            both = np.asarray(picture.convert("RGB"))
        for number, weights in enumerate(("epoch1.pth", "epoch5.pth")):
            words = ("maps", "a.jpg", *series[4:], "-w", weights, "--save-activations", "-o", "o")
            assert cli(*words).code == 0
            maps = np.load("o/a.jpg/activations.npz")["conv1"]
            side = 64  # of 32 pixels, twice as large, and five between them
            top = both.shape[0] - 12 - (2 - number) * side - (1 - number) * 5
            row = both[top : top + side : 2, -12 - 4 * side - 15 : -12]
            for i, one in enumerate(maps):
                tile = row[:, i * (side + 5) :][:, :side:2]
                expected = viridis((one - one.min()) / (one.max() - one.min()))
                assert abs(tile.astype(int) - expected).max() <= 6

    def test_frames_are_animated(self, cli, series):
        assert cli("maps", "a.jpg", *series, "--frames").code == 0
        with Image.open("cnnviz-out/a.jpg/conv1.frames.png") as picture:
            assert picture.n_frames == 2

    def test_the_table_and_the_rules_tell_which(self, cli, series):
        run = cli("maps", "a.jpg", *series, "--fail-on", "blank")
        rows = run.stdout.splitlines()
        assert rows[0].split()[:2] == ["layer", "weights"]
        assert [row.split()[:2] for row in rows[1:]] == [
            ["input", "3×32×32"],
            ["conv1", "epoch1"], ["conv1", "epoch5"], ["head", "epoch1"], ["head", "epoch5"],
        ]  # fmt: skip

    @pytest.mark.parametrize("words", [("--overlay",), ("--channels", "top:2")])
    def test_what_has_no_rows_is_wrong_usage(self, cli, series, words):
        run = cli("maps", "a.jpg", *series, *words)
        assert run.code == 2
        assert "is for one network" in run.error


def viridis(shares):
    steps = np.rint(shares * 199) / 199
    return matplotlib.colormaps["viridis"](steps, bytes=True)[..., :3].astype(int)
