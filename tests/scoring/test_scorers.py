"""Scorers with stand-in networks: shapes, determinism, batch size, fingerprints, refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tests.helpers.scoring import new_scorer, stand_in
from varbench.scoring.base import Scorer
from varbench.scoring.registry import SCORERS
from varbench.scoring.scorers.clip import ClipScorer
from varbench.scoring.scorers.features import Extractor, FeatureScorer
from varbench.scoring.scorers.images import read_tensor
from varbench.scoring.scorers.judge import JudgeScorer


def trunk(out: int, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    norm = nn.BatchNorm2d(4)  # in training mode it would make rows depend on their batch
    return nn.Sequential(
        nn.Conv2d(3, 4, 5, stride=3), norm, nn.SiLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(16, out),
    )  # fmt: skip


class StandInJudge(nn.Module):
    labels = {"identity": ("ada", "bruno", "clara"), "style": ("plain", "neon")}  # noqa: RUF012

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(50.0 + seed))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The strongest colour decides, so that the stand-in sees different things."""
        logits = self.sharpness * images.mean(dim=(2, 3))
        return {"identity": logits, "style": logits[:, 1:]}


class StandInClip(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.visual, self.text = trunk(7, seed), nn.Embedding(128, 7)

    def encode_image(self, images: Tensor) -> Tensor:
        out: Tensor = self.visual(images)
        return out

    def encode_text(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.text(tokens).sum(dim=1)
        return out


def clip_parts(seed: int = 0) -> tuple[Any, Callable[[Image.Image], Tensor], Any]:
    def preprocess(image: Image.Image) -> Tensor:
        small = np.array(image.resize((32, 32)))
        return torch.from_numpy(small).permute(2, 0, 1).float() / 255

    def tokenizer(texts: list[str]) -> Tensor:
        return torch.tensor([[ord(c) % 128 for c in text.ljust(12)[:12]] for text in texts])

    return StandInClip(seed), preprocess, tokenizer


def make(kind: str, seed: int = 0, batch: int = 64) -> Scorer:
    if kind == "judge":
        return stand_in(JudgeScorer, lambda: StandInJudge(seed), batch=batch)
    if kind == "clip":
        return stand_in(ClipScorer, lambda: clip_parts(seed), batch=batch)
    return stand_in(FeatureScorer, lambda: Extractor(trunk(6, seed)), batch=batch)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("pictures")
    paths = []
    for i in range(7):
        small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        small.resize((64, 64), Image.Resampling.BICUBIC).save(folder / f"{i:03d}.png")
        paths.append(folder / f"{i:03d}.png")
    return paths


KINDS = tuple(SCORERS["gallery"])
PROMPTS = ["a cup", "a boat", "ada", "a cup", "neon", "a tree", "bruno"]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_repeatable_and_independent_of_batch_and_order(
    kind: str, files: list[Path]
) -> None:
    whole = make(kind).score(files, PROMPTS)
    again = make(kind).score(files, PROMPTS)
    small = make(kind, batch=3).score(files, PROMPTS)
    back = make(kind, batch=2).score(files[::-1], PROMPTS[::-1])
    for name, rows in whole.items():
        assert len(rows) == 7
        np.testing.assert_array_equal(rows, again[name])
        np.testing.assert_allclose(rows, small[name], atol=1e-5)
        np.testing.assert_allclose(rows, back[name][::-1], atol=1e-5)


def test_judge_stores_the_most_likely_label_and_its_probability(files: list[Path]) -> None:
    judge = stand_in(JudgeScorer, StandInJudge)
    scores = judge.score(files, PROMPTS)
    assert judge.labels == StandInJudge.labels
    assert set(scores) == {"identity", "identity_p", "style", "style_p"}
    with torch.no_grad():
        logits = StandInJudge().eval()(torch.cat([read_tensor(file) for file in files]))["identity"]
    np.testing.assert_array_equal(scores["identity"], logits.argmax(-1).numpy())
    np.testing.assert_allclose(scores["identity_p"], logits.softmax(-1).amax(-1), atol=1e-6)
    assert scores["identity"].dtype == np.int64
    assert scores["identity_p"].dtype == np.float32
    assert len(set(scores["identity"].tolist())) > 1


def test_the_judge_sees_large_images_one_at_a_time(tmp_path: Path) -> None:
    """A block of them at full size would not fit into memory."""
    Image.new("RGB", (1500, 900), (200, 30, 30)).save(tmp_path / "a.png")
    scorer = make("judge")
    seen: list[tuple[int, ...]] = []
    network = scorer._network
    network.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape)))
    scorer.score([tmp_path / "a.png"] * 3, [""] * 3)
    assert seen == [(3, 3, 64, 64)]


def test_clip_cosine_is_that_of_image_and_its_own_prompt(files: list[Path]) -> None:
    scores = stand_in(ClipScorer, clip_parts).score(files, PROMPTS)
    model, preprocess, tokenizer = clip_parts()
    with Image.open(files[2]) as image, torch.no_grad():
        image = model.eval().encode_image(preprocess(image.convert("RGB"))[None])
        text = model.encode_text(tokenizer([PROMPTS[2]]))
    expected = torch.cosine_similarity(image, text).item()
    assert scores["cosine"][2] == pytest.approx(expected, abs=1e-5)
    np.testing.assert_allclose(np.linalg.norm(scores["image"], axis=1), 1, atol=1e-5)


def test_features_take_clean_fids_path_and_come_back_to_the_images(files: list[Path]) -> None:
    class Pixels(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            assert images.shape[1:] == (3, 64, 64)
            return torch.flatten(images, 1)

    scores = stand_in(FeatureScorer, lambda: Extractor(Pixels())).score(files, PROMPTS)["features"]
    original = torch.cat([read_tensor(file) for file in files]).flatten(1).numpy()
    assert scores.dtype == np.float32
    assert np.abs(scores - original).mean() < 0.01  # up to 299 pixels and back loses little


def test_fingerprints_follow_weights_and_nothing_else() -> None:
    for kind in ("judge", "features"):
        assert make(kind).fingerprint() == make(kind, batch=3).fingerprint()
        assert make(kind).fingerprint() != make(kind, seed=1).fingerprint()


@pytest.mark.parametrize("kind", KINDS)
def test_bad_input_is_refused_before_any_network_is_read(kind: str, files: list[Path]) -> None:
    lazy = new_scorer(kind)
    with pytest.raises(ValueError, match="no images"):
        lazy.score([], [])
    with pytest.raises(ValueError, match="7 images but 1 prompts"):
        lazy.score(files, ["a cup"])
    with pytest.raises(FileNotFoundError, match=r"1 images are missing.*gone\.png"):
        lazy.score([files[0], files[0].with_name("gone.png")], ["a", "b"])


def test_images_of_other_sizes_and_modes_are_scored_in_order(
    tmp_path: Path, files: list[Path]
) -> None:
    Image.new("L", (40, 50), 200).save(tmp_path / "grey.png")
    mixed = [files[0], tmp_path / "grey.png", *files[1:3]]
    for kind in KINDS:
        alone = make(kind).score(files[1:3], PROMPTS[1:3])
        for name, rows in make(kind).score(mixed, ["a", "b", *PROMPTS[1:3]]).items():
            assert len(rows) == 4
            np.testing.assert_allclose(rows[2:], alone[name], atol=1e-5)


def test_the_default_clip_is_identified_by_its_files_without_open_clip() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from varbench.scoring.scorers.clip import ClipScorer; "
        "print(ClipScorer().fingerprint(), 'open_clip' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert len(done[0]) == 64
    assert done[1] == "False"
