"""Negative prompt: the concept in the place of guidance's null condition.

``z = w z_prompt + (1 - w) z_concept`` with the weights w of the model's own guidance; no weight of
the network changes. Usage rather than a paper; the released code of Infinity has it as an option.

Inferred: the negative prompt is all of the concept's words, separated by commas. Other effects of
the null condition on the image are lost, and without guidance the method has none.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from varbench.baselines.token_alignment import concept_condition
from varbench.data.concept import EraseTarget
from varbench.errors import UserError
from varbench.models.protocol import Condition, Guidance, NextScaleModel


@dataclass(frozen=True)
class NegPromptConfig:
    """Settings of the negative prompt.

    Attributes:
        prompt: the negative prompt; empty = the concept's words and synonyms.
    """

    prompt: str = ""


@dataclass(frozen=True)
class NegativePrompt:
    """The model's own guidance against another condition than null.

    Attributes:
        guidance: the model's guidance at the weight that it is sampled with.
        negative: condition of one prompt.
    """

    guidance: Guidance
    negative: Condition

    def branches(self, model: NextScaleModel, condition: Condition) -> list[Condition]:
        return [condition, self.negative.select([0] * len(condition))]

    def combine(self, scale: int, logits: list[Tensor]) -> Tensor:
        return self.guidance.combine(scale, logits)


class NegPrompt:
    """The ``neg-prompt`` baseline."""

    id = "neg-prompt"
    version = 1
    Config = NegPromptConfig

    def guidance(
        self, model: NextScaleModel, concept: EraseTarget, config: NegPromptConfig, weight: float
    ) -> Guidance:
        if weight == 1:
            raise UserError(
                f"{self.id} works through guidance, which weight 1 switches off; "
                "set model.sampling.guidance to more"
            )
        negative = concept_condition(model, concept, config.prompt)
        return NegativePrompt(model.guidance(weight), negative)
