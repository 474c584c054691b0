"""Image files as people see them: 8-bit RGB, turned as their metadata say."""

from __future__ import annotations

from pathlib import Path

from PIL import ExifTags, Image, ImageOps

TURNS = range(2, 9)
"""Orientations of EXIF in which pixels are stored turned or mirrored."""


def orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 (upright) to 8, wherever the format keeps it.

    Metadata that cannot be read turn nothing, as in viewers.
    """
    try:
        stored = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # Pillow raises a dozen kinds, from SyntaxError to struct.error
        return 1
    return next((turn for turn in TURNS if turn == stored), 1)


def upright(image: Image.Image) -> Image.Image:
    """All pixels as RGB, turned as viewers show them. Raises what decoding raises."""
    image.load()
    turned = ImageOps.exif_transpose(image) if orientation(image) in TURNS else image
    return turned.convert("RGB")


def read_rgb(file: Path) -> Image.Image:
    """The image of a file; see :func:`upright`."""
    with Image.open(file) as image:
        return upright(image)
