"""Which pictures are frames of one clip, and which frames of it are taken."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnviz.errors import InputError
from cnnviz.photos.clips import Clips, as_clips, frame_numbers, open_frames
from cnnviz.photos.images import ImageSource, find_images


def shade(grey: int) -> Image.Image:
    return Image.new("RGB", (6, 4), (grey, grey, grey))


def animation(path: Path, greys: list[int]) -> Path:
    first, *others = map(shade, greys)
    first.save(path, save_all=True, append_images=others)
    return path


def still(path: Path, grey: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shade(grey).save(path)
    return path


def clips(*inputs: Path, count: int = 4, pairs: bool = False) -> Clips:
    return as_clips(find_images(inputs), count=count, pairs=pairs)


def greys(frames: list[Image.Image]) -> list[int]:
    return [int(np.asarray(frame).mean().round()) for frame in frames]


def test_each_folder_is_a_clip_of_its_pictures_in_the_order_people_count(tmp_path: Path) -> None:
    for name in ("a/f10.png", "a/f2.png", "b/deep/1.png", "b/2.png"):
        still(tmp_path / "in" / name)
    found, note = clips(tmp_path / "in")
    assert [(one.path.name, one.key) for one in found] == [
        ("a", "a"), ("b", "b"), ("deep", "b/deep"),
    ]  # fmt: skip
    assert [path.name for path in found[0].frames] == ["f2.png", "f10.png"]
    assert note == "inputs of 4 frames: 3 folders (the pictures in it, in natural order)"


def test_a_folder_that_is_named_has_its_name_also_where_it_is_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    still(tmp_path / "walk" / "1.png")
    assert clips(tmp_path / "walk").sources[0].key == "walk"
    monkeypatch.chdir(tmp_path / "walk")
    assert clips(Path()).sources[0].key == "walk"


def test_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for place in ("x", "y"):
        still(tmp_path / place / "walk" / "1.png")
    found, _ = clips(tmp_path / "x" / "walk", tmp_path / "y" / "walk")
    assert [one.key for one in found] == ["x/walk", "y/walk"]


def test_what_moves_and_what_is_named_is_a_clip_of_its_own(tmp_path: Path) -> None:
    moving = animation(tmp_path / "in" / "m.gif", [0, 200]) if still(tmp_path / "in/1.png") else 0
    one, two = still(tmp_path / "one.png"), still(tmp_path / "two.png")
    found, note = clips(tmp_path / "in", one, two)
    assert [(one.path, len(one.frames)) for one in found] == [
        (moving, 0), (tmp_path / "in", 1), (one, 0), (two, 0),
    ]  # fmt: skip
    assert "1 file of several frames, 2 pictures held still" in note


def test_stills_named_one_after_the_other_are_pairs_and_an_odd_one_is_alone(tmp_path: Path) -> None:
    files = [still(tmp_path / f"{i}.png") for i in range(3)]
    found, note = clips(*files, count=2, pairs=True)
    assert [(one.key, one.frames) for one in found] == [
        ("0.png+1.png", (files[0], files[1])), ("2.png", ()),
    ]  # fmt: skip
    assert note == "inputs of 2 frames: 1 pair of files, 1 picture paired with itself: no motion"


def test_an_input_without_pictures_stays_an_error_among_clips(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    found, note = clips(tmp_path / "empty", still(tmp_path / "1.png"))
    assert "no picture in folder" in str(found[0].error)
    assert note.endswith(": 1 picture held still")


@pytest.mark.parametrize(
    ("there", "count", "taken"),
    [
        (16, 4, [2, 6, 10, 14]),  # the middles of four quarters
        (4, 4, [0, 1, 2, 3]),
        (2, 4, [0, 0, 1, 1]),
        (1, 3, [0, 0, 0]),
        (3, 2, [0, 2]),
    ],
)
def test_frames_are_spread_evenly_and_held_where_they_are_few(
    there: int, count: int, taken: list[int]
) -> None:
    assert frame_numbers(there, count) == taken


def test_a_pair_is_the_first_two() -> None:
    assert frame_numbers(30, 2, pairs=True) == [0, 1]
    assert frame_numbers(1, 2, pairs=True) == [0, 0]


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_frames_of_animations_come_in_order(tmp_path: Path, suffix: str) -> None:
    path = animation(tmp_path / f"m.{suffix}", [0, 50, 100, 150, 200, 250])
    frames, size = open_frames(ImageSource(path, "m"), 3, None)
    assert greys(frames) == pytest.approx([50, 150, 250], abs=2)
    assert size == (6, 4)
    assert {frame.mode for frame in frames} == {"RGB"}


def test_frames_of_a_folder_are_read_once_each_and_a_still_stands_for_all(tmp_path: Path) -> None:
    paths = tuple(still(tmp_path / f"{i}.png", 100 * i) for i in range(2))
    frames, _ = open_frames(ImageSource(tmp_path, "in", frames=paths), 4, None)
    assert greys(frames) == [0, 0, 100, 100]
    assert frames[0] is frames[1]
    frames, _ = open_frames(ImageSource(paths[1], "1"), 3, None)
    assert greys(frames) == [100] * 3


def test_a_broken_frame_is_named(tmp_path: Path) -> None:
    good, bad = still(tmp_path / "1.png"), tmp_path / "2.png"
    bad.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"2\.png is not a picture"):
        open_frames(ImageSource(tmp_path, "in", frames=(good, bad)), 2, None)


def test_an_animation_that_is_cut_short_is_named_with_its_frame(tmp_path: Path) -> None:
    noise = [
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (40, 40, 3), dtype=np.uint8))
        for i in range(4)
    ]
    path = tmp_path / "m.png"
    noise[0].save(path, save_all=True, append_images=noise[1:])
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 5 // 8])
    with pytest.raises(InputError, match=r"frame 2 of .*m\.png cannot be read"):
        open_frames(ImageSource(path, "m"), 4, None)


@pytest.mark.parametrize("length", [30, 900])
def test_an_animation_broken_at_its_start_is_an_input_error(tmp_path: Path, length: int) -> None:
    path = animation(tmp_path / "m.gif", list(range(0, 250, 10)))
    path.write_bytes(path.read_bytes()[:length])
    (found,) = clips(path).sources
    with pytest.raises(InputError, match=r"m\.gif"):
        open_frames(found, 4, None)
