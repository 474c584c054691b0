"""Zero-shot judges against a literal loop over an open_clip model with random weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.identity import NAMES, NamedConcept
from tests.helpers.scoring import stand_in
from varbench.errors import UserError
from varbench.metrics.groups import Arrays
from varbench.metrics.nudity_protocols import CLASSES
from varbench.scoring.judges import (
    FACE_SCORE,
    NO_FACE,
    SURE,
    ClipNames,
    ClipObjects,
    ClipStyle,
    ZeroShotJudge,
    face_score,
)
from varbench.scoring.scorers.clip import ClipScorer


def tiny_clip() -> tuple[Any, Any, Any]:
    import open_clip
    from open_clip.tokenizer import SimpleTokenizer

    torch.manual_seed(0)
    model = open_clip.CLIP(
        embed_dim=16,
        vision_cfg={"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16},
        text_cfg={"context_length": 24, "width": 32, "heads": 2, "layers": 1},
    )
    preprocess = open_clip.image_transform(32, is_train=False)
    return model.eval(), preprocess, SimpleTokenizer(context_length=24)


@pytest.fixture(scope="module")
def clip() -> ClipScorer:
    parts = tiny_clip()
    return stand_in(ClipScorer, lambda: parts)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{i:03d}.png" for i in range(5)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    return paths


def by_loops(judge: ZeroShotJudge, files: list[Path]) -> list[list[float]]:
    """Probabilities of the labels, without any stored row, batch or matrix product."""
    model, preprocess, tokenizer = tiny_clip()
    classes = []
    for name in judge.names:
        total = torch.zeros(16, dtype=torch.float64)
        for template in judge.templates:
            row = model.encode_text(tokenizer([template.replace("{}", name)]))[0].double()
            total += row / row.norm()
        classes.append(total / total.norm())
    chances = []
    for file in files:
        with Image.open(file) as image:
            image = model.encode_image(preprocess(image)[None])[0].double()
        powers = [math.exp(100 * float(image / image.norm() @ row)) for row in classes]
        chances.append([power / sum(powers) for power in powers])
    return chances


@pytest.mark.parametrize("kind", [ClipStyle, ClipObjects])
@torch.no_grad()
def test_the_zero_shot_judge_is_the_literal_loop(
    kind: type[ZeroShotJudge], clip: ClipScorer, files: list[Path]
) -> None:
    judge = kind(NamedConcept(), {"clip": clip})
    scores = {"clip": clip.score(files, ["a"] * len(files))}
    expected = np.array(by_loops(judge, files))
    assert expected.max() - expected.min() > 0.1  # the network tells the names apart
    np.testing.assert_allclose(judge.chances(scores), expected, atol=1e-4)
    seen = judge.predict(scores)
    np.testing.assert_array_equal(seen["identity"], expected.argmax(axis=1))
    np.testing.assert_allclose(seen["identity_p"], expected.max(axis=1), atol=1e-4)
    assert (seen["identity"].dtype, seen["identity_p"].dtype) == (np.int64, np.float32)
    np.testing.assert_array_equal(seen["unrecognised"], expected.max(axis=1) < SURE)
    assert judge.labels == {"identity": NAMES}


def test_text_rows_are_of_length_one_and_independent_of_the_batch(clip: ClipScorer) -> None:
    parts = tiny_clip()
    texts = [f"a photo of {name}" for name in NAMES]
    rows = clip.text_rows(texts)
    assert (rows.shape, rows.dtype) == ((3, 16), np.float32)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(
        stand_in(ClipScorer, lambda: parts, batch=2).text_rows(texts), rows, atol=1e-6
    )


def detections(*images: dict[str, float]) -> Arrays:
    """One box per class and image, padded as NudeNet's scorer pads."""
    width = 4
    arrays = {
        "class": np.full((len(images), width), -1, dtype=np.int8),
        "score": np.zeros((len(images), width), dtype=np.float32),
    }
    for i, boxes in enumerate(images):
        for k, (name, score) in enumerate(boxes.items()):
            arrays["class"][i, k], arrays["score"][i, k] = CLASSES.index(name), score
    return arrays


def test_an_image_without_a_face_has_no_name(clip: ClipScorer, files: list[Path]) -> None:
    boxes = detections(
        {"FACE_FEMALE": 0.9, "FACE_MALE": 0.3},
        {"FACE_MALE": FACE_SCORE},
        {"FACE_FEMALE": 0.4, "FACE_MALE": 0.3, "BELLY_COVERED": 0.95},
        {},
        {"FEET_COVERED": 0.8, "FACE_MALE": 0.7},
    )
    np.testing.assert_allclose(face_score(boxes), [0.9, FACE_SCORE, 0.4, 0, 0.7])
    judge = ClipNames(NamedConcept(), {"clip": clip})
    scores = {"clip": clip.score(files, ["a"] * len(files)), "detections": boxes}
    seen, names = judge.predict(scores), judge.chances(scores).argmax(axis=1)
    assert judge.labels == {"identity": (*NAMES, NO_FACE)}
    assert seen["face"].tolist() == [True, True, False, False, True]
    assert seen["unrecognised"].tolist() == [False, False, True, True, False]
    assert seen["identity"].tolist() == [names[0], names[1], 3, 3, names[4]]
    np.testing.assert_allclose(seen["identity_p"][2:4], [0.6, 1])
    assert seen["identity"].dtype == np.int64


def test_fingerprints_follow_labels_and_templates(clip: ClipScorer) -> None:
    kinds = (ClipStyle, ClipObjects, ClipNames)
    made = [kind(NamedConcept(), {"clip": clip}).fingerprint() for kind in kinds]
    made.append(ClipStyle(NamedConcept(NAMES[:2]), {"clip": clip}).fingerprint())
    assert len(set(made)) == 4
    assert made[0] == ClipStyle(NamedConcept(), {"clip": clip}).fingerprint()


def test_a_question_without_answers_is_refused(clip: ClipScorer) -> None:
    with pytest.raises(UserError, match="prompt sets of concept 'ada' have 1; name sets with that"):
        ClipNames(NamedConcept(NAMES[:1]), {"clip": clip})
    with pytest.raises(UserError, match="label of column 'identity' 'Ada Marlow'"):
        ClipNames(NamedConcept(NAMES[1:]), {"clip": clip})
