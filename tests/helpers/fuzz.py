"""Mutants of right files, for tests that any input works or gives a documented error."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("VARBENCH_FUZZ", "40"))
fuzz = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
SCRAPS = st.sampled_from(
    [
        "", " ", "\n", "\t", "\0", "\ufeff", "\u202e", "é", "💥", "'", '"', "{", "}", "[", "]", ":",
        "- ", "&a ", "*a", "!!python/object/apply:os.system [id]", "null", "~", "true", "-1", "0",
        "1e999", "NaN", ".inf", "../../etc/passwd", "${oc.env:HOME}", "<<: ", "%", "=", ",",
        "x" * 5000,
    ]
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, text: str) -> str:
    """A few cuts, doublings and insertions."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(0, len(text) - 1)))
        end = min(len(text), start + draw(st.integers(0, 60)))
        piece = draw(st.one_of(SCRAPS, st.text(max_size=8), st.just(text[start:end] * 2)))
        text = text[:start] + piece + text[end:]
    return text
