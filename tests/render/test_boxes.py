"""Boxes over a photo, pixel by pixel."""

import numpy as np
from PIL import Image

from cnnviz.render.boxes import FieldBox, _frame, _ground, _outline, _to_frame, draw_boxes
from cnnviz.render.canvas import Header

PHOTO = Image.new("RGB", (26, 26), (200, 100, 50))
HEADER = Header("Title", ("below",))


def test_the_frame_is_the_photo_where_every_box_is_inside() -> None:
    assert _frame((26, 20), [(0, 0, 5, 5), (3, 3, 26, 20)]) == (0, 0, 26, 20)


def test_the_frame_grows_to_hold_a_box_beyond_the_photo() -> None:
    assert _frame((100, 50), [(-50, 0, 50, 50)]) == (-51.5, -1.5, 101.5, 51.5)


def test_coordinates_are_scaled_from_the_frame() -> None:
    assert _to_frame((1, 2, 3, 4), (-1, -2, 9, 8), 10) == (20, 40, 40, 60)


def test_the_ground_is_light_with_diagonal_lines() -> None:
    ground = np.asarray(_ground((0, 0, 9, 9), 1))
    assert set(np.unique(ground)) == {226, 242}
    assert (ground[0, 0] == 226).all()
    assert (ground[4, 5] == 226).all()
    assert (ground[0, 1] == 242).all()


def test_an_outline_has_its_colour_on_the_box_and_a_dark_rim_around() -> None:
    from PIL import ImageDraw

    picture = Image.new("RGB", (20, 20), "white")
    _outline(ImageDraw.Draw(picture), (5, 5, 15, 15), (255, 0, 0))
    assert [picture.getpixel((5, y)) for y in (4, 5, 7, 10)] == [
        (20, 20, 20), (255, 0, 0), (255, 0, 0), (255, 0, 0),
    ]  # fmt: skip
    assert picture.getpixel((14, 14)) == (255, 0, 0)
    assert picture.getpixel((15, 15)) == (20, 20, 20)
    assert picture.getpixel((10, 10)) == (255, 255, 255)


def test_an_empty_box_is_still_seen() -> None:
    from PIL import ImageDraw

    picture = Image.new("RGB", (9, 9), "white")
    _outline(ImageDraw.Draw(picture), (4, 4, 4, 4), (255, 0, 0))
    assert picture.getpixel((4, 4)) == (255, 0, 0)


def pixels_of(picture: Image.Image, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(picture) == colour).all(axis=2).sum())


def test_the_photo_is_pale_where_the_network_does_not_see_it() -> None:
    picture = draw_boxes(PHOTO, [], HEADER, seen=(0, 0, 13, 26))
    half = 520 * 520 // 2
    assert pixels_of(picture, (200, 100, 50)) == half
    pale = Image.blend(PHOTO, Image.new("RGB", PHOTO.size, "white"), 0.65).getpixel((0, 0))
    assert pixels_of(picture, pale) == half


def test_each_field_has_a_colour_of_its_own_on_the_photo_and_in_the_legend() -> None:
    fields = [FieldBox("one", "3 pixels", (10, 10, 13, 13)), FieldBox("two", "9", (6, 6, 20, 20))]
    picture = draw_boxes(PHOTO, fields, HEADER, seen=(0, 0, 26, 26))
    plain = draw_boxes(PHOTO, [], HEADER, seen=(0, 0, 26, 26))
    assert picture.mode == "RGB"
    assert picture.width > plain.width
    assert pixels_of(picture, (200, 100, 50)) < 520 * 520


def test_a_long_legend_stands_in_columns_beside_the_photo() -> None:
    photo = Image.new("RGB", (60, 60), "white")
    fields = [FieldBox(f"layer {i}", "note", (i / 2, 5, 40, 40)) for i in range(50)]
    few, many = (
        draw_boxes(photo, f, Header("x"), seen=(0, 0, 60, 60)) for f in (fields[:2], fields)
    )
    assert many.height == few.height
    assert many.width > few.width


def test_heat_is_laid_over_what_the_network_sees() -> None:
    heat = np.zeros((4, 4))
    heat[0, 0] = 1
    picture = draw_boxes(PHOTO, [], HEADER, seen=(0, 0, 26, 26), heat=heat)
    assert pixels_of(picture, (200, 100, 50)) == 0
    assert not heat[1:].any()
