"""Switti as a :class:`~varbench.models.protocol.NextScaleModel`."""

from __future__ import annotations

from typing import ClassVar

from varbench.models.common.sampling import ClassifierFreeGuidance
from varbench.models.common.var_model import VarModel
from varbench.models.switti.text import SwittiCondition
from varbench.models.switti.tokenizer import VQVAE, CodebookSum
from varbench.models.switti.transformer import SwittiTransformer, TextState


class SwittiModel(VarModel[SwittiCondition]):
    """Transformer, VQ-VAE and text encoders; arguments as for :class:`VarModel`.

    The ``guidance`` of ``sampling`` is the weight at the last scale: it grows linearly from 1 at
    the first (the original's ``cfg`` plus 1).
    """

    transformer: SwittiTransformer
    tokenizer: VQVAE
    parts: ClassVar = {
        "cross_attention": r"blocks\.\d+\.cross_attn\.",
        "cross_attention.kv": r"blocks\.\d+\.cross_attn\.to_kv\.",
        "self_attention": r"blocks\.\d+\.attn\.",
        "ffn": r"blocks\.\d+\.ffn\.",
        "pooled_text": r"text_pooler\.|blocks\.\d+\.ada_lin\.",
        "head": r"head\.|head_nm\.",
    }
    """Text rows reach every block unprojected, so there is no ``text_projection``."""

    _null: SwittiCondition | None = None

    def null(self, like: SwittiCondition) -> SwittiCondition:
        """The empty prompt, as often as ``like`` has prompts; encoded once."""
        if self._null is None:
            self._null = self.encode([""])
        return self._null.select([0] * len(like))

    def read(self, condition: SwittiCondition) -> TextState:
        """A condition as the blocks read it, with gradient."""
        return self.transformer.read_text(condition.rows, condition.mask, condition.pooled)

    def guidance(self, weight: float) -> ClassifierFreeGuidance:
        """Guidance that grows linearly over the scales, from 1 to ``weight``."""
        last = len(self.schedule.scales) - 1
        if weight == 1 or not last:
            return ClassifierFreeGuidance(1.0)
        return ClassifierFreeGuidance([1 + (weight - 1) * k / last for k in range(last + 1)])

    def code_sum(self) -> CodebookSum:
        return CodebookSum(self.tokenizer.quantize, self.schedule)
