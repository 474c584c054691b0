"""The Gallery's judges: files give back the same networks, and the shipped ones are right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tools.gallery.data import Renders, draw_captions, make_renders
from tools.gallery.judge_clip import (
    CLIP_CONFIG,
    clip_accuracies,
    clip_input,
    image_rows,
    text_rows,
)
from tools.gallery.judge_data import (
    LABELS,
    UNKNOWN,
    accuracies_of,
    augment,
    reconstruct,
    targets_of,
)
from tools.gallery.recipe import StageRecipe
from tools.gallery.train_judges import JudgeStages, save_network, train_judges
from varbench.data.concept_files import load_concept
from varbench.metrics.groups import Array
from varbench.models.gallery import sizes
from varbench.models.gallery.world.scene import FACES, OBJECTS, STYLES, Scene
from varbench.models.infinity.tokenizer import BSQVAE
from varbench.scoring import gallery_networks
from varbench.scoring.gallery_networks import (
    GalleryJudge,
    load_clip,
    load_features,
    load_judge,
    read_metadata,
)
from varbench.scoring.scorers.judge import ClassifierJudge, JudgeScorer

SHIPPED = (gallery_networks.default_folder() / gallery_networks.JUDGE_FILE).exists()
TWO_STEPS = StageRecipe(steps=2, batch=8, rate=1e-3, warmup=1)
STAGES = JudgeStages(TWO_STEPS, TWO_STEPS, TWO_STEPS, rebuilt=16, fresh=24)
shipped = pytest.mark.skipif(not SHIPPED, reason="the judges are not trained yet")


@pytest.fixture(scope="module")
def renders() -> Renders:
    return make_renders(48, seed=1)


@pytest.fixture(scope="module")
def smoke(renders: Renders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of judges after two steps of training."""
    folder = tmp_path_factory.mktemp("judges")
    torch.manual_seed(0)
    vae = BSQVAE(sizes.TOKENIZER).eval().requires_grad_(False)
    accuracies = train_judges(renders, vae, folder, seed=3, stages=STAGES)
    assert set(accuracies) == {"judge", "features", "clip"}
    assert all(set(sets) == {"real", "held_out", "rebuilt"} for sets in accuracies.values())
    assert all(
        0 <= x <= 1 for f in accuracies.values() for heads in f.values() for x in heads.values()
    )
    again = train_judges(renders, vae, folder, seed=3, stages=STAGES)  # resumes at the end
    assert again == accuracies
    return folder / "judges"


@pytest.fixture(scope="module")
def images(renders: Renders) -> Tensor:
    return renders.images[:6].float() / 255


def test_labels_of_scenes_and_their_order() -> None:
    targets = targets_of([Scene(identity="ada", object="car"), Scene(object="tree", style="neon")])
    assert targets["identity"].tolist() == [0, len(FACES)]
    assert targets["mannequin"].tolist() == [2, 2]
    assert targets["object"].tolist() == [OBJECTS.index("car"), OBJECTS.index("tree")]
    assert targets["style"].tolist() == [0, STYLES.index("neon")]
    assert targets["colour"].tolist() == [UNKNOWN, LABELS["colour"].index("none")]


def test_augmented_images_stay_images(images: Tensor) -> None:
    seen = augment(images, torch.Generator().manual_seed(0))
    assert seen.shape == images.shape and seen.min() >= 0 and seen.max() <= 1
    assert 0.002 < (seen - images).abs().mean() < 0.2
    assert seen.equal(augment(images, torch.Generator().manual_seed(0)))


def test_reconstructions_are_seeded(renders: Renders) -> None:
    vae = BSQVAE(sizes.TOKENIZER).eval()
    made = reconstruct(vae, renders, 4, seed=0, flips=0.5)
    assert made.shape == (4, 3, 64, 64) and made.dtype == torch.uint8
    assert made.equal(reconstruct(vae, renders, 4, seed=0, flips=0.5))
    assert not made.equal(reconstruct(vae, renders, 4, seed=1, flips=0.5))


def test_saved_networks_come_back(tmp_path: Path, images: Tensor) -> None:
    torch.manual_seed(0)
    judge = GalleryJudge({"one": ("a", "b"), "two": ("x", "y", "none")}, widths=(8, 8, 16)).eval()
    with torch.no_grad():
        for value in judge.parameters():
            value.copy_(value.half())  # as they are stored
    metadata = {"labels": judge.labels, "widths": judge.widths, "note": "ä"}
    save_network(judge, tmp_path / gallery_networks.JUDGE_FILE, metadata)
    back = load_judge(tmp_path)
    assert back.labels == {"one": ("a", "b"), "two": ("x", "y", "none")}
    assert read_metadata(tmp_path / gallery_networks.JUDGE_FILE)["note"] == "ä"
    for head, logits in judge(images).items():
        torch.testing.assert_close(back(images)[head], logits, rtol=0, atol=0)


def test_judge_and_features_of_a_folder(smoke: Path, images: Tensor) -> None:
    judge, features = load_judge(smoke), load_features(smoke)
    assert judge.labels == {h: LABELS[h] for h in ("identity", "mannequin", "object", "style")}
    assert features.labels == LABELS
    assert not judge.training and not features.training
    for head, logits in judge(images).items():
        assert logits.shape == (6, len(judge.labels[head]))
    assert features(images).shape == (6, 64)
    accuracy = read_metadata(smoke / gallery_networks.JUDGE_FILE)["accuracy"]
    assert set(accuracy["real"]) == set(judge.labels)
    assert read_metadata(smoke / gallery_networks.JUDGE_FILE)["version"] == gallery_networks.VERSION


def test_an_image_is_judged_alone(smoke: Path, images: Tensor) -> None:
    features = load_features(smoke)
    torch.testing.assert_close(features(images)[:1], features(images[:1]), rtol=1e-4, atol=1e-5)


def test_images_of_any_size(smoke: Path, images: Tensor) -> None:
    large = torch.nn.functional.interpolate(images, scale_factor=4.0, mode="nearest")
    assert gallery_networks.to_side(images) is images
    assert (gallery_networks.to_side(large) - images).abs().mean() < 0.03
    assert load_features(smoke)(large[..., :200]).shape == (6, 64)
    assert image_rows(load_clip(smoke), large).shape == (6, 64)


@pytest.mark.parametrize(
    "wrong", [torch.zeros(3, 64, 64), torch.zeros(1, 64, 64, 3), torch.zeros(1, 3, 64, 64).byte()]
)
def test_what_is_no_batch_of_images_is_refused(smoke: Path, wrong: Tensor) -> None:
    with pytest.raises(ValueError, match=r"\[B, 3, H, W\] in \[0, 1\]"):
        load_judge(smoke)(wrong)


def test_clip_is_open_clips(smoke: Path, images: Tensor) -> None:
    open_clip = pytest.importorskip("open_clip")
    clip = load_clip(smoke)
    model, preprocess, tokenizer = clip
    assert isinstance(model, open_clip.CLIP) and not model.training
    rows_of_images = image_rows(clip, images)
    texts = text_rows(clip, ["ada in a meadow", "a red car at night"])
    assert rows_of_images.shape == (6, 64) and texts.shape == (2, 64)
    for rows in (rows_of_images, texts):
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)))
    whole = Image.fromarray((images[0] * 255).byte().permute(1, 2, 0).numpy())
    torch.testing.assert_close(preprocess(whole), clip_input(images[:1])[0], rtol=0, atol=0.01)
    ids = tokenizer(["Ada, in a  meadow!", "ada in a meadow", "ada in a zeppelin", "a " * 90])
    assert ids.shape == (4, 32)
    assert ids[0].equal(ids[1]) and not ids[1].equal(ids[2])
    end = int(ids.max())
    assert (ids == end).sum(1).tolist() == [1, 1, 1, 1] and int(ids[3, -1]) == end
    config = json.loads((smoke / gallery_networks.CLIP_FOLDER / CLIP_CONFIG).read_text())
    assert config["model_cfg"]["text_cfg"]["vocab_size"] == end + 1


def test_every_caption_is_made_of_known_words(smoke: Path) -> None:
    _, _, tokenizer = load_clip(smoke)
    scenes = make_renders(60, seed=2).scenes
    texts = draw_captions(scenes, np.random.default_rng(0), 0.5)
    unknown = tokenizer(["zeppelin"])[0, 1]
    assert not (tokenizer(texts) == unknown).any()


@pytest.mark.parametrize("load", [load_judge, load_features, load_clip])
def test_missing_weights_name_the_fix(load: object, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"python -m tools\.gallery\.train"):
        load(tmp_path)  # type: ignore[operator]


@shipped
@pytest.mark.parametrize("count", [200, pytest.param(600, marks=pytest.mark.slow)])
def test_shipped_judges_are_right(count: int) -> None:
    half = count // 2
    sets = [make_renders(half, seed=90), make_renders(half, seed=91, held_out=True)]
    fresh = Renders(torch.cat([s.images for s in sets]), [x for s in sets for x in s.scenes])
    targets = targets_of(fresh.scenes)
    judged = accuracies_of(load_judge(), fresh.images, targets)
    assert min(judged.values()) >= 0.99, judged
    features = accuracies_of(load_features(), fresh.images, targets)
    assert min(features[h] for h in ("identity", "object", "style")) >= 0.95, features
    clip = clip_accuracies(load_clip(), fresh, seed=0)
    assert min(clip[h] for h in ("identity", "mannequin", "style")) >= 0.95, clip
    assert min(clip.values()) >= 0.75, clip  # objects and colours are its weak side


@shipped
@pytest.mark.parametrize("side", [96, 256])
def test_shipped_judge_sees_the_same_in_larger_images(renders: Renders, side: int) -> None:
    images, judge = renders.images.float() / 255, load_judge()
    larger = torch.nn.functional.interpolate(images, size=(side, side), mode="bicubic")
    seen, expected = judge(larger.clamp(0, 1)), judge(images)
    for head, logits in seen.items():
        assert (logits.argmax(1) == expected[head].argmax(1)).float().mean() >= 0.95


@shipped
def test_shipped_judges_are_small() -> None:
    files = [f for f in gallery_networks.default_folder().rglob("*") if f.is_file()]
    assert sum(f.stat().st_size for f in files) <= 6e6


def _grey(rng: np.random.Generator, side: int) -> Array:
    return np.repeat(rng.integers(0, 256, (side, side, 1)), 3, axis=2)


NOISE: dict[str, Callable[[np.random.Generator], Array]] = {
    "uniform": lambda rng: rng.integers(0, 256, (64, 64, 3)),
    "grey": lambda rng: _grey(rng, 64),
    "normal": lambda rng: rng.normal(127, 40, (64, 64, 3)).clip(0, 255),
    "coarse": lambda rng: rng.integers(0, 256, (16, 16, 3)),
    "blots": lambda rng: rng.integers(0, 256, (8, 8, 3)),
}


@shipped
@pytest.mark.parametrize("kind", NOISE)
def test_noise_is_unrecognised(kind: str, tmp_path: Path) -> None:
    """`tests/cli/test_score_garbage.py` has the images that are recognised."""
    rng = np.random.default_rng(1)
    files = [tmp_path / f"{i}.png" for i in range(100)]
    for file in files:
        image = Image.fromarray(NOISE[kind](rng).astype(np.uint8))
        image.resize((64, 64), Image.Resampling.BICUBIC).save(file)
    scorer = JudgeScorer()
    scores = scorer.score(files, ["a church"] * len(files))
    seen = ClassifierJudge(load_concept("church"), {"judge": scorer}).predict({"judge": scores})
    assert seen["unrecognised"].mean() >= 0.95
