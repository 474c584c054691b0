"""Damaged image files: all images of a folder are taken as they are, or none is.

`VARBENCH_FUZZ=5000 pytest tests/pipeline/test_mutated_images.py` tries many.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.helpers.fuzz import fuzz
from tests.helpers.image_folder import TARGETS, noise, noise_folder
from varbench.errors import UserError
from varbench.pipeline.context import RunContext
from varbench.pipeline.external.job import ScoreRequest, plan_scoring
from varbench.pipeline.external.score import import_images
from varbench.store import Store

IMAGES = 4


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
