"""Short trainings of the tiny model: settings, context, a progress that dies, weights compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from varbench.methods import FineTuneConfig, RolloutConfig, TrainingContext
from varbench.methods.registry import METHODS, load_method
from varbench.models.common.execution import Execution
from varbench.models.infinity.model import InfinityModel
from varbench.models.infinity.text import TextCondition
from varbench.models.protocol import Rollout
from varbench.utils.progress import Bar, Progress

TRAIN = FineTuneConfig(steps=6, batch=2, rate=1e-3)


def context(tmp_path: Path, seed: int = 0, progress: Progress | None = None) -> TrainingContext:
    return TrainingContext(seed, tmp_path / "scratch.pt", progress or Progress())


TRAINED = sorted(n for n in METHODS if hasattr(load_method(n).Config(), "train"))
"""The methods on the loop; others edit in closed form or change sampling only."""


def config_of(method: Any, **changes: Any) -> Any:
    """Few steps on unguided histories: the tiny model finds guided ones worse than chance, and
    there is nothing to unlearn (``nft-ascent``) in what it does not know."""
    config = replace(method.Config(), train=replace(TRAIN, **changes))
    if hasattr(config, "rollout"):
        config = replace(config, rollout=RolloutConfig(guidance=1.0))
    return config


class Killed(Exception):
    """Stands for a SIGKILL in the middle of a training."""


class KillAt(Progress):
    """A progress whose bar dies after some units."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def stage(self, name: str, total: int, done: int = 0) -> Any:
        outer, at = super().stage(name, total, done), self.at

        class Context:
            def __enter__(self) -> Any:
                bar: Bar = outer.__enter__()
                advance = bar.advance

                def deadly(amount: int = 1) -> None:
                    advance(amount)
                    if bar.done == at:
                        raise Killed

                bar.advance = deadly  # type: ignore[method-assign]
                return bar

            def __exit__(self, *args: Any) -> Any:
                return outer.__exit__(*args)

        return Context()


def blank_pairs(model: InfinityModel, pairs: int) -> tuple[Rollout, TextCondition]:
    """Roll-outs and prompts of zeros, the prompts as long as the model reads."""
    sizes, length = model.transformer.config, model.schedule.total
    tokens = torch.zeros(pairs, length, sizes.bits, dtype=torch.uint8)
    rollout = Rollout(tokens, torch.zeros(pairs, length - 1, sizes.bits), model.schedule)
    rows = torch.zeros(pairs, sizes.text_maxlen, sizes.text_width)
    return rollout, TextCondition(rows, torch.full((pairs,), sizes.text_maxlen))


def snapshot(model: InfinityModel) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.weights().state_dict().items()}


def assert_same_bits(model: InfinityModel, before: dict[str, Tensor]) -> None:
    now = model.weights().state_dict()
    assert now.keys() == before.keys()
    for name, value in now.items():
        assert value.dtype == before[name].dtype and torch.equal(value, before[name]), name
    assert not any(p.requires_grad for p in model.weights().parameters())
    assert model.execution == Execution()
