"""PNG bytes: the same for the same picture, small, and telling what they show."""

import io
import json

import numpy as np
from PIL import Image

from cnnviz.render.canvas import to_image
from cnnviz.render.palette import rgb_table
from cnnviz.render.png import encode_frames, encode_png


def picture() -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    return to_image(values, "viridis")


def test_a_palette_picture_stays_one_byte_per_pixel() -> None:
    data = encode_png(picture(), {})
    assert data[16:26] == (30).to_bytes(4) + (20).to_bytes(4) + bytes([8, 3])
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "P"
        assert (np.asarray(image) == np.asarray(picture())).all()
        assert np.array_equal(
            np.asarray(image.convert("RGB")), np.asarray(picture().convert("RGB"))
        )


def test_the_same_picture_gives_the_same_bytes() -> None:
    first = encode_png(picture(), {"layer": "conv1", "image": "a.jpg"})
    assert first == encode_png(picture(), {"image": "a.jpg", "layer": "conv1"})


def test_what_it_shows_can_be_read_back() -> None:
    about = {"layer": "relu#2", "image": "Größe/猫.jpg", "channels": [3, 1], "raw": "\udcff.jpg"}
    with Image.open(io.BytesIO(encode_png(picture(), about))) as image:
        image.load()
        assert json.loads(image.text["cnnviz"]) == about
        assert image.text["Software"] == "cnnviz"


def test_frames_are_animated_forever_and_each_keeps_its_pixels() -> None:
    frames = []
    for i in range(3):
        frame = Image.fromarray(np.full((10 + i, 12), 40 * i, np.uint8))
        frame.putpalette(rgb_table("viridis").tobytes())
        frames.append(frame)
    data = encode_frames(frames, {"layer": "conv1"})
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == "PNG"
        assert (picture.n_frames, picture.size, picture.info["loop"]) == (3, (12, 12), 0)
        assert json.loads(picture.info["cnnviz"]) == {"layer": "conv1"}
        durations = []
        for i, frame in enumerate(frames):
            picture.seek(i)
            durations.append(picture.info["duration"])
            shown = np.asarray(picture.convert("RGB"))
            assert (shown[: 10 + i] == np.asarray(frame.convert("RGB"))).all()
            assert (shown[10 + i :] == 255).all()
    assert durations[-1] > durations[0] == durations[1]


def test_an_animation_takes_as_long_as_asked_for() -> None:
    frames = [Image.new("RGB", (4, 3), (i * 50, 0, 0)) for i in range(4)]
    data = encode_frames(frames, {"layer": "conv1"}, seconds=2.0)
    with Image.open(io.BytesIO(data)) as picture:
        assert (picture.format, picture.n_frames, picture.info["loop"]) == ("PNG", 4, 0)
        assert json.loads(picture.info["cnnviz"]) == {"layer": "conv1"}
        times = []
        for i in range(4):
            picture.seek(i)
            assert picture.convert("RGB").getpixel((0, 0)) == (i * 50, 0, 0)
            times.append(picture.info["duration"])
    assert times == [500, 500, 500, 2400]
