"""Pictures to PNG bytes."""

import io
import json
from collections.abc import Mapping

from PIL import Image
from PIL.PngImagePlugin import PngInfo

# Feature maps hardly compress further at higher levels, which cost more time.
_LEVEL = 1


def encode_png(image: Image.Image, about: Mapping[str, object]) -> bytes:
    """Return the picture as PNG, the same bytes for the same picture.

    Args:
        image: A palette or RGB picture.
        about: What it shows; stored inside as JSON, in the text entry "cnnviz".
    """
    info = PngInfo()
    info.add_text("Software", "cnnviz")
    text = json.dumps(about, ensure_ascii=False, sort_keys=True)
    # Names of files that are not UTF-8 hold lone surrogates; Python escapes them as JSON does.
    info.add_itxt("cnnviz", text.encode(errors="backslashreplace").decode())
    data = io.BytesIO()
    image.save(data, "png", compress_level=_LEVEL, pnginfo=info)
    return data.getvalue()
