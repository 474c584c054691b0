"""`varbench score` refuses malformed lists and images that cannot be scored, by line."""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.image_folder import TARGETS, noise, noise_folder, refused, score, write_manifest

# --- lists that are refused


ROW = f"0-0.png,{TARGETS[0]},0"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("file,prompt\n0-0.png,a face\n", "manifest.csv:1: no column 'seed'"),
        ("", "manifest.csv:1: no column 'file'"),
        ("file,prompt,seed\n", "manifest.csv:1: no images"),
        ("file,prompt,seed,seed\n", "manifest.csv:1: column 'seed' appears twice"),
        ("file,prompt,seed, group\n", "manifest.csv:1: column ' group' has spaces"),
        (f"file,prompt,seed\n{ROW}\n0-1.png,a face\n", "manifest.csv:3: 2 cells"),
        (f"file,prompt,seed\n{ROW}\n\n0-1.png,a face,1\n", "manifest.csv:3: empty line"),
        ("file,prompt,seed\n0-0.png,a face,one\n", "manifest.csv:2: seed 'one'"),
        ("file,prompt,seed\n0-0.png,a face,-1\n", "manifest.csv:2: seed '-1'"),
        ("file,prompt,seed\n0-0.png,a face,1.0\n", "manifest.csv:2: seed '1.0'"),
        ("file,prompt,seed\n0-0.png, ,1\n", "manifest.csv:2: empty prompt"),
        ("file,prompt,seed\n,a face,1\n", "manifest.csv:2: no file"),
        (f"file,prompt,seed\n{ROW}\n0-1.png,{TARGETS[0]},0\n", "manifest.csv:3: prompt and seed"),
        (f"file,prompt,seed\n{ROW}\n0-0.png,{TARGETS[1]},0\n", "manifest.csv:3: file '0-0.png'"),
        (f"file,prompt,seed,group\n{ROW},tagret\n", "manifest.csv:2: unknown group 'tagret'"),
        (f"file,prompt,seed,group\n{ROW},unrelated\n", "manifest.csv:2: .* shows the concept"),
        ('file,prompt,seed\n0-0.png,"a face,0\n', "manifest.csv:2: not valid CSV"),
        (f"file,prompt,seed\n{ROW}\ngone.png,a face,0\n", "manifest.csv:3: gone.png: there is no"),
        ("file,prompt,seed\n0-0.png,une tête,0\n".encode("latin-1"), "manifest.csv:2: not UTF-8"),
        ("file,prompt,seed\n0-0.png,a face,0\n".encode("utf-16"), "manifest.csv:1: not UTF-8"),
    ],
)
def test_a_malformed_list_is_refused_with_its_line(
    data: str | bytes, message: str, tmp_path: Path
) -> None:
    noise_folder(tmp_path / "pictures", TARGETS)
    raw = data if isinstance(data, bytes) else data.encode()
    (tmp_path / "pictures" / "manifest.csv").write_bytes(raw)
    found = refused(score(tmp_path / "pictures", tmp_path / "store"), tmp_path / "store")
    assert any(re.search(message, line) for line in found.splitlines()), found


def test_a_byte_order_mark_and_line_ends_of_windows_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    noise_folder(folder, TARGETS[:2], seeds=1)
    text = (folder / "manifest.csv").read_text().replace("\n", "\r\n")
    (folder / "manifest.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert score(folder, tmp_path / "store").exit_code == 0


def test_a_folder_without_a_manifest_shows_the_format(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    message = refused(score(tmp_path / "pictures", tmp_path / "s"), tmp_path / "s")
    assert "no manifest.csv (columns file, prompt, seed and perhaps group)" in message
    assert "there is no folder" in refused(score(tmp_path / "none", tmp_path / "s"), tmp_path / "s")
    for record in ("{}", "[1]", "not json"):
        place = tmp_path / "pictures" / "00000" / "samples" / "0000.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(noise(1))
        (place.parent.parent / "metadata.jsonl").write_text(record)
        message = refused(score(tmp_path / "pictures", tmp_path / "s"), tmp_path / "s")
        assert "metadata.jsonl" in message and "'prompt'" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--method", "mine"), "give its images with --against DIR"),
        (("--method", "none", "--against", "."), "drop --against"),
        (("--method", "a,b"), "'a,b' cannot be a name"),
        (("--method", "none", "--model-name", "infinity-2b"), "that varbench itself runs"),
        (("--method", "none", "--suite", "smokes"), "did you mean 'smoke'"),
        (("--method", "none", "--concept", "face-adda"), "did you mean 'face-ada'"),
    ],
)
def test_names_are_checked_first(options: tuple[str, ...], message: str, tmp_path: Path) -> None:
    noise_folder(tmp_path / "pictures", TARGETS)
    assert message in refused(
        score(tmp_path / "pictures", tmp_path / "s", *options), tmp_path / "s"
    )


# --- images that are refused


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int = 8, rows: bytes = b"\0" * 10_000) -> bytes:
    """An RGB file that claims this size, whatever its rows."""
    head = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    signature = b"\x89PNG\r\n\x1a\n"
    body = chunk(b"IDAT", zlib.compress(rows))
    return signature + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")


DEEP = png(64, 64, 16, 64 * (b"\0" + bytes(64 * 6)))


def animation(path: Path) -> None:
    frames = [Image.new("RGB", (64, 64), (shade, 0, 0)) for shade in (0, 255)]
    frames[0].save(path, "PNG", save_all=True, append_images=frames[1:])


def a_link(path: Path) -> None:
    outside = path.parents[1] / "outside.png"
    outside.write_bytes(noise(3))
    path.unlink()
    path.symlink_to(outside)


def a_circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def writes(data: bytes) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        path.write_bytes(data)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (Path.unlink, "there is no such file"),
        (writes(b""), "not an image"),
        (writes(b"<html>not found</html>"), "not an image"),
        (writes(noise(1, form="GIF")), "not an image; PNG, JPEG, WEBP are read"),
        (writes(noise(1)[:-3000]), "damaged or cut off"),
        (writes(noise(1, form="JPEG")[:-500]), "damaged or cut off"),
        (writes(png(60_000, 60_000)), "too many pixels"),
        (writes(png(9_000, 9_000)), "too many pixels"),
        (writes(png(0, 64)), "1-0.png"),
        (writes(DEEP), "pixels of kind 16-bit RGB; save it as 8-bit RGB"),
        (lambda p: Image.new("CMYK", (64, 64)).save(p, "JPEG"), "pixels of kind CMYK"),
        (animation, "an animation"),
        (lambda p: Image.new("RGBA", (64, 64), (9, 9, 9, 200)).save(p), "transparent in places"),
        (lambda p: Image.new("I;16", (64, 64)).save(p), "pixels of kind I;16"),
        (a_link, "a link out of the folder"),
        (a_circle, "cannot be read|there is no such file"),
        (a_pipe, "there is no such file"),
        (a_folder, "there is no such file"),
    ],
)
def test_an_image_that_cannot_be_scored_refuses_the_folder_with_its_line(
    spoil: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    rows = noise_folder(folder, TARGETS, seeds=1)
    spoil(folder / rows[1]["file"])
    found = refused(score(folder, tmp_path / "store"), tmp_path / "store")
    assert "1 images cannot be scored" in found and "manifest.csv:3: 1-0.png: " in found
    assert any(one in found for one in message.split("|")), found


@pytest.mark.parametrize("file", ["../outside.png", "/etc/hostname", "a/../../outside.png"])
def test_a_path_out_of_the_folder_is_refused(file: str, tmp_path: Path) -> None:
    (tmp_path / "outside.png").write_bytes(noise(3))
    rows = noise_folder(tmp_path / "pictures", TARGETS, seeds=1)
    write_manifest(tmp_path / "pictures", [rows[0] | {"file": file}])
    found = refused(score(tmp_path / "pictures", tmp_path / "store"), tmp_path / "store")
    assert f"manifest.csv:2: {file}: not a path below the folder" in found


def test_an_opaque_alpha_channel_and_a_link_inside_are_fine(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    rows = noise_folder(folder, TARGETS[:2], seeds=1)
    Image.new("RGBA", (64, 64), (9, 9, 9, 255)).save(folder / rows[0]["file"])
    (folder / "other.png").write_bytes(noise(8))
    (folder / rows[1]["file"]).unlink()
    (folder / rows[1]["file"]).symlink_to("other.png")
    assert score(folder, tmp_path / "store").exit_code == 0


def test_images_of_unequal_size_are_not_compared(tmp_path: Path) -> None:
    rows = noise_folder(tmp_path / "a", TARGETS, seeds=1)
    noise_folder(tmp_path / "b", TARGETS, seeds=1)
    (tmp_path / "a" / rows[2]["file"]).write_bytes(noise(1, size=(64, 32)))
    done = score(tmp_path / "a", tmp_path / "s", "--method", "mine", "--against", tmp_path / "b")
    message = refused(done, tmp_path / "s")
    assert "manifest.csv:4: 64 x 32 pixels" in message and "64 x 64" in message
