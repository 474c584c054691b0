"""Training of the Gallery's judges: classifier, feature network, tiny CLIP.

Accuracies are measured with the shipped (rounded) weights on fresh renders, on held-out
combinations and on reconstructions, and are written into the weights' metadata.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tools.gallery.data import Renders, make_renders
from tools.gallery.judge_clip import (
    ClipTrainer,
    clip_accuracies,
    clip_losses,
    write_clip_folder,
)
from tools.gallery.judge_data import (
    LABELS,
    JudgeData,
    accuracies_of,
    logits_of,
    reconstruct,
    targets_of,
)
from tools.gallery.optimise import optimise
from tools.gallery.recipe import StageRecipe
from varbench.models.infinity.tokenizer import BSQVAE
from varbench.scoring import gallery_networks
from varbench.scoring.gallery_networks import GalleryFeatures, GalleryJudge

log = logging.getLogger(__name__)

Accuracies = dict[str, dict[str, float]]
SMOOTHING = 0.05
JUDGED = ("identity", "mannequin", "object", "style")
AUXILIARY = ("background",)
"""Heads that help the classifier to learn and are not shipped."""


@dataclass(frozen=True)
class JudgeStages:
    """The recipes of all judges.

    Attributes:
        judge: the classifier.
        features: the feature network.
        clip: the tiny CLIP.
        rebuilt: how many renders are also shown as reconstructions.
        fresh: how many fresh renders accuracies are measured on.
    """

    judge: StageRecipe
    features: StageRecipe
    clip: StageRecipe
    rebuilt: int
    fresh: int


STAGES = JudgeStages(
    judge=StageRecipe(steps=750, batch=64, rate=3e-3, warmup=80, average=0.99),
    features=StageRecipe(steps=400, batch=64, rate=3e-3, warmup=60, average=0.99),
    clip=StageRecipe(steps=450, batch=96, rate=2e-3, warmup=100, average=0.99),
    rebuilt=12_000,
    fresh=3000,
)


def save_network(module: nn.Module, path: Path, metadata: Mapping[str, Any]) -> None:
    """Write a network's tensors, matrices as float16, and its metadata, values as JSON."""
    state = {
        key: (value.half() if value.is_floating_point() and value.ndim > 1 else value).contiguous()
        for key, value in module.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path, metadata={key: json.dumps(value) for key, value in metadata.items()})


def _unseen(count: int, seed: int, vae: BSQVAE) -> dict[str, Renders]:
    """Images that no judge was trained on."""
    reserved = count // 4
    real = make_renders(count - reserved, seed)
    held_out = make_renders(reserved, seed + 1, held_out=True)
    rebuilt = dataclasses.replace(real, images=reconstruct(vae, real, len(real), seed, flips=0.0))
    return {"real": real, "held_out": held_out, "rebuilt": rebuilt}


def _network_loss(
    network: GalleryJudge | GalleryFeatures, data: JudgeData, batch: int
) -> Callable[[int, torch.Generator], dict[str, Tensor]]:
    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        images, rows = data.draw(batch, generator)
        logits = logits_of(network, images)
        parts = data.losses(logits, rows, SMOOTHING)
        return {"loss": parts.mean(), **dict(zip(logits, parts.detach(), strict=True))}

    return loss


def _ship(
    module: nn.Module,
    path: Path,
    metadata: dict[str, Any],
    measure: Callable[[], Accuracies],
) -> Accuracies:
    """Write the weights, measure them as written, and add the accuracies to their metadata."""
    save_network(module, path, metadata)
    accuracies = measure()
    save_network(module, path, metadata | {"accuracy": accuracies})
    log.info("%s %s", path.name, accuracies)
    return accuracies


def _metadata(stage: StageRecipe, data: JudgeData, seed: int) -> dict[str, Any]:
    facts = {"renders": len(data.renders), "rebuilt": len(data.rebuilt), "seed": seed}
    return {"version": gallery_networks.VERSION, "recipe": dataclasses.asdict(stage) | facts}


def train_judges(
    renders: Renders, vae: BSQVAE, folder: Path, seed: int, stages: JudgeStages = STAGES
) -> dict[str, Accuracies]:
    """Train, write and measure all judges; resumes where an earlier run stopped.

    Args:
        renders: training images.
        vae: the trained tokenizer.
        folder: checkpoints; the judges go to its subfolder ``judges``.
        seed: start of all randomness; each network has its own.
        stages: recipes.

    Returns:
        judge (``judge``, ``features``, ``clip``) -> images (``real``, ``held_out``,
        ``rebuilt``) -> head -> share of right answers. Of the CLIP: the share of images that
        are nearer to their own caption than to one with that attribute changed.
    """
    shipped = folder / "judges"
    rebuilt = reconstruct(vae, renders, min(stages.rebuilt, len(renders)), seed)
    data = JudgeData(renders, rebuilt, targets_of(renders.scenes))
    unseen = _unseen(stages.fresh, seed + 7_000_000, vae)

    def measure_network(load: Callable[[Path], GalleryJudge | GalleryFeatures]) -> Accuracies:
        network = load(shipped)
        return {
            name: accuracies_of(network, fresh.images, targets_of(fresh.scenes))
            for name, fresh in unseen.items()
        }

    torch.manual_seed(seed + 10)
    learnt = {head: LABELS[head] for head in JUDGED + AUXILIARY}
    judge: Any = GalleryJudge(learnt)
    loss = _network_loss(judge, data, stages.judge.batch)
    judge = optimise("judge", judge, loss, stages.judge, folder, seed + 10)
    for head in AUXILIARY:
        del judge.heads[head]
    labels = {head: LABELS[head] for head in JUDGED}
    metadata = _metadata(stages.judge, data, seed + 10) | {"labels": labels, "widths": judge.widths}
    path = shipped / gallery_networks.JUDGE_FILE
    load_judge = gallery_networks.load_judge
    accuracies = {"judge": _ship(judge, path, metadata, lambda: measure_network(load_judge))}

    torch.manual_seed(seed + 11)
    features: Any = GalleryFeatures(LABELS)
    loss = _network_loss(features, data, stages.features.batch)
    features = optimise("features", features, loss, stages.features, folder, seed + 11)
    metadata = _metadata(stages.features, data, seed + 11)
    metadata |= {"labels": LABELS, "widths": features.widths}
    path = shipped / gallery_networks.FEATURES_FILE
    load_features = gallery_networks.load_features
    accuracies["features"] = _ship(features, path, metadata, lambda: measure_network(load_features))

    torch.manual_seed(seed + 12)
    tokenizer = write_clip_folder(shipped / gallery_networks.CLIP_FOLDER)
    trainer: Any = ClipTrainer()
    batch = stages.clip.batch
    trainer = optimise(
        "clip",
        trainer,
        lambda step, g: clip_losses(trainer, tokenizer, data, batch, g),
        stages.clip,
        folder,
        seed + 12,
    )
    metadata = _metadata(stages.clip, data, seed + 12)

    def measure_clip() -> Accuracies:
        clip = gallery_networks.load_clip(shipped)
        return {name: clip_accuracies(clip, fresh, seed) for name, fresh in unseen.items()}

    path = shipped / gallery_networks.CLIP_FOLDER / gallery_networks.CLIP_FILE
    accuracies["clip"] = _ship(trainer.clip, path, metadata, measure_clip)
    return accuracies
