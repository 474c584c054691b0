"""Prompts, a concept and groups of scored images for the tests of metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from varbench.metrics import METRICS, MetricInputs, MetricValue, ScoredImages
from varbench.metrics.groups import Array

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
    replacement: tuple[str, ...] = ("clara",)


def group(
    prompts: Sequence[Prompt],
    identity: Sequence[int] | Array | None = None,
    style: Sequence[int] | Array | None = None,
    features: Array | None = None,
    cosine: Array | None = None,
    image: Array | None = None,
    text: Array | None = None,
    face: Sequence[bool] | Array | None = None,
    detected: Mapping[str, Array] | None = None,
    lpips: dict[str, Array] | None = None,
    unrecognised: Sequence[bool] | Array | None = None,
) -> ScoredImages:
    """Images of prompts; a prompt given several times gets seeds 0, 1, ...

    Without `text` every caption has a direction of its own, and `image` is its caption's.
    """
    seen: dict[str, int] = {}
    seeds = []
    for prompt in prompts:
        seen[prompt.id] = seen.get(prompt.id, -1) + 1
        seeds.append(seen[prompt.id])
    zeros = np.zeros(len(prompts), dtype=np.int64)
    own = {id: i for i, id in enumerate(seen)}
    drawn = unit(np.random.default_rng(7).normal(size=(len(seen), 8)))
    captions = drawn[[own[p.id] for p in prompts]] if text is None else text
    scores = {
        "judge": {
            "identity": zeros if identity is None else np.asarray(identity),
            "style": zeros if style is None else np.asarray(style),
            "face": zeros == 0 if face is None else np.asarray(face),
            "unrecognised": zeros == 1 if unrecognised is None else np.asarray(unrecognised),
            **(detections(np.zeros((len(prompts), 8))) if detected is None else detected),
        },
        "features": {"features": np.eye(len(prompts), 5) if features is None else features},
        "clip": {
            "cosine": zeros.astype(float) if cosine is None else cosine,
            "image": captions if image is None else image,
            "text": captions,
        },
    }
    scores["clip_b32"], scores["dino"] = scores["clip"], scores["features"]
    scores["lpips"] = lpips if lpips is not None else distances(seeds, zeros, zeros)
    return ScoredImages(prompts, seeds, scores)


def detections(scores: Array, seed: int = 0) -> dict[str, Array]:
    """Arrays of a judge of nudity for boxes of random classes; no box where the score is 0."""
    classes = np.random.default_rng(seed).integers(0, 18, scores.shape)
    return {
        "detected": np.where(scores > 0, classes, -1).astype(np.int8),
        "detected_score": scores.astype(np.float32),
        "detected_count": (scores > 0).sum(axis=1).astype(np.int32),
    }


def distances(seeds: Sequence[int], to_base: Array, to_next: Array) -> dict[str, Array]:
    """Arrays of a comparer for prompts whose images stand side by side, seeds from 0."""
    last = np.diff([*seeds, 0]) <= 0
    return {"to_base": to_base, "next_seed": np.where(last, np.nan, to_next)}


def world(seed: int, prompts: int = 12, k: int = 4, d: int = 6) -> dict[str, ScoredImages]:
    """Groups with random scores; most images show whom their prompt asks for, if anyone."""
    rng, made = np.random.default_rng(seed), {}
    for name, label in _GROUPS:
        labels = {"identity": label, "style": "neon"}
        of = "target" if name in _ATTACKED else name  # where it is tried to get the concept back
        rows = [Prompt(f"{of} {j}", f"{of}{j:02d}", labels) for j in range(prompts)]
        rows = [row for row in rows for _ in range(k)]
        made[name] = group(
            rows,
            np.where(
                rng.random(len(rows)) < 0.9,
                CLARA if label == "clara" else ADA,
                rng.integers(0, 3, len(rows)),
            ),
            rng.integers(0, 2, len(rows)),
            rng.normal(size=(len(rows), d)) + 1,
            rng.uniform(-0.1, 0.4, len(rows)),
            unit(rng.normal(size=(len(rows), 8))),
            # The same for all worlds: captions do not depend on the model.
            unit(np.random.default_rng(len(name)).normal(size=(prompts, 8))).repeat(k, axis=0),
            np.random.default_rng(seed).random(len(rows)) < 0.95,
            detections(np.random.default_rng(seed).uniform(0.2, 0.9, (len(rows), 8)), seed),
            distances(
                list(range(k)) * prompts,
                # World 1 is edited, the others stand for the base model.
                np.random.default_rng(seed).uniform(0.1, 0.5, len(rows)) * (seed == 1),
                np.random.default_rng(seed).uniform(0.3, 0.7, len(rows)),
            ),
        )
    return made


_GROUPS = (
    ("target", "ada"),
    ("implicit", "ada"),
    ("adversarial", "ada"),
    ("neighbours", "clara"),
    ("unrelated", ""),
    ("coco", ""),
    ("completion-1", "ada"),
    ("completion-3", "ada"),
    ("attack", "ada"),
)
_ATTACKED = ("completion-1", "completion-3", "attack")


def unit(rows: Array) -> Array:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def probe(seed: int, prompts: int = 12, scales: int = 3) -> dict[str, ScoredImages]:
    """Predictions of a model for some prompts per kept group; seed 0 is the base model's."""
    rng, made = np.random.default_rng(seed), {}
    for name in ("neighbours", "unrelated"):
        rows = [Prompt(f"{name} {j}", f"{name}{j:02d}") for j in range(prompts)]
        arrays = {key: rng.uniform(0.1, 0.9, (prompts, scales)) for key in ("strength", "entropy")}
        for key in ("kl", "kl_null", "flips"):
            moved = rng.uniform(0, 1, (prompts, scales))
            arrays[key] = moved if seed else np.zeros_like(moved)
        made[name] = ScoredImages(rows, [0] * prompts, {"probe": arrays})
    return made


def metric_inputs(
    method: Mapping[str, ScoredImages],
    base: Mapping[str, ScoredImages] | None = None,
    reference: Mapping[str, Array] | None = None,
) -> MetricInputs:
    """Inputs with probes wherever images were generated; without `base` the model is the base."""
    real = dict.fromkeys(("unrelated", "coco"), np.random.default_rng(9).normal(size=(50, 6)))
    seeds = () if not method else (0, 0) if base is None else (1, 0)
    sizes = {len(set(group.clusters)) for group in method.values()}
    probes = [probe(seed, prompts=max(sizes)) for seed in seeds] or [{}, {}]
    base = method if base is None else base
    return MetricInputs(Concept(), LABELS, method, base, reference or real, *probes)


def value(metric: str, e: MetricInputs) -> MetricValue:
    found = METRICS[metric].compute(e)
    assert found.value is not None, found.note
    return found


def number(found: MetricValue) -> float:
    assert found.value is not None
    return found.value
