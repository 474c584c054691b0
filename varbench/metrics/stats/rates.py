"""Intervals of rates, of paired differences of rates, and of erased shares.

All rest on Wilson's score interval (1927) with an effective sample size: the variance of a row by
that of the prompts' mean (Korn and Graubard 1998, Survey Methodology 24:193; Rao and Scott 1992,
Biometrics 48:577), never less than the prompts, never more than the images. Differences and shares
are composed of rates of *change* (lost and gained hits) by adding squares of the distances to the
ends (MOVER: Zou and Donner 2008, Stat. Med. 27:1693), as for paired rates by Newcombe (1998, Stat.
Med. 17:2635). So none has zero width: where nothing changed, a change of Wilson's bound for no
change in C prompts is possible. `benchmarks/coverage.py` measures how often they hold the truth.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from varbench.metrics.stats.clusters import (
    LEVEL,
    Floats,
    Interval,
    Z,
    cluster_means,
    cluster_sums,
    finite_pairs,
    finite_values,
    t_quantile,
)
from varbench.metrics.stats.edits import NO_EDITS, EditVariance
from varbench.metrics.stats.tests import paired_sign_flip_pvalue

MIN_BASE_HITS = 30  # of the base model; below it a ratio of hits means nothing
_FEW = 4  # hits; with fewer, Wilson's end next to 0 is too far from it
_SURE = 0.01  # largest chance that other prompts would have shown no hit of the base model


class Ends(NamedTuple):
    """A rate with its interval."""

    value: float
    low: float
    high: float


def clustered_rate(
    hits: ArrayLike, clusters: ArrayLike, between: EditVariance = NO_EDITS
) -> Interval:
    """A proportion over prompts with several images each; `hits` [n] in {0, 1}.

    The value is the mean over prompts of the prompt's rate. With one image per prompt the interval
    is Wilson's own, but for `wilson_ends`'s low end of few hits.

    Args:
        hits, clusters: rows of all edits.
        between: number of edits, and the variance between them.
    """
    rows = _hits(hits)
    means_C = cluster_means(rows, clusters)
    rate = _rate(means_C, np.ones_like(means_C), rows.size, between)
    return Interval(*rate, rows.size // between.count, means_C.size)


def rate_difference(
    a: ArrayLike, b: ArrayLike, clusters: ArrayLike, between: EditVariance = NO_EDITS
) -> Interval:
    """Rate of `a` minus rate of `b`, where row i of both is the same prompt and image seed.

    Other arguments as of `clustered_rate`.
    """
    ours, base = finite_pairs(_hits(a), _hits(b))
    ours_C, base_C, both_C = (cluster_means(rows, clusters) for rows in (ours, base, ours * base))
    gained, lost = _changes(ours_C, base_C, both_C, np.ones_like(ours_C), ours.size, between)
    difference = _not_against_the_test(_minus(gained, lost, exclusive=True), ours_C, base_C)
    return Interval(*difference, ours.size // between.count, ours_C.size)


def erased_share(
    method: ArrayLike, base: ArrayLike, clusters: ArrayLike, between: EditVariance = NO_EDITS
) -> Interval | None:
    """1 - sum(method) / sum(base) of hits: the share of the concept's images that is gone.

    The share of the base model's hits that are lost, less what is gained elsewhere. Where the base
    model hits every time this is the difference of the rates, with the same interval. Not clipped
    below: a method that makes more hits than the base has a negative share.

    Returns:
        None if the base has under `MIN_BASE_HITS` hits per edit, or hits on so few prompts that
        others might show none: the model hardly draws the concept, there is nothing to erase.
    """
    ours, theirs = finite_pairs(_hits(method), _hits(base))
    ours_C, base_C, both_C, size_C = (
        cluster_sums(rows, clusters) for rows in (ours, theirs, ours * theirs, np.ones_like(ours))
    )
    if hardly_shown(base_C, between.count):
        return None
    rate = float(base_C.sum()) / ours.size
    gained, _ = _changes(ours_C, base_C, both_C, size_C, ours.size, between)
    lost = _rate(base_C - both_C, base_C, int(base_C.sum()), between)
    share = _minus(lost, Ends(*(end / rate for end in gained)), exclusive=False)
    value, low, high = _not_against_the_test(share, base_C, ours_C)
    n = ours.size // between.count
    return Interval(value, low, max(min(high, 1.0), value), n, ours_C.size)


def hardly_shown(base_C: Floats, edits: int) -> bool:
    """True if there is nothing to erase: under `MIN_BASE_HITS` hits, or on very few prompts."""
    shown = int((base_C > 0).sum())
    blank = (1 - shown / base_C.size) ** base_C.size  # P(as many other prompts show no hit)
    return bool(base_C.sum() < MIN_BASE_HITS * edits or shown == 0 or blank > _SURE)


def wilson_ends(p: float, n: float) -> tuple[float, float]:
    """Ends of Wilson's interval of a rate `p` among `n` observations, which need not be whole.

    (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n): of a rate of 0 the low end is exactly 0
    and the high end z²/(n + z²), of a rate of 1 the mirror image, so a zero is never certain. Of
    few hits (or few misses) the end next to 0 (or 1) is Poisson's at 5 %, without which a rate of
    0.2/n is covered 83 % of the time (Brown, Cai and DasGupta 2001, Statistical Science 16:101).
    """
    centre = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = float(np.sqrt(Z * Z * (p * (1 - p) / n + Z * Z / (4 * n * n)))) / (1 + Z * Z / n)
    # Exact where rounding would not be.
    low = 0.0 if p == 0 else min(max(centre - half, 0.0), p, _fewest(p * n) / n)
    high = 1.0 if p == 1 else max(min(centre + half, 1.0), p, 1 - _fewest((1 - p) * n) / n)
    return low, high


def _fewest(hits: float) -> float:
    """The fewest expected hits that `hits` do not contradict at 5 %; infinite where many hit."""
    from scipy.special import gammaincinv  # as in `t_quantile`

    return float(gammaincinv(hits, 0.05)) if 0 < hits < _FEW else np.inf


def _rate(hits_C: Floats, weights_C: Floats, rows: int, between: EditVariance) -> Ends:
    """sum(hits) / sum(weights) over prompts, each at most its weight."""
    p = float(min(hits_C.sum() / weights_C.sum(), 1.0))
    size = _effective_size(hits_C, weights_C, p, rows)
    return Ends(p, *wilson_ends(p, 1 / between.of_mean(1 / size)))


def _effective_size(hits_C: Floats, weights_C: Floats, p: float, rows: int) -> float:
    """So many independent images would tell as much about the rate `p`.

    Few prompts that differ from the others say little of the prompts' variance: it is taken for
    Student's t with one degree less than there are of them. Equal rates between 0 and 1 have no
    variance, so images count fully; rates of 0 and 1 are no evidence of independence.
    """
    shown = weights_C > 0
    prompts = int(shown.sum())
    rates_C = hits_C[shown] / weights_C[shown]
    differing = min(int((rates_C > 0).sum()), int((rates_C < 1).sum()))
    if differing < 2:
        return prompts
    residuals = hits_C - p * weights_C
    variance = float(residuals.var(ddof=1)) * residuals.size / weights_C.sum() ** 2
    size = p * (1 - p) / max(variance, 1e-300) * (Z / t_quantile(differing - 1)) ** 2
    return float(np.clip(size, prompts, max(rows, prompts)))


def _changes(
    ours_C: Floats,
    base_C: Floats,
    both_C: Floats,
    weights_C: Floats,
    rows: int,
    between: EditVariance,
) -> tuple[Ends, Ends]:
    """Shares of all images whose hit was gained, and lost.

    None observed does not allow more than the rates themselves do: at a hit of the base model the
    method is taken to hit no less likely than elsewhere.
    """
    ours, base, gained, lost = (
        _rate(hits_C, weights_C, rows, between)
        for hits_C in (ours_C, base_C, ours_C - both_C, base_C - both_C)
    )
    most_gained, most_lost = ours.high * (1 - base.low), base.high * (1 - ours.low)
    gained = gained._replace(high=max(gained.value, min(gained.high, most_gained)))
    return gained, lost._replace(high=max(lost.value, min(lost.high, most_lost)))


def _minus(a: Ends, b: Ends, *, exclusive: bool) -> Ends:
    """A - b; `exclusive` rates are of one set of images, of which none has both."""
    correlation = 0.0
    if exclusive and 0 < a.value < 1 and 0 < b.value < 1:
        odds = a.value * b.value / ((1 - a.value) * (1 - b.value))
        correlation = -min(1.0, float(np.sqrt(odds)))

    def length(x: float, y: float) -> float:
        return float(np.sqrt(x * x + y * y - 2 * correlation * x * y))

    value = a.value - b.value
    low = value - length(a.value - a.low, b.high - b.value)
    return Ends(value, low, value + length(a.high - a.value, b.value - b.low))


def _not_against_the_test(change: Ends, a_C: Floats, b_C: Floats) -> Ends:
    """With 0 in the interval wherever the exact test finds no change, so that none is claimed."""
    claimed = change.low > 0 or change.high < 0
    if claimed and paired_sign_flip_pvalue(a_C - b_C) > 1 - LEVEL:
        return Ends(change.value, min(change.low, 0.0), max(change.high, 0.0))
    return change


def _hits(values: ArrayLike) -> Floats:
    rows = finite_values(values)
    if not np.isin(rows, (0.0, 1.0)).all():
        raise ValueError("hits must be 0 or 1; other values have means, not rates")
    return rows
