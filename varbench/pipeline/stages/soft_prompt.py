"""A soft prompt: free vectors before the tokens of a prompt, found by gradient ascent.

``v* = argmax_v mean_n log p_theta(r_n | v, prompt_n)``

where r_n is a roll-out of another model, read by teacher forcing: mean over the symbols of a scale,
then over scales, each weighing the same, and over prompts. One set of vectors serves all prompts.
With the base model's roll-outs of a concept it is an attack on a model from which the concept
was erased: textual inversion (Pham et al., ICLR 2024, "Circumventing Concept Erasure Methods") and
the prefix of UnlearnDiffAtk (Zhang et al., ECCV 2024), with a next-scale model's own likelihood in
place of the diffusion loss. It is white-box: it reads gradients of the model that it attacks, and
its vectors need not be words. So it measures defence, it is no prompt that anyone could type.

Adam on a few prompts at a time, which take turns; its step is a share of the start's root mean
square, so that it means the same in every text space. More prompts are worth more than more of
them at a time: on the Gallery vectors found on 4 prompts hardly work on others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from varbench.methods.training.losses import symbol_cross_entropy
from varbench.models.capabilities import HasSoftPrompts, require
from varbench.models.common.execution import HasExecution
from varbench.models.protocol import Condition, NextScaleModel, Rollout

RATE = 0.3
"""Adam's, by the root mean square of the vectors that the ascent starts from."""


def find_soft_prompt(
    model: NextScaleModel,
    prompts: Sequence[str],
    histories: Rollout,
    *,
    count: int,
    steps: int,
    batch: int,
    seed: int,
    recompute: bool = False,
    advance: Callable[[], object] = lambda: None,
) -> tuple[Tensor, list[float]]:
    """Vectors under which roll-outs are as likely as ascent can make them.

    Args:
        model: as it is; it is not changed.
        prompts: N of them.
        histories: one roll-out for each.
        count: of vectors.
        steps: of the ascent.
        batch: prompts per step, at most N.
        seed: decides where it starts, and the order of the prompts.
        recompute: less memory for more time, see ``checkpointing`` of :class:`Execution`.
        advance: called after every step.

    Returns:
        The vectors, ``[count, C]`` (see :class:`HasSoftPrompts`), and before every step the
        negative log-likelihood of its prompts, nats per symbol.

    Raises:
        CapabilityError: the model offers no :class:`HasSoftPrompts`.
    """
    space = require(model, HasSoftPrompts, "a soft prompt")
    order = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(seed)).tolist()
    batch = min(batch, len(order))
    soften = space.soft_prompts(prompts)
    vectors = space.soft_start(count, seed).detach().clone().requires_grad_()
    size = float(vectors.detach().square().mean().sqrt())
    optimiser, log = torch.optim.Adam([vectors], lr=RATE * size), []
    with _frozen(model, recompute), torch.enable_grad():
        for step in range(steps):
            rows = [order[(step * batch + i) % len(order)] for i in range(batch)]
            loss = unlikelihood(model, histories.select(rows), soften(vectors).select(rows))
            (vectors.grad,) = torch.autograd.grad(loss, [vectors])
            optimiser.step()
            log.append(float(loss.detach()))
            advance()
    return vectors.detach(), log


def unlikelihood(model: NextScaleModel, histories: Rollout, condition: Condition) -> Tensor:
    """Negative log-likelihood of roll-outs, nats per symbol, every scale weighing the same."""
    nll_BLD = symbol_cross_entropy(model.logits(histories, condition), histories.tokens)
    return torch.stack([nll_BLD[:, rows].mean() for rows in histories.schedule.slices()]).mean()


@contextmanager
def _frozen(model: NextScaleModel, recompute: bool) -> Iterator[None]:
    """No gradients of weights, nor the memory for them."""
    trained = [p for p in model.weights().parameters() if p.requires_grad]
    before = model.execution if isinstance(model, HasExecution) else None
    try:
        for p in trained:
            p.requires_grad_(False)
        if isinstance(model, HasExecution):
            model.execution = replace(model.execution, checkpointing=recompute)
        yield
    finally:
        for p in trained:
            p.requires_grad_(True)
        if isinstance(model, HasExecution) and before is not None:
            model.execution = before
