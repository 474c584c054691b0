"""Vendi score: the effective number of different images that a prompt gives.

    Vendi = exp(-sum_i l_i ln l_i),  l = eigenvalues of K / n,  K_ij = cos(f_i, f_j)

(Friedman and Dieng, TMLR 2023) with the `features` scorer's rows f: 1 if all images are alike, n
if all are orthogonal. The value is the mean over the `neighbours` and `unrelated` prompts of
the score over a prompt's k image seeds, hence between 1 and k; bootstrap over prompts.

Why per prompt even where k is 2: pooled over all prompts the score mostly counts how different
the prompts are, and a model that draws one image per prompt keeps most of it. With k = 1 there is
only the pool: the value is then the pool's, without interval.

`details`: `k`; `kept` = (mean - 1) / (base's mean - 1), i.e. 1 for none, 0 for total collapse, the
number to compare across suites; `target_kept`, the same on the target prompts (do the concept's
replacements vary?); `pool`, `base_pool`, `pool_ratio` over all kept images at once, which also
sees different prompts giving the same image.

Pitfalls. Noise and broken images raise the score: read it beside FID. It grows with n. Rows are
not centred, as in the paper; features with a large common part keep values close to 1.
"""

from __future__ import annotations

import numpy as np

from varbench.metrics.base import KEPT, MetricInputs, MetricValue
from varbench.metrics.diversity import Floats, by_prompt, unit_features
from varbench.metrics.estimates import no_images, paired_mean, ratio
from varbench.metrics.info import MetricInfo


class Vendi:
    """Mean Vendi score of a prompt's images."""

    info = MetricInfo(
        id="vendi", title="Vendi", better="up", unit="pictures", range=(1.0, None), groups=KEPT,
        needs=("features",), citation="Friedman and Dieng 2023, TMLR",
        question="how many different images does a prompt give?",
        definition="Vendi score: how many clearly different images the pool is worth.",
    )  # fmt: skip

    def compute(self, e: MetricInputs) -> MetricValue:
        """No value only if there are no neighbours or unrelated images."""
        pair = e.pair(*KEPT)
        if not len(pair):
            return no_images(KEPT)
        pool, base_pool = (vendi_score(unit_features(g)) for g in (pair.method, pair.base))
        kept, target = (by_prompt(e, groups, vendi_score) for groups in (KEPT, ("target",)))
        details = {"k": kept.images, "pool": pool, "base_pool": base_pool}
        details["pool_ratio"] = pool / base_pool
        if kept.images < 2:
            note = "one picture per prompt: pooled over prompts, no interval"
            return MetricValue(pool, None, None, len(pair), base_pool, None, note, details)
        extra = {
            "kept": ratio(kept.method - 1, kept.base - 1, kept.ids),
            "target_kept": ratio(target.method - 1, target.base - 1, target.ids),
        }
        return paired_mean(
            kept.method,
            kept.base,
            kept.ids,
            details=details | extra,
            note=kept.note,
            n=kept.ids.size * kept.images,
        )


def vendi_score(rows: Floats) -> float:
    """Vendi score of unit rows [n, d], between 1 and min(n, d)."""
    n, d = rows.shape
    # K / n and its d x d twin have the same eigenvalues but for zeros, which add nothing.
    gram = rows @ rows.T if n <= d else rows.T @ rows
    values = np.linalg.eigvalsh(gram / n)
    values = values[values > 1e-12]  # x ln x -> 0; rounding can leave zeros slightly negative
    return max(1.0, float(np.exp(-(values * np.log(values)).sum())))
