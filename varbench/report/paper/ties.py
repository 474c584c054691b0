"""Which methods are best in a column, and which cannot be told from the best.

The method with the best value is compared with every other by a randomisation test on the prompts'
mean differences (`stats.paired_sign_flip_pvalue`), and the p-values are adjusted for their number
by Holm's procedure. Whatever is not significantly worse at the 5 % level is tied with the best. A
test that finds no difference does not show that there is none: with few prompts much is tied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from varbench.metrics.stats import intervals
from varbench.metrics.stats.paired_samples import PairedSamples, read_rows
from varbench.report.panels import Panel
from varbench.report.records import BASE, Cell

LEVEL = 0.05


class PromptRows:
    """Rows of the cells of one panel, by method and settings; read once.

    Args:
        cells: of any panels; those without rows (results files) have none.
    """

    def __init__(self, cells: Sequence[Cell]) -> None:
        self._by_method: dict[tuple[str, ...], list[Mapping[str, PairedSamples]]] = {}
        for cell in cells:
            if cell.rows_file is not None:
                place = (cell.model, cell.concept, cell.suite, cell.method, cell.config)
                self._by_method.setdefault(place, []).append(read_rows(cell.rows_file))

    def of(self, panel: Panel, method: str, config: str, metric: str) -> list[PairedSamples]:
        """Rows of one number, one per edit seed; empty if there are none."""
        place = (panel.model, panel.concept, panel.suite, method, config)
        return [rows[metric] for rows in self._by_method.get(place, ()) if metric in rows]


def best(panel: Panel, metric: str, better: str, rows: PromptRows) -> frozenset[str]:
    """Labels of the best method and of those tied with it; never the unerased model's.

    Args:
        panel: whose methods.
        metric: the column's key.
        better: "up" or "down"; anything else has no best.
        rows: of the panel's cells. Without rows of a method, or with rows of one prompt only,
            there is no test, and only the values decide.
    """
    values = {
        row.label: (row, row.values[metric].value)
        for row in panel.rows
        if row.method != BASE and metric in row.values and row.values[metric].value is not None
    }
    if better not in ("up", "down") or not values:
        return frozenset()
    sign = 1.0 if better == "up" else -1.0
    top = max(sign * float(value or 0.0) for _, value in values.values())
    leaders = [name for name, (_, value) in values.items() if sign * float(value or 0.0) == top]
    first = values[leaders[0]][0]
    theirs = _by_prompt(rows.of(panel, first.method, first.config, metric))
    others, pvalues = [], []
    for name, (row, _) in values.items():
        ours = _by_prompt(rows.of(panel, row.method, row.config, metric))
        if name in leaders or ours.keys() != theirs.keys() or not theirs:
            continue
        others.append(name)
        diff = [ours[prompt] - theirs[prompt] for prompt in theirs]
        pvalues.append(intervals.paired_sign_flip_pvalue(np.asarray(diff)))
    adjusted = intervals.holm(pvalues)
    tied = [name for name, p in zip(others, adjusted, strict=True) if p > LEVEL]
    return frozenset([*leaders, *tied])


def _by_prompt(seeds: Sequence[PairedSamples]) -> dict[str, float]:
    """The mean of each prompt over its images and the edit seeds; empty where no test is possible.

    One prompt says nothing of other prompts.
    """
    if not seeds:
        return {}
    values = np.concatenate([np.asarray(one.method, dtype=np.float64) for one in seeds])
    clusters = np.concatenate([one.clusters for one in seeds])
    if np.unique(clusters).size < 2:
        return {}
    names = [str(name) for name in np.unique(clusters)]
    return dict(zip(names, intervals.cluster_means(values, clusters).tolist(), strict=True))
