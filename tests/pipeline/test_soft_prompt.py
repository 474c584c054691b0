"""Free vectors before a prompt: where they stand, what they are read as, and the ascent on them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers import switti_tiny
from tests.helpers.by_hand import mean_cross_entropy
from tests.helpers.infinity_text_folder import write_text_folder
from tests.helpers.tiny import tiny_model
from varbench.models.capabilities import HasSoftPrompts, require
from varbench.models.common.execution import Execution
from varbench.models.infinity.model import InfinityModel
from varbench.models.infinity.text import TextCondition, TextEncoder
from varbench.models.protocol import CapabilityError, Rollout
from varbench.pipeline.stages.soft_prompt import find_soft_prompt, unlikelihood

PROMPTS = ["a red cat", "hat", "a dog on a blue cup"]
MAXLEN = 12


@pytest.fixture(scope="module")
def model() -> InfinityModel:
    """Its text features come ready-made, as from a store."""
    return tiny_model(seed=2)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TextEncoder:
    folder = write_text_folder(tmp_path_factory.mktemp("text") / "t5")
    return TextEncoder.from_folder(folder, MAXLEN, torch.device("cpu"))


@pytest.fixture(scope="module")
def reading(encoder: TextEncoder) -> InfinityModel:
    """The same model with an encoder in memory, which can read vectors."""
    made = tiny_model(seed=2)
    made.text_encoder = encoder
    return made


@pytest.fixture(scope="module")
def histories(model: InfinityModel) -> Rollout:
    """Roll-outs of prompts that say something else."""
    texts = ["a blue box", "a green car", "the old tree"]
    return model.generate(model.encode(texts), [(text, 0) for text in texts])


def vectors(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 128, generator=torch.Generator().manual_seed(seed))


def test_among_features_they_are_rows_before_the_prompts(model: InfinityModel) -> None:
    plain, free = model.encode(PROMPTS), vectors(2)
    condition = require(model, HasSoftPrompts, "test").soft_prompts(PROMPTS)(free)
    assert isinstance(condition, TextCondition)
    assert condition.rows.shape == plain.rows.shape
    assert torch.equal(condition.lengths, plain.lengths + 2)
    for row, before, length in zip(condition.rows, plain.rows, plain.lengths.tolist(), strict=True):
        assert torch.equal(row[:2], free)
        assert torch.equal(row[2 : 2 + length], before[:length])
        assert not row[2 + length :].any()
    start = model.soft_start(3, 0)
    assert torch.equal(start, model.transformer.cfg_uncond[:3])
    assert not start.requires_grad


def test_to_an_encoder_they_are_tokens(reading: InfinityModel, encoder: TextEncoder) -> None:
    """The embeddings of two words before a prompt are the prompt with these words."""
    table = encoder.encoder.get_input_embeddings().weight
    ids = encoder.tokenizer("the blue").input_ids[:2]
    condition = reading.soft_prompts(["cat", "hat on a mat"])(table[ids])
    said = reading.encode(["the blue cat", "the blue hat on a mat"])
    assert torch.equal(condition.lengths, said.lengths)
    torch.testing.assert_close(condition.rows, said.rows, rtol=0, atol=1e-6)


def test_a_start_is_made_of_tokens(reading: InfinityModel, encoder: TextEncoder) -> None:
    table = encoder.encoder.get_input_embeddings().weight
    start = reading.soft_start(4, seed=1)
    assert all((row == table).all(dim=1).any() for row in start)
    assert torch.equal(start, reading.soft_start(4, seed=1))
    assert not torch.equal(start, reading.soft_start(4, seed=2))


@pytest.mark.parametrize("kind", ["model", "reading"])
def test_no_vectors_change_nothing_and_none_is_shared(
    kind: str, request: pytest.FixtureRequest
) -> None:
    made = request.getfixturevalue(kind)
    plain, none = made.encode(PROMPTS), made.soft_prompts(PROMPTS)(vectors(0))
    assert torch.equal(none.rows, plain.rows) and torch.equal(none.lengths, plain.lengths)
    together, free = made.soft_prompts(PROMPTS)(vectors(2)), vectors(2)
    for i, prompt in enumerate(PROMPTS):
        assert torch.equal(made.soft_prompts([prompt])(free).rows[0], together.rows[i])


@pytest.mark.parametrize("kind", ["model", "reading"])
def test_what_does_not_fit_is_cut_off_the_prompt_before_its_end(
    kind: str, request: pytest.FixtureRequest
) -> None:
    made = request.getfixturevalue(kind)
    long = "a red cat on a blue mat under the"  # nine words and the end, with five vectors 15
    condition = made.soft_prompts([long])(vectors(5))
    short = made.soft_prompts(["a red cat on a blue"])(vectors(5))
    assert condition.lengths.tolist() == [MAXLEN]
    assert torch.equal(condition.rows, short.rows)


def test_unlikelihood_weighs_every_scale_the_same(model: InfinityModel, histories: Rollout) -> None:
    text = model.encode(PROMPTS)
    with torch.no_grad():
        loss, logits = unlikelihood(model, histories, text), model.logits(histories, text)
    scales = [
        mean_cross_entropy(logits[:, rows], histories.tokens[:, rows])
        for rows in model.schedule.slices()
    ]
    assert float(loss) == pytest.approx(sum(scales) / len(scales), rel=1e-5)


def search(model: Any, histories: Rollout, **changes: Any) -> Any:
    settings: dict[str, Any] = {"count": 2, "steps": 12, "batch": 2, "seed": 0} | changes
    vectors, log = find_soft_prompt(model, PROMPTS, histories, **settings)
    return SimpleNamespace(vectors=vectors, log=log)


@pytest.mark.parametrize("kind", ["model", "reading"])
def test_the_ascent_makes_the_roll_outs_likelier(
    kind: str, histories: Rollout, request: pytest.FixtureRequest
) -> None:
    made = request.getfixturevalue(kind)
    before = {name: value.clone() for name, value in made.weights().state_dict().items()}
    steps: list[None] = []
    attack = search(made, histories, advance=lambda: steps.append(None))
    soften = made.soft_prompts(PROMPTS)
    with torch.no_grad():
        worse, better = (
            float(unlikelihood(made, histories, soften(v)))
            for v in (made.soft_start(2, 0), attack.vectors)
        )
    assert better < worse - 0.02
    assert len(attack.log) == len(steps) == 12
    assert not attack.vectors.requires_grad
    assert torch.equal(attack.vectors, search(made, histories).vectors)
    # The model is as it was.
    assert all(torch.equal(value, before[n]) for n, value in made.weights().state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in made.weights().parameters())


def test_a_step_is_adams_on_the_prompts_in_turn(model: InfinityModel, histories: Rollout) -> None:
    """The first step moves every number by the rate, against the gradient's sign."""
    soften, start = model.soft_prompts(PROMPTS), model.soft_start(2, 0).requires_grad_()
    order = torch.randperm(3, generator=torch.Generator().manual_seed(0)).tolist()
    losses = []
    for rows in (order[:2], [order[2], order[0]]):
        v = start if not losses else search(model, histories, steps=1).vectors.requires_grad_()
        loss = unlikelihood(model, histories.select(rows), soften(v).select(rows))
        if not losses:
            (slope,) = torch.autograd.grad(loss, [start])
        losses.append(float(loss.detach()))
    found = search(model, histories, steps=2)
    assert found.log == pytest.approx(losses, rel=1e-5)
    moved = search(model, histories, steps=1).vectors - start.detach()
    rate = 0.3 * float(start.detach().square().mean().sqrt())
    torch.testing.assert_close(moved, -rate * slope.sign(), rtol=1e-2, atol=0.0)


def test_recomputing_gives_the_same_bits_and_execution_comes_back(
    model: InfinityModel, histories: Rollout
) -> None:
    execution = model.execution
    plain = search(model, histories, steps=3)
    seen: list[Execution] = []
    less = search(
        model, histories, steps=3, recompute=True, advance=lambda: seen.append(model.execution)
    )
    assert torch.equal(less.vectors, plain.vectors)
    assert seen == [replace(execution, checkpointing=True)] * 3
    assert model.execution == execution


def test_more_prompts_per_step_than_there_are_is_all_of_them(
    model: InfinityModel, histories: Rollout
) -> None:
    found = [search(model, histories, steps=2, batch=batch).vectors for batch in (3, 8)]
    assert torch.equal(*found)


def test_a_model_that_reads_no_vectors_is_refused_by_name() -> None:
    other = switti_tiny.tiny_model()
    rollout = other.generate(other.encode(["a", "b", "c"]), [("a", 0), ("b", 0), ("c", 0)])
    with pytest.raises(CapabilityError, match="HasSoftPrompts"):
        search(other, rollout)


def test_prepared_prompts_take_any_vectors(encoder: TextEncoder) -> None:
    soften = encoder.soft_prompts(["a red cat"])
    first, second = soften(vectors(1, 1)), soften(vectors(1, 2))
    assert not torch.equal(first.rows, second.rows)
    assert torch.equal(first.rows, soften(vectors(1, 1)).rows)
