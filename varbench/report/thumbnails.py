"""Images made small, covered, and embedded in a page as data URIs."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

_LARGEST = 256  # pixels a side; a page shows them at half of that
_MOSAIC = 4  # colour patches a side of a covered image: hues, but neither shapes nor edges


def thumbnail(path: Path) -> Image.Image:
    """The image as RGB without metadata, at most 256 pixels a side."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    image.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
    return image


def mosaic(image: Image.Image) -> Image.Image:
    """A stand-in that keeps only a few soft patches of colour, whatever the image's size.

    It is made here and not by the browser, so that what a page shows first does not hold the
    detail: no style sheet that fails to load can reveal it.
    """
    patches = image.resize((_MOSAIC, _MOSAIC), Image.Resampling.BOX)
    return patches.resize((64, 64), Image.Resampling.BICUBIC)


def data_uri(image: Image.Image) -> str:
    """`image` as a data URI: lossless PNG up to 64 pixels, JPEG above (a tenth of the size)."""
    buffer = io.BytesIO()
    if max(image.size) <= 64:
        image.save(buffer, "PNG", optimize=True)
        kind = "png"
    else:
        image.save(buffer, "JPEG", quality=86, optimize=True)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def image_of(uri: str) -> Image.Image:
    """The image in a data URI, as RGB."""
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as opened:
        return opened.convert("RGB")
