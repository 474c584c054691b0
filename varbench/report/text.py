"""Text from outside (prompts, names) made safe to show, and numbers made readable."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from varbench.metrics.record import MetricRecord
from varbench.utils.files import write_whole
from varbench.utils.text import visible as visible

MISSING = "–"
MINUS = "\u2212"  # as wide as a plus sign, so that signed columns line up


def number(value: float | None, digits: int, *, signed: bool = False) -> str:
    """`value` with `digits` decimals, or an en dash for None; never "-0.00"."""
    if value is None:
        return MISSING
    rounded = round(value, digits) + 0.0  # -0.0 + 0.0 is 0.0
    text = f"{rounded:.{digits}f}"
    if signed and rounded > 0:
        text = "+" + text
    return text.replace("-", MINUS)


def interval_note(records: Iterable[MetricRecord]) -> str:
    """A sentence on the prompts and edits that the intervals of a table speak of."""
    shown = [record for record in records if record.ci_low is not None]
    if not shown:
        return ""
    freedom = sorted({record.edit_df for record in shown if record.edit_df})
    if not freedom:
        return "Brackets: 95 % interval over prompts, of the edits at hand."
    degrees = MISSING.join(map(str, dict.fromkeys([freedom[0], freedom[-1]])))
    return (
        "Brackets: 95 % interval over prompts and, where there are several, over edits (variance "
        f"pooled over methods and concepts, {degrees} degrees of freedom)."
    )


def count(value: int) -> str:
    """A whole number with thousands separated by a thin space."""
    return f"{value:,}".replace(",", "\u2009")


def write_texts(texts: Iterable[tuple[str, str]], out: Path) -> list[Path]:
    """Write (file name, text) into folder `out`, each whole or not at all; returns the files."""
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in texts:
        write_whole(out / name, text)
        paths.append(out / name)
    return paths
