"""Training of the Gallery's judges: classifier, feature network, tiny CLIP.

    python -m tools.gallery.train_judges --out DIR --vae DIR/decoder.pt

Checkpoints go to DIR, what the package ships to DIR/judges. Accuracies are measured with the
shipped (rounded) weights on fresh renders, on held-out combinations and on reconstructions, and
are written into the weights' metadata.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tools.gallery import recipe
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
    reconstruct,
    targets_of,
)
from tools.gallery.optimise import optimise
from tools.gallery.recipe import StageRecipe
from tools.gallery.save_network import save_network
from varbench.models.gallery import sizes
from varbench.models.infinity.tokenizer import BSQVAE
from varbench.scoring import gallery_networks
from varbench.scoring.gallery_networks import GalleryFeatures, GalleryJudge

log = logging.getLogger(__name__)

Accuracies = dict[str, dict[str, float]]
SHIPPED = "judges"
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
_TINY = StageRecipe(steps=2, batch=8, rate=1e-3, warmup=1)
SMOKE = JudgeStages(judge=_TINY, features=_TINY, clip=_TINY, rebuilt=16, fresh=24)


@dataclass(frozen=True)
class _Fresh:
    """Images that no judge was trained on."""

    sets: dict[str, Renders]

    @staticmethod
    def draw(count: int, seed: int, vae: BSQVAE | None) -> _Fresh:
        reserved = count // 4
        sets = {
            "real": make_renders(count - reserved, seed),
            "held_out": make_renders(reserved, seed + 1, held_out=True),
        }
        if vae is not None:
            real = sets["real"]
            made = reconstruct(vae, real, len(real), seed, flips=0.0)
            sets["rebuilt"] = dataclasses.replace(real, images=made)
        return _Fresh(sets)

    def measure(self, of: Callable[[Renders], dict[str, float]]) -> Accuracies:
        return {name: of(renders) for name, renders in self.sets.items()}


def _network_loss(
    network: GalleryJudge | GalleryFeatures, data: JudgeData, batch: int
) -> Callable[[int, torch.Generator], dict[str, Tensor]]:
    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        images, rows = data.draw(batch, generator)
        out = network(images)
        logits = network.logits(out) if isinstance(network, GalleryFeatures) else out
        parts = data.losses(logits, rows, SMOOTHING)
        return {"loss": parts.mean(), **dict(zip(logits, parts.detach(), strict=True))}

    return loss


def _ship(
    module: torch.nn.Module,
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
    rebuilt = 0 if data.rebuilt is None else len(data.rebuilt)
    facts = {"renders": len(data.renders), "rebuilt": rebuilt, "seed": seed}
    return {"version": gallery_networks.VERSION, "recipe": dataclasses.asdict(stage) | facts}


def train_judges(
    renders: Renders,
    vae: BSQVAE | None,
    folder: Path,
    seed: int,
    stages: JudgeStages = STAGES,
) -> dict[str, Accuracies]:
    """Train, write and measure all judges; resumes where an earlier run stopped.

    Args:
        renders: training images.
        vae: the trained tokenizer; None trains on renders alone (for tests).
        folder: checkpoints; the judges go to its subfolder ``judges``.
        seed: start of all randomness; each network has its own.
        stages: recipes.

    Returns:
        judge (``judge``, ``features``, ``clip``) -> images (``real``, ``held_out``,
        ``rebuilt``) -> head -> share of right answers. Of the CLIP: the share of images that
        are nearer to their own caption than to one with that attribute changed.
    """
    shipped, count = folder / SHIPPED, min(stages.rebuilt, len(renders))
    rebuilt = None if vae is None else reconstruct(vae, renders, count, seed)
    data = JudgeData(renders, rebuilt, targets_of(renders.scenes))
    fresh = _Fresh.draw(stages.fresh, seed + 7_000_000, vae)

    torch.manual_seed(seed + 10)
    learnt = {head: LABELS[head] for head in JUDGED + AUXILIARY}
    judge: Any = GalleryJudge(learnt)
    loss = _network_loss(judge, data, stages.judge.batch)
    judge = optimise("judge", judge, loss, stages.judge, folder, seed + 10)
    for head in AUXILIARY:
        del judge.heads[head]
    labels = {head: LABELS[head] for head in JUDGED}
    metadata = _metadata(stages.judge, data, seed + 10) | {"labels": labels, "widths": judge.widths}

    def measure_judge() -> Accuracies:
        network = gallery_networks.load_judge(shipped)
        return fresh.measure(lambda r: accuracies_of(network, r.images, targets_of(r.scenes)))

    found = {"judge": _ship(judge, shipped / gallery_networks.JUDGE_FILE, metadata, measure_judge)}

    torch.manual_seed(seed + 11)
    features: Any = GalleryFeatures(LABELS)
    loss = _network_loss(features, data, stages.features.batch)
    features = optimise("features", features, loss, stages.features, folder, seed + 11)
    metadata = _metadata(stages.features, data, seed + 11)
    metadata |= {"labels": LABELS, "widths": features.widths}

    def measure_features() -> Accuracies:
        network = gallery_networks.load_features(shipped)
        return fresh.measure(lambda r: accuracies_of(network, r.images, targets_of(r.scenes)))

    path = shipped / gallery_networks.FEATURES_FILE
    found["features"] = _ship(features, path, metadata, measure_features)

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
        return fresh.measure(lambda r: clip_accuracies(clip, r, seed))

    path = shipped / gallery_networks.CLIP_FOLDER / gallery_networks.CLIP_FILE
    found["clip"] = _ship(trainer.clip, path, metadata, measure_clip)
    return found


def load_vae(checkpoint: Path) -> BSQVAE:
    """The averaged tokenizer of a checkpoint that `optimise` wrote."""
    vae = BSQVAE(sizes.TOKENIZER)
    vae.load_state_dict(torch.load(checkpoint, weights_only=True)["average"])
    return vae.eval().requires_grad_(False)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and judges")
    parser.add_argument("--vae", type=Path, help="checkpoint of the tokenizer (decoder.pt)")
    parser.add_argument("--renders", type=int, default=recipe.RENDERS)
    parser.add_argument("--seed", type=int, default=recipe.SEED)
    parser.add_argument("--smoke", action="store_true", help="two steps of each, to see it run")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    args.out.mkdir(parents=True, exist_ok=True)
    vae = None if args.vae is None else load_vae(args.vae)
    renders = make_renders(64 if args.smoke else args.renders, args.seed)
    train_judges(renders, vae, args.out, args.seed, SMOKE if args.smoke else STAGES)


if __name__ == "__main__":
    main()
