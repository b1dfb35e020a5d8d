"""Draws the samples that are not photographs: `python sample_images/draw.py [FOLDER]`.

With `--each N` it draws N pictures of each class of the bundled network instead, and with
`--pan FILE` it makes an animated picture of a crop that moves over the cat.

Everything is drawn at three times its size and reduced, which smooths the edges. The same numbers
are thrown every time, so the pictures come out the same.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from cnnviz.demo.patterns import CLASSES, draw

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]

LARGE = 3  # everything is drawn this much larger
WIDTH, HEIGHT = 640, 480
SUN = 372, 178


def blend(first: Colour, second: Colour, share: float) -> Colour:
    """Return the colour `share` of the way from the first to the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def shaded(colour: Colour, light: float) -> Colour:
    """Return the colour `light` times as bright."""
    red, green, blue = (min(255, round(value * light)) for value in colour)
    return red, green, blue


class Canvas:
    """A picture under construction, in the coordinates of the finished one."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width * LARGE, height * LARGE))
        self.pen = ImageDraw.Draw(self.image)

    def box(self, box: Box, colour: Colour) -> None:
        """Fill the box (x0, y0, x1, y1)."""
        self.pen.rectangle([v * LARGE for v in box], colour)

    def disc(self, x: float, y: float, radius: float, colour: Colour, flat: float = 1) -> None:
        """Fill a disc, or an ellipse `flat` times as high as wide."""
        box = (x - radius, y - radius * flat, x + radius, y + radius * flat)
        self.pen.ellipse([v * LARGE for v in box], colour)

    def shape(self, points: list[tuple[float, float]], colour: Colour) -> None:
        """Fill a polygon of (x, y) corners."""
        self.pen.polygon([(x * LARGE, y * LARGE) for x, y in points], colour)

    def line(self, points: list[tuple[float, float]], colour: Colour, width: float) -> None:
        """Stroke a line through (x, y) points."""
        joints = [(x * LARGE, y * LARGE) for x, y in points]
        self.pen.line(joints, colour, max(1, round(width * LARGE)), joint="curve")

    def haze(self, glow: Image.Image) -> None:
        """Add light: 255 - (255 - a)(255 - b) / 255."""
        self.image.paste(ImageChops.screen(self.image, glow))

    def finish(self, grain: float, seed: int) -> Image.Image:
        """Return the reduced picture with a film's grain, in levels of 255."""
        size = self.image.width // LARGE, self.image.height // LARGE
        small = np.asarray(self.image.resize(size, Image.Resampling.LANCZOS), dtype=np.float32)
        noise = np.random.default_rng(seed).normal(0, grain, (*small.shape[:2], 1))
        return Image.fromarray((small + noise).clip(0, 255).astype(np.uint8))


def sky(canvas: Canvas, dice: random.Random) -> None:
    """An evening sky: a gradient, a low sun with its glow, clouds lit from below."""
    for y in range(300):
        canvas.box((0, y, WIDTH, y + 1), blend((66, 110, 178), (250, 206, 160), (y / 300) ** 1.3))
    clouds = Image.new("RGB", canvas.image.size)
    puff = ImageDraw.Draw(clouds)
    for x, y, wide in ((110, 70, 85), (330, 45, 60), (560, 105, 70), (250, 135, 50)):
        for _ in range(40):
            cx, cy = dice.gauss(x, wide * 0.45), dice.gauss(y, 6)
            radius = dice.uniform(4, 15)
            box = (cx - radius * 1.7, cy - radius, cx + radius * 1.7, cy + radius * 0.6)
            puff.ellipse([v * LARGE for v in box], shaded((120, 105, 100), 0.5 + cy / 180))
    canvas.haze(clouds.filter(ImageFilter.GaussianBlur(4 * LARGE)))
    canvas.disc(*SUN, 27, (255, 240, 190))
    glow = Image.new("RGB", canvas.image.size)
    for radius, colour in ((150, (34, 20, 8)), (85, (60, 42, 18)), (42, (120, 95, 50))):
        box = (SUN[0] - radius, SUN[1] - radius, SUN[0] + radius, SUN[1] + radius)
        ImageDraw.Draw(glow).ellipse([v * LARGE for v in box], colour)
    canvas.haze(glow.filter(ImageFilter.GaussianBlur(22 * LARGE)))


def ridge(canvas: Canvas, base: float, rough: float, colour: Colour, dice: random.Random) -> None:
    """A chain of hills as a sum of waves, `base` from the top, `rough` high."""
    waves = [(k, dice.uniform(0, 7), rough / k**1.1) for k in (1, 2, 3, 5, 9, 17, 31)]
    for x in range(0, WIDTH):
        top = base + sum(a * math.sin(2 * math.pi * k * x / 900 + p) for k, p, a in waves)
        canvas.box((x, top, x + 1, HEIGHT), colour)


def field(canvas: Canvas) -> None:
    """A ploughed field whose furrows meet at the horizon."""
    for k in range(-44, 46):
        colour = blend((118, 132, 58), (150, 160, 74), (k % 2) * 0.9)
        near, far = 300 + k * 60, 380 + k * 7
        canvas.shape([(far, 300), (far + 7, 300), (near + 60, 480), (near, 480)], colour)
    for y in range(300, 312):
        canvas.box((0, y, WIDTH, y + 1), blend((96, 112, 70), (128, 140, 66), (y - 300) / 12))


def bricks(canvas: Canvas, box: Box, colour: Colour, dice: random.Random) -> None:
    """A brick wall with light mortar."""
    x0, y0, x1, y1 = box
    canvas.box(box, (205, 186, 165))
    for row in range(int((y1 - y0) // 7)):
        x = x0 - 8 * (row % 2)
        while x < x1:
            brick = (max(x0, x), y0 + row * 7, min(x1, x + 15) - 1, y0 + row * 7 + 5.5)
            if brick[2] > brick[0]:
                canvas.box(brick, shaded(colour, dice.uniform(0.8, 1.15)))
            x += 16


def window(canvas: Canvas, x: float, y: float) -> None:
    """A window with four panes that mirror the sky."""
    canvas.box((x - 3, y - 3, x + 41, y + 51), (240, 234, 220))
    for i in (0, 1):
        for j in (0, 1):
            left, top = x + i * 20, y + j * 25
            canvas.box(
                (left, top, left + 18, top + 22), blend((70, 96, 130), (250, 200, 140), j * 0.5)
            )
            corner = [(left, top + 16), (left + 12, top), (left + 16, top), (left, top + 21)]
            canvas.shape(corner, (190, 204, 214))
    canvas.box((x - 6, y + 51, x + 44, y + 55), (222, 212, 194))


def house(canvas: Canvas, dice: random.Random) -> None:
    """A brick house with a tiled roof, a chimney, two windows, a round one and a door."""
    bricks(canvas, (128, 128, 150, 205), (150, 76, 58), dice)
    bricks(canvas, (90, 230, 290, 370), (178, 88, 62), dice)
    roof: Colour = (116, 52, 46)
    canvas.shape([(70, 232), (130, 150), (250, 150), (310, 232)], shaded(roof, 0.6))
    for row in range(10):
        y, inset = 226 - row * 8.4, row * 6.1
        for k in range(int((240 - 2 * inset) // 11) + 1):
            x = 76 + inset + k * 11 + (row % 2) * 3
            canvas.disc(min(x, 302 - inset), y, 6, shaded(roof, dice.uniform(0.9, 1.35)), 0.9)
    window(canvas, 104, 258)
    window(canvas, 234, 258)
    canvas.box((166, 280, 214, 370), (240, 234, 220))
    canvas.box((170, 284, 210, 370), (46, 92, 96))
    for k in range(4):
        canvas.line([(178 + k * 8, 288), (178 + k * 8, 366)], (34, 72, 78), 1.2)
    canvas.disc(204, 330, 2.6, (226, 190, 90))
    for radius, colour in ((15, (240, 234, 220)), (11, (96, 110, 140)), (2, (240, 234, 220))):
        canvas.disc(190, 198, radius, colour)
    canvas.line([(179, 198), (201, 198)], (240, 234, 220), 2)
    canvas.line([(190, 187), (190, 209)], (240, 234, 220), 2)


def branch(
    canvas: Canvas, x: float, y: float, angle: float, long: float, dice: random.Random
) -> list[tuple[float, float]]:
    """Grow a branch and its twigs; return where the twigs end."""
    end = (x + long * math.cos(angle), y - long * math.sin(angle))
    canvas.line([(x, y), end], shaded((92, 66, 48), dice.uniform(0.8, 1.1)), long / 6)
    if long < 13:
        return [end]
    turns = (-0.55, 0.05, 0.5)
    ends = [
        branch(
            canvas, *end, angle + turn + dice.gauss(0, 0.12), long * dice.uniform(0.6, 0.78), dice
        )
        for turn in turns
    ]
    return [tip for tips in ends for tip in tips]


def tree(canvas: Canvas, x: float, y: float, long: float, dice: random.Random) -> None:
    """A tree with leaves, dark below and lit above."""
    tips = branch(canvas, x, y, math.pi / 2, long, dice)
    spread = 3 + long / 9
    for light in (0.55, 0.8, 1.05, 1.35):
        for tip_x, tip_y in tips:
            for _ in range(5):
                lift = (light - 0.7) * 12
                place = dice.gauss(tip_x + lift, spread), dice.gauss(tip_y - lift, spread)
                green = blend((70, 106, 44), (176, 150, 52), dice.random() * 0.7)
                canvas.disc(
                    *place,
                    dice.uniform(2, 2.5 + long / 30),
                    shaded(green, light * dice.uniform(0.85, 1.1)),
                )


def fence(canvas: Canvas) -> None:
    """A white picket fence along the front, with its shadow."""
    for y in (416, 446):
        canvas.box((0, y, WIDTH, y + 6), (206, 200, 188))
    for k in range(36):
        x = k * 18 + 3.0
        canvas.box((x + 9, 402, x + 13, 470), (92, 98, 46))
        canvas.shape(
            [(x, 470), (x, 402), (x + 5, 393), (x + 10, 402), (x + 10, 470)], (242, 238, 228)
        )
        canvas.line([(x + 9.4, 403), (x + 9.4, 470)], (176, 170, 160), 1)


def landscape() -> Image.Image:
    """A house in the evening sun: straight and round edges, tiles, leaves, furrows, pickets."""
    dice = random.Random(11)
    canvas = Canvas(WIDTH, HEIGHT)
    sky(canvas, dice)
    for base, rough, colour in (
        (215, 34, (128, 132, 168)),
        (250, 24, (104, 122, 132)),
        (280, 16, (88, 112, 84)),
    ):
        ridge(canvas, base, rough, colour, dice)
    field(canvas)
    canvas.shape([(170, 370), (210, 370), (300, 480), (150, 480)], (206, 186, 148))
    house(canvas, dice)
    tree(canvas, 520, 385, 62, dice)
    tree(canvas, 352, 322, 24, dice)
    tree(canvas, 415, 318, 22, dice)
    fence(canvas)
    return canvas.finish(grain=2.5, seed=11)


def chart(side: int = 512, tiles: int = 4) -> Image.Image:
    """A test chart: gratings, finer to the right and turned downwards, under a ring of colours.

    In the middle lies a zone plate, which holds every orientation and frequency at once.
    """
    y, x = np.mgrid[0:side, 0:side].astype(np.float64) + 0.5
    column, row = x * tiles // side, y * tiles // side
    angle, period = row * math.pi / tiles, 32 / 2.0**column
    wave = np.cos(2 * math.pi * (x * np.cos(angle) + y * np.sin(angle)) / period)
    picture = np.repeat((127.5 + 100 * wave)[..., None], 3, axis=2)
    dx, dy = x - side / 2, y - side / 2
    radius, turn = np.hypot(dx, dy), np.arctan2(dy, dx)
    plate = 127.5 + 120 * np.cos(radius**2 * math.pi / 900)
    picture = _over(picture, plate[..., None], side * 0.195 - radius)
    hue = np.stack([np.cos(turn - k * 2 * math.pi / 3) for k in range(3)], axis=-1)
    ring = side * 0.035 - np.abs(radius - side * 0.23)
    return Image.fromarray(_over(picture, 127.5 + 115 * hue, ring).clip(0, 255).astype(np.uint8))


def _over(
    picture: NDArray[np.float64], colour: NDArray[np.float64], inside: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Cover where the signed distance (side, side) in pixels is positive, with a smooth edge."""
    share: NDArray[np.float64] = (inside + 0.5).clip(0, 1)[..., None]
    return picture + (colour - picture) * share


def pattern(name: str, size: int, seed: int) -> Image.Image:
    """A picture of the class as the bundled network's training program draws it."""
    return patterns([name], size, seed)[0]


def patterns(names: Sequence[str], size: int, seed: int) -> list[Image.Image]:
    """Pictures of classes as the bundled network's training program draws them."""
    labels = torch.tensor([CLASSES.index(name) for name in names])
    pictures = draw(labels, size, torch.Generator().manual_seed(seed))
    values = (pictures.permute(0, 2, 3, 1) * 255).round().byte().numpy()
    return [Image.fromarray(picture) for picture in values]


def pan() -> list[Image.Image]:
    """Sixteen crops of the cat, from left to right."""
    with Image.open(Path(__file__).with_name("cat.jpg")) as cat:
        photo = cat.convert("RGB")
    side = photo.height // 2
    places = [round(i * (photo.width - side) / 15) for i in range(16)]
    top = photo.height // 4
    return [photo.crop((x, top, x + side, top + side)) for x in places]


def main() -> None:
    """Write all drawn samples, or some of each class, into the folder given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent)
    parser.add_argument("--each", type=int, metavar="N", help="draw N pictures of each class")
    parser.add_argument("--pan", type=Path, metavar="FILE", help="write a moving crop as GIF")
    options = parser.parse_args()
    folder = options.folder
    if options.pan:
        first, *others = pan()
        first.save(options.pan, save_all=True, append_images=others, duration=80, loop=0)
        return
    if options.each:
        folder.mkdir(parents=True, exist_ok=True)
        for seed in range(options.each):
            for name, picture in zip(CLASSES, patterns(CLASSES, 224, seed), strict=True):
                picture.save(folder / f"{name.replace(' ', '-')}-{seed}.jpg", quality=92)
        return
    landscape().save(folder / "landscape.jpg", quality=90)
    chart().save(folder / "test_chart.png", optimize=True)
    pattern("star", 448, 6).save(folder / "star.jpg", quality=90)
    pattern("spiral", 448, 6).save(folder / "spiral.jpg", quality=90)


if __name__ == "__main__":
    main()
