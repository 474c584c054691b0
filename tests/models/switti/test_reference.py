"""Switti against numbers of the original's forward passes; see the folder's README."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.helpers.paths import DATA
from tests.helpers.switti_tiny import SCHEDULE, texts, tiny_model, tokenizer, transformer
from varbench.models.common.sampling import inputs_from_tokens
from varbench.models.protocol import Rollout, Sampling
from varbench.models.switti.model import SwittiModel
from varbench.models.switti.text import SwittiCondition
from varbench.models.switti.tokenizer import CodebookSum, phi_of

EXPECTED: dict[str, Tensor] = load_file(DATA / "switti_reference" / "expected.safetensors")
VARIANTS = {"switti": False, "ar": True}
GREEDY = Sampling(guidance=3.0, temperature=1.0, top_k=1, top_p=0.0)


def test_tokens_imply_the_inputs() -> None:
    inputs, _ = inputs_from_tokens(
        EXPECTED["tokens"][..., None], CodebookSum(tokenizer().quantize, SCHEDULE)
    )
    torch.testing.assert_close(inputs, EXPECTED["inputs"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_teacher_forced_logits(variant: str) -> None:
    model = tiny_model(VARIANTS[variant])
    rollout = Rollout(EXPECTED["tokens"][..., None], EXPECTED["inputs"], SCHEDULE)
    with torch.no_grad():
        logits = model.logits(rollout, texts().select([0, 1]))
    assert logits.shape == (2, 30, 1, 24)
    torch.testing.assert_close(logits[:, :, 0], EXPECTED[f"{variant}.logits"], atol=1e-4, rtol=0)
    assert EXPECTED[f"{variant}.logits"].std() > 1


class FourthText:
    """The fourth text, whatever the prompt (the reference's null prompt)."""

    def encode(self, prompts: list[str]) -> SwittiCondition:
        return texts().select([3] * len(prompts))


@pytest.mark.parametrize("variant", VARIANTS)
def test_greedy_sampling_and_the_image(variant: str) -> None:
    model = SwittiModel(
        "greedy", transformer(VARIANTS[variant]), tokenizer(), FourthText(), SCHEDULE, GREEDY
    )
    rollout = model.generate(texts().select([0, 1, 2]), [("any", 0)] * 3)
    assert torch.equal(rollout.tokens[..., 0], EXPECTED[f"{variant}.greedy"])
    image = model.decode(rollout.select([0]))
    step = 64 // EXPECTED[f"{variant}.picture"].shape[-1]
    torch.testing.assert_close(
        image[..., ::step, ::step], EXPECTED[f"{variant}.picture"], atol=1e-3, rtol=0
    )


def test_which_phi_a_scale_uses() -> None:
    """Of 10 scales the third and the eighth lie halfway between two ticks."""
    assert [phi_of(k, 10) for k in range(10)] == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
    assert [phi_of(k, 14) for k in range(14)] == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3]
