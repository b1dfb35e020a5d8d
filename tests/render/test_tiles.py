import numpy as np
from PIL import Image

from cnnviz.render.canvas import Header
from cnnviz.render.tiles import Shelf, Tile, draw_pictures, draw_shelves

RED, BLUE = (200, 10, 20), (10, 20, 200)


def tile(colour, label="0", note="1 → 2", size=(10, 10)):
    return Tile(Image.new("RGB", size, colour), label, note)


def area(picture, colour):
    """Return (x0, y0, x1, y1) of the pixels of a colour, end exclusive, and how many they are."""
    rows, columns = np.nonzero((np.asarray(picture) == colour).all(axis=2))
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    return tuple(map(int, box)), len(rows)


def test_pictures_stand_side_by_side_enlarged():
    picture = draw_pictures([tile(RED), tile(BLUE, "1")], Header("layer", ("about it",)))
    assert picture.mode == "RGB"
    (x0, y0, x1, y1), count = area(picture, RED)
    assert (x1 - x0, y1 - y0, count) == (224, 224, 224 * 224)
    (left, top, right, bottom), _ = area(picture, BLUE)
    assert (top, bottom, right - left) == (y0, y1, 224)
    assert left - x1 == 8
    assert picture.width - right == x0 == picture.height - bottom


def test_large_pictures_keep_their_size():
    picture = draw_pictures([tile(RED, size=(300, 300))] * 9, Header("layer"))
    assert area(picture, RED)[1] == 9 * 300 * 300


def test_a_picture_that_is_not_square_keeps_its_proportions():
    (x0, y0, x1, y1), _ = area(draw_pictures([tile(RED, size=(20, 10))], Header("x")), RED)
    assert (x1 - x0, y1 - y0) == (448, 224)


def test_grey_pictures_are_tiles_too():
    grey = Tile(Image.new("L", (4, 4), 77), "0")
    assert area(draw_pictures([grey], Header("x")), (77, 77, 77))[1] >= 448 * 448


def test_a_long_label_moves_every_note_below():
    header = Header("x")
    short = draw_pictures([tile(RED)] * 5, header)
    long = draw_pictures([tile(RED)] * 4 + [tile(RED, "horizontal stripes of a zebra")], header)
    assert long.height > short.height
    assert long.width == short.width


def test_shelves_have_tiles_of_one_size_below_their_titles():
    shelves = [
        Shelf("conv1", "field 7", (tile(RED, size=(32, 32)),) * 3),
        Shelf("layer4", "field 195", (tile(BLUE, size=(208, 208)),) * 2),
    ]
    picture = draw_shelves(shelves, Header("demo"))
    (x0, _, _, y1), count = area(picture, RED)
    assert count == 3 * 112 * 112
    (left, top, _, _), count = area(picture, BLUE)
    assert count == 2 * 112 * 112
    assert left == x0
    assert top > y1
    title = np.asarray(picture)[y1:top]
    assert (title.min(axis=(1, 2)) < 100).any(), "the title of the second shelf stands between"
