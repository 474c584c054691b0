"""The best methods of a column: the one with the best value, and all that are tied with it.

The method with the best value is compared with every other by a randomisation test on the prompts'
mean differences (`stats.paired_sign_flip_pvalue`), and the p-values are adjusted for their number
by Holm's procedure. A method that is not significantly worse at the 5 % level is tied with the
best. A test that finds no difference does not show that there is none: with few prompts much is
tied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from varbench.methods.registry import NONE
from varbench.metrics import stats
from varbench.metrics.stats import PairedSamples
from varbench.report.cells import CellRecord
from varbench.report.panels import MethodRow, Panel


class CellSamples:
    """The paired samples of cells, by panel and method."""

    def __init__(self, cells: Sequence[CellRecord]) -> None:
        self._by_method: dict[tuple[str, ...], list[Mapping[str, PairedSamples]]] = {}
        for cell in cells:
            place = (*cell.panel, cell.method, cell.config)
            self._by_method.setdefault(place, []).append(cell.samples)

    def of(self, panel: Panel, row: MethodRow, metric: str) -> list[PairedSamples]:
        """The samples of one number, one per edit seed; empty if there are none."""
        place = (panel.model, panel.concept, panel.suite, panel.settings, row.method, row.config)
        cells = self._by_method.get(place, ())
        return [by_metric[metric] for by_metric in cells if metric in by_metric]


def best(panel: Panel, metric: str, better: str, samples: CellSamples) -> frozenset[str]:
    """Labels of the best method and of those tied with it; never the base model's.

    Args:
        metric: the column's key.
        better: "up" or "down"; anything else has no best.
        samples: without those of a method, or with those of one prompt only, there is no test, and
            only the values decide.
    """
    if better not in ("up", "down"):
        return frozenset()
    sign = 1.0 if better == "up" else -1.0
    rows, scores = [], []
    for row in panel.rows:
        record = row.values.get(metric)
        if row.method != NONE and record is not None and record.value is not None:
            rows.append(row)
            scores.append(sign * record.value)
    leaders = [row for row, score in zip(rows, scores, strict=True) if score == max(scores)]
    if not leaders:
        return frozenset()
    first = _by_prompt(samples.of(panel, leaders[0], metric))
    labels, pvalues = [], []
    for row in rows:
        other = _by_prompt(samples.of(panel, row, metric))
        if row in leaders or other.keys() != first.keys() or not first:
            continue
        differences = [other[prompt] - first[prompt] for prompt in first]
        labels.append(row.label)
        pvalues.append(stats.paired_sign_flip_pvalue(np.asarray(differences)))
    adjusted = stats.holm(pvalues)
    tied = [label for label, p in zip(labels, adjusted, strict=True) if p > 0.05]
    return frozenset([*(row.label for row in leaders), *tied])


def _by_prompt(seeds: Sequence[PairedSamples]) -> dict[str, float]:
    """The mean of each prompt over its images and the edit seeds; empty where no test is possible.

    One prompt says nothing of other prompts.
    """
    if not seeds:
        return {}
    values = np.concatenate([np.asarray(pairs.method, dtype=np.float64) for pairs in seeds])
    clusters = np.concatenate([pairs.clusters for pairs in seeds])
    if np.unique(clusters).size < 2:
        return {}
    names = [str(name) for name in np.unique(clusters)]
    return dict(zip(names, stats.cluster_means(values, clusters).tolist(), strict=True))
