"""Inputs and values of metrics. Needs numpy only.

Scorers store arrays, one row per image, and a judge predicts a label per head from them
(``varbench.scoring``); a *metric* turns the arrays of an edited and of the base model into a value
with an interval. Both models
are compared on the same prompts and image seeds: rows are matched by (prompt id, image seed),
never by position, so neither order nor a failed image can shift a comparison.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from varbench.data.concept import Concept
from varbench.data.groups import KEPT as KEPT
from varbench.data.prompt import Prompt
from varbench.metrics.info import MetricInfo
from varbench.metrics.stats.intervals import Interval
from varbench.metrics.stats.paired_samples import PairedSamples

Array = NDArray[Any]
Arrays = Mapping[str, Array]
Key = tuple[str, int]  # prompt id and image seed
COCO = ("coco",)  # a suite's group with a set of COCO captions, where it has one
PROBE = "probe"  # name under which a group of probed prompts has its arrays, as a scorer's
COMPLETION, ATTACK = "completion", "attack"  # images made to get a concept back (`regained.py`)
OF_MODEL = frozenset({PROBE, COMPLETION, ATTACK})  # needs that images alone cannot meet
NEEDS = (
    "judge",
    "clip",
    "clip_b32",
    "detections",
    "detections_640m",
    "dino",
    "faces",
    "features",
    "gcd",
    "imagenet",
    "lpips",
    "judge.detected",
    "judge.detected_count",
    "judge.detected_score",
    "judge.face",
    *sorted(OF_MODEL),
)
"""Everything that a metric may need: a judge, the role of a scorer or comparer, what only some
judges give, and what only the model itself gives."""


@dataclass(frozen=True)
class ScoredImages:
    """Images of one model on one prompt group; row i of every array is image i.

    Raises:
        ValueError: lengths differ.
    """

    prompts: Sequence[Prompt]
    seeds: Sequence[int]
    scores: Mapping[str, Arrays]  # scorer id -> array name -> [n, ...]

    def __post_init__(self) -> None:
        sizes = {len(self.prompts), len(self.seeds)}
        sizes |= {len(rows) for arrays in self.scores.values() for rows in arrays.values()}
        if len(sizes) > 1:
            raise ValueError(f"prompts, seeds and score arrays differ in length: {sorted(sizes)}")

    def __len__(self) -> int:
        return len(self.prompts)

    def keys(self) -> list[Key]:
        """What tells its images apart."""
        return [
            (prompt.id, int(seed)) for prompt, seed in zip(self.prompts, self.seeds, strict=True)
        ]

    @property
    def clusters(self) -> Array:
        """Prompt id of each image, [n] str."""
        return np.array([prompt.id for prompt in self.prompts])

    def array(self, scorer: str, name: str) -> Array:
        """One stored array; a ValueError that names the fix if it is not there."""
        try:
            return self.scores[scorer][name]
        except KeyError:
            raise ValueError(
                f"no {scorer}/{name} scores; run the scorer {scorer!r} first"
            ) from None

    def at(self, keys: Iterable[Key]) -> ScoredImages:
        """The images of these prompt ids and image seeds, in that order.

        Raises:
            KeyError: there is no such image.
        """
        places = _rows(self)
        return self.take([places[key] for key in keys])

    def take(self, rows: Sequence[int]) -> ScoredImages:
        """The images `rows`, in that order."""
        index = np.asarray(rows, dtype=np.int64)
        return ScoredImages(
            [self.prompts[i] for i in rows],
            [self.seeds[i] for i in rows],
            {
                s: {name: a[index] for name, a in arrays.items()}
                for s, arrays in self.scores.items()
            },
        )


@dataclass(frozen=True)
class Pair:
    """The same prompts and image seeds from both models, row by row, sorted by both."""

    method: ScoredImages
    base: ScoredImages
    dropped: int  # images that one side lacks

    def __len__(self) -> int:
        return len(self.method)


@dataclass(frozen=True)
class Moments:
    """What is left of the feature rows of many real images.

    Attributes:
        mean: [d].
        covariance: [d, d].
        n: of how many images; None if that is not known.
    """

    mean: Array
    covariance: Array
    n: int | None


@dataclass(frozen=True)
class MetricInputs:
    """All that a metric sees. For the unerased model itself, `method` is `base`."""

    concept: Concept
    judge_labels: Mapping[str, tuple[str, ...]]  # head -> label names
    method: Mapping[str, ScoredImages]  # group name -> images
    base: Mapping[str, ScoredImages]
    # Real images by group name: their rows [r, d] of role "features", or the moments of these.
    reference: Mapping[str, Array | Moments] = field(default_factory=dict)
    # What the models predict for probed prompts, by group name: arrays of "probe", [n, scales].
    # Empty where the suite probes nothing; the method's also where it changes no prediction.
    method_probe: Mapping[str, ScoredImages] = field(default_factory=dict)
    base_probe: Mapping[str, ScoredImages] = field(default_factory=dict)
    # Groups whose images `pair` was asked for: failed ones of them are counted with the value.
    asked: set[str] = field(default_factory=set, compare=False)

    def pair(self, *names: str) -> Pair:
        """Images of the named groups, pooled and matched; absent groups count as empty.

        A prompt that two groups share is taken once, for otherwise it would weigh double.
        """
        self.asked.update(names)
        return _match(self.method, self.base, names)

    def real(self, *names: str) -> Array | Moments | None:
        """Real images of the named groups: their feature rows, pooled, or their moments."""
        found = [self.reference[name] for name in names if name in self.reference]
        rows = [one for one in found if not isinstance(one, Moments)]
        if rows:
            return np.concatenate(rows)
        return found[0] if found else None

    def probed(self, *names: str) -> Pair:
        """ProbeOutputs prompts of the named groups, pooled and matched as in `pair`."""
        return _match(self.method_probe, self.base_probe, names)


@dataclass(frozen=True)
class MetricValue:
    """What a metric found. `value` is None where nothing can be said, and `note` then says why.

    `low` and `high` are None where there is no honest interval; `baseline` is the unerased
    model's value on the same prompts and seeds, `difference` the paired value minus baseline.
    `details` holds further numbers under short names, ready for JSON. `rows` are what the value is
    the mean of, where it is one: with them the values of several edit seeds become one.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    baseline: float | None = None
    difference: Interval | None = None
    note: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    rows: PairedSamples | None = field(
        default=None, compare=False
    )  # arrays have no single truth value


class Metric(Protocol):
    """A number of a table."""

    @property
    def info(self) -> MetricInfo:
        """The facts about it."""
        ...

    def compute(self, e: MetricInputs) -> MetricValue:
        """The value for `e.method`; never looks at an image, never draws unseeded numbers."""
        ...


def _match(
    method: Mapping[str, ScoredImages], base: Mapping[str, ScoredImages], names: Sequence[str]
) -> Pair:
    pairs = [(method[name], base[name]) for name in names if name in method and name in base]
    places: dict[Key, tuple[int, int, int]] = {}
    dropped: set[Key] = set()
    for part, (ours, theirs) in enumerate(pairs):
        our_rows, their_rows = _rows(ours), _rows(theirs)
        dropped |= our_rows.keys() ^ their_rows.keys()
        for key in our_rows.keys() & their_rows.keys():
            places.setdefault(key, (part, our_rows[key], their_rows[key]))
    order = sorted(places)
    sides = []
    for side in (0, 1):
        picked = []
        for part, groups in enumerate(pairs):
            picked.append(
                groups[side].take([places[k][1 + side] for k in order if places[k][0] == part])
            )
        sides.append(_merge(picked, [places[k][0] for k in order]))
    return Pair(sides[0], sides[1], len(dropped - places.keys()))


def _rows(group: ScoredImages) -> dict[Key, int]:
    rows: dict[Key, int] = {}
    for i, key in enumerate(group.keys()):
        if rows.setdefault(key, i) != i:
            text = group.prompts[i].text
            raise ValueError(f"prompt {text!r} has picture seed {key[1]} twice in one group")
    return rows


def _merge(groups: Sequence[ScoredImages], parts: Sequence[int]) -> ScoredImages:
    """One group whose row i is the next row of `groups[parts[i]]`; keeps arrays that all have."""
    groups = [group for group in groups if len(group)]
    if not groups:
        return ScoredImages([], [], {})
    starts = np.argsort(np.argsort(np.asarray(parts), kind="stable"), kind="stable")
    shared = {
        scorer: [name for name in arrays if all(name in g.scores.get(scorer, {}) for g in groups)]
        for scorer, arrays in groups[0].scores.items()
    }
    whole = ScoredImages(
        [prompt for group in groups for prompt in group.prompts],
        [seed for group in groups for seed in group.seeds],
        {
            scorer: {
                name: np.concatenate([g.scores[scorer][name] for g in groups]) for name in names
            }
            for scorer, names in shared.items()
        },
    )
    return whole.take(starts.tolist())
