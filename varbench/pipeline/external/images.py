"""External image files: checked first, then copied as they are.

Every file is read and checked before anything is scored, and an unusable one refuses the whole
folder: an image left out silently would make a method look better or worse. Upright PNG files are
kept byte for byte; others become PNG, which keeps the pixels that viewers show.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image, UnidentifiedImageError

from varbench.errors import UserError, machine_failed
from varbench.pipeline.external.groups import Assigned
from varbench.pipeline.external.manifest import ManifestRow
from varbench.pipeline.plan import Sample
from varbench.utils.images import TURNS, orientation, upright

FORMATS = ("PNG", "JPEG", "WEBP")
MODES = ("RGB", "L", "P", "RGBA", "LA")
LARGEST_FILE = 1 << 28  # bytes
LARGEST_IMAGE = 1 << 26  # pixels: 8192 x 8192
_METADATA = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")  # carriers in PNG files
_SHOWN = 5


@dataclass(frozen=True)
class ImageFile:
    """A file, with links resolved, whose header is acceptable.

    Attributes:
        size: width and height in pixels, upright.
        orientation: EXIF's, 1 (upright) to 8; other files are turned as viewers show them.
    """

    row: ManifestRow
    path: Path
    sha256: str
    size: tuple[int, int]
    format: str
    orientation: int

    @property
    def identity(self) -> list[str | int]:
        """Decides the stored pixels; of upright files the SHA-256 alone."""
        return [self.sha256, self.orientation] if self.orientation in TURNS else [self.sha256]


Images = Mapping[str, Sequence[tuple[Sample, ImageFile]]]
"""By prompt group, samples and their images."""


def inspect_files(folder: Path, assigned: Assigned) -> Images:
    """Read files, whose paths are below the folder, as far as their headers.

    Raises:
        UserError: files are missing, lead out of the folder, or cannot be scored; names the
            first ones with their lines.
    """
    root = folder.resolve()
    files: dict[str, ImageFile] = {}
    known: dict[tuple[int, int], ManifestRow] = {}
    errors: list[str] = []
    for row in {row.location: row for some in assigned.values() for _, row in some}.values():
        with _noted(row, errors):
            path = _inside(root, row.file)
            data = _read(path)
            # Links, letter case and Unicode forms are other spellings of one file.
            inode = path.stat()
            if (first := known.setdefault((inode.st_dev, inode.st_ino), row)) is not row:
                raise UserError(
                    f"{row.location}: file {row.file!r} is already in {first.location}, as "
                    f"{first.file!r}; delete one of them"
                )
            files[row.location] = _inspected(row, path, data)
    _refuse(errors)
    return {name: [(s, files[row.location]) for s, row in some] for name, some in assigned.items()}


def _inspected(row: ManifestRow, path: Path, data: bytes) -> ImageFile:
    with _opened(data) as image:
        # To look for metadata behind the pixels, Pillow decodes a whole PNG file.
        absent = image.format == "PNG" and not any(mark in data for mark in _METADATA)
        turned = 1 if absent else orientation(image)
        width, height = image.size
        size = (height, width) if turned >= 5 else (width, height)
        digest = hashlib.sha256(data).hexdigest()
        return ImageFile(row, path, digest, size, str(image.format), turned)


def check_sizes(method: Images, base: Images) -> None:
    """Refuse images that are compared with images of another size.

    Raises:
        UserError: names both.
    """
    for group in method:
        for (_, file), (_, other) in zip(method[group], base[group], strict=True):
            if file.size != other.size:
                raise UserError(
                    f"{file.row.location}: {file.size[0]} x {file.size[1]} pixels, but the base "
                    f"model's image ({other.row.location}) has {other.size[0]} x {other.size[1]}; "
                    "make both at one size"
                )


class _UnusableError(Exception):
    """An image file cannot be scored."""


@contextmanager
def _noted(row: ManifestRow, errors: list[str]) -> Iterator[None]:
    try:
        yield
    except _UnusableError as error:
        errors.append(f"{row.location}: {row.file}: {error}")


def _refuse(errors: Sequence[str]) -> None:
    if errors:
        lines = "\n".join(f"  {error}" for error in errors[:_SHOWN])
        more = f"\n  and {len(errors) - _SHOWN} more" if len(errors) > _SHOWN else ""
        raise UserError(
            f"{len(errors)} images cannot be scored; make them again, or take their rows out "
            f"of the list and say so where you report\n{lines}{more}"
        )


def _inside(root: Path, file: str) -> Path:
    """Resolve a path of the manifest, which must stay below the folder."""
    parts = PurePosixPath(file)
    if parts.is_absolute() or ".." in parts.parts or "\0" in file:
        raise _UnusableError("not a path below the folder")
    try:
        path = (root / parts).resolve()
        is_file = path.is_file()
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise _UnusableError(f"cannot be read ({error})") from error
    if not path.is_relative_to(root):
        raise _UnusableError("a link out of the folder; copy the file")
    if not is_file:
        raise _UnusableError("there is no such file")
    return path


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise _UnusableError(f"{size} bytes; at most {LARGEST_FILE} are read")
        return path.read_bytes()
    except OSError as error:
        raise _UnusableError(f"cannot be read ({error})") from error


def _opened(data: bytes) -> Image.Image:
    """Open an image and check its header; nothing is decoded yet."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _UnusableError(f"too many pixels ({error})") from error
    except UnidentifiedImageError as error:
        raise _UnusableError(f"not an image; {', '.join(FORMATS)} are read") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise _damaged(error) from error
    width, height = image.size
    if width * height > LARGEST_IMAGE:
        raise _UnusableError(f"{width} x {height}: too many pixels; at most {LARGEST_IMAGE}")
    # Phones put a preview or a second exposure behind a photo: an MPO, of which the first is read.
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise _UnusableError("an animation; one still image is scored")
    # Pillow reads 16 bits as 8 and says so nowhere; in a PNG file the depth is the 25th byte.
    deep = image.format == "PNG" and data[24:25] == b"\x10"
    if image.mode not in MODES or deep:
        kind = "16-bit RGB" if deep and image.mode in MODES else image.mode
        raise _UnusableError(f"pixels of kind {kind}; save it as 8-bit RGB")
    return image


def check_pixels(files: Sequence[ImageFile], advance: Callable[[], object]) -> None:
    """Decode files, calling `advance` after each.

    Raises:
        UserError: they cannot be decoded, or have changed since they were read; names the first
            ones with their lines.
    """
    errors: list[str] = []
    for file in files:
        with _noted(file.row, errors):
            _decoded(_unchanged(file))
        advance()
    _refuse(errors)


def save_png(file: ImageFile, path: Path) -> None:
    """Save an image, byte for byte if it is an upright PNG file.

    Raises:
        UserError: it has changed since it was read.
    """
    errors: list[str] = []
    with _noted(file.row, errors):
        data = _unchanged(file)
        if file.format == "PNG" and file.orientation == 1:
            path.write_bytes(data)
        else:
            _decoded(data).save(path, "PNG")
    _refuse(errors)


def _unchanged(file: ImageFile) -> bytes:
    data = _read(file.path)
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise _UnusableError("changed while it was read; let the other program finish")
    return data


def _decoded(data: bytes) -> Image.Image:
    """Decode all pixels, as RGB, turned as viewers show them."""
    with _opened(data) as image:
        try:
            image.load()
        except (OSError, ValueError, SyntaxError, EOFError) as error:
            raise _damaged(error) from error
        if image.has_transparency_data:
            least, _ = image.convert("RGBA").getchannel("A").getextrema()
            if least != 255:
                raise _UnusableError("transparent in places; paint it on a background first")
        return upright(image)


def _damaged(error: Exception) -> _UnusableError:
    if machine_failed(error):
        raise error
    if "MAX_TEXT" in str(error):  # Pillow's limits
        return _UnusableError("too much text in the file; save it again without metadata")
    return _UnusableError(f"damaged or cut off ({error})")
