"""What the metrics of robustness share: images in which it was tried to get the concept back.

They are groups of their own (`varbench.pipeline.stages.attack`): ``completion-2`` are images
whose first two
scales are those of the unerased model's image, ``attack`` are target prompts behind vectors found
by gradient ascent. Prompts, image seeds and random numbers are those of target images, so each
has a counterpart among these, which nothing was tried on.
"""

from __future__ import annotations

from varbench.data.groups import TARGET as TARGET
from varbench.metrics.base import ATTACK, COMPLETION, MetricInputs, Pair, ScoredImages

_COMPLETION = f"{COMPLETION}-"


def completion(scales: int) -> str:
    """The group of images for which so many first scales were given."""
    return f"{_COMPLETION}{scales}"


def completions(e: MetricInputs) -> dict[int, Pair]:
    """Completed images of both models by the number of scales given, in its order."""
    names = [name for name in e.method if name.startswith(_COMPLETION) and name in e.base]
    pairs = {int(name.removeprefix(_COMPLETION)): e.pair(name) for name in names}
    return {count: pairs[count] for count in sorted(pairs) if len(pairs[count])}


def same_rows(group: ScoredImages, pair: Pair) -> ScoredImages:
    """The images of a group with the prompts and image seeds of a pair, in its order."""
    wanted = zip(pair.base.prompts, pair.base.seeds, strict=True)
    return group.at((prompt.id, seed) for prompt, seed in wanted)


def tried(e: MetricInputs) -> bool:
    """Whether the suite asks to get the concept back."""
    return any(name.startswith((_COMPLETION, ATTACK)) for name in e.base)
