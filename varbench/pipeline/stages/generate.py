"""The stages of a cell: erase, generate, reference, score. Each finds or makes store entries.

Every entry's spec names all that decides its content; see ``docs/architecture.md``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from varbench.conf.schema import plain
from varbench.errors import UserError
from varbench.methods.base import Edit, Method, SamplingMethod, TrainingContext, applied
from varbench.methods.registry import NONE, load_method
from varbench.metrics.base import Key
from varbench.models import registry
from varbench.models.protocol import Guidance, NextScaleModel, Rollout
from varbench.models.text.cache import cached_text
from varbench.models.text.encoders import HasTextEncoder
from varbench.pipeline.context import RunContext
from varbench.pipeline.plan import Cell, Sample
from varbench.pipeline.stages.validity import find_invalid, score_or_isolate, warn
from varbench.pipeline.stored_group import image_name, key_of
from varbench.scoring.base import Scorer
from varbench.store import Entry, digest, failures
from varbench.utils.metering import metered

GENERATE_VERSION = 1


def edit_spec(cell: Cell) -> dict[str, Any] | None:
    """What decides an edit; None for the unerased model and for methods that change sampling."""
    if cell.method == NONE or isinstance(load_method(cell.method), SamplingMethod):
        return None
    return {
        "model": registry.fingerprint(cell.config.model),
        **_method_spec(cell),
        "seed": cell.seed,
        **_strict(cell),
    }


def steering_spec(cell: Cell) -> dict[str, Any] | None:
    """What decides a changed sampling; None where the model's own guidance is used."""
    if cell.method == NONE or isinstance(load_method(cell.method), Method):
        return None
    return _method_spec(cell)


def _strict(cell: Cell) -> dict[str, bool]:
    """Marks what strict mode makes: it is not to be found by other runs' bits, nor the reverse."""
    return {"strict": True} if cell.config.model.strict else {}


def _method_spec(cell: Cell) -> dict[str, Any]:
    return {
        "method": cell.method,
        "version": load_method(cell.method).version,
        "config": plain(cell.config.method),
        "concept": cell.erased.digest(),
    }


def erase(ctx: RunContext, cell: Cell) -> Entry | None:
    """The cell's edit, made if it is not there; None where no weight is changed."""
    spec = edit_spec(cell)
    if spec is None:
        return None
    if entry := ctx.store.get("edit", spec):
        return entry
    with ctx.store.lock("edit", spec):
        if entry := ctx.store.get("edit", spec):
            return entry
        method = load_method(cell.method)
        assert isinstance(method, Method)
        model = ctx.model(cell)  # reading it is no cost of the edit
        scratch = ctx.store.root / "tmp" / f"training-{digest(spec)[:24]}.pt"
        place = TrainingContext(cell.seed, scratch, ctx.progress)
        resumed = scratch.exists()
        with metered(ctx.device) as cost:
            edit = method.erase(model, cell.erased, cell.config.method, place)
        _check_finite(edit, cell, scratch)
        with ctx.write("edit", spec) as writer:
            edit.save(writer.dir / "edit.safetensors")
            log = "".join(json.dumps(dict(line)) + "\n" for line in edit.log)
            (writer.dir / "log.jsonl").write_text(log)
            (writer.dir / "notes.json").write_text(json.dumps(dict(edit.notes)))
            # What a killed run spent before is not known, so no time is better than a wrong one.
            writer.meta["seconds"] = None if resumed else cost.seconds
            writer.meta["memory"] = cost.memory
            writer.meta["parameters"] = sum(t.numel() for t in edit.tensors.values())
    assert writer.entry is not None
    return writer.entry


def _check_finite(edit: Edit, cell: Cell, scratch: Path) -> None:
    """Refuse an edit that diverged; what it left to go on from would only diverge again."""
    wrong = [name for name, tensor in edit.tensors.items() if not tensor.isfinite().all()]
    if wrong:
        scratch.unlink(missing_ok=True)
        raise UserError(
            f"{cell.method} on {cell.label}, seed {cell.seed}, diverged: {len(wrong)} of "
            f"{len(edit.tensors)} changed tensors are not finite, such as {wrong[0]}; lower its "
            "learning rate or its number of steps"
        )


def images_spec(cell: Cell, block: Sequence[Sample], edit_key: str | None) -> dict[str, Any]:
    """What decides the images of a block."""
    model = cell.config.model
    return {
        "version": GENERATE_VERSION,
        "model": registry.fingerprint(model),
        "edit": edit_key,
        "steering": steering_spec(cell),
        "sampling": plain(model.sampling),
        "batch": 1 if model.strict else min(model.batch, cell.config.suite.block),
        "strict": model.strict,
        "block": cell.config.suite.block,
        "rows": [[row.prompt.text, row.seed] for row in block],
    }


def generate(
    ctx: RunContext, cell: Cell, edit: Entry | None, todo: Sequence[Sequence[Sample]]
) -> list[Entry]:
    """The images of all blocks, made where they are not there."""
    specs = [images_spec(cell, block, edit.key if edit else None) for block in todo]
    found = [ctx.store.get("pictures", spec) for spec in specs]
    missing = [i for i, entry in enumerate(found) if entry is None]
    if missing:
        model = prepared(ctx, cell, [row for i in missing for row in todo[i]])
        change = Edit.load(edit.path("edit.safetensors")) if edit else None
        guidance = guidance_of(cell, model)
        total = sum(len(block) for block in todo)
        done = total - sum(len(todo[i]) for i in missing)
        with applied(model, change), ctx.progress.stage("generate", total, done) as bar:
            for i in missing:
                make = partial(sample_batch, cell, model, guidance, todo[i])
                found[i] = draw(ctx, cell, "pictures", specs[i], todo[i], model, guidance, make)
                bar.advance(len(todo[i]))
    return [entry for entry in found if entry is not None]


def prepared(ctx: RunContext, cell: Cell, rows: Sequence[Sample]) -> NextScaleModel:
    """The cell's model, with the text features of these rows' prompts at hand."""
    model = ctx.model(cell)
    if text := cached_text(model):
        text.prepare([row.prompt.text for row in rows])
    return model


def guidance_of(cell: Cell, model: NextScaleModel) -> Guidance:
    """How the cell's images are steered: by a method's guidance, else by the model's own."""
    weight = cell.config.model.sampling.guidance
    method = None if cell.method == NONE else load_method(cell.method)
    if isinstance(method, SamplingMethod):
        return method.guidance(model, cell.erased, cell.config.method, weight)
    return model.guidance(weight)


def draw(
    ctx: RunContext,
    cell: Cell,
    stage: str,
    spec: dict[str, Any],
    block: Sequence[Sample],
    model: NextScaleModel,
    guidance: Guidance,
    make: Callable[[], Rollout],
) -> Entry:
    """An entry of images, made if it is not there.

    Args:
        shop, cell: the place of work, and for whom.
        stage, spec: of the entry.
        block: the rows that are kept of what is made, the first ones.
        model: in its edited state.
        guidance: how it is steered.
        make: samples the padded block.
    """
    with ctx.store.lock(stage, spec):
        if entry := ctx.store.get(stage, spec):
            return entry
        began = time.monotonic()
        rollout = make()
        decoded = model.decode(rollout)
        bad = {i: why for i, why in find_invalid(rollout, decoded).items() if i < len(block)}
        warn(stage, {i: repr(row.prompt.text) for i, row in enumerate(block)}, bad)
        with ctx.write(stage, spec) as writer:
            for i, array in enumerate(to_uint8(decoded[: len(block)])):
                if i not in bad:
                    Image.fromarray(array).save(writer.dir / image_name(i))
            failures.note(writer, bad)
            writer.meta["seconds"] = time.monotonic() - began
            writer.meta["tokens_lost"] = _tokens_lost(model, block)
            writer.meta["extra_passes"] = _extra_passes(cell, model, guidance, block)
    assert writer.entry is not None
    return writer.entry


def sample_batch(
    cell: Cell, model: NextScaleModel, guidance: Guidance, block: Sequence[Sample]
) -> Rollout:
    """Sample a block; the roll-outs of its rows come first, those that only pad it after them."""
    rows = padded(cell, block)
    condition = model.encode([row.prompt.text for row in rows])
    return model.generate(condition, keys_of(rows), guidance=guidance)


def padded(cell: Cell, block: Sequence[Sample]) -> list[Sample]:
    """A block in full length, filled up with its first row.

    That keeps tensor shapes, and so every bit, the same in all blocks.
    """
    return [*block, *[block[0]] * (cell.config.suite.block - len(block))]


def keys_of(rows: Sequence[Sample]) -> list[Key]:
    """What decides the random numbers of some images."""
    return [key_of(row) for row in rows]


def _extra_passes(
    cell: Cell, model: NextScaleModel, guidance: Guidance, block: Sequence[Sample]
) -> int:
    """Forward passes per scale beyond those of the model's own guidance."""
    one = model.encode([block[0].prompt.text])
    own = model.guidance(cell.config.model.sampling.guidance)
    return len(guidance.branches(model, one)) - len(own.branches(model, one))


def _tokens_lost(model: NextScaleModel, block: Sequence[Sample]) -> dict[str, int]:
    """Tokens that did not fit, by the id of each prompt that was too long."""
    text = model.text_encoder if isinstance(model, HasTextEncoder) else None
    truncated = text.truncated if text else {}
    return {r.prompt.id: truncated[r.prompt.text] for r in block if r.prompt.text in truncated}


@contextmanager
def deterministic_threads(cell: Cell) -> Iterator[None]:
    """Strict mode computes on one thread: how a sum is split over threads changes its rounding.

    Whoever does a cell's work does all of it inside.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1 if cell.config.model.strict else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def to_uint8(images: Tensor) -> Any:
    """``[B, 3, H, W]`` in [0, 1] -> ``[B, H, W, 3]`` uint8 array, rounded."""
    scaled = (images.clamp(0, 1) * 255).round().to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).cpu().numpy()


def reference(ctx: RunContext, cell: Cell, todo: Sequence[Sequence[Sample]]) -> list[Entry]:
    """Real images for the same prompts; empty for models without a world of their own."""
    world = registry.reference(cell.config.model.name)
    if world is None:
        return []
    entries = []
    for block in todo:
        rows = [[row.prompt.id, row.seed, dict(row.prompt.labels)] for row in block]
        told = {"world": cell.config.model.name, "version": world.VERSION, "rows": rows}
        spec = told | _strict(cell)
        entry = ctx.store.get("reference", spec)
        if entry is None:
            with ctx.store.write("reference", spec) as writer:
                for i, row in enumerate(block):
                    array = world.reference_image(row.prompt.labels, row.prompt.id, row.seed)
                    Image.fromarray(array).save(writer.dir / image_name(i))
            entry = writer.entry
        assert entry is not None
        entries.append(entry)
    return entries


def score(
    ctx: RunContext,
    wanted: Mapping[str, Scorer],
    images: Sequence[Entry],
    todo: Sequence[Sequence[Sample]],
) -> list[dict[str, Entry]]:
    """Per block the score entries of the wanted scorers, by role, made where they are not there."""
    results: list[dict[str, Entry]] = [{} for _ in images]
    missing = []
    for i, (entry, block) in enumerate(zip(images, todo, strict=True)):
        for name, who in wanted.items():
            spec = {
                "pictures": entry.key,
                "scorer": name,
                "version": who.version,
                "weights": who.fingerprint(),
                "prompts": [row.prompt.text for row in block],
            }
            if found := ctx.store.get("scores", spec):
                results[i][name] = found
            else:
                missing.append((i, name, spec))
    total = len(images) * len(wanted)
    if missing:
        with ctx.progress.stage("score", total, total - len(missing)) as bar:
            for i, name, spec in missing:
                who = wanted[name]
                results[i][name] = _score_block(ctx, who, spec, images[i])
                bar.advance()
    return results


def _score_block(ctx: RunContext, who: Scorer, spec: dict[str, Any], images: Entry) -> Entry:
    with ctx.store.lock("scores", spec):
        if entry := ctx.store.get("scores", spec):
            return entry
        prompts, missing = spec["prompts"], failures.failed_in(images)
        there = failures.left_in(images, len(prompts))
        files = {i: images.path(image_name(i)) for i in there}
        began = time.monotonic()
        singly = bool(images.spec.get("strict"))
        arrays, bad = score_or_isolate(who.score, files, prompts, singly=singly)
        warn(who.id, {i: repr(prompt) for i, prompt in enumerate(prompts)}, bad)
        with ctx.write("scores", spec) as writer:
            np.savez(writer.dir / "scores.npz", allow_pickle=False, **arrays)
            failures.note(writer, missing | bad)
            writer.meta["seconds"] = time.monotonic() - began
    assert writer.entry is not None
    return writer.entry
