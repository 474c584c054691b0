"""The shipped Gallery: the base model draws what held-out prompts describe."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from tests.helpers.gallery_words import CONCEPT_WORDS
from tools.gallery.data import make_renders
from varbench.conf.compose import resolve
from varbench.data.prompt import Prompt
from varbench.data.prompt_sets import load_prompt_set
from varbench.data.selection import stratified_subset
from varbench.models.gallery.model import fingerprint, load, weights_folder
from varbench.models.infinity.model import InfinityModel
from varbench.scoring.gallery_networks import default_folder, load_judge

FAMILIES = {
    "identity": "gallery-faces",
    "mannequin": "gallery-mannequins",
    "object": "gallery-objects",
    "style": "gallery-objects",
}
WANTED = 0.95


@pytest.fixture(scope="module")
def model() -> InfinityModel:
    return load(resolve("gallery", "smoke", "none").model)


def accuracy(
    model: InfinityModel, head: str, prompts: list[Prompt], seeds: int
) -> tuple[float, Counter[str]]:
    """Share of images whose label the judge sees, and what goes wrong most."""
    judge = load_judge()
    right, total, wrong = 0, 0, Counter[str]()
    rows = [(p, s) for p in prompts for s in range(seeds)]
    for start in range(0, len(rows), 50):
        block = rows[start : start + 50]
        condition = model.encode([p.text for p, _ in block])
        images = model.decode(model.generate(condition, [(p.id, s) for p, s in block]))
        with torch.no_grad():
            observed = judge(images)[head].argmax(-1).tolist()
        for (prompt, _), label in zip(block, observed, strict=True):
            name = judge.labels[head][label]
            total += 1
            right += name == prompt.labels[head]
            if name != prompt.labels[head]:
                wrong[f"{prompt.labels[head]} as {name} in {prompt.labels['style']}"] += 1
    return right / total, wrong


@pytest.mark.slow
@pytest.mark.parametrize("head", sorted(FAMILIES))
def test_base_accuracy_on_500_held_out_images(model: InfinityModel, head: str) -> None:
    prompts = [p for p in load_prompt_set(FAMILIES[head]).prompts if p.labels[head]]
    share, wrong = accuracy(model, head, stratified_subset(prompts, 125, head), 4)
    assert share >= WANTED, f"{head} {share:.3f}: {wrong.most_common(8)}"


@pytest.mark.slow
def test_each_style_is_readable_on_each_kind_of_subject(model: InfinityModel) -> None:
    low = {}
    for name in ("gallery-faces", "gallery-mannequins", "gallery-objects"):
        chosen = stratified_subset(load_prompt_set(name).prompts, 70, "style")
        for style in sorted({p.labels["style"] for p in chosen}):
            some = [p for p in chosen if p.labels["style"] == style]
            share, _ = accuracy(model, "style", some, 3)
            if share < 0.9:
                low[f"{style} on {name}"] = share
    assert not low


def test_prompts_decide_the_image(model: InfinityModel) -> None:
    """A fast look: 24 images, mostly right, and no two alike."""
    prompts = stratified_subset(load_prompt_set("gallery-objects").prompts, 24, "object")
    share, wrong = accuracy(model, "object", prompts, 1)
    assert share >= 0.8, wrong


def test_tokenizer_keeps_fresh_images_readable(model: InfinityModel) -> None:
    """Encode, quantise, decode: at least 21 dB, and the judge still sees the same."""
    from tools.gallery.quantise import quantise

    renders = make_renders(60, 987)
    images = renders.batch(torch.arange(60))
    with torch.no_grad():
        codes = quantise(model.tokenizer.encode(images), model.layout).codes
        made = model.tokenizer.decode(codes)
        psnr = -10 * torch.log10((made - images).div(2).square().mean())
        judge = load_judge()
        before, after = judge(images / 2 + 0.5), judge(made / 2 + 0.5)
    assert float(psnr) > 21
    for head in ("identity", "mannequin", "object", "style"):
        same = before[head].argmax(-1) == after[head].argmax(-1)
        assert float(same.float().mean()) >= 0.9, head


def test_fingerprint_is_of_the_files(tmp_path) -> None:  # type: ignore[no-untyped-def]
    import shutil

    copy = tmp_path / "weights"
    shutil.copytree(weights_folder(), copy)
    assert fingerprint(copy) == fingerprint()
    with (copy / "vae.safetensors").open("ab") as stream:
        stream.write(b"x")
    fingerprint.cache_clear()
    assert fingerprint(copy) != fingerprint()


def test_weights_fit_the_size_limit_and_know_every_word(model: InfinityModel) -> None:
    roots = (weights_folder(), default_folder())
    files = [f for root in roots for f in root.rglob("*") if f.is_file()]
    assert all(any(root.rglob("*.safetensors")) for root in roots)
    assert sum(f.stat().st_size for f in files) <= 30_000_000
    assert model.text_encoder is not None
    unknown = model.text_encoder.tokenizer.unk_token_id
    for words in CONCEPT_WORDS.values():
        for word in words:
            assert unknown not in model.text_encoder.tokenizer(word).input_ids, word
