"""Everything that is expected to go wrong: one error line, the right exit code, the rest done."""

import errno
import json
import os
import pickle
import re
import struct
import urllib.error
import zlib
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from cnnviz.cli import app

FAILED, WRONG_USAGE = 1, 2


def truncated_jpeg(path):
    # Photos compress less than 44 rows of a coarse pattern: the cut is in the picture's data.
    Image.effect_noise((64, 64), 80).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[:1500])


def text_called_png(path):
    path.write_text("This is no picture.")


def picture_of_50000_by_50000(path):
    def chunk(kind, data):
        end = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + end

    size = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * 1000)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def empty_file(path):
    path.write_bytes(b"")


BROKEN = [
    (truncated_jpeg, "cut.jpg", "truncated"),
    (text_called_png, "text.png", "not a picture"),
    (picture_of_50000_by_50000, "huge.png", "too large: 2500 million pixels"),
    (empty_file, "empty.jpg", "not a picture"),
]


class TestInputs:
    def test_missing_file(self, cli, tiny):
        run = cli("maps", "nowhere.jpg", *tiny)
        assert (run.code, run.error) == (FAILED, "error: nowhere.jpg does not exist")

    def test_a_networks_name_in_place_of_a_photo(self, cli, here):
        run = cli("maps", "resnet18")
        assert run.error == "error: resnet18 does not exist; a network is named with -m"

    def test_a_photo_whose_name_begins_as_an_option_does(self, cli, tiny):
        Path("a.jpg").rename("-a.jpg")
        run = cli("maps", "-a.jpg", *tiny)
        assert run.code == WRONG_USAGE
        assert "The file is written ./-a.jpg." in run.error
        assert cli("maps", "./-a.jpg", *tiny, "-l", "conv1").code == 0

    def test_a_list_on_stdin_may_hold_names_that_are_not_utf8(self, tiny):
        run = CliRunner().invoke(app, ["maps", "-", *tiny, "-l", "conv1"], input=b"\xff.jpg\na.jpg")
        assert run.exit_code == FAILED
        assert "error: '\\udcff.jpg' does not exist" in run.stderr
        assert Path("cnnviz-out/a.jpg/conv1.png").is_file()

    def test_address_of_a_picture(self, cli, tiny):
        run = cli("maps", "https://example.org/a.jpg", *tiny)
        assert run.code == FAILED
        assert "download it first" in run.error

    @pytest.mark.parametrize("content", [[], ["notes.txt"], [".hidden.jpg"]])
    def test_folder_without_a_picture(self, cli, tiny, content):
        Path("folder/inner").mkdir(parents=True)
        for name in content:
            Path("folder/inner", name).write_text("words")
        run = cli("maps", "folder", *tiny)
        assert run.code == FAILED
        assert "no picture in folder folder; looked for .jpg" in run.error

    def test_empty_list_on_stdin(self, cli, tiny):
        run = cli("maps", "-", *tiny, stdin="\n")
        assert (run.code, run.error) == (FAILED, "error: no picture in an empty list")

    @pytest.mark.parametrize(("make", "name", "said"), BROKEN)
    def test_broken_picture_alone(self, cli, tiny, make, name, said):
        make(Path(name))
        run = cli("maps", name, *tiny, "--quiet")
        assert run.code == FAILED
        assert run.error.startswith(f"error: {name} ")
        assert said in run.error

    def test_broken_pictures_do_not_stop_the_others(self, cli, tiny, photo):
        for make, name, _ in BROKEN:
            make(photo(Path("photos", name)))
        good = [f"ok{i}.jpg" for i in range(3)]
        for name in good:
            photo(Path("photos", name))
        run = cli("maps", "photos", "nowhere.jpg", *tiny, "--batch-size", "2")
        assert run.code == FAILED
        errors = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == len(BROKEN) + 1
        assert run.stderr.splitlines()[-1].endswith("5 of 8 photos failed")
        assert all(Path("cnnviz-out", name, "relu.png").is_file() for name in good)
        manifest = json.loads(Path("cnnviz-out/manifest.json").read_text("utf-8"))
        assert manifest["failed"] == 5
        assert sum(image["error"] is None for image in manifest["images"]) == len(good)


class TestNames:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (("-m", "resnt18"), "unknown model 'resnt18'; did you mean resnet18"),
            (("-m", "net.py"), "unknown model 'net.py'"),
            (("-m", "net.py:tini"), "unknown factory in net.py 'tini'; did you mean "),
            (("-w", "IMAGNET1K_V1"), "unknown weights 'IMAGNET1K_V1'; did you mean IMAGENET1K_V1"),
            (("-l", "conv3"), "unknown layer 'conv3'; did you mean conv"),
            (("-l", "type:Conv9d"), "unknown layer 'type:Conv9d'"),
            (("-l", "relu#3"), "unknown layer 'relu#3'; did you mean relu#2"),
            (("-l", "relu#x"), "layer 'relu#x': a whole number from 1 must follow '#'"),
            (("-l", ","), "no layer given"),
            (("--channels", "4", "-l", "conv1"), "layer conv1: channel 4 does not exist: "
             "the layer has 4 channels, 0 to 3"),
            (("--channels", "5-3"), "channels '5-3' not understood; write 0-15,31 or all or top:"),
            (("--channels", "top:0"), "channels 'top:0' not understood"),
            (("--cmap", "virdis"), "unknown colour map 'virdis'; did you mean viridis"),
            (("--reduce", "avg"), "'avg' is not one of 'none', 'mean', 'max', 'sum', 'std'"),
            (("--normalize", "x"), "'x' is not one of 'channel', 'layer', 'none'"),
            (("--input-size", "12y"), "input size '12y' not understood; write 224 or 224x320"),
            (("--input-size", "0"), "input size '0' not understood"),
            (("--fail-on", "dead"), "rule 'dead' not understood; write nan, blank, dead=SHARE"),
            (("--fail-on", "dead=2"), "rule 'dead=2' not understood"),
            (("--device", "gpu"), "unknown device 'gpu'; choose from auto, cpu, cuda"),
            (("--device", "cuda:99"), "no device 'cuda:99' here; choose from auto"),
            (("--seed", "-1"), "Invalid value for '--seed': '-1' should be greater than or equal"),
            (("--seed", "9" * 20), "should be less than or equal to 9223372036854775807"),
            (("--seed", "one"), "Invalid value for '--seed': 'one' should be a valid integer"),
            (("--channels", "9" * 5000), "not understood; write 0-15,31"),
            (("--batch-size", "0"), "Invalid value for '--batch-size'"),
            (("--workers", "many"), "Invalid value for '--workers'"),
            (("--laers", "all"), "No such option: --laers (Possible options: --"),
            (("--out",), "Option '--out' requires an argument"),
        ],
    )  # fmt: skip
    def test_wrong_option(self, cli, tiny, options, said):
        run = cli("maps", "a.jpg", *tiny, *options)
        assert run.code == WRONG_USAGE
        assert said in run.error
        assert not Path("cnnviz-out/a.jpg").exists()

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["map", "a.jpg"], "No such command 'map'. Did you mean 'maps'?"),
            (["maps"], "Missing argument 'INPUT'. INPUT is: Images, folders"),
            (["a.jpg", "maps"], " maps PHOTO.jpg: layers, maps, filters"),
            (["--json", "layers"], " maps PHOTO.jpg --json. "),
            (["filters", "a.JPG"], " filters takes options only. Photos are for root maps and rf."),
            (["layers", "resnet18"], "is named with -m: root layers -m resnet18."),
            (["maximize", "net.py:f"], "is named with -m: root maximize -m net.py:f."),
            (["layers", "-m", "resnet18", "list"], " layers takes options only. root layers --h"),
            (["--verison"], "No such option: --verison"),
        ],
    )
    def test_wrong_command(self, cli, here, words, said):
        run = cli(*words)
        assert run.code == WRONG_USAGE
        assert said in run.error
        assert run.error.endswith("--help tells more.")

    def test_input_that_a_network_cannot_take(self, cli, here):
        run = cli("maps", "a.jpg", "-m", "net.py:tiny", "--input-size", "1")
        assert run.code == FAILED
        assert "does not run on an input of 1x3x1x1" in run.error

    @pytest.mark.parametrize(
        ("factory", "said"),
        [("fails", "net.py:fails failed: RuntimeError: no luck"), ("no_network", "gave a int")],
    )
    def test_factory_that_gives_no_network(self, cli, here, factory, said):
        run = cli("maps", "a.jpg", "-m", f"net.py:{factory}")
        assert run.code == FAILED
        assert said in run.error

    def test_model_file_that_is_missing_or_broken(self, cli, here):
        assert cli("maps", "a.jpg", "-m", "gone.py:tiny").error == (
            "error: model file gone.py does not exist"
        )
        Path("broken.py").write_text("def f(:\n")
        run = cli("maps", "a.jpg", "-m", "broken.py:f")
        assert run.code == FAILED
        assert "importing broken.py failed: SyntaxError" in run.error

    def test_debug_shows_the_traceback(self, cli, tiny):
        run = cli("maps", "a.jpg", "-m", "resnt18", "--debug")
        assert run.code == WRONG_USAGE
        assert "Traceback" in run.stderr
        assert run.stderr.splitlines()[-1].startswith("error: unknown model")


class TestConfig:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("model: demo\ncmpa: gray\n", "c.yaml, line 2: unknown option 'cmpa'; did you mean cm"),
            ("\n\nbatch-size: many\n", "c.yaml, line 3: batch-size must be a whole number"),
            ("quiet: 1\n", "c.yaml, line 1: quiet must be true or false, not 1"),
            ("layers: {a: b}\n", "layers must be text or a list of them"),
            ("- model\n", "c.yaml must hold option names with values"),
            ("model: [\n", "c.yaml is not YAML"),
            ("reduce: avg\n", "'avg' is not one of"),
            ("batch_size: 0\n", "Invalid value for '--batch-size'"),
        ],
    )
    def test_wrong_file(self, cli, here, text, said):
        Path("c.yaml").write_text(text)
        run = cli("maps", "a.jpg", "-c", "c.yaml")
        assert run.code == WRONG_USAGE
        assert said in run.error

    def test_missing_file(self, cli, here):
        run = cli("maps", "a.jpg", "-c", "gone.yaml")
        assert run.code == WRONG_USAGE
        assert run.error == "error: cannot read gone.yaml: No such file or directory"


class TestWeights:
    def test_weights_of_another_architecture_tell_which_keys_and_how_many(self, cli, tiny):
        torch.save({f"layer.{i}.weight": torch.zeros(3) for i in range(5)}, "other.pth")
        run = cli("maps", "a.jpg", *tiny, "-w", "other.pth")
        assert run.code == FAILED
        assert "other.pth does not fit net.py:tiny: of 6 tensors 6 missing" in run.error
        assert "conv1.weight" in run.error
        assert "5 not in the model (layer.0.weight, layer.1.weight, layer.2.weight, …)" in run.error

    def test_weights_of_another_shape_tell_both_shapes(self, cli, here):
        torch.save({"0.weight": torch.zeros(8, 3, 7, 7), "0.bias": torch.zeros(8)}, "other.pth")
        run = cli("maps", "a.jpg", "-m", "net.py:other", "-w", "other.pth")
        assert run.code == FAILED
        assert "1 of another shape (0.weight 8x3x7x7 for 8x3x5x5)" in run.error

    def test_a_pickle_with_code_is_refused_and_does_not_run(self, cli, tiny):
        class Attack:
            def __reduce__(self):
                return os.mkdir, ("attacked",)

        torch.save({"weights": Attack()}, "torch.pth")
        Path("plain.pt").write_bytes(pickle.dumps({"weights": Attack()}))
        for name in ("torch.pth", "plain.pt"):
            run = cli("maps", "a.jpg", *tiny, "-w", name)
            assert run.code == FAILED
            assert re.search(rf"{name} (holds more than weights|is a free pickle)", run.error)
        assert not Path("attacked").exists()

    @pytest.mark.parametrize("name", ["junk.pth", "junk.safetensors"])
    def test_a_file_that_is_no_checkpoint(self, cli, tiny, name):
        Path(name).write_bytes(b"junk" * 10)
        run = cli("maps", "a.jpg", *tiny, "-w", name)
        assert run.code == FAILED
        assert name in run.error

    def test_a_checkpoint_that_does_not_exist(self, cli, tiny):
        run = cli("maps", "a.jpg", *tiny, "-w", "gone.pth")
        assert (run.code, run.error) == (FAILED, "error: checkpoint gone.pth does not exist")

    def test_a_download_that_cannot_happen_tells_the_ways_on(self, cli, here, monkeypatch):
        def offline(url, *_args, **_options):
            raise urllib.error.URLError(OSError("Name or service not known"))

        monkeypatch.setattr("torch.hub.download_url_to_file", offline)
        monkeypatch.setenv("TORCH_HOME", str(here / "cache"))
        run = cli("maps", "a.jpg", "-m", "resnet18")
        assert run.code == FAILED
        (error,) = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
        for said in ("resnet18-f37072fd.pth", str(here / "cache"), "TORCH_HOME", "-w none",
                     "-w PATH", "-m demo", "not known"):  # fmt: skip
            assert said in error


class TestOutput:
    def test_out_is_a_file(self, cli, tiny):
        run = cli("maps", "a.jpg", *tiny, "-o", "net.py")
        assert run.code == FAILED
        assert "net.py is a file; choose another output folder with --out" in run.error

    def test_out_lies_below_a_file(self, cli, tiny):
        run = cli("maps", "a.jpg", *tiny, "-o", "net.py/out")
        assert run.code == FAILED
        assert "cannot write to net.py/out" in run.error

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_out_is_write_protected(self, cli, tiny):
        Path("locked").mkdir(mode=0o555)
        run = cli("maps", "a.jpg", *tiny, "-o", "locked")
        assert run.code == FAILED
        assert "cannot write to locked: Permission denied" in run.error

    def test_a_photos_folder_that_is_in_the_way_fails_that_photo_only(self, cli, tiny, photo):
        photo(Path("b.jpg"))
        Path("out").mkdir()
        Path("out/a.jpg").write_text("in the way")
        run = cli("maps", "a.jpg", "b.jpg", *tiny, "-o", "out")
        assert run.code == FAILED
        errors = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
        assert errors == ["error: cannot write out/a.jpg/relu.png: out/a.jpg is a file"]
        assert Path("out/b.jpg/relu.png").is_file()

    def test_the_folder_of_the_photos_is_refused_before_a_photo_is_read(self, cli, tiny):
        run = cli("maps", "a.jpg", *tiny, "-o", ".")
        assert run.code == FAILED
        assert "a.jpg stands where a folder for its own pictures would be made" in run.error
        assert not Path("manifest.jsonl").exists()

    def test_a_full_disk_fails_what_no_longer_fits_and_leaves_no_half_file(
        self, cli, tiny, photo, monkeypatch
    ):
        photo(Path("b.jpg"))
        write = Path.write_bytes

        def full(path, data):
            if path.parent.name == "a.jpg" and len(data) > 5000:
                write(path, data[:5000])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(path, data)

        monkeypatch.setattr(Path, "write_bytes", full)
        run = cli("maps", "a.jpg", "b.jpg", *tiny, "-o", "out")
        assert run.code == FAILED
        errors = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
        assert errors == ["error: cannot write out/a.jpg/relu.png: No space left on device"]
        assert Path("out/b.jpg/overview.png").is_file()
        assert list(Path("out").rglob("*.tmp")) == []
        manifest = json.loads(Path("out/manifest.json").read_text("utf-8"))
        assert [image["error"] is None for image in manifest["images"]] == [False, True]

    def test_a_disk_that_is_full_from_the_start(self, cli, tiny, monkeypatch):
        def full(path, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(Path, "write_bytes", full)
        run = cli("maps", "a.jpg", *tiny, "-o", "out")
        assert run.code == FAILED
        assert "No space left on device" in run.error
