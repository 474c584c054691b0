"""The judge that knows people by reference, on features of the Gallery's own faces."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from tests.helpers.identity import NamedConcept
from tests.helpers.metrics import Prompt
from varbench.data.concept import Judge
from varbench.errors import UserError
from varbench.metrics.groups import Array, ScoredImages
from varbench.models.gallery.world.render import render
from varbench.models.gallery.world.scene import FACES, Scene
from varbench.scoring.base import ReferenceJudge
from varbench.scoring.evaluator import Evaluator, ScorerPool, judged
from varbench.scoring.judges import ANOTHER, NO_FACE
from varbench.scoring.registry import SCORERS
from varbench.scoring.scorers.faces import (
    FaceScorer,
    FacesJudge,
    equal_error_threshold,
    make_references,
)

PER_NAME = 6
CONCEPT = NamedConcept(FACES, Judge("faces", "identity", "ada"), "face-ada")


@pytest.fixture(scope="module")
def rows() -> NDArray[np.float64]:
    """Features of renders by the Gallery's judge, [names * PER_NAME, d], name by name."""
    from varbench.scoring.gallery_networks import load_judge

    backgrounds = itertools.cycle(("meadow", "beach", "night", "room", "snow", "city"))
    names = [name for name in FACES for _ in range(PER_NAME)]
    scenes = [Scene(identity=name, background=next(backgrounds)) for name in names]
    renders = [render(scene, seed) for seed, scene in enumerate(scenes)]
    images = torch.from_numpy(np.stack(renders)).permute(0, 3, 1, 2)
    with torch.no_grad():
        found: NDArray[np.float64] = load_judge().trunk(images.float() / 255).double().numpy()
    return found


INDEX = np.repeat(np.arange(len(FACES)), PER_NAME)


def rates(same: Array, different: Array, threshold: float) -> tuple[float, float]:
    refused = sum(1 for distance in same if distance > threshold) / len(same)
    taken = sum(1 for distance in different if distance <= threshold) / len(different)
    return refused, taken


def by_brute_force(same: Array, different: Array) -> tuple[float, float]:
    """Smallest gap of the two error rates over all thresholds, and their mean there."""
    values = sorted({*same.tolist(), *different.tolist()})
    tried = [rates(same, different, (a + b) / 2) for a, b in itertools.pairwise(values)]
    gap = min(abs(refused - taken) for refused, taken in tried)
    near = [sum(pair) / 2 for pair in tried if abs(pair[0] - pair[1]) <= gap + 1e-9]
    return gap, min(near)


@pytest.mark.parametrize("noise", [0.0, 0.5, 2.0])
def test_the_threshold_is_that_of_brute_force(rows: NDArray[np.float64], noise: float) -> None:
    """On the Gallery's faces, from well apart to hardly told apart."""
    spread = rows.std(axis=0) * noise
    drawn = rows + np.random.default_rng(0).normal(size=rows.shape) * spread
    same, different = [], []
    for name in range(len(FACES)):
        same_name = drawn[name == INDEX]
        mean = same_name.mean(axis=0)
        different += [float(np.linalg.norm(row - mean)) for row in drawn[name != INDEX]]
        for i, row in enumerate(same_name):
            rest = np.array([other for j, other in enumerate(same_name) if j != i])
            same.append(float(np.linalg.norm(row - rest.mean(axis=0))))
    made = make_references(drawn, INDEX)
    np.testing.assert_allclose(made.same, sorted(same))
    refused, taken = rates(np.array(same), np.array(different), made.threshold)
    gap, error = by_brute_force(np.array(same), np.array(different))
    assert abs(refused - taken) == pytest.approx(gap)
    assert (refused + taken) / 2 == pytest.approx(error)
    assert error < 0.02 if noise == 0 else error > 0.005


@pytest.mark.parametrize("seed", range(8))
def test_equal_error_of_numbers_with_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    same = rng.integers(0, 6, 15).astype(float)
    different = rng.integers(2, 9, 22).astype(float)
    refused, taken = rates(same, different, equal_error_threshold(same, different))
    gap, error = by_brute_force(same, different)
    assert abs(refused - taken) == pytest.approx(gap)
    assert (refused + taken) / 2 == pytest.approx(error)


def test_equal_error_in_closed_form() -> None:
    apart = equal_error_threshold(np.array([1.0, 2.0]), np.array([4.0, 5.0]))
    assert apart == 3.0  # halfway, not at the last true pair
    assert equal_error_threshold(np.array([4.0, 5.0]), np.array([1.0, 2.0])) == 3.0
    assert equal_error_threshold(np.array([3.0]), np.array([3.0, 3.0])) == 3.0
    with pytest.raises(ValueError, match="distances of both kinds"):
        equal_error_threshold(np.array([1.0]), np.array([]))


def group(rows: Array, face: Array, names: list[str]) -> ScoredImages:
    asked = enumerate(names)
    prompts = [Prompt(f"{name} {i}", f"{i:03d}", {"identity": name}) for i, name in asked]
    arrays = {"descriptor": rows.astype(np.float32), "face": face}
    return ScoredImages(prompts, [0] * len(prompts), {"faces": arrays})


def test_the_judge_recognises_other_images_of_the_names(rows: NDArray[np.float64]) -> None:
    """References from half of the renders; the other half, strangers and blanks are judged."""
    known = np.isin(INDEX, (6, 7), invert=True)  # nobody asked for greta and hugo
    half = np.arange(len(INDEX)) % 2 == 0
    names = [FACES[i] for i in INDEX]
    learnt = np.flatnonzero(known & half)
    base = group(rows[learnt], np.ones(len(learnt), bool), [names[i] for i in learnt])
    evaluator = Evaluator(CONCEPT, ["acc_e"], _metrics(), _pool())
    assert isinstance(evaluator.judge, ReferenceJudge)
    with pytest.raises(ValueError, match="no references yet"):
        evaluator.judge.predict(base.scores)
    judge = evaluator.judge_of({"target": base})
    fresh = np.flatnonzero(~half)
    face = fresh != fresh[0]
    seen = judged({"x": group(rows[fresh], face, [names[i] for i in fresh])}, judge)["x"]
    recognised = [judge.labels["identity"][i] for i in seen.array("judge", "identity")]
    right = [names[i] if known[i] else ANOTHER for i in fresh]
    assert recognised[0] == NO_FACE
    pairs = list(zip(recognised[1:], right[1:], strict=True))
    assert np.mean([saw == shown for saw, shown in pairs]) > 0.9, pairs
    assert {shown for saw, shown in pairs if saw == shown} == {*FACES[:6], ANOTHER}
    sure = seen.array("judge", "identity_p")
    assert ((sure >= 0) & (sure <= 1)).all() and sure.dtype == np.float32


def test_references_are_means_of_images_with_a_face_taken_once() -> None:
    rows = np.array([[0.0, 0], [2, 0], [90, 90], [0, 10], [0, 12], [5, 5]])
    face = np.array([True, True, False, True, True, True])
    base = group(rows, face, ["ada", "ada", "ada", "clara", "clara", "bruno"])
    made = FacesJudge(CONCEPT, {}).with_references({"target": base, "neighbours": base}).references
    assert made is not None
    assert [FACES[i] for i in made.index] == ["ada", "clara"]  # of bruno there is one only
    np.testing.assert_allclose(made.means, [[1, 0], [0, 11]])
    np.testing.assert_allclose(made.same, [2, 2, 2, 2])
    assert FacesJudge(CONCEPT, {}).references is None


def test_too_few_references_are_refused() -> None:
    one = group(np.zeros((3, 2)), np.ones(3, bool), ["ada", "ada", "bruno"])
    none = group(np.zeros((3, 2)), np.zeros(3, bool), ["ada", "ada", "bruno"])
    for base in (one, none):
        with pytest.raises(UserError, match="fewer than two names have 2 images with a face"):
            FacesJudge(CONCEPT, {}).with_references({"target": base})


class BrightFace(FaceScorer):
    """Mean colours, of images that are not black."""

    size = 3

    def fingerprint(self) -> str:
        return "bright"

    def embedding(self, image: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        return image.mean(axis=(0, 1)).astype(np.float32) if image.any() else None


def test_the_scorer_stores_one_row_per_image(tmp_path: Path) -> None:
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for file, colour in zip(files, ((255, 0, 0), (0, 0, 0), (0, 7, 9)), strict=True):
        Image.new("RGB", (8, 6), colour).save(file)
    scores = BrightFace().score(files, ["a"] * 3)
    assert scores["face"].tolist() == [True, False, True]
    np.testing.assert_allclose(scores["descriptor"], [[255, 0, 0], [0, 0, 0], [0, 7, 9]])
    assert scores["descriptor"].dtype == np.float32
    assert BrightFace().score(files[1:2], ["a"])["descriptor"].shape == (1, 3)


def test_without_dlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("varbench.scoring.scorers.faces.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install '\.\[faces\]'"):
        FaceScorer().fingerprint()
    with pytest.raises(UserError, match="clip-names"):
        FaceScorer().embedding(np.zeros((8, 8, 3), np.uint8))


def _metrics() -> Mapping[str, object]:
    from varbench.metrics import METRICS

    return METRICS


def _pool() -> ScorerPool:
    pool = ScorerPool()
    pool._made[SCORERS["standard"]["faces"]] = BrightFace()
    return pool
