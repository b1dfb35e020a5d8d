"""Pictures to PNG bytes."""

import io
import json
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cnnviz.render.palette import WHITE

# Higher levels take several times as long for a few percent.
_LEVEL = 1
_FRAME, _LAST_FRAME = 600, 2400  # milliseconds that a frame stays


def encode_png(image: Image.Image, about: Mapping[str, object]) -> bytes:
    """Return the picture as PNG, the same bytes for the same picture.

    Args:
        image: A palette or RGB picture.
        about: What it shows; stored inside as JSON, in the text entry "cnnviz".
    """
    data = io.BytesIO()
    strategy = zlib.Z_DEFAULT_STRATEGY if _has_repeated_rows(image) else zlib.Z_RLE
    info = _describe(about)
    image.save(data, "png", compress_level=_LEVEL, compress_type=strategy, pnginfo=info)
    return data.getvalue()


def encode_frames(
    frames: Sequence[Image.Image], about: Mapping[str, object], seconds: float | None = None
) -> bytes:
    """Return pictures as an animated PNG that repeats; the last one stays for longer.

    Args:
        frames: Palette or RGB pictures, of one mode; smaller ones are set on white.
        about: As for `encode_png`.
        seconds: How long all take but for the rest on the last; None for 0.6 each.
    """
    size = (max(frame.width for frame in frames), max(frame.height for frame in frames))
    first, *others = (_on_white(frame, size) for frame in frames)
    each = _FRAME if seconds is None else 1000 * seconds / len(frames)
    data = io.BytesIO()
    first.save(
        data, "png", compress_level=_LEVEL, pnginfo=_describe(about), save_all=True,
        append_images=others, loop=0, duration=[*[each] * len(others), _LAST_FRAME],
    )  # fmt: skip
    return data.getvalue()


def _on_white(frame: Image.Image, size: tuple[int, int]) -> Image.Image:
    if frame.size == size:
        return frame
    canvas = Image.new(frame.mode, size, WHITE if frame.mode == "P" else "white")
    if frame.mode == "P":
        canvas.putpalette(frame.getpalette() or ())
    canvas.paste(frame)
    return canvas


def _describe(about: Mapping[str, object]) -> PngInfo:
    info = PngInfo()
    info.add_text("Software", "cnnviz")
    text = json.dumps(about, ensure_ascii=False, sort_keys=True)
    # Names of files that are not UTF-8 hold lone surrogates; Python escapes them as JSON does.
    info.add_itxt("cnnviz", text.encode(errors="backslashreplace").decode())
    return info


def _has_repeated_rows(image: Image.Image) -> bool:
    """Return whether many rows equal the one above, as in enlarged maps.

    Where they do not, a search for repetitions finds none: run lengths alone take a third of the
    time, and the file is no larger.
    """
    pixels = np.asarray(image)
    alike = (pixels[1:] == pixels[:-1]).all(axis=tuple(range(1, pixels.ndim)))
    return image.mode != "P" or bool(alike.sum() > len(alike) / 4)
