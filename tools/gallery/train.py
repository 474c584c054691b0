"""Train the Gallery: ``python -m tools.gallery.train --out DIR``.

Stages run in order: tokenizer (with its decoder), judges, transformer; each resumes from its
last checkpoint in ``--out`` when the command is run again. ``--install`` copies the finished
weights to where the package looks for them.
"""

from __future__ import annotations

import argparse
import logging
import shutil
from pathlib import Path

from torch import Tensor, nn

from tools.gallery import recipe
from tools.gallery.card import write_card
from tools.gallery.data import Renders, make_renders
from tools.gallery.train_judges import train_judges
from tools.gallery.train_tokenizer import latents_of, train_tokenizer
from tools.gallery.train_transformer import train_transformer
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


def half(module: nn.Module) -> dict[str, Tensor]:
    """State dict in float16: what ships, at half the size; loaded into float32 modules."""
    return {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in module.state_dict().items()
    }


def export_transformer(renders: Renders, vae: BSQVAE, out: Path, seed: int) -> None:
    """Train the transformer and write transformer, tokenizer and text encoder as shipped."""
    from safetensors.torch import save_file

    trained, words = train_transformer(renders, latents_of(vae, renders), out, seed)
    folder = out / "weights"
    (folder / TEXT_FOLDER).mkdir(parents=True, exist_ok=True)
    save_file(half(trained.transformer), folder / TRANSFORMER_FILE)
    save_file(half(vae), folder / TOKENIZER_FILE)
    words.save_pretrained(folder / TEXT_FOLDER)
    trained.text.half().save_pretrained(folder / TEXT_FOLDER)
    write_card(out, folder / "README.md")


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
        export_transformer(renders, vae, args.out, args.seed)
    if args.install:
        shutil.copytree(args.out / "weights", weights_folder(), dirs_exist_ok=True)
        shutil.copytree(args.out / "judges", default_folder(), dirs_exist_ok=True)


if __name__ == "__main__":
    main()
