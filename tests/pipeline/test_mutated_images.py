"""Image folders with anything in them: all images are taken as they are, or none is.

`VARBENCH_FUZZ=5000 pytest tests/pipeline/test_mutated_images.py` tries many.
"""

from __future__ import annotations

import io
import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.helpers.fuzz import fuzz
from tests.helpers.image_folder import TARGETS, noise, noise_folder, refused, score
from varbench.errors import UserError
from varbench.pipeline.context import RunContext
from varbench.pipeline.external.job import ScoreRequest, plan_scoring
from varbench.pipeline.external.score import import_images
from varbench.store import Store

IMAGES = 4


def png(width: int, height: int, depth: int, kind: int, data: bytes = b"") -> bytes:
    """A PNG file with this header, whatever its content."""

    def chunk(name: bytes, body: bytes) -> bytes:
        sealed = name + body
        return struct.pack(">I", len(body)) + sealed + struct.pack(">I", zlib.crc32(sealed))

    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
    return start + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def saved(image: Image.Image, form: str, **how: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **how)
    return out.getvalue()


def deep() -> bytes:
    """A right PNG file of 64 x 64 pixels with 16 bits per colour."""
    rows = b"".join(b"\0" + bytes(64 * 6) for _ in range(64))
    return png(64, 64, 16, 2, rows)


GREY16 = Image.fromarray(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64))
FRAMES = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
ODD: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "not an image"),
    "text": (lambda: b"<html>404</html>", "not an image"),
    "cut off": (lambda: noise(0)[:600], "cut off"),
    "bomb": (lambda: png(60000, 60000, 8, 2), "too many pixels"),
    "huge": (lambda: png(16384, 4097, 8, 2), "too many pixels"),
    "no pixels": (lambda: png(0, 64, 8, 2), ""),
    "16 bit": (deep, "16-bit RGB; save it as 8-bit RGB"),
    "16 bit grey": (lambda: saved(GREY16, "PNG"), "8-bit RGB"),
    "CMYK": (lambda: saved(Image.new("CMYK", (64, 64)), "JPEG"), "CMYK; save it as 8-bit RGB"),
    "animation": (
        lambda: saved(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]), "animation",
    ),
    "clear": (lambda: saved(Image.new("RGBA", (64, 64)), "PNG"), "transparent"),
    "TIFF": (lambda: saved(Image.new("RGB", (64, 64)), "TIFF"), "PNG, JPEG, WEBP are read"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_an_image_that_cannot_be_scored_refuses_the_folder(tmp_path: Path, name: str) -> None:
    make, words = ODD[name]
    noise_folder(tmp_path / "in", TARGETS)
    (tmp_path / "in" / "1-0.png").write_bytes(make())
    said = refused(score(tmp_path / "in", tmp_path / "store"), tmp_path / "store")
    assert "1-0.png" in said and words in said and "Traceback" not in said


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside.png", "1-0.png", "folder"])
def test_links_and_folders_are_no_images(tmp_path: Path, target: str) -> None:
    noise_folder(tmp_path / "in", TARGETS)
    (tmp_path / "outside.png").write_bytes(noise(1))
    (tmp_path / "in" / "folder").mkdir()
    (tmp_path / "in" / "1-0.png").unlink()
    (tmp_path / "in" / "1-0.png").symlink_to(target)
    said = refused(score(tmp_path / "in", tmp_path / "store"), tmp_path / "store")
    assert "1-0.png" in said and "Traceback" not in said


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An image file with a few bytes changed, cut out or put in."""
    form = draw(st.sampled_from(["PNG", "JPEG", "WEBP"]))
    data = noise(draw(st.integers(0, 3)), form=form)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, max(0, len(data) - 1)) | st.integers(0, min(60, len(data))))
        end = min(len(data), start + draw(st.integers(0, 40)))
        data = data[:start] + draw(st.binary(max_size=12)) + data[end:]
    return data


@fuzz
@given(damaged())
def test_damaged_files(data: bytes) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        noise_folder(folder / "in", TARGETS[:2])
        (folder / "in" / "1-0.png").write_bytes(data)
        ctx = RunContext(Store(folder / "store"))
        try:
            base = plan_scoring(ScoreRequest(folder / "in", "face-ada", "none")).base
            suite = replace(base.cell.config.suite, block=2)
            cell = replace(base.cell, config=replace(base.cell.config, suite=suite))
            import_images(ctx, replace(base, cell=cell))
        except UserError as error:
            assert "1-0.png" in str(error)
            assert not list(ctx.store.entries("pictures"))
            return
        taken = [e for e in ctx.store.entries("pictures")]
        assert sum(len(entry.files) for entry in taken) == IMAGES
        for path in (entry.path(name) for entry in taken for name in entry.files):
            with Image.open(path) as image:
                image.load()
    finally:
        shutil.rmtree(folder)
