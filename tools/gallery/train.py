"""Train the Gallery: ``python -m tools.gallery.train --out DIR``.

Stages run in order: tokenizer (with its decoder), judges, transformer; each resumes from its
last checkpoint in ``--out`` when the command is run again. ``--install`` copies the finished
weights to where the package looks for them.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import save_file
from tabulate import tabulate
from torch import Tensor, nn

from tools.gallery import recipe
from tools.gallery.data import Renders, make_renders
from tools.gallery.train_judges import train_judges
from tools.gallery.train_tokenizer import latents_of, train_tokenizer
from tools.gallery.train_transformer import train_transformer
from varbench.models.gallery import sizes
from varbench.models.gallery.model import (
    TEXT_FOLDER,
    TOKENIZER_FILE,
    TRANSFORMER_FILE,
    weights_folder,
)
from varbench.models.infinity.tokenizer import BSQVAE
from varbench.scoring.gallery_networks import default_folder

log = logging.getLogger(__name__)

STAGES = ("tokenizer", "judges", "transformer")


def _half(module: nn.Module) -> dict[str, Tensor]:
    """State dict in float16: what ships, at half the size; loaded into float32 modules."""
    return {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in module.state_dict().items()
    }


def _loss_curve(log: Path) -> str:
    """About a dozen rows of a stage's log as a Markdown table."""
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    by_step = {row["step"]: row for row in rows}
    steps = sorted(by_step)
    chosen = sorted({steps[round(i * (len(steps) - 1) / 11)] for i in range(12)})
    keys = [key for key in rows[-1] if key not in {"seconds", "norm"}]
    return str(tabulate([[by_step[s].get(k) for k in keys] for s in chosen], keys, "github"))


def _card(out: Path) -> str:
    """The model card: sizes, the recipe, and the loss curves of the stages' logs in a folder."""
    stages = {
        "tokenizer": recipe.TOKENIZER_STAGE,
        "decoder": recipe.DECODER_STAGE,
        "transformer": recipe.TRANSFORMER_STAGE,
    }
    parts = [
        "# Weights of the Gallery",
        "A small Infinity (same classes as the real one) trained on drawings of our own: "
        f"{recipe.RENDERS} renders of {recipe.IMAGE_SIDE} x {recipe.IMAGE_SIDE} pixels, "
        "captions drawn afresh at every step, held-out combinations never shown. "
        "Written by `python -m tools.gallery.train`; licence Apache-2.0. "
        "Not for anything but testing erasure methods.",
        f"Seed {recipe.SEED}; all weights are moving averages, stored as float16.",
        "## Sizes",
        f"- transformer: `{sizes.TRANSFORMER}`",
        f"- tokenizer: `{sizes.TOKENIZER}`",
        f"- text encoder (T5, trained along): `{recipe.TEXT_ENCODER}`",
        f"- scales: `{sizes.SCHEDULE.scales}`, {sizes.SCHEDULE.total} tokens",
    ]
    for name, stage in stages.items():
        parts += [f"## {name}", f"`{asdict(stage)}`", _loss_curve(out / f"{name}.jsonl")]
    return "\n\n".join(parts) + "\n"


def _export_transformer(renders: Renders, vae: BSQVAE, out: Path, seed: int) -> None:
    """Train the transformer and write transformer, tokenizer and text encoder as shipped."""
    trained, words = train_transformer(renders, latents_of(vae, renders), out, seed)
    folder = out / "weights"
    (folder / TEXT_FOLDER).mkdir(parents=True, exist_ok=True)
    save_file(_half(trained.transformer), folder / TRANSFORMER_FILE)
    save_file(_half(vae), folder / TOKENIZER_FILE)
    words.save_pretrained(folder / TEXT_FOLDER)
    trained.text.half().save_pretrained(folder / TEXT_FOLDER)
    (folder / "README.md").write_text(_card(out))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="checkpoints, logs and weights")
    parser.add_argument("--stages", default=",".join(STAGES), help="default: all, in order")
    parser.add_argument("--seed", type=int, default=recipe.SEED)
    parser.add_argument("--install", action="store_true", help="copy the weights into the package")
    args = parser.parse_args()
    stages = args.stages.split(",")
    if unknown := set(stages) - set(STAGES):
        parser.error(f"unknown stages {', '.join(sorted(unknown))}; there are {', '.join(STAGES)}")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    args.out.mkdir(parents=True, exist_ok=True)
    renders = make_renders(recipe.RENDERS, args.seed)
    log.info("rendered %d images", len(renders))
    vae = train_tokenizer(renders, args.out, args.seed)
    if "judges" in stages:
        train_judges(renders, vae, args.out, args.seed)
    if "transformer" in stages:
        _export_transformer(renders, vae, args.out, args.seed)
    if args.install:
        shutil.copytree(args.out / "weights", weights_folder(), dirs_exist_ok=True)
        shutil.copytree(args.out / "judges", default_folder(), dirs_exist_ok=True)


if __name__ == "__main__":
    main()
