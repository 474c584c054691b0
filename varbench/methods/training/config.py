"""Settings that all fine-tuning methods share."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field

from varbench.errors import check_choice, check_least, check_positive
from varbench.methods.training.rollouts import RolloutConfig

PRECISIONS = ("fp32", "bf16", "bf16-weights")


@dataclass(frozen=True)
class FineTuneConfig:
    """Optimisation settings shared by all fine-tuning methods.

    The defaults are the paper's except for ``steps``, ``batch`` and ``rate``, which each model's
    config sets to its size.

    Attributes:
        steps: iterations (paper: 500).
        batch: pairs per iteration (paper: 2).
        rate: AdamW learning rate (released code: 2.34e-5 on bf16 weights of Infinity-2B).
        beta1, beta2, weight_decay: AdamW's; no decay on one-dimensional parameters.
        clip: largest gradient norm.
        parts: parts of the model to train.
        blocks: train only what lies in the first so many blocks of these parts; 0 = everything.
        separate_steps: one optimiser step per loss term instead of one for their sum.
        log_conflict: log the cosine between the loss terms' gradients (``loop.py``).
            It needs room for another gradient and no more work; with two terms the edit keeps
            its bits.
        text_drop: share of training samples whose text is replaced by the null condition (the
            released code: 0.1, which also trains guidance's reference; 0 is controlled).
        precision: ``fp32``, ``bf16`` with float32 master weights, or ``bf16-weights`` as in the
            released code; see ``parameters.py``. The released code's rate belongs to the last: on
            master weights the same rate is a stronger edit.
        checkpointing: recompute every block in the backward pass instead of keeping its
            activations: the same bits for one more forward pass, and a fraction of the memory.
        lora_rank: rank of the adapters that are trained instead of the parts' matrices; 0 trains
            the matrices themselves. Needs the extra ``lora``.
        lora_alpha: the adapters' product is multiplied by ``lora_alpha / lora_rank``.
        optimiser: ``adamw``, the only one; the field is part of the keys of stored edits.
    """

    steps: int = 500
    batch: int = 2
    rate: float = 2e-5
    beta1: float = 0.9
    beta2: float = 0.97
    weight_decay: float = 0.005
    clip: float = 5.0
    parts: tuple[str, ...] = ("cross_attention", "ffn")
    blocks: int = 0
    separate_steps: bool = False
    log_conflict: bool = False
    text_drop: float = 0.0
    precision: str = "fp32"
    checkpointing: bool = False
    lora_rank: int = 0
    lora_alpha: float = 16.0
    optimiser: str = "adamw"

    def __post_init__(self) -> None:
        check_least(1, steps=self.steps, batch=self.batch)
        check_least(0, blocks=self.blocks, lora_rank=self.lora_rank)
        check_positive(rate=self.rate, lora_alpha=self.lora_alpha)
        check_choice("precision", self.precision, PRECISIONS)
        if self.optimiser != "adamw":
            raise ValueError(
                f"optimiser must be adamw, got {self.optimiser!r}; to save memory set "
                "train.lora_rank or train.precision=bf16-weights"
            )
        if self.lora_rank and importlib.util.find_spec("peft") is None:
            raise ValueError(
                f"train.lora_rank={self.lora_rank} needs peft: "
                "pip install '.[lora]' in a checkout, or pip install peft"
            )


@dataclass(frozen=True)
class VareConfig:
    """Settings of VARE, and of any method that trains on roll-outs and has no others."""

    train: FineTuneConfig = field(default_factory=FineTuneConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
