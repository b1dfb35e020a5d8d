"""Pictures to PNG bytes."""

import io
import json
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

# Higher levels take several times as long for a few percent.
_LEVEL = 1


def encode_png(image: Image.Image, about: Mapping[str, object]) -> bytes:
    """Return the picture as PNG, the same bytes for the same picture.

    Args:
        image: A palette or RGB picture.
        about: What it shows; stored inside as JSON, in the text entry "cnnviz".
    """
    data = io.BytesIO()
    strategy = zlib.Z_DEFAULT_STRATEGY if _has_repeated_rows(image) else zlib.Z_RLE
    image.save(data, "png", compress_level=_LEVEL, compress_type=strategy, pnginfo=_info(about))
    return data.getvalue()


def encode_animation(
    frames: Sequence[Image.Image], about: Mapping[str, object], seconds: float
) -> bytes:
    """Return pictures of one size as an animated PNG that runs forever and rests on the last.

    Args:
        frames: At least two, RGB or grey.
        about: What they show, as for `encode_png`.
        seconds: How long the whole takes, without the rest.
    """
    data = io.BytesIO()
    durations = [1000 * seconds / len(frames)] * (len(frames) - 1) + [1000.0]
    frames[0].save(
        data, "png", save_all=True, append_images=frames[1:], duration=durations, loop=0,
        pnginfo=_info(about),
    )  # fmt: skip
    return data.getvalue()


def _info(about: Mapping[str, object]) -> PngInfo:
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
