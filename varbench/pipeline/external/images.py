"""Image files that another program made, into the store: checked first, then taken as they are.

Every file is read and looked at before anything is scored, and one that cannot be used refuses the
whole folder: an image that is left out silently would make a method look better or worse.
PNG files are kept byte for byte; JPEG and WebP become PNG, which keeps the pixels they decode to.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from PIL import Image, UnidentifiedImageError

from varbench.pipeline.external.manifest import ImageListError, Line
from varbench.pipeline.plan import Sample
from varbench.pipeline.stored_group import image_name
from varbench.store import Entry

if TYPE_CHECKING:
    from varbench.pipeline.context import RunContext

VERSION = 1
STAGE = "pictures"
FORMATS = ("PNG", "JPEG", "WEBP")
MODES = ("RGB", "L", "P", "RGBA", "LA")
LARGEST_FILE = 1 << 28  # bytes
LARGEST_IMAGE = 1 << 26  # pixels: 8192 x 8192
_SHOWN = 5


@dataclass(frozen=True)
class ImageFile:
    """A file that looks usable.

    Attributes:
        line: what the list says of it.
        path: the file itself, no link.
        sha256: of its bytes.
        size: width and height in pixels.
        format: `PNG` or another of `FORMATS`.
    """

    line: Line
    path: Path
    sha256: str
    size: tuple[int, int]
    format: str


def look(folder: Path, lines: Mapping[str, Sequence[Line]]) -> dict[str, list[ImageFile]]:
    """Read the files of some lines as far as their headers.

    Args:
        folder: that the lines' paths are below.
        lines: of each group.

    Raises:
        ImageListError: files that are missing, lead out of the folder, or are no images that
            can be scored; names the first ones with their lines.
    """
    root = folder.resolve()
    seen: dict[str, ImageFile] = {}
    wrong: list[str] = []
    for line in {one.where: one for some in lines.values() for one in some}.values():
        try:
            path = _inside(root, line.file)
            data = _bytes(path)
            with _opened(data) as image:
                digest = hashlib.sha256(data).hexdigest()
                seen[line.where] = ImageFile(line, path, digest, image.size, str(image.format))
        except _UnusableError as error:
            wrong.append(f"{line.where}: {line.file}: {error}")
    _refuse(wrong)
    return {group: [seen[line.where] for line in some] for group, some in lines.items()}


def check_sizes(
    own: Mapping[str, Sequence[ImageFile]], base: Mapping[str, Sequence[ImageFile]]
) -> None:
    """Refuse images that are compared with images of another size.

    Raises:
        ImageListError: names both.
    """
    for group in own:
        for one, other in zip(own[group], base[group], strict=True):
            if one.size != other.size:
                raise ImageListError(
                    f"{one.line.where}: {one.size[0]} x {one.size[1]} pixels, but the unerased "
                    f"model's image ({other.line.where}) has {other.size[0]} x {other.size[1]}; "
                    "make both at one size"
                )


class _UnusableError(Exception):
    """An image file cannot be scored."""


def _refuse(wrong: Sequence[str]) -> None:
    if wrong:
        lines = "\n".join(f"  {one}" for one in wrong[:_SHOWN])
        more = f"\n  and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise ImageListError(
            f"{len(wrong)} images cannot be scored; make them again, or take their rows out "
            f"of the list and say so where you report\n{lines}{more}"
        )


def _inside(root: Path, file: str) -> Path:
    """The file below the folder that a list names."""
    parts = PurePosixPath(file)
    if parts.is_absolute() or ".." in parts.parts or "\0" in file:
        raise _UnusableError("not a path below the folder")
    try:
        path = (root / parts).resolve()
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise _UnusableError(f"cannot be read ({error})") from error
    if not path.is_relative_to(root):
        raise _UnusableError("a link out of the folder; copy the file")
    if not path.is_file():
        raise _UnusableError("there is no such file")
    return path


def _bytes(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise _UnusableError(f"{size} bytes; at most {LARGEST_FILE} are read")
        return path.read_bytes()
    except OSError as error:
        raise _UnusableError(f"cannot be read ({error})") from error


def _opened(data: bytes) -> Image.Image:
    """An image whose header is acceptable; nothing is decoded yet."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _UnusableError(f"too many pixels ({error})") from error
    except UnidentifiedImageError as error:
        raise _UnusableError(f"not an image; {', '.join(FORMATS)} are read") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise _UnusableError(f"damaged ({error})") from error
    width, height = image.size
    if width * height > LARGEST_IMAGE:
        raise _UnusableError(f"{width} x {height}: too many pixels; at most {LARGEST_IMAGE}")
    if getattr(image, "n_frames", 1) > 1:
        raise _UnusableError("an animation; one still image is scored")
    # Pillow reads 16 bits as 8 and says so nowhere; in a PNG file the depth is the 25th byte.
    deep = image.format == "PNG" and data[24:25] == b"\x10"
    if image.mode not in MODES or deep:
        kind = "16-bit RGB" if deep and image.mode in MODES else image.mode
        raise _UnusableError(f"pixels of kind {kind}; save it as 8-bit RGB")
    return image


def _decoded(data: bytes) -> Image.Image:
    """An image with all its pixels, as RGB."""
    with _opened(data) as image:
        try:
            image.load()
        except (OSError, ValueError, SyntaxError, EOFError) as error:
            raise _UnusableError(f"damaged or cut off ({error})") from error
        if image.has_transparency_data:
            least, _ = image.convert("RGBA").getchannel("A").getextrema()
            if least != 255:
                raise _UnusableError("transparent in places; paint it on a background first")
        return image.convert("RGB")


def import_images(
    ctx: RunContext, blocks: Sequence[Sequence[Sample]], files: Sequence[Sequence[ImageFile]]
) -> list[Entry]:
    """The images of all blocks as store entries; made where they are not there.

    All files are decoded before the first is taken.

    Args:
        shop: whose store.
        blocks: rows, block by block.
        files: the files of the same rows.

    Raises:
        ImageListError: files that cannot be decoded, or that have changed since they were read.
    """
    specs = [_spec(block, some) for block, some in zip(blocks, files, strict=True)]
    entries = [ctx.store.get(STAGE, spec) for spec in specs]
    missing = [i for i, entry in enumerate(entries) if entry is None]
    wrong: list[str] = []
    total = sum(len(block) for block in blocks)
    fresh = sum(len(files[i]) for i in missing)
    if missing:
        with ctx.progress.stage("check", total, total - fresh) as bar:
            for file in (file for i in missing for file in files[i]):
                try:
                    _decoded(_unchanged(file))
                except _UnusableError as error:
                    wrong.append(f"{file.line.where}: {file.line.file}: {error}")
                bar.advance()
    _refuse(wrong)
    for i in missing:
        entries[i] = _take(ctx, specs[i], files[i])
    return [entry for entry in entries if entry is not None]


def _spec(block: Sequence[Sample], files: Sequence[ImageFile]) -> dict[str, Any]:
    rows = zip(block, files, strict=True)
    return {
        "elsewhere": VERSION,
        "rows": [[row.prompt.text, row.seed, file.sha256] for row, file in rows],
    }


def _unchanged(file: ImageFile) -> bytes:
    data = _bytes(file.path)
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise _UnusableError("changed while it was read; let the other program finish")
    return data


def _take(ctx: RunContext, spec: Mapping[str, Any], files: Sequence[ImageFile]) -> Entry:
    with ctx.store.write(STAGE, spec) as writer:
        for i, file in enumerate(files):
            try:
                data = _unchanged(file)
            except _UnusableError as error:
                raise ImageListError(f"{file.line.where}: {file.line.file}: {error}") from error
            place = writer.dir / image_name(i)
            if file.format == "PNG":
                place.write_bytes(data)
            else:
                _decoded(data).save(place, "PNG")
        writer.meta["tokens_lost"] = {}
    assert writer.entry is not None
    return writer.entry
