"""Find and decode pictures of every kind, and refuse what is none."""

import contextlib
import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnviz.errors import InputError, OutputError, UsageError
from cnnviz.photos.images import check_places, find_images, natural_key, open_image, open_reduced
from cnnviz.photos.preprocess import Preprocess, parse_input_size

# Two rows of three colours, each a block of 8x8, so that JPEG keeps them apart.
COLOURS = np.array(
    [[(255, 0, 0), (0, 255, 0), (0, 0, 255)], [(255, 255, 255), (0, 0, 0), (255, 255, 0)]],
    dtype=np.uint8,
)
PICTURE = COLOURS.repeat(8, axis=0).repeat(8, axis=1)


def decoded(path: Path) -> np.ndarray:
    image = open_image(path)
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "webp", "bmp", "tiff", "gif"])
def test_lossless_formats_keep_every_pixel(tmp_path: Path, suffix: str) -> None:
    options = {"lossless": True} if suffix == "webp" else {}
    path = save(tmp_path / f"x.{suffix}", Image.fromarray(PICTURE), **options)
    assert (decoded(path) == PICTURE).all()


def test_jpeg_keeps_the_colours(tmp_path: Path) -> None:
    path = save(tmp_path / "x.jpg", Image.fromarray(PICTURE), quality=100, subsampling=0)
    assert abs(decoded(path) - PICTURE).max() <= 4


def test_the_extension_does_not_decide_the_format(tmp_path: Path) -> None:
    path = tmp_path / "photo"
    Image.fromarray(PICTURE).save(path, "png")
    assert (decoded(path) == PICTURE).all()


def test_gif_gives_its_first_frame(tmp_path: Path) -> None:
    second = Image.new("RGB", (24, 16), "magenta")
    path = save(tmp_path / "x.gif", Image.fromarray(PICTURE), save_all=True, append_images=[second])
    with Image.open(path) as image:
        assert image.n_frames == 2
    assert (decoded(path) == PICTURE).all()


@pytest.mark.parametrize(("mode", "value"), [("L", 77), ("1", 1), ("P", 0)])
def test_grey_one_bit_and_palette_pictures_become_rgb(
    tmp_path: Path, mode: str, value: int
) -> None:
    image = Image.new(mode, (3, 2), value)
    if mode == "P":
        image.putpalette([10, 20, 30])
    expected = {"L": (77, 77, 77), "1": (255, 255, 255), "P": (10, 20, 30)}[mode]
    assert (decoded(save(tmp_path / "x.png", image)) == expected).all()


def test_transparency_lies_over_white(tmp_path: Path) -> None:
    rgba = np.array([[(255, 0, 0, 255), (255, 0, 0, 0), (0, 0, 0, 51)]], dtype=np.uint8)
    path = save(tmp_path / "rgba.png", Image.fromarray(rgba))
    assert decoded(path).tolist() == [[[255, 0, 0], [255, 255, 255], [204, 204, 204]]]
    grey = np.array([[(0, 255), (0, 0), (0, 51)]], dtype=np.uint8)
    path = save(tmp_path / "la.png", Image.fromarray(grey, "LA"))
    assert decoded(path)[0, :, 0].tolist() == [0, 255, 204]


def test_a_transparent_palette_entry_and_colour_lie_over_white(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    path = save(tmp_path / "p.png", image, transparency=1)
    assert decoded(path).tolist() == [[[10, 20, 30], [255, 255, 255]]]
    image = Image.fromarray(np.array([[(1, 2, 3), (4, 5, 6)]], dtype=np.uint8))
    path = save(tmp_path / "rgb.png", image, transparency=(4, 5, 6))
    assert decoded(path).tolist() == [[[1, 2, 3], [255, 255, 255]]]


def test_cmyk_is_converted(tmp_path: Path) -> None:
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    for name in ("x.tiff", "x.jpg"):
        assert abs(decoded(save(tmp_path / name, image)) - (255, 0, 0)).max() <= 3


def test_sixteen_bit_grey_keeps_its_range(tmp_path: Path) -> None:
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    for name in ("x.png", "x.tiff"):
        path = save(tmp_path / name, Image.fromarray(values))
        assert decoded(path)[0, :, 0].tolist() == [0, 1, 128, 255]


def test_a_dark_sixteen_bit_picture_stays_dark(tmp_path: Path) -> None:
    path = save(tmp_path / "x.png", Image.fromarray(np.full((2, 2), 200, dtype=np.uint16)))
    assert decoded(path).max() == 1


def test_sixteen_bit_rgb_keeps_its_range(tmp_path: Path) -> None:
    values = np.array([[(0, 32896, 65535), (65535, 257, 0)]], dtype=np.uint16)
    path = tmp_path / "x.png"
    path.write_bytes(png(2, 1, values.astype(">u2").tobytes(), depth=16, colour=2))
    assert decoded(path).tolist() == [[[0, 128, 255], [255, 1, 0]]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.0, 0.5, 1.0], [0, 128, 255]), ([0.0, 51.0, 255.0], [0, 51, 255]),
     ([-1.0, np.nan, 0.2], [0, 0, 51])],
)  # fmt: skip
def test_float_tiff_is_taken_as_shares_or_as_bytes(
    tmp_path: Path, values: list[float], expected: list[int]
) -> None:
    path = save(tmp_path / "x.tiff", Image.fromarray(np.array([values], dtype=np.float32)))
    assert decoded(path)[0, :, 0].tolist() == expected


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_set_upright(tmp_path: Path, orientation: int) -> None:
    # How the camera stored the picture: the inverse of how the tag says to turn it.
    stored = {
        1: PICTURE, 2: PICTURE[:, ::-1], 3: PICTURE[::-1, ::-1], 4: PICTURE[::-1],
        5: PICTURE.transpose(1, 0, 2), 6: np.rot90(PICTURE),
        7: PICTURE[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(PICTURE, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(
        tmp_path / "x.jpg", Image.fromarray(np.ascontiguousarray(stored)), quality=100,
        subsampling=0, exif=exif,
    )  # fmt: skip
    upright = decoded(path)
    assert upright.shape == PICTURE.shape
    assert abs(upright - PICTURE).max() <= 4


def png(width: int, height: int, rows: bytes, *, depth: int = 8, colour: int = 0) -> bytes:
    """Return a PNG file made by hand; `rows` is one row of pixels, or none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0" + rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body


def test_a_decompression_bomb_is_refused_with_its_size(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png(50_000, 50_000, b"", depth=1))
    with pytest.raises(InputError, match=r"bomb\.png is too large: 2500 million pixels; the limit"):
        open_image(tmp_path / "bomb.png")


def test_a_text_file_called_png_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("hello")
    with pytest.raises(InputError, match=r"x\.png is not a picture that can be read"):
        open_image(tmp_path / "x.png")


def test_an_empty_file_and_a_folder_and_nothing_are_errors(tmp_path: Path) -> None:
    (tmp_path / "x.png").touch()
    for path in (tmp_path / "x.png", tmp_path, tmp_path / "nowhere.png"):
        with pytest.raises(InputError, match=r"not a picture|is a folder|does not exist"):
            open_image(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif", "tiff", "bmp"])
def test_a_file_cut_short_is_an_expected_error(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(noise).save(data, "jpeg" if suffix == "jpg" else suffix)
    path = tmp_path / f"x.{suffix}"
    for share in (0.1, 0.5, 0.9):
        path.write_bytes(data.getvalue()[: int(len(data.getvalue()) * share)])
        with pytest.raises(InputError, match=rf"x\.{suffix} (cannot be read|is )"):
            open_image(path)


def test_damaged_files_never_raise_anything_else(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    path = tmp_path / "x"
    for suffix in ("jpeg", "png", "webp", "gif", "tiff", "bmp"):
        data = io.BytesIO()
        Image.fromarray(PICTURE).save(data, suffix)
        for _ in range(40):
            damaged = bytearray(data.getvalue())
            for position in generator.integers(0, len(damaged), 4):
                damaged[position] = generator.integers(256)
            path.write_bytes(damaged)
            with contextlib.suppress(InputError):
                open_image(path)


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def keys(*inputs: Path, exclude: Path | None = None) -> list[str]:
    return [source.key for source in find_images(inputs, exclude=exclude)]


def test_a_folder_is_searched_in_natural_order(tmp_path: Path) -> None:
    make(tmp_path, "img10.png", "IMG2.JPG", "img1.png", "b/img3.gif", "a10/x.png", "a9/x.png")
    assert keys(tmp_path) == [
        "img1.png", "IMG2.JPG", "img10.png", "a9/x.png", "a10/x.png", "b/img3.gif",
    ]  # fmt: skip


def test_hidden_and_other_files_and_the_output_are_passed_over(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", ".hidden.jpg", ".cache/b.jpg", "notes.txt", "out/a.jpg/conv1.png")
    make(tmp_path, "other/out/c.jpg")
    assert keys(tmp_path, exclude=tmp_path / "out") == ["a.jpg", "other/out/c.jpg"]


def test_a_folder_that_is_also_the_output_is_still_searched(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    assert keys(tmp_path, exclude=tmp_path) == ["a.jpg"]


def test_a_named_file_is_taken_whatever_its_name(tmp_path: Path) -> None:
    make(tmp_path, "photo.dat", ".hidden")
    assert keys(tmp_path / "photo.dat", tmp_path / ".hidden") == ["photo.dat", ".hidden"]


def test_the_same_picture_named_twice_comes_once(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    assert keys(tmp_path / "a.jpg", tmp_path, tmp_path / "." / "a.jpg") == ["a.jpg"]


def test_the_same_name_in_two_folders_does_not_collide(tmp_path: Path) -> None:
    make(tmp_path, "one/a.jpg", "two/a.jpg", "two/b.jpg")
    assert keys(tmp_path / "one", tmp_path / "two") == ["one/a.jpg", "two/a.jpg", "b.jpg"]


def test_a_name_made_longer_does_not_collide_with_a_third(tmp_path: Path) -> None:
    make(tmp_path, "r/a/x.jpg", "r/b/x.jpg", "other/a/x.jpg")
    found = keys(tmp_path / "r/a/x.jpg", tmp_path / "r/b/x.jpg", tmp_path / "other")
    assert len(set(found)) == 3


def test_inputs_without_a_picture_keep_their_reason(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "text/readme.txt")
    (tmp_path / "empty").mkdir()
    inputs = [tmp_path / name for name in ("a.jpg", "empty", "text", "nowhere.jpg")]
    errors = [source.error for source in find_images(inputs)]
    assert errors[0] is None
    assert f"no picture in folder {tmp_path / 'empty'}; looked for .jpg" in str(errors[1])
    assert "no picture in folder" in str(errors[2])
    assert errors[3] == f"{tmp_path / 'nowhere.jpg'} does not exist"


def test_no_picture_at_all_is_an_error_that_tells_why(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.jpg does not exist; no picture in folder"):
        find_images([tmp_path / "nowhere.jpg", tmp_path])
    with pytest.raises(InputError, match="empty list"):
        find_images([])


def test_a_link_to_nothing_is_a_picture_that_fails_later(tmp_path: Path) -> None:
    os.symlink(tmp_path / "gone.jpg", tmp_path / "link.jpg")
    (source,) = find_images([tmp_path])
    with pytest.raises(InputError, match=r"link\.jpg does not exist"):
        open_image(source.path)


def test_a_link_in_a_circle_ends(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    os.symlink(tmp_path, tmp_path / "loop", target_is_directory=True)
    assert keys(tmp_path) == ["a.jpg"]


def test_a_picture_that_is_a_link_to_itself_fails_later(tmp_path: Path) -> None:
    os.symlink("x.jpg", tmp_path / "x.jpg")
    (source,) = find_images([tmp_path])
    with pytest.raises(InputError, match=r"x\.jpg cannot be read: Too many levels"):
        open_image(source.path)


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[None]:
    make(tmp_path, "photos/a.jpg", "photos/locked/b.jpg", "photos/z/c.jpg")
    (tmp_path / "photos" / "locked").chmod(0)
    yield
    (tmp_path / "photos" / "locked").chmod(0o755)


@pytest.mark.usefixtures("locked", "ordinary_user")
def test_a_folder_that_cannot_be_read_stops_no_other() -> None:
    found = find_images([Path("photos")])
    assert [(source.key, source.error) for source in found] == [
        ("a.jpg", None),
        ("z/c.jpg", None),
        ("locked", "cannot read folder photos/locked: Permission denied"),
    ]


@pytest.mark.usefixtures("locked", "ordinary_user")
def test_what_is_out_of_reach_is_not_said_to_be_missing() -> None:
    with pytest.raises(InputError, match=r"b\.jpg cannot be reached: Permission denied; .* folder"):
        find_images([Path("photos/locked/b.jpg"), Path("photos/locked")])


def test_a_picture_in_the_place_of_its_own_folder_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "other.jpg", "out/other.jpg")
    inside = find_images([tmp_path / "a.jpg"])
    with pytest.raises(OutputError, match=r"a\.jpg stands where a folder .* another .* --out"):
        check_places(inside, tmp_path)
    # Another file in the way fails that picture only, later.
    check_places(find_images([tmp_path / "other.jpg"]), tmp_path / "out")
    (tmp_path / "empty").mkdir()
    check_places(find_images([tmp_path / "out", tmp_path / "empty"]), tmp_path)


def test_natural_order_takes_every_kind_of_digit() -> None:
    names = ["x10", "x9", "x٣", "x²", "x", "10", "9", "x01", "x1"]
    order = sorted(names, key=natural_key)
    assert order.index("x9") < order.index("x10")
    assert order.index("9") < order.index("10")


@pytest.mark.parametrize(
    ("text", "size"), [("224", (224, 224)), ("224x320", (224, 320)), ("1X8192", (1, 8192))]
)
def test_input_size_is_rows_by_columns(text: str, size: tuple[int, int]) -> None:
    assert parse_input_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "8193", "x", "224x", "1x2x3", "-5", "22.4", "a"])
def test_an_input_size_that_is_none_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="write 224 or 224x320"):
        parse_input_size(text)


def test_a_very_narrow_picture_is_refused_before_it_is_huge() -> None:
    preprocess = Preprocess((224, 224), (256, 256))
    with pytest.raises(InputError, match="1x20000 pixels would be 256x5120000"):
        preprocess.crop(Image.new("RGB", (1, 20_000)))
    assert preprocess.crop(Image.new("RGB", (10, 1000))).size == (224, 224)


@pytest.mark.parametrize(
    ("size", "least", "reduced"),
    [
        ((1600, 1200), 500, (800, 600)),
        ((1600, 1200), 300, (400, 300)),
        ((1600, 1200), 301, (800, 600)),
        ((1600, 1200), 10, (200, 150)),
        ((1600, 1200), None, (1600, 1200)),
        ((1602, 1201), 100, (1602, 1201)),  # else the last column would stand for half a pixel
        ((1602, 1202), 100, (801, 601)),
    ],
)
def test_a_large_jpeg_is_decoded_at_a_scale_that_divides_it_and_suffices(
    tmp_path: Path, size: tuple[int, int], least: int | None, reduced: tuple[int, int]
) -> None:
    path = save(tmp_path / "x.jpg", Image.new("RGB", size))
    image, whole = open_reduced(path, least)
    assert (image.size, whole) == (reduced, size)


def test_a_turned_jpeg_tells_its_upright_size_and_other_formats_are_whole(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    path = save(tmp_path / "x.jpg", Image.new("RGB", (800, 400)), exif=turned)
    image, whole = open_reduced(path, 100)
    assert (image.size, whole) == ((100, 200), (400, 800))
    path = save(tmp_path / "x.png", Image.new("RGB", (800, 400)))
    assert open_reduced(path, 100)[0].size == (800, 400)


@pytest.mark.parametrize("size", [(2048, 1536), (1200, 2400)])
def test_a_network_sees_the_same_of_a_jpeg_that_was_reduced(
    tmp_path: Path, photos: list[Path], size: tuple[int, int]
) -> None:
    preprocess = Preprocess((224, 224), (256, 256))
    for photo in photos:
        path = save(tmp_path / photo.name, open_image(photo).resize(size), quality=90)
        image, whole = open_reduced(path, 512)
        assert whole == size != image.size
        seen = [np.asarray(preprocess.crop(one)).astype(int) for one in (image, open_image(path))]
        apart = abs(seen[0] - seen[1])
        assert apart.mean() < 0.6  # of 255
        assert np.percentile(apart, 99.9) <= 5


@pytest.mark.filterwarnings("default")
def test_threads_that_decode_leave_warnings_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (64, 64)).save(path)
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(open_image, [path] * 400))
    assert warnings.filters == before


@pytest.mark.parametrize("digits", [4, 5000])
def test_an_input_size_beyond_all_is_wrong_usage(digits: int) -> None:
    with pytest.raises(UsageError, match="sides of 1 to 8192"):
        parse_input_size("9" * digits)


def test_an_address_is_told_as_it_was_typed() -> None:
    with pytest.raises(InputError, match=r"^https://x\.org/a\.jpg is an address .* download it"):
        open_image(Path("https://x.org/a.jpg"))


def test_a_line_break_in_a_name_does_not_tear_the_message(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\\nb' does not exist$"):
        open_image(tmp_path / "a\nb")
