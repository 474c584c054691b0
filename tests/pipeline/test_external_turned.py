"""External images with metadata that turn them are scored as viewers show them."""

from __future__ import annotations

import hashlib
import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from tests.helpers.image_folder import TARGETS, cells, noise, refused, score, write_manifest
from varbench.report.image_grid import _thumbnail
from varbench.scoring.scorers.detections import _read_bgr
from varbench.scoring.scorers.features import FeatureScorer
from varbench.scoring.scorers.images import read_tensor
from varbench.scoring.scorers.judge import JudgeScorer
from varbench.scoring.scorers.lpips import read_square
from varbench.store import Store
from varbench.utils.images import orientation, read_rgb

PIXELS = Image.open(io.BytesIO(noise(1, size=(64, 48))))
INVERSE = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}  # what undoes each turn
FORMS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}


def exif_of(turn: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = turn
    return exif


def turned(image: Image.Image, turn: int) -> Image.Image:
    image = image.copy()
    image.getexif()[ExifTags.Base.Orientation] = turn
    return ImageOps.exif_transpose(image)


def tagged(turn: int, form: str, image: Image.Image = PIXELS) -> bytes:
    """A file that a viewer shows as `image`: stored turned the other way, with the tag."""
    out = io.BytesIO()
    stored = turned(image, INVERSE[turn])
    stored.info = {}
    exact: dict[str, Any] = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}
    stored.save(out, form, exif=exif_of(turn), **exact.get(form, {}))
    return out.getvalue()


def folder_of(folder: Path, files: dict[str, bytes]) -> Path:
    rows = []
    for i, (name, data) in enumerate(files.items()):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        rows.append({"file": name, "prompt": TARGETS[0], "seed": str(i), "group": ""})
    write_manifest(folder, rows)
    return folder


@pytest.mark.parametrize("suffix", FORMS)
def test_every_orientation_is_stored_as_viewers_show_it(suffix: str, tmp_path: Path) -> None:
    files = {f"{n}.{suffix}": tagged(n, FORMS[suffix]) for n in INVERSE}
    done = score(folder_of(tmp_path / "in", files), tmp_path / "store")
    assert done.exit_code == 0, done.output
    (cell,) = cells(tmp_path / "store").values()
    store = Store(tmp_path / "store")
    for image, name in zip(cell["pictures"]["target"], files, strict=True):
        entry = store.find("pictures", image["key"])
        assert entry is not None
        with Image.open(entry.path(image["file"])) as stored:
            assert orientation(stored) == 1 and stored.mode == "RGB"
            assert stored.size == PIXELS.size
            shown = np.asarray(stored, np.int16)
        exact = np.asarray(PIXELS, np.int16)
        # In any other orientation, noise is off by 85 on average.
        assert np.abs(shown - exact).mean() < (2 if suffix == "jpg" else 1e-9), name


def test_of_a_photo_with_a_preview_behind_it_the_photo_is_scored(tmp_path: Path) -> None:
    out = io.BytesIO()
    stored, preview = turned(PIXELS, INVERSE[6]), Image.new("RGB", (16, 16))
    exact = {"quality": 100, "subsampling": 0}
    stored.save(out, "MPO", save_all=True, append_images=[preview], exif=exif_of(6), **exact)
    assert Image.open(out).format == "MPO"
    done = score(folder_of(tmp_path / "in", {"0.jpg": out.getvalue()}), tmp_path / "store")
    assert done.exit_code == 0, done.output
    (cell,) = cells(tmp_path / "store").values()
    (image,) = cell["pictures"]["target"]
    entry = Store(tmp_path / "store").find("pictures", image["key"])
    assert entry is not None
    with Image.open(entry.path(image["file"])) as scored:
        difference = np.asarray(scored, np.int16) - np.asarray(PIXELS, np.int16)
    assert np.abs(difference).mean() < 2


def test_a_turned_file_has_the_numbers_of_the_upright_one(tmp_path: Path) -> None:
    upright = {f"{i}.png": noise(i, size=(64, 64)) for i in range(4)}
    images = [Image.open(io.BytesIO(data)) for data in upright.values()]
    files = {f"{i}.png": tagged(6, "PNG", image) for i, image in enumerate(images)}
    base, other = folder_of(tmp_path / "upright", upright), folder_of(tmp_path / "tagged", files)
    done = score(other, tmp_path / "s", "--method", "m", "--against", base)
    assert done.exit_code == 0, done.output
    records = {r["metric"]: r for r in cells(tmp_path / "s")["elsewhere/m"]["records"]}
    assert records["acc_e"]["value"] == records["acc_e"]["baseline"]
    method, against = (cells(tmp_path / "s")[f"elsewhere/{name}"] for name in ("m", "none"))
    hits = [[row["hit"] for row in cell["pictures"]["target"]] for cell in (method, against)]
    assert hits[0] == hits[1]


@pytest.mark.parametrize("suffix", FORMS)
def test_every_reader_turns_images(suffix: str, tmp_path: Path) -> None:
    big = Image.open(io.BytesIO(noise(3, size=(96, 64))))
    file, plain = tmp_path / f"a.{suffix}", tmp_path / "b.png"
    file.write_bytes(tagged(8, FORMS[suffix], big))
    read_rgb(file).save(plain)
    assert read_rgb(file).size == big.size
    assert read_rgb(file).tobytes() == read_rgb(plain).tobytes()
    for reader in (read_tensor, read_square):
        assert bool((reader(file) == reader(plain)).all())
    assert (_read_bgr(file) == _read_bgr(plain)).all()
    assert _thumbnail(file).tobytes() == _thumbnail(plain).tobytes()
    for scorer in (JudgeScorer(), FeatureScorer()):
        arrays = scorer.score([file, plain], ["", ""])
        assert all((rows[0] == rows[1]).all() for rows in arrays.values())


def chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")


@pytest.mark.parametrize("where", ["last", "profile", "xmp"])
def test_other_carriers_in_png_files_turn_too(where: str, tmp_path: Path) -> None:
    out = io.BytesIO()
    stored = turned(PIXELS, INVERSE[6])
    stored.info = {}
    stored.save(out, "PNG")
    data = out.getvalue()
    raw = exif_of(6).tobytes()
    text = f"\nexif\n{len(raw):8}\n{raw.hex()}\n".encode()
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    extra = {
        "last": chunk(b"eXIf", raw.removeprefix(b"Exif\0\0")),
        "profile": chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)),
        "xmp": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp),
    }[where]
    at = len(data) - 12 if where == "last" else 33  # before IEND; after IHDR
    file = {"a.png": data[:at] + extra + data[at:]}
    assert score(folder_of(tmp_path / "in", file), tmp_path / "s").exit_code == 0
    (entry,) = Store(tmp_path / "s").entries("pictures")
    assert read_rgb(entry.path("000.png")).tobytes() == PIXELS.tobytes()


def test_sizes_are_compared_as_shown(tmp_path: Path) -> None:
    plain = io.BytesIO()
    PIXELS.save(plain, "PNG")
    base = folder_of(tmp_path / "base", {"a.png": plain.getvalue()})
    same = folder_of(tmp_path / "same", {"a.jpg": tagged(6, "JPEG")})
    other = folder_of(tmp_path / "other", {"a.png": lying()})
    done = score(same, tmp_path / "s", "--method", "m", "--against", base)
    assert done.exit_code == 0, done.output
    done = score(other, tmp_path / "t", "--method", "m", "--against", base)
    assert "48 x 64 pixels" in refused(done, tmp_path / "t")


def lying() -> bytes:
    out = io.BytesIO()
    PIXELS.save(out, "PNG", exif=exif_of(6))  # shown 48 wide and 64 high
    return out.getvalue()


def test_upright_files_keep_their_bytes_and_keys(tmp_path: Path) -> None:
    out = io.BytesIO()
    PIXELS.save(out, "PNG", exif=exif_of(1))
    broken = io.BytesIO()
    PIXELS.save(broken, "PNG", exif=b"Exif\0\0not a TIFF file")  # turns nothing in a viewer
    files = {"a.png": out.getvalue(), "b.png": broken.getvalue()}
    assert score(folder_of(tmp_path / "in", files), tmp_path / "s").exit_code == 0
    (entry,) = Store(tmp_path / "s").entries("pictures")
    assert [entry.path(f"00{i}.png").read_bytes() for i in range(2)] == [*files.values()]
    digests = [hashlib.sha256(data).hexdigest() for data in files.values()]
    assert [row[2:] for row in entry.spec["rows"]] == [[digest] for digest in digests]


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"tEXt"])
def test_too_much_text_is_named(kind: bytes, tmp_path: Path) -> None:
    size = 80 << 20 if kind == b"tEXt" else 2 << 20
    packed = zlib.compress(b"a" * size)
    body = {
        b"zTXt": b"workflow\0\0" + packed,
        b"iTXt": b"workflow\0\1\0\0\0" + packed,
        b"tEXt": b"workflow\0" + b"a" * size,
    }[kind]
    data = noise(1)
    folder_of(tmp_path / "in", {"a.png": data[:33] + chunk(kind, body) + data[33:]})
    message = refused(score(tmp_path / "in", tmp_path / "s"), tmp_path / "s")
    assert "a.png: too much text in the file; save it again without metadata" in message


@pytest.mark.parametrize(
    ("mode", "form", "message"),
    [
        ("CMYK", "JPEG", "pixels of kind CMYK; save it as 8-bit RGB"),
        ("1", "PNG", "pixels of kind 1; save it as 8-bit RGB"),
        ("I;16", "PNG", "pixels of kind I;16; save it as 8-bit RGB"),
    ],
)
def test_other_kinds_of_pixels_are_named(
    mode: str, form: str, message: str, tmp_path: Path
) -> None:
    out = io.BytesIO()
    PIXELS.convert("L").convert(mode).save(out, form, exif=exif_of(6))
    folder_of(tmp_path / "in", {"a.img": out.getvalue()})
    assert message in refused(score(tmp_path / "in", tmp_path / "s"), tmp_path / "s")


@pytest.mark.parametrize("mode", ["P", "L"])
def test_palettes_and_greys_are_turned(mode: str, tmp_path: Path) -> None:
    image = PIXELS.convert(mode)
    folder_of(tmp_path / "in", {"a.png": tagged(5, "PNG", image)})
    assert score(tmp_path / "in", tmp_path / "s").exit_code == 0
    (entry,) = Store(tmp_path / "s").entries("pictures")
    assert read_rgb(entry.path("000.png")).tobytes() == image.convert("RGB").tobytes()
