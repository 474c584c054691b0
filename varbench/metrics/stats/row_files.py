"""Files of paired samples, which are stored to pool edit seeds and to compute intervals anew."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from varbench.metrics.stats.paired_samples import SIDES, PairedSamples, Statistic

_LENGTHS = 26  # place of the lengths of name and extra field in the header of a ZIP's member


def write_rows(path: Path, rows: Mapping[str, PairedSamples]) -> None:
    """Write the rows of several metrics, by metric id, as one `.npz`."""
    arrays = {
        f"{metric}.{samples.statistic}.{side}": getattr(samples, side)
        for metric, samples in rows.items()
        for side in SIDES
    }
    np.savez_compressed(path, allow_pickle=False, **arrays)


def read_rows(path: Path) -> dict[str, PairedSamples]:
    """The rows of several metrics, as `write_rows` wrote them.

    The arrays cannot be written to: equal ones of several files are one, as prompt ids mostly are.

    Raises:
        ValueError: a statistic that this version does not know.
    """
    content = path.read_bytes()
    arrays: dict[str, NDArray[Any]] = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for info in archive.infolist():
            lengths = struct.unpack_from("<HH", content, info.header_offset + _LENGTHS)
            begin = info.header_offset + _LENGTHS + 4 + sum(lengths)
            packed = content[begin : begin + info.compress_size]
            arrays[info.filename.removesuffix(".npy")] = _array(
                packed, info.compress_type == zipfile.ZIP_DEFLATED, info.CRC
            )
    rows: dict[str, PairedSamples] = {}
    for name in arrays:
        metric, statistic, side = name.rsplit(".", 2)
        if statistic not in get_args(Statistic):
            raise ValueError(f"{path}: unknown statistic {statistic!r}; upgrade varbench")
        if side == SIDES[0]:
            sides = (arrays[f"{metric}.{statistic}.{s}"] for s in SIDES)
            rows[metric] = PairedSamples(cast(Statistic, statistic), *sides)
    return rows


@lru_cache(maxsize=128)
def _array(packed: bytes, deflated: bool, checksum: int) -> NDArray[Any]:
    """The array of a list's `.npy` file in an archive; `numpy.load` takes ten times as long."""
    file = zlib.decompress(packed, -zlib.MAX_WBITS) if deflated else packed
    if zlib.crc32(file) != checksum:
        raise ValueError("damaged: its checksum differs")
    size = 10 + int.from_bytes(file[8:10], "little")
    return np.frombuffer(file, _dtype(file[:size]), offset=size)


@lru_cache(maxsize=128)
def _dtype(header: bytes) -> np.dtype[Any]:
    stream = io.BytesIO(header)
    version = np.lib.format.read_magic(stream)
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    if version != (1, 0) or len(shape) != 1:
        raise ValueError("not a list as write_rows writes it")
    return dtype
