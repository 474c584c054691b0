"""Text conditions of Switti: rows of two CLIP text encoders side by side, and a pooled vector.

The unconditional counterpart is the empty prompt, encoded like any other; nothing is learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from varbench.models.common.conditions import PromptRows
from varbench.models.text.cache import TextSource
from varbench.models.text.encoders import PromptFeatures

MAXLEN = 77
"""Text tokens, start and end included, of CLIP."""


@dataclass(frozen=True)
class SwittiCondition(PromptRows):
    """Last hidden states of both encoders side by side for a batch of prompts.

    Attributes:
        pooled: ``[B, P]`` float32, the second encoder's state at the end of the text.
    """

    pooled: Tensor


@dataclass(frozen=True)
class CLIPSource(TextSource[SwittiCondition]):
    """Both CLIP encoders on disk, each in its folder; the empty prompt stands for no condition.

    The pooled vector is the second one's, before projection.
    """

    maxlen: int = MAXLEN
    kind = "CLIPTextModel"
    own_prompts = ("",)

    def condition(self, features: Sequence[PromptFeatures]) -> SwittiCondition:
        rows = [f.tensors["rows"].to(self.device) for f in features]
        pooled = torch.stack([f.tensors["pooled"].to(self.device) for f in features])
        return SwittiCondition.padded(rows, self.maxlen, pooled=pooled)
