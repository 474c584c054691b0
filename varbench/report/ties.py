"""The best methods of a column: the one with the best value, and all that are tied with it.

The method with the best value is compared with every other over prompts and edits
(`stats.equality`), and the p-values are adjusted for their number by Holm's procedure. A method
that is not significantly worse at the 5 % level is tied with the best. A test that finds no
difference does not show that there is none: with few prompts much is tied.
"""

from __future__ import annotations

from varbench.methods.registry import NONE
from varbench.metrics import stats
from varbench.report.panels import Panel
from varbench.report.samples import CellSamples


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
    records = {
        row.label: record
        for row in panel.rows
        if row.method != NONE and (record := row.values.get(metric)) and record.value is not None
    }
    scores = {label: sign * (record.value or 0.0) for label, record in records.items()}
    leaders = [label for label, score in scores.items() if score == max(scores.values())]
    if not leaders:
        return frozenset()
    first = samples.of(records[leaders[0]])
    pvalues: dict[str, float] = {}
    for label, record in records.items():
        other = samples.of(record)
        if label not in leaders and first and other:
            p = stats.equality(first, other, samples.between(record).value)
            pvalues |= {} if p is None else {label: p}
    adjusted = stats.holm(list(pvalues.values()))
    tied = [label for label, p in zip(pvalues, adjusted, strict=True) if p > 0.05]
    return frozenset([*leaders, *tied])
