"""What networks for video and for optical flow look at: frames, in the order of time."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from cnnviz.errors import InputError
from cnnviz.photos.images import ImageSource, decoding, open_reduced, to_rgb, told_apart

# Of these a file may hold several pictures.
_MAY_MOVE = (".gif", ".png", ".webp", ".tif", ".tiff")


class Clips(NamedTuple):
    """Pictures put together as clips.

    Attributes:
        sources: The clips, in order.
        note: What was put together, in one line.
    """

    sources: list[ImageSource]
    note: str


def as_clips(sources: Sequence[ImageSource], *, count: int, pairs: bool) -> Clips:
    """Put together the frames of clips.

    The still pictures directly in one folder are the frames of one clip. A picture that is
    animated is a clip by itself wherever it is, and so is a still that is named.

    Args:
        sources: What `find_images` gave.
        count: How many frames a network takes, for the note.
        pairs: Whether two stills that are named one after the other are one clip.
    """
    found: list[ImageSource] = []
    moving: set[Path] = set()
    for folder, group in groupby(sources, key=lambda s: s.folder and (s.folder, s.path.parent)):
        stills: list[ImageSource] = []
        for source in group:
            moves = source.error is None and _moves(source.path)
            (found if moves or source.error else stills).append(source)
            moving |= {source.path} if moves else set()
        if folder:
            found += [_of_folder(*folder, stills)] if stills else []
        else:
            found += _paired(stills) if pairs else stills
    return Clips(told_apart(found), _tell(found, moving, count, pairs=pairs))


def _of_folder(root: Path, folder: Path, stills: Sequence[ImageSource]) -> ImageSource:
    inside = folder.relative_to(root).as_posix()
    key = (root.resolve().name or "frames") if inside == "." else inside
    return ImageSource(folder, key, frames=tuple(source.path for source in stills))


def _paired(stills: Sequence[ImageSource]) -> list[ImageSource]:
    pairs = [
        ImageSource(one.path, f"{one.key}+{other.key}", frames=(one.path, other.path))
        for one, other in zip(stills[::2], stills[1::2], strict=False)
    ]
    return [*pairs, *stills[2 * len(pairs) :]]


def _moves(path: Path) -> bool:
    """Return whether a file holds several pictures; what is wrong with it is told later."""
    if not path.name.lower().endswith(_MAY_MOVE):
        return False
    try:
        with decoding(path), Image.open(path) as image:
            return bool(getattr(image, "is_animated", False))
    except InputError:
        return False


def _tell(found: Sequence[ImageSource], moving: set[Path], count: int, *, pairs: bool) -> str:
    folders = sum(bool(source.frames) and source.path.is_dir() for source in found)
    couples = sum(bool(source.frames) for source in found) - folders
    stills = sum(not (s.frames or s.error or s.path in moving) for s in found)
    order = "the first two pictures" if pairs else "the pictures in it, in natural order"
    alone = "paired with itself: no motion" if pairs else "held still"
    parts = [
        f"{_counted(folders, 'folder')} ({order})" if folders else "",
        f"{_counted(couples, 'pair')} of files" if couples else "",
        f"{_counted(len(moving), 'file')} of several frames" if moving else "",
        f"{_counted(stills, 'picture')} {alone}" if stills else "",
    ]
    return f"inputs of {count} frames: {', '.join(part for part in parts if part)}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def frame_numbers(there: int, count: int, *, pairs: bool = False) -> list[int]:
    """Return which frames are taken: spread evenly, each held where there are too few.

    Args:
        there: How many there are.
        count: How many are taken.
        pairs: Whether the first ones are taken instead, as motion is between neighbours.
    """
    if pairs:
        return [min(i, there - 1) for i in range(count)]
    return [(2 * i + 1) * there // (2 * count) for i in range(count)]


def open_frames(
    source: ImageSource, count: int, least: int | None, *, pairs: bool = False
) -> tuple[list[Image.Image], tuple[int, int]]:
    """Return `count` frames of a clip as 8-bit RGB, and the size of the first.

    Args:
        source: A clip, or a picture.
        count: How many frames.
        least: As for `open_reduced`.
        pairs: As for `frame_numbers`.

    Raises:
        InputError: If a frame cannot be read.
    """
    if source.frames:
        numbers = frame_numbers(len(source.frames), count, pairs=pairs)
        opened = {i: open_reduced(source.frames[i], least) for i in sorted(set(numbers))}
        return [opened[i][0] for i in numbers], opened[numbers[0]][1]
    if not _moves(source.path):
        picture, size = open_reduced(source.path, least)
        return [picture] * count, size
    frames = _open_animated(source.path, count, pairs=pairs)
    return frames, frames[0].size


def _open_animated(path: Path, count: int, *, pairs: bool) -> list[Image.Image]:
    with decoding(path), Image.open(path) as image:
        numbers = frame_numbers(getattr(image, "n_frames", 1), count, pairs=pairs)
        frames = dict(_read(image, path, numbers))
        return [frames[i] for i in numbers]


def _read(
    image: Image.Image, path: Path, numbers: Sequence[int]
) -> Iterator[tuple[int, Image.Image]]:
    for number in sorted(set(numbers)):
        with decoding(path, f"frame {number} of "):
            image.seek(number)
            yield number, to_rgb(image)
