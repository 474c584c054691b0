"""What the tests of the metrics share: prompts, a concept, and groups of scored pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from varbench.metrics import METRICS, Evidence, Group, MetricValue
from varbench.metrics.base import Array

LABELS = {"identity": ("ada", "bruno", "clara"), "style": ("plain", "neon")}
ADA, BRUNO, CLARA = 0, 1, 2


@dataclass(frozen=True)
class Prompt:
    text: str
    id: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Judge:
    head: str = "identity"
    label: str = "ada"


@dataclass(frozen=True)
class Concept:
    name: str = "face-ada"
    judge: Judge = Judge()


def group(
    prompts: Sequence[Prompt],
    identity: Sequence[int] | Array | None = None,
    style: Sequence[int] | Array | None = None,
    features: Array | None = None,
    cosine: Array | None = None,
) -> Group:
    """Pictures of prompts; a prompt given several times gets seeds 0, 1, ..."""
    seen: dict[str, int] = {}
    seeds = []
    for prompt in prompts:
        seen[prompt.id] = seen.get(prompt.id, -1) + 1
        seeds.append(seen[prompt.id])
    zeros = np.zeros(len(prompts), dtype=np.int64)
    scores = {
        "judge": {
            "identity": zeros if identity is None else np.asarray(identity),
            "style": zeros if style is None else np.asarray(style),
        },
        "features": {"features": np.eye(len(prompts), 5) if features is None else features},
        "clip": {"cosine": zeros.astype(float) if cosine is None else cosine},
    }
    return Group(prompts, seeds, scores)


def world(seed: int, prompts: int = 12, k: int = 4, d: int = 6) -> dict[str, Group]:
    """Three groups with random scores; most target pictures show ada."""
    rng, made = np.random.default_rng(seed), {}
    for name, label in (("target", "ada"), ("neighbours", "clara"), ("unrelated", "")):
        labels = {"identity": label, "style": "neon"}
        rows = [Prompt(f"{name} {j}", f"{name}{j:02d}", labels) for j in range(prompts)]
        rows = [row for row in rows for _ in range(k)]
        made[name] = group(
            rows,
            np.where(rng.random(len(rows)) < 0.8, ADA, rng.integers(0, 3, len(rows))),
            rng.integers(0, 2, len(rows)),
            rng.normal(size=(len(rows), d)) + 1,
            rng.uniform(-0.1, 0.4, len(rows)),
        )
    return made


def evidence(
    method: Mapping[str, Group],
    base: Mapping[str, Group] | None = None,
    reference: Mapping[str, Array] | None = None,
) -> Evidence:
    real = {"features": np.random.default_rng(9).normal(size=(50, 6))}
    return Evidence(Concept(), LABELS, method, method if base is None else base, reference or real)


def value(metric: str, e: Evidence) -> MetricValue:
    found = METRICS[metric].compute(e)
    assert found.value is not None, found.note
    return found


def number(found: MetricValue) -> float:
    assert found.value is not None
    return found.value
