"""SalUn: the mask is the largest part of the gradient, and what it excludes keeps its bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.helpers import switti_tiny
from tests.helpers.by_hand import mean_cross_entropy, mean_divergence
from tests.helpers.tiny import TinyConcept, tiny_model
from tests.helpers.training import TRAIN, KillAt, Killed, context
from varbench.baselines.salun import Salun, SalunConfig, largest, saliency
from varbench.errors import UserError
from varbench.methods.training.config import FineTuneConfig
from varbench.methods.training.loop import Mask
from varbench.methods.training.rollouts import (
    RolloutConfig,
    auxiliary_tokens,
    pair_rollouts,
    sample_batch,
)
from varbench.models.protocol import NextScaleModel

BOTH = pytest.mark.parametrize("build", [tiny_model, switti_tiny.tiny_model], ids=["bits", "index"])
PAIRS = TinyConcept().pairs()
PARTS = ("cross_attention", "ffn")


def config(steps: int, **changes: Any) -> SalunConfig:
    own = SalunConfig(**changes)
    return replace(own, train=replace(own.train, steps=steps, batch=6, rate=3e-3))


def mask_of(model: NextScaleModel, train: FineTuneConfig, share: float) -> dict[str, torch.Tensor]:
    tokens = auxiliary_tokens(model, PAIRS, RolloutConfig(), 0, "concept")
    return largest(saliency(model, tokens, train), share)


def test_the_largest_entries_are_chosen_not_the_smallest() -> None:
    generator = torch.Generator().manual_seed(1)
    sizes = {"a": torch.rand(4, 5, generator=generator), "b": torch.rand(11, generator=generator)}
    every = sorted((v, n, i) for n, s in sizes.items() for i, v in enumerate(s.flatten().tolist()))
    for share, count in ((0.5, 16), (0.25, 8), (0.01, 1), (1.0, 31)):
        chosen = {(n, i) for _, n, i in every[-count:]}
        masks = largest(sizes, share)
        assert masks["a"].shape == (4, 5)
        selected = {
            (n, i)
            for n, m in masks.items()
            for i, chose in enumerate(m.flatten().tolist())
            if chose
        }
        assert selected == chosen


def test_what_the_loss_does_not_touch_is_never_salient() -> None:
    sizes = {"touched": torch.tensor([3.0, 1.0]), "never": torch.zeros(6)}
    masks = largest(sizes, 0.75)
    assert masks["touched"].all()
    assert not masks["never"].any()


@BOTH
def test_saliency_is_the_gradient_of_the_forget_loss_over_all_pairs(build: Any) -> None:
    """One backward pass over all pairs together, and finite differences in the largest entry."""
    model = build()
    tokens = auxiliary_tokens(model, PAIRS, RolloutConfig(), 0, "concept")
    sizes = saliency(model, tokens, FineTuneConfig(parts=("all",)))
    assert all(p.grad is None and not p.requires_grad for p in model.weights().parameters())
    named = dict(model.weights().named_parameters())
    assert set(sizes) == set(named)
    rollout = pair_rollouts(model, PAIRS, RolloutConfig(), 0, "concept")
    text = model.encode([p.concept for p in PAIRS])
    ffn = model.parameters("ffn")
    for p in ffn.values():
        p.requires_grad_(True)
    log_p = model.logits(rollout, text).log_softmax(-1)
    loss = -log_p.gather(-1, rollout.tokens.long()[..., None]).mean()
    for name, gradient in zip(ffn, torch.autograd.grad(loss, list(ffn.values())), strict=True):
        torch.testing.assert_close(sizes[name], gradient.abs(), atol=1e-6, rtol=1e-4)
    name = max(ffn, key=lambda n: float(sizes[n].max()))
    place_of = int(sizes[name].argmax())
    losses = []
    with torch.no_grad():
        for step in (-5e-3, 5e-3):
            named[name].view(-1)[place_of] += step
            losses.append(mean_cross_entropy(model.logits(rollout, text), rollout.tokens))
            named[name].view(-1)[place_of] -= step
    assert abs(losses[1] - losses[0]) / 1e-2 == pytest.approx(float(sizes[name].max()), rel=1e-2)


@BOTH
def test_the_first_losses_are_the_formulas(build: Any, tmp_path: Path) -> None:
    edit = Salun().erase(build(), TinyConcept(), config(1), context(tmp_path))
    model = build()
    rollout = pair_rollouts(model, PAIRS, RolloutConfig(), 0, "concept")
    concept, neutral = (
        model.logits(rollout, model.encode(texts))
        for texts in ([p.concept for p in PAIRS], [p.neutral for p in PAIRS])
    )
    assert edit.log[0]["erase"] == pytest.approx(mean_divergence(concept, neutral), rel=1e-4)
    kept = TinyConcept().retain_prompts()
    text = model.encode(kept)
    keys = [(f"retained-{i}", 0) for i in range(len(kept))]
    others = sample_batch(model, text, keys, RolloutConfig())
    rows = [0, 1, 2, 3, 0, 1]  # four retained prompts, in turn
    expected = mean_cross_entropy(
        model.logits(others.select(rows), text.select(rows)), others.tokens[rows]
    )
    assert edit.log[0]["preserve"] == pytest.approx(expected, rel=1e-4)


@BOTH
def test_only_the_salient_part_of_the_whole_network_changes(build: Any, tmp_path: Path) -> None:
    model = build()
    before = {k: v.clone() for k, v in model.weights().state_dict().items()}
    settings = config(15, share=0.3)
    # A decay that would be seen in every entry, had it a way there.
    settings = replace(settings, train=replace(settings.train, weight_decay=5.0))
    edit = Salun().erase(model, TinyConcept(), settings, context(tmp_path))
    assert edit.log[-1]["erase"] < 0.8 * edit.log[0]["erase"]
    masks = mask_of(model, settings.train, 0.3)
    assert set(edit.tensors) == {n for n, _ in model.weights().named_parameters()} == set(masks)
    total = sum(m.numel() for m in masks.values())
    assert abs(sum(int(m.sum()) for m in masks.values()) / total - 0.3) < 1e-3
    moved = 0
    for name, value in edit.tensors.items():
        assert torch.equal(value[~masks[name]], before[name][~masks[name]]), name
        moved += int((value != before[name]).sum())
    assert moved > 0.29 * total
    assert all(torch.equal(v, before[k]) for k, v in model.weights().state_dict().items())


@pytest.mark.parametrize("precision", ["bf16", "bf16-weights"])
def test_the_mask_holds_in_other_precisions(precision: str, tmp_path: Path) -> None:
    model = tiny_model()
    train = replace(TRAIN, precision=precision, checkpointing=True, parts=PARTS)
    edit = Salun().erase(model, TinyConcept(), SalunConfig(train=train), context(tmp_path))
    masks = mask_of(model, train, 0.5)
    weights = model.weights().state_dict()
    for name, value in edit.tensors.items():
        own = weights[name].to(value.dtype)
        assert torch.equal(value[~masks[name]], own[~masks[name]])
        assert not torch.equal(value, own)


def test_a_mask_holds_where_moments_and_decay_would_move_it() -> None:
    """Against the same training without a mask, whose hidden gradients also fill the norm."""
    p = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
    optimiser = torch.optim.AdamW([p], lr=0.1, weight_decay=0.5)
    (p * torch.tensor([1.0, 1.0, 5.0])).sum().backward()
    optimiser.step()  # all three have moments now
    optimiser.zero_grad()
    start = p.detach().clone()
    mask = Mask({"p": p}, {"p": torch.tensor([True, False, False])})
    for _ in range(3):
        (p * torch.tensor([1.0, 1.0, 5.0])).sum().backward()
        mask.silence()
        assert p.grad is not None
        assert p.grad.tolist() == [1.0, 0.0, 0.0]
        optimiser.step()
        mask.put_back()
        optimiser.zero_grad()
    assert torch.equal(p[1:], start[1:])
    assert p[0] < start[0] - 0.2


def test_masks_of_something_else_are_refused() -> None:
    with pytest.raises(ValueError, match="lora_rank=0"):
        Mask({"p": nn.Parameter(torch.zeros(2))}, {"q": torch.ones(2, dtype=torch.bool)})


def test_a_killed_masked_training_resumes_to_the_same_bits(tmp_path: Path) -> None:
    settings = SalunConfig(train=replace(TRAIN, steps=56, parts=PARTS))
    straight = Salun().erase(tiny_model(), TinyConcept(), settings, context(tmp_path / "a"))
    with pytest.raises(Killed):
        Salun().erase(tiny_model(), TinyConcept(), settings, context(tmp_path / "b", 0, KillAt(53)))
    resumed = Salun().erase(tiny_model(), TinyConcept(), settings, context(tmp_path / "b"))
    assert all(torch.equal(v, resumed.tensors[k]) for k, v in straight.tensors.items())


def test_without_preservation_no_retained_prompt_is_needed(tmp_path: Path) -> None:
    class Alone(TinyConcept):
        def retain_prompts(self) -> list[str]:
            return []

    own = config(1, preserve_weight=0.0)
    assert "preserve" not in Salun().erase(tiny_model(), Alone(), own, context(tmp_path)).log[0]
    with pytest.raises(UserError, match=r"pairs\.retain"):
        Salun().erase(tiny_model(), Alone(), config(1), context(tmp_path))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SalunConfig(share=0), "above 0"),
        (lambda: SalunConfig(preserve_weight=-1), "negative"),
        (lambda: SalunConfig(train=FineTuneConfig(lora_rank=2)), "lora_rank=0"),
    ],
)
def test_bad_settings_are_refused(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
