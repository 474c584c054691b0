"""Paired samples: the numbers that a value is the mean of, stored to pool edit seeds.

A value with an interval comes from one number per image (or per prompt) of the edited and of the
base model. A cell stores them beside its records; a report pools the rows of several edit seeds and
asks for the value again. The interval of one edit speaks of other prompts, not of other edits; that
of several of both, with the variance between edits pooled over the report's methods and concepts.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from varbench.metrics.stats import means, rates
from varbench.metrics.stats.clusters import Floats, Interval, cluster_means
from varbench.metrics.stats.edits import NO_EDITS, EditSquares, EditVariance, edit_squares, pooled
from varbench.metrics.stats.tests import equality_pvalue

Statistic = Literal["mean", "erasure_rate", "ratio", "total"]
_SIDES = ("method", "base", "clusters")
_ENDS = ("value", "low", "high")
_LENGTHS = 26  # place of the lengths of name and extra field in the header of a ZIP's member
Prompts = tuple[NDArray[Any], list[NDArray[np.intp]]]


@dataclass(frozen=True)
class PairedSamples:
    """Samples of one metric; row i of `method` and `base` is the same prompt and image seed.

    Attributes:
        statistic: how they become a value: the mean over prompts of the prompt's mean (of `method`;
            the difference is that of `method - base`), the erased share, the ratio of the two means
            (whose difference is that to 1), or the total of counts.
        method: `[n]` of the edited model; bool where a row is a hit or none (the value is a rate).
        base: `[n]` of the base model.
        clusters: `[n]` prompt ids.
    """

    statistic: Statistic
    method: NDArray[Any]
    base: NDArray[Any]
    clusters: NDArray[Any]

    @property
    def of_hits(self) -> bool:
        """True where all rows are hits or none."""
        return self.method.dtype == np.bool_


@dataclass(frozen=True)
class Estimate:
    """A value with its interval, and the paired difference to the base model with its own."""

    value: Interval
    difference: Interval


@dataclass(frozen=True)
class Between:
    """Variance between edits, of a value and of its difference to the base model."""

    value: EditVariance = NO_EDITS
    change: EditVariance = NO_EDITS


def between_edits(groups: Iterable[Sequence[PairedSamples]]) -> Between:
    """The variance between edits of one metric.

    Args:
        groups: for each method and concept, the samples of its edits.
    """
    value: list[EditSquares | None] = []
    change: list[EditSquares | None] = []
    for edits in groups:
        if len(edits) > 1:
            prompts = _prompts(edits)
            value.append(_squares(edits, prompts, [_value_rows(samples) for samples in edits]))
            change.append(_squares(edits, prompts, [_change_rows(samples) for samples in edits]))
    return Between(pooled(value), pooled(change))


def estimate(edits: Sequence[PairedSamples], between: Between | None = None) -> Estimate | None:
    """The value over one or several edits, or None where the rows allow none.

    None: fewer than two prompts, too few hits of the base model, or nothing of it to divide by.

    Args:
        edits: samples of the same prompts, one per edit.
        between: variance between edits; by default that of these alone.

    Raises:
        ValueError: no rows, or samples of different statistics.
    """
    (statistic,) = {rows.statistic for rows in edits}
    method, base = (np.concatenate([getattr(r, side) for r in edits]) for side in _SIDES[:2])
    prompts, places = _prompts(edits)
    clusters = np.concatenate(places)
    if prompts.size < 2:
        return None
    between = between or between_edits([edits])
    of_hits = all(samples.of_hits for samples in edits)
    value, change = (replace(part, count=len(edits)) for part in (between.value, between.change))
    if statistic == "erasure_rate":
        share = rates.erased_share if of_hits else means.erased_count_share
        erased = share(method, base, clusters, change)
        # The base model has erased nothing, exactly: the share is its own difference.
        return None if erased is None else Estimate(erased, erased)
    if statistic == "ratio":
        if base.mean() <= 0:
            return None
        ratio = means.ratio_of_means(method, base, clusters, value)
        return Estimate(ratio, replace(ratio, **{e: getattr(ratio, e) - 1 for e in _ENDS}))
    if statistic == "total":
        return Estimate(
            means.clustered_total(method, clusters, value),
            means.total_difference(method, base, clusters, change),
        )
    if of_hits:
        return Estimate(
            rates.clustered_rate(method, clusters, value),
            rates.rate_difference(method, base, clusters, change),
        )
    return Estimate(
        means.clustered_mean(method, clusters, value),
        means.clustered_mean(np.subtract(method, base), clusters, change),
    )


def equality(
    a: Sequence[PairedSamples], b: Sequence[PairedSamples], between: EditVariance = NO_EDITS
) -> float | None:
    """p-value for "two methods have equal values", or None where no test is possible.

    None: other prompts in `a` than in `b`, or one only, which says nothing of others.

    Args:
        a, b: samples of each method's edits.
        between: variance between edits, of the value.
    """
    methods = [PairedSamples(e[0].statistic, *_pooled(e)) for e in (a, b)]
    names, others = (np.unique(samples.clusters) for samples in methods)
    if names.size < 2 or not np.array_equal(names, others):
        return None
    first, second = (cluster_means(samples.method, samples.clusters) for samples in methods)
    units = [
        (_unit(samples, np.asarray(samples.method, dtype=np.float64)), len(edits))
        for samples, edits in zip(methods, (a, b), strict=True)
    ]
    return equality_pvalue(first - second, between, units)


def _pooled(edits: Sequence[PairedSamples]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Rows of all edits: of the edited and of the base model, and their prompts."""
    method, base, clusters = (np.concatenate([getattr(r, s) for r in edits]) for s in _SIDES)
    return method, base, clusters


def _value_rows(samples: PairedSamples) -> Floats:
    method = np.asarray(samples.method, dtype=np.float64)
    if samples.statistic != "ratio":
        return method
    base = np.asarray(samples.base, dtype=np.float64)
    size = float(base.mean()) or 1.0
    ratio = float(method.mean()) / size
    return (method - ratio * base) / size + ratio


def _change_rows(samples: PairedSamples) -> Floats:
    return np.asarray(np.subtract(samples.method, samples.base, dtype=np.float64))


def _prompts(edits: Sequence[PairedSamples]) -> Prompts:
    """Sorted prompt ids of all edits; and for each edit, the place in them of each row's prompt.

    Numbers sort faster than ids, and edits mostly have the same rows.
    """
    first, *others = (samples.clusters for samples in edits)
    if all(np.array_equal(first, clusters) for clusters in others):
        ids, places = np.unique(first, return_inverse=True)
        return ids, [places] * len(edits)
    ids, places = np.unique(np.concatenate([first, *others]), return_inverse=True)
    return ids, np.split(places, np.cumsum([samples.clusters.size for samples in edits])[:-1])


def _squares(
    edits: Sequence[PairedSamples], prompts: Prompts, rows: Sequence[Floats]
) -> EditSquares | None:
    """Squares of the prompts that all edits have; `prompts` from `_prompts`."""
    ids, of_edits = prompts
    sizes_EC = np.stack([np.bincount(places, None, ids.size) for places in of_edits])
    common = sizes_EC.all(axis=0)
    if common.sum() < 2:
        return None
    pairs = zip(of_edits, rows, strict=True)
    sums_EC = np.stack([np.bincount(places, values, ids.size) for places, values in pairs])
    means_EC = sums_EC[:, common] / sizes_EC[:, common]
    return edit_squares(means_EC, _unit(edits[0], np.concatenate(rows)))


def _unit(samples: PairedSamples, rows: Floats) -> float:
    """The variance of the rows, to which the variance between edits is in proportion."""
    if samples.statistic == "total":
        return float(np.abs(rows).mean())
    return float(rows.var()) if samples.of_hits else 1.0


def write_rows(path: Path, rows: Mapping[str, PairedSamples]) -> None:
    """Write the rows of several metrics, by metric id, as one `.npz`."""
    arrays = {
        f"{metric}.{samples.statistic}.{side}": getattr(samples, side)
        for metric, samples in rows.items()
        for side in _SIDES
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
        if side == _SIDES[0]:
            sides = (arrays[f"{metric}.{statistic}.{s}"] for s in _SIDES)
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
