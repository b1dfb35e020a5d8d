"""20,000 wrong, odd and broken inputs: never a traceback, a wrong exit code, or half a file.

Every case is drawn from a generator that its family and number seed, so that what fails once fails
again. `FUZZ=images:1234 pytest -m slow tests/fuzz` runs one case, and leaves its files.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import hostile
import pytest
import torch
from command_lines import CHANNELS, PATTERNS, SMALL, command_line
from on_disk import NETWORK
from PIL import Image
from programs import model_file
from safetensors.torch import save_file
from sandbox import Run, Sandbox
from yaml_files import config_file

from cnnviz.demo import network

COUNTS = {
    "options": 6000, "patterns": 3500, "configs": 4000, "images": 3500, "checkpoints": 1500,
    "programs": 1500,
}  # fmt: skip


def test_there_are_twenty_thousand_cases():
    assert sum(COUNTS.values()) == 20_000


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """A folder with a network, photos, and files that are none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("CNNVIZ_DEVICE", "cpu")
    # Command lines that lost their -m take the small network too, and not seconds.
    monkeypatch.setenv("CNNVIZ_MODEL", "net.py:tiny")
    before = torch.get_num_threads()
    # The networks are so small that threads would only wait for one another.
    torch.set_num_threads(1)
    Path("net.py").write_text(NETWORK)
    photo = Image.effect_noise((24, 18), 90).convert("RGB")
    Path("folder/inner").mkdir(parents=True)
    for name in ("a.jpg", "a.png", "folder/b.jpg", "folder/inner/c.png", "ä ö.jpg"):
        photo.save(name)
    Path("broken.jpg").write_bytes(Path("a.jpg").read_bytes()[:300])
    Path("c.yaml").write_text("channels: 0-2\ncmap: gray\n")
    Path("empty.yaml").write_text("")
    yield Sandbox(tmp_path)
    torch.set_num_threads(before)


@contextmanager
def told(family: str, number: int, what: object) -> Iterator[None]:
    """Name the case that fails."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"case {family}:{number}: {what!r}")
        raise


def numbers(family: str) -> range:
    """The cases of a family: all, or the one that FUZZ names."""
    asked, _, number = os.environ.get("FUZZ", "").partition(":")
    if asked:
        return range(int(number), int(number) + 1) if asked == family else range(0)
    return range(COUNTS[family])


@pytest.mark.slow
def test_options(sandbox):
    for number in numbers("options"):
        random = Random(f"options {number}")
        words = command_line(random)
        stdin = random.choice((b"", b"a.jpg\n", b"gone.jpg\na.jpg\n", b"\xff\n\0\n", b"folder"))
        with told("options", number, (words, stdin)):
            sandbox.run(words, stdin)


@pytest.mark.slow
def test_layer_patterns_and_channels(sandbox):
    for number in numbers("patterns"):
        random = Random(f"patterns {number}")
        command = random.choice(("layers", "layers", "filters", "rf", "maps", "maximize"))
        pattern = _bent_text(random, PATTERNS)
        words = [command, *SMALL[command], "-l", pattern, *random.choice(([], ["--json"]))]
        if command in ("filters", "maps", "maximize") and random.random() < 0.5:
            words += ["--channels", _bent_text(random, CHANNELS)]
        with told("patterns", number, words):
            run = sandbox.run(words)
            # A pattern is right or wrong; besides, one step may not lead uphill.
            assert run.code in (0, 2) or "no unit ended higher" in run.stderr


def _bent_text(random: Random, valid: tuple[str, ...]) -> str:
    if random.random() < 0.2:
        return hostile.text(random)
    joined = ",".join(random.choices(valid, k=random.choice((1, 1, 1, 2, 3))))
    return hostile.bent(random, joined) if random.random() < 0.6 else joined


@pytest.mark.slow
def test_yaml_files(sandbox):
    small = {**SMALL, "maps": (*SMALL["maps"], "-l", "conv1")}
    for number in numbers("configs"):
        random = Random(f"configs {number}")
        command = random.choice(list(small))
        data = config_file(random)
        Path("fuzz.yaml").write_bytes(data)
        sandbox.keep()
        with told("configs", number, (command, data)):
            sandbox.run([command, *small[command], "-c", "fuzz.yaml"])
            assert not Path("attacked").exists()


def _pictures() -> dict[str, bytes]:
    """Return real files of every format, in several modes."""
    photo = Image.effect_noise((24, 18), 90).convert("RGB")
    photo.putpixel((3, 3), (255, 0, 0))
    frames = [photo, photo.rotate(90), photo.rotate(180)]
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds: list[tuple[str, Image.Image, dict[str, object]]] = [
        ("a.jpg", photo, {"exif": exif}), ("b.jpg", photo, {"progressive": True}),
        ("c.jpg", photo.convert("CMYK"), {}), ("d.png", photo, {}),
        ("e.png", photo.convert("P"), {"transparency": 0}), ("f.png", photo.convert("I;16"), {}),
        ("g.png", photo, {"save_all": True, "append_images": frames}),
        ("h.gif", photo, {"save_all": True, "append_images": frames}),
        ("i.webp", photo, {}), ("j.webp", photo, {"lossless": True, "exif": exif}),
        ("k.bmp", photo, {}), ("l.tiff", photo, {}), ("m.tif", photo, {"compression": "tiff_lzw"}),
        ("n.tif", photo.convert("F"), {}),
    ]  # fmt: skip
    Path("real").mkdir()
    for name, image, options in kinds:
        image.save(Path("real", name), **options)
    return {path.name: path.read_bytes() for path in sorted(Path("real").iterdir())}


@pytest.mark.slow
def test_pictures(sandbox):
    pictures = _pictures()
    at_once = 10
    for first in list(numbers("images"))[::at_once]:
        shutil.rmtree("photos", ignore_errors=True)
        Path("photos").mkdir()
        names = []
        for number in range(first - first % at_once, first - first % at_once + at_once):
            random = Random(f"images {number}")
            name, data = random.choice(list(pictures.items()))
            names.append(f"{number}-{name}")
            Path("photos", names[-1]).write_bytes(hostile.damaged(random, data))
        sandbox.keep()
        with told("images", first, names):
            run = sandbox.run(["maps", "photos", *SMALL["maps"], "-l", "conv1", "--json"])
            _check_pictures(run, names)


def _check_pictures(run: Run, names: list[str]) -> None:
    """Each is shown, or its error is told; the whole photo beside them is always shown."""
    images = {image["path"]: image for image in run.document["images"]}
    assert set(images) == {"a.jpg", *(f"photos/{name}" for name in names)}
    assert images["a.jpg"]["error"] is None
    assert all((image["error"] is None) == bool(image["outputs"]) for image in images.values())
    failed = sum(image["error"] is not None for image in images.values())
    assert (run.document["failed"], run.code) == (failed, int(failed > 0))


@pytest.mark.slow
def test_checkpoints(sandbox):
    real = _checkpoints()
    commands = (
        ("layers",), ("filters", "-l", "conv1", "--channels", "0"), ("rf", "-l", "conv1"),
        ("maps", "a.jpg", "-l", "conv1", "--input-size", "16"),
    )  # fmt: skip
    for number in numbers("checkpoints"):
        random = Random(f"checkpoints {number}")
        name, (model, data) = random.choice(list(real.items()))
        Path(name).write_bytes(hostile.damaged(random, data, head=random.choice((16, 3000))))
        sandbox.keep()
        words = [*random.choice(commands), "-m", model, "-w", name]
        with told("checkpoints", number, words):
            run = sandbox.run(words)
            assert run.code in (0, 1)


def _checkpoints() -> dict[str, tuple[str, bytes]]:
    """Return checkpoints of the bundled and of the small network, as files of several kinds."""
    sys.path.insert(0, ".")
    try:
        import net  # type: ignore[import-not-found]
    finally:
        sys.path.remove(".")
        sys.modules.pop("net", None)
    from safetensors.torch import load_file

    small = net.tiny().state_dict()
    trained = load_file(network.WEIGHTS)
    torch.save(small, "small.pth")
    torch.save({"state_dict": small, "epoch": 3, "best": [0.5]}, "wrapped.pt")
    torch.save(small, "old.pth", _use_new_zipfile_serialization=False)
    save_file(small, "small.safetensors")
    torch.save(trained, "trained.pth")
    names = ("small.pth", "wrapped.pt", "old.pth", "small.safetensors")
    found = {name: ("net.py:tiny", Path(name).read_bytes()) for name in names}
    found["trained.pth"] = ("demo", Path("trained.pth").read_bytes())
    found["demo.safetensors"] = ("demo", network.WEIGHTS.read_bytes())
    return found


@pytest.mark.slow
def test_model_files(sandbox):
    for number in numbers("programs"):
        random = Random(f"programs {number}")
        text = model_file(random)
        if random.random() < 0.15:
            text = hostile.bent(random, text)
        Path("user.py").write_text(text, "utf-8", errors="surrogateescape")
        sandbox.keep()
        command = random.choice(list(SMALL))
        words = [command, *SMALL[command], "-m", "user.py:build", *random.choice(([], ["--json"]))]
        words += random.choice(([], ["-l", "all"], ["-l", "all"], ["-l", "last"]))
        if command == "maximize":
            words += ["-l", "relu*"]
        with told("programs", number, (words, text)):
            sandbox.run(words)
