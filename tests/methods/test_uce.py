"""UCE: the objective it minimises, what it changes, and what it leaves open."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.helpers.switti_tiny import tiny_model as switti_model
from tests.helpers.tiny import TinyConcept, TinyPair, tiny_model
from varbench.baselines.token_alignment import Contexts, problems
from varbench.baselines.uce import Uce, UceConfig, edited, solve, weighed
from varbench.conf.compose import resolve
from varbench.errors import UserError
from varbench.methods.base import Edit, TrainingContext, applied
from varbench.methods.registry import load_method
from varbench.models.infinity.model import InfinityModel
from varbench.models.infinity.text import TextCondition
from varbench.models.protocol import CapabilityError
from varbench.utils.progress import Progress

POOL = "text_proj_for_sos.ca.mat_kv.weight"
BLOCKS = {f"blocks.{i}.ca.mat_kv.weight" for i in range(2)}
EDITED = {"kv": BLOCKS, "both": {*BLOCKS, POOL}, "h": {"text_proj_for_ca.0.weight", POOL}}
TARGETS = pytest.mark.parametrize("target", sorted(EDITED))
CONTEXT = TrainingContext(0, Path("unused"), Progress())


def erase(model: InfinityModel, config: UceConfig, concept: TinyConcept | None = None) -> Edit:
    return Uce().erase(model, concept or TinyConcept(), config, CONTEXT)


def random_contexts(seed: int, count: int, width: int) -> Contexts:
    generator = torch.Generator().manual_seed(seed)
    rows, targets = torch.randn(2, count, width, generator=generator, dtype=torch.float64)
    return Contexts(rows, targets, torch.rand(count, generator=generator, dtype=torch.float64))


def test_the_solution_is_where_the_objective_is_flat() -> None:
    erased, kept = random_contexts(0, 5, 7), random_contexts(1, 4, 7).unchanged()
    config = UceConfig(lam_rel=0.3, erase_weight=1.5, preserve_weight=0.4)
    moment = sum(
        (
            factor * w * torch.outer(row, row)
            for factor, some in ((1.5, erased), (0.4, kept))
            for row, w in zip(some.rows, some.weights, strict=True)
        ),
        torch.zeros(7, 7, dtype=torch.float64),
    )
    lam = 0.3 * float(torch.linalg.eigvalsh(moment).mean())
    original = torch.randn(3, 7, dtype=torch.float64)

    def objective(matrix: Tensor) -> Tensor:
        loss = lam * (matrix - original).square().sum()
        for u, other, w in zip(erased.rows, erased.targets, erased.weights, strict=True):
            loss = loss + 1.5 * w * (matrix @ u - original @ other).square().sum()
        for p, w in zip(kept.rows, kept.weights, strict=True):
            loss = loss + 0.4 * w * ((matrix - original) @ p).square().sum()
        return loss

    def slope(matrix: Tensor) -> float:
        at = matrix.clone().requires_grad_()
        return float(torch.autograd.grad(objective(at), at)[0].norm())

    solution = solve(weighed(erased, kept, config), config.lam_rel)
    best = original + original @ solution.change
    assert slope(best) < 1e-12 * slope(original)
    assert objective(best) < objective(original)
    system = moment + lam * torch.eye(7, dtype=torch.float64)
    assert solution.condition == pytest.approx(float(torch.linalg.cond(system)))
    assert solution.rank == 5  # one for each erased context; kept ones add none


@dataclass(frozen=True)
class SameConcept(TinyConcept):
    def pairs(self) -> list[TinyPair]:
        return [TinyPair(p.concept, p.concept) for p in super().pairs()]


@TARGETS
def test_equal_contexts_change_nothing(target: str) -> None:
    model = tiny_model()
    edit = erase(model, UceConfig(target), SameConcept())
    own = model.weights().state_dict()
    assert set(edit.tensors) == EDITED[target]
    assert all(torch.equal(value, own[name]) for name, value in edit.tensors.items())
    assert all(v == 0 for k, v in edit.log[0].items() if k.startswith("rank"))
    assert all(v == 0 for v in edit.notes.values())  # what was alike cannot leak either


@TARGETS
def test_an_edit_is_of_the_stated_matrices_and_leaves_the_model_as_it_was(target: str) -> None:
    model, fresh = tiny_model(), tiny_model().weights().state_dict()
    edit = erase(model, UceConfig(target))
    assert set(edit.tensors) == EDITED[target]
    for name, value in edit.tensors.items():
        assert value.shape == fresh[name].shape
        assert not torch.equal(value, fresh[name])
    for name, value in model.weights().state_dict().items():
        assert torch.equal(value, fresh[name]), name


def test_edited_matrices_keep_their_dtype() -> None:
    model = tiny_model()
    tasks = problems(model, TinyConcept(), ("memory",), "uce")
    change = solve(tasks["memory"].erased, 0.1).change
    exact = edited(model, tasks, {"memory": change})
    for name in BLOCKS:
        block = model.weights().get_submodule(name.removesuffix(".weight"))
        block.bfloat16()
    rounded = edited(model, tasks, {"memory": change})
    for name in BLOCKS:
        assert rounded[name].dtype == torch.bfloat16
        torch.testing.assert_close(rounded[name].float(), exact[name], rtol=0.02, atol=0.02)


@torch.no_grad()
def test_editing_every_block_is_folding_m_into_the_text_projection() -> None:
    model = tiny_model()
    config = UceConfig("kv")
    task = problems(model, TinyConcept(), ("memory",), "uce")["memory"]
    change = solve(weighed(task.erased, task.kept, config), config.lam_rel).change
    m = torch.eye(32, dtype=torch.float64) + change
    own = model.weights().state_dict()
    last = ("text_proj_for_ca.2.weight", "text_proj_for_ca.2.bias")
    folded = Edit({name: (m @ own[name].double()).float() for name in last})

    texts = model.encode(["a red cat", "a red box on a blue hat", ""])
    rollout = model.generate(texts, [("a", 0), ("b", 0), ("c", 0)])
    plain = model.logits(rollout, texts)
    with applied(model, erase(model, config)):
        blocks = model.logits(rollout, texts)
    with applied(model, folded):
        projection = model.logits(rollout, texts)
    torch.testing.assert_close(blocks, projection, rtol=1e-4, atol=1e-5)
    assert float((blocks - plain).abs().max()) > 1e-2


@torch.no_grad()
@TARGETS
def test_the_pooled_text_moves_to_the_anchor_unless_only_the_blocks_are_edited(target: str) -> None:
    model = tiny_model()
    pairs = TinyConcept().pairs()
    concept, neutral = (
        model.encode([getattr(p, s) for p in pairs]) for s in ("concept", "neutral")
    )

    def pooled(texts: TextCondition) -> Tensor:
        return model.read(texts).pooled

    anchor = pooled(neutral)
    before = F.cosine_similarity(pooled(concept), anchor)
    with applied(model, erase(model, UceConfig(target, lam_rel=0.001))):
        after = F.cosine_similarity(pooled(concept), anchor)
    assert before.max() < 0.95
    if target == "kv":
        assert torch.equal(after, before)
    else:
        assert after.min() > 0.999


def test_cross_attention_alone_leaks_and_the_pool_closes_the_leak() -> None:
    notes = {target: erase(tiny_model(), UceConfig(target, 0.01)).notes for target in EDITED}
    for k in range(3):
        assert notes["kv"][f"leak_{k}"] > 0.5
        assert notes["both"][f"leak_{k}"] < 0.1
        assert notes["h"][f"leak_{k}"] < 0.1


@TARGETS
def test_what_must_stay_holds_the_null_branch(target: str) -> None:
    with_it = erase(tiny_model(), UceConfig(target)).notes
    without = erase(tiny_model(), UceConfig(target, preserve_weight=0.0)).notes
    drifts = [(with_it[f"null_drift_{k}"], without[f"null_drift_{k}"]) for k in range(3)]
    assert all(held < 0.05 for held, _ in drifts), drifts
    assert all(held < 0.5 * free for held, free in drifts), drifts


def test_smaller_lam_comes_nearer_to_the_anchor_at_a_worse_condition() -> None:
    lams = (1.0, 0.1, 0.01)
    edits = [erase(tiny_model(), UceConfig("both", lam)) for lam in lams]
    leaks = [edit.notes["leak_0"] for edit in edits]
    assert leaks[0] > leaks[1] > leaks[2]
    for lam, log in zip(lams, (edit.log[0] for edit in edits), strict=True):
        assert 1 < log["condition_memory"] <= 1 + 32 / lam
        assert 1 < log["condition_pool"] <= 1 + 128 / lam
        assert log["rank_memory"] == log["rank_pool"] == 1  # red -> blue, whatever the prompt


def test_it_is_known_by_name_and_takes_settings() -> None:
    assert isinstance(load_method("uce"), Uce)
    config = resolve("gallery", "smoke", "uce", ["method.target=h", "method.lam_rel=0.5"])
    assert config.method == UceConfig("h", 0.5)
    with pytest.raises(UserError, match="target must be one of kv, both, h, got 'pool'"):
        resolve("gallery", "smoke", "uce", ["method.target=pool"])
    with pytest.raises(ValueError, match="lam_rel must be positive"):
        UceConfig(lam_rel=0)
    with pytest.raises(ValueError, match="preserve_weight must not be negative"):
        UceConfig(preserve_weight=-1)


def test_a_model_without_text_spaces_is_refused_before_any_work() -> None:
    with pytest.raises(CapabilityError, match="uce needs a model that offers HasTextSpaces"):
        Uce().erase(switti_model(), TinyConcept(), UceConfig(), CONTEXT)
