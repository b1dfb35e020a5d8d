"""Maps over time: one row and one scale per channel, moments where their time is."""

import numpy as np
import pytest
from PIL import Image

from cnnviz.choices import Normalize
from cnnviz.render.canvas import MARGIN, Header
from cnnviz.render.palette import rgb_table
from cnnviz.render.photo import Stage
from cnnviz.render.strips import MOST_MOMENTS, draw_clip_overview, draw_overlays, draw_strips

HEADER = Header("layer", ("said",))
COLOURS = rgb_table("viridis")
LOW, HIGH = COLOURS[0], COLOURS[199]
RED, BLUE = (255, 0, 0), (0, 0, 255)


def area(image: Image.Image, colour: object) -> int:
    return int((np.asarray(image.convert("RGB")) == colour).all(axis=2).sum())


def over_time(*values: float) -> np.ndarray:
    """Return one channel whose maps of 4 x 4 have one value each."""
    return np.array(values, np.float32)[None, :, None, None] * np.ones((1, 1, 4, 4), np.float32)


def test_a_channel_has_one_scale_over_time_so_that_change_is_seen() -> None:
    maps = np.concatenate([over_time(0, 1), over_time(0, 100)])
    image = draw_strips(maps, ["0", "1"], HEADER)
    # Each moment is uniform: on scales of their own all four would look alike.
    assert area(image, LOW) == area(image, HIGH) > 2 * 100 * 100


def test_one_scale_for_the_layer_shows_that_a_channel_is_weak() -> None:
    maps = np.concatenate([over_time(0, 0), over_time(0, 100)])
    image = draw_strips(maps, ["0", "1"], HEADER, normalize=Normalize.LAYER)
    assert area(image, LOW) > 2.9 * area(image, HIGH)  # the colour bar has both, too


def test_more_moments_than_fit_are_taken_evenly_over_time() -> None:
    values = np.zeros(32)
    values[2] = 1  # the first of every four is left out, and so is this
    values[4 * 5 + 2] = 1
    few = draw_strips(over_time(*values[2::4]), ["0"], HEADER)
    many = draw_strips(over_time(*values), ["0"], HEADER)
    assert len(values[2::4]) == MOST_MOMENTS
    assert area(many, HIGH) == area(few, HIGH) > 0


@pytest.mark.parametrize(
    ("channels", "moments", "side"),
    [(64, 8, 56), (64, 16, 112), (64, 2, 7), (1, 8, 112), (1, 1, 4), (16, 4, 400), (512, 8, 14)],
)
def test_pictures_stay_of_a_size_to_look_at(channels: int, moments: int, side: int) -> None:
    maps = np.random.default_rng(0).random((channels, moments, side, side), np.float32)
    image = draw_strips(maps, [str(i) for i in range(channels)], HEADER)
    assert min(image.size) >= 100
    assert image.width <= 1700
    assert image.height <= 2600 * max(channels / 64, 1)


def test_a_channel_that_is_not_finite_does_not_spoil_the_others() -> None:
    maps = np.concatenate([over_time(np.nan, np.nan), over_time(0, 1)])
    image = draw_strips(maps, ["0", "1"], HEADER)
    assert area(image, LOW) == area(image, HIGH) > 0


def test_the_overview_puts_maps_below_the_middle_of_their_time() -> None:
    frames = [Image.new("RGB", (20, 20), RED if t < 4 else BLUE) for t in range(8)]
    stage = Stage(over_time(0, 1)[0], "deep", ("1 × 2 × 4 × 4",))
    image = draw_clip_overview(frames, [stage], HEADER)
    pixels = np.asarray(image.convert("RGB"))

    def middle(colour: object) -> float:
        return float(np.nonzero((pixels == colour).all(axis=2))[1].mean())

    assert middle(LOW) == pytest.approx(middle(RED), abs=1)
    assert middle(HIGH) == pytest.approx(middle(BLUE), abs=1)


def test_the_overview_takes_maps_without_time_and_many_layers() -> None:
    frames = [Image.new("RGB", (40, 20), RED)] * 2
    stages = [Stage(np.eye(4, dtype=np.float32), f"layer {i}", ("1 × 4",)) for i in range(14)]
    image = draw_clip_overview(frames, stages, HEADER)
    assert image.height < 14 * 80 + 200
    assert area(image, HIGH) > 14 * 50


def test_an_overlay_shows_the_frame_of_its_moment() -> None:
    frames = [Image.new("RGB", (20, 20), (g, g, g)) for g in (0, 0, 200, 200)]
    image = draw_overlays(frames, np.zeros((2, 4, 4), np.float32), HEADER, cmap="gray")
    pixels = np.asarray(image)[-MARGIN - 40]
    dark, light = pixels[MARGIN + 60], pixels[MARGIN + 144 + 6 + 60]
    assert light.mean() - dark.mean() == pytest.approx(0.7 * 200, abs=3)


def test_overlays_share_one_scale_over_time() -> None:
    frames = [Image.new("RGB", (20, 20))] * 2
    image = draw_overlays(frames, over_time(0, 1)[0], HEADER)
    pixels = np.asarray(image)[-MARGIN - 40]
    assert not (pixels[MARGIN + 60] == pixels[MARGIN + 144 + 6 + 60]).all()
