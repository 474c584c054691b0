"""The one training loop and the methods on it: equations, resume, restoring, switches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.tiny import TinyConcept, tiny_model
from tests.helpers.training import TRAIN, TRAINED, KillAt, Killed, config_of, context
from varbench.errors import CheckpointError
from varbench.methods.base import Edit, applied
from varbench.methods.registry import load_method
from varbench.methods.svare import Svare, SvareConfig
from varbench.methods.training.config import FineTuneConfig
from varbench.methods.training.loop import draw_batch
from varbench.methods.training.losses import preservation_loss, token_filter
from varbench.methods.training.objective import Batch
from varbench.methods.training.rollouts import RolloutConfig, auxiliary_tokens
from varbench.methods.vare import Vare
from varbench.models.protocol import CapabilityError


@pytest.mark.parametrize("name", TRAINED)
def test_methods_change_only_what_they_may_and_restore_the_model(name: str, tmp_path: Path) -> None:
    model, method = tiny_model(), load_method(name)
    before = {k: v.clone() for k, v in model.weights().state_dict().items()}
    edit = method.erase(model, TinyConcept(), config_of(method), context(tmp_path))
    for key, value in model.weights().state_dict().items():
        assert torch.equal(value, before[key]), key
    changed = {k for k, v in edit.tensors.items() if not torch.equal(v, before[k])}
    assert changed
    assert all(".ca." in k or ".ffn." in k for k in edit.tensors)
    assert len(edit.log) == TRAIN.steps


@pytest.mark.parametrize("name", TRAINED)
def test_same_seed_same_edit_other_seed_another(name: str, tmp_path: Path) -> None:
    method = load_method(name)
    edits = [
        method.erase(tiny_model(), TinyConcept(), config_of(method), context(tmp_path, seed))
        for seed in (3, 3, 4)
    ]
    same = [torch.equal(edits[0].tensors[k], edits[1].tensors[k]) for k in edits[0].tensors]
    other = [torch.equal(edits[0].tensors[k], edits[2].tensors[k]) for k in edits[0].tensors]
    assert all(same)
    assert not all(other)


@pytest.mark.parametrize("name", TRAINED)
def test_a_killed_training_resumes_to_the_same_bits(name: str, tmp_path: Path) -> None:
    method = load_method(name)
    config = config_of(method, steps=60)
    straight = method.erase(tiny_model(), TinyConcept(), config, context(tmp_path / "a"))
    with pytest.raises(Killed):
        method.erase(tiny_model(), TinyConcept(), config, context(tmp_path / "b", 0, KillAt(55)))
    assert (tmp_path / "b" / "scratch.pt").exists()
    resumed = method.erase(tiny_model(), TinyConcept(), config, context(tmp_path / "b"))
    for key, value in straight.tensors.items():
        assert torch.equal(value, resumed.tensors[key]), key
    assert straight.log == resumed.log
    assert (tmp_path / "b" / "scratch.pt").exists()  # until whoever called has stored the edit


def test_a_damaged_checkpoint_only_costs_its_work(tmp_path: Path) -> None:
    method = load_method("vare")
    (tmp_path / "scratch.pt").write_bytes(b"not a checkpoint")
    edit = method.erase(tiny_model(), TinyConcept(), config_of(method), context(tmp_path))
    assert len(edit.log) == TRAIN.steps


def test_applied_puts_an_edit_in_and_takes_it_out() -> None:
    model = tiny_model()
    name = "blocks.0.ffn.fc1.bias"
    weights = model.weights().state_dict()
    before = weights[name].clone()
    with applied(model, Edit({name: before + 1})):
        assert torch.equal(model.weights().state_dict()[name], before + 1)
    assert torch.equal(model.weights().state_dict()[name], before)
    with (
        pytest.raises(CheckpointError, match="no-such-tensor"),
        applied(model, Edit({"no-such-tensor": before})),
    ):
        pass


def test_edit_round_trip(tmp_path: Path) -> None:
    edit = Edit({"a": torch.randn(3, 2), "b": torch.randn(4)})
    edit.save(tmp_path / "e.safetensors")
    again = Edit.load(tmp_path / "e.safetensors")
    assert {k: v.tolist() for k, v in again.tensors.items()} == {
        k: v.tolist() for k, v in edit.tensors.items()
    }


def test_preservation_is_zero_at_step_zero_and_guided_teacher_is_not() -> None:
    model = tiny_model()
    pairs = TinyConcept().pairs()
    for guided in (False, True):
        tokens = auxiliary_tokens(model, pairs, RolloutConfig(guided_teacher=guided), 0)
        student = model.logits(tokens.rollout, tokens.neutral)
        loss = float(preservation_loss(student, tokens.teacher_logits).detach())
        assert (loss > 1e-3) if guided else (abs(loss) < 1e-6)


def test_identical_prompts_leave_nothing_to_erase() -> None:
    """c* = c with greedy bits of an unguided roll-out: every token is right, F = 0."""
    model = tiny_model()
    texts = model.encode(["a red cat", "a red dog"])
    from varbench.models.protocol import Sampling

    greedy = Sampling(guidance=1.0, temperature=1.0, top_k=1, top_p=0)
    rollout = model.generate(texts, [("a", 0), ("b", 0)], sampling=greedy)
    keep = token_filter(model.logits(rollout, texts), rollout.tokens, alpha=0.25)
    assert not bool(keep.any())


def test_the_loop_is_adamw_on_the_summed_terms(tmp_path: Path) -> None:
    """Two iterations of S-VARE, written out by hand."""
    config = SvareConfig(train=replace(TRAIN, steps=2))
    edit = load_method("svare").erase(tiny_model(), TinyConcept(), config, context(tmp_path))
    model = tiny_model()
    tokens = auxiliary_tokens(model, TinyConcept().pairs(), config.rollout, 0)
    named = {n: p for n, p in model.weights().named_parameters() if n in edit.tensors}
    for p in model.weights().parameters():
        p.requires_grad_(False)
    for p in named.values():
        p.requires_grad_(True)
    flat = [p for p in named.values() if p.ndim <= 1]
    deep = [p for p in named.values() if p.ndim > 1]
    t = config.train
    groups = [{"params": deep, "weight_decay": t.weight_decay}, {"params": flat, "weight_decay": 0}]
    optimiser = torch.optim.AdamW(groups, lr=t.rate, betas=(t.beta1, t.beta2))
    for step in range(2):
        rows = draw_batch(6, t, 0, step).rows
        histories = tokens.rollout.select(rows)
        z = model.logits(histories, tokens.concept.select(rows))
        nll = -z.log_softmax(-1).gather(-1, histories.tokens.long()[..., None])[..., 0]
        keep = ((nll > config.gamma).float().mean(-1) >= config.alpha).float()
        q = model.logits(histories, tokens.neutral.select(rows)).log_softmax(-1)
        p = tokens.teacher_logits[rows].log_softmax(-1)
        loss = (keep * nll.mean(-1)).mean() + (p.exp() * (p - q)).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(named.values()), t.clip)
        optimiser.step()
    for key, value in edit.tensors.items():
        torch.testing.assert_close(value, named[key].detach(), atol=2e-5, rtol=1e-4)


def test_separate_steps_take_one_optimiser_step_per_term(tmp_path: Path) -> None:
    together = config_of(Svare, steps=1)
    apart = config_of(Svare, steps=1, separate_steps=True)
    edits = [
        load_method("svare").erase(tiny_model(), TinyConcept(), c, context(tmp_path))
        for c in (together, apart)
    ]
    assert "norm_erase" in edits[1].log[0]
    assert "norm_erase" not in edits[0].log[0]
    assert any(not torch.equal(edits[0].tensors[k], edits[1].tensors[k]) for k in edits[0].tensors)


def test_text_drop_replaces_prompts_by_the_null_condition() -> None:
    model = tiny_model()
    from varbench.methods.training.objective import batch_condition

    texts = model.encode(["a red cat", "a blue dog"])
    mixed = batch_condition(model, texts, Batch(0, [0, 1], [True, False]))
    rollout = model.generate(texts, [("a", 0), ("b", 0)])
    logits = model.logits(rollout, mixed)
    torch.testing.assert_close(logits[0], model.logits(rollout, model.null(texts))[0])
    torch.testing.assert_close(logits[1], model.logits(rollout, texts)[1])


def test_batches_pass_over_all_pairs() -> None:
    config = replace(TRAIN, batch=2)
    rows = [r for step in range(3) for r in draw_batch(6, config, 1, step).rows]
    assert sorted(rows) == list(range(6))


def test_unknown_part_is_refused_by_name(tmp_path: Path) -> None:
    config = config_of(Vare, parts=("cross_attention", "brain"))
    with pytest.raises(CapabilityError, match="brain"):
        load_method("vare").erase(tiny_model(), TinyConcept(), config, context(tmp_path))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SvareConfig(alpha=1.5), "share"),
        (lambda: SvareConfig(preserve_weight=-1), "negative"),
        (lambda: FineTuneConfig(steps=0), "at least 1"),
        (lambda: FineTuneConfig(rate=0), "positive"),
    ],
)
def test_bad_settings_are_refused(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
