"""FID, KID and the CLIP score against closed forms, brute force and hand counts."""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import pytest

from tests.helpers.metrics import (
    LABELS,
    Concept,
    Prompt,
    group,
    metric_inputs,
    number,
    value,
    world,
)
from varbench.metrics import METRICS, MetricInputs, ScoredImages
from varbench.metrics.base import Moments
from varbench.metrics.fid import _clean_fid, frechet_distance
from varbench.metrics.groups import Array
from varbench.metrics.kernel_distance import clean_fid_kid, cubic_kernel, paired_mmd

paired_kid = partial(paired_mmd, kernel=cubic_kernel)

# --- FID and KID ----------------------------------------------------------------------------


def gaussian_distance(m1: Array, s1: Array, m2: Array, s2: Array) -> float:
    root_trace = np.sqrt(np.linalg.eigvals(s1 @ s2).real).sum()
    return float(((m1 - m2) ** 2).sum() + np.trace(s1 + s2) - 2 * root_trace)


def test_fid_of_gaussian_samples_is_the_closed_form() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5, 5))
    s1, s2, m1, m2 = a @ a.T, b @ b.T, np.arange(5.0), np.ones(5)
    x, y = (rng.multivariate_normal(m, s, 40_000) for m, s in ((m1, s1), (m2, s2)))
    assert frechet_distance(x, y) == pytest.approx(gaussian_distance(m1, s1, m2, s2), rel=0.02)
    moments = (x.mean(0), np.cov(x.T), y.mean(0), np.cov(y.T))
    assert frechet_distance(x, y) == pytest.approx(gaussian_distance(*moments), rel=1e-9)


def test_fid_of_equal_and_of_shifted_rows() -> None:
    x = np.random.default_rng(0).normal(size=(300, 4))
    assert frechet_distance(x, x) == 0
    assert frechet_distance(x, x[::-1]) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(x, x + 2) == pytest.approx(16, rel=1e-6)


def test_fid_of_few_images_is_quiet_and_has_a_note(
    capfd: pytest.CaptureFixture[str],
) -> None:
    method, base = world(1, prompts=2, k=2, d=64), world(2, prompts=2, k=2, d=64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = value("fid_base", metric_inputs(method, base))
    assert "only 8 pictures for 64 dimensions" in found.note
    assert np.isfinite(number(found))
    assert capfd.readouterr() == ("", "")


def test_fid_real_compares_both_models_with_real_images() -> None:
    method, base = world(1), world(2)
    real = np.random.default_rng(9).normal(size=(80, 6))
    measured = value(
        "fid_real", metric_inputs(method, base, {"neighbours": real[:30], "unrelated": real[30:]})
    )
    pair = metric_inputs(method, base).paired("neighbours", "unrelated")
    rows = pair.base.array("features", "features")
    assert measured.baseline == pytest.approx(frechet_distance(rows, real), rel=1e-12)
    assert measured.details == {"n": 96, "n_reference": 80, "dimensions": 6}
    bare = MetricInputs(Concept(), LABELS, method, base)
    assert "no real pictures" in METRICS["fid_real"].compute(bare).note
    assert value("fid_base", bare).value is not None


def test_fid_with_more_dimensions_than_images_is_clean_fids_and_the_nuclear_norms() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 20, 30)) * np.linspace(0.2, 2, 30)
    moments = [(rows.mean(0), np.cov(rows.T)) for rows in (x, y)]
    assert frechet_distance(x, y) == pytest.approx(_clean_fid(*moments[0], *moments[1]), abs=1e-4)
    left, right = ((rows - rows.mean(0)) / np.sqrt(19) for rows in (x, y))
    root = np.linalg.svd(left @ right.T, compute_uv=False).sum()
    shift = ((x.mean(0) - y.mean(0)) ** 2).sum()
    expected = shift + (left**2).sum() + (right**2).sum() - 2 * root
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(y, x) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(x, x[::-1]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("n", [20, 300])
def test_fid_to_moments_is_that_to_the_rows_they_are_of(n: int) -> None:
    rng = np.random.default_rng(0)
    rows, real = rng.normal(size=(n, 30)), rng.normal(size=(500, 30)) * np.linspace(0.5, 2, 30)
    moments = Moments(real.mean(axis=0), np.cov(real, rowvar=False), 500)
    assert frechet_distance(rows, moments) == pytest.approx(frechet_distance(rows, real), rel=1e-9)
    with pytest.raises(ValueError, match="6 dimensions against 30"):
        frechet_distance(rows[:, :6], moments)
    with pytest.raises(ValueError, match="at least two"):
        frechet_distance(rows[:1], moments)


def test_fid_on_coco_captions_is_apart_from_that_on_kept_prompts() -> None:
    method, base = world(1), world(2)
    real = np.random.default_rng(9).normal(size=(80, 6))
    moments = Moments(real.mean(axis=0), np.cov(real, rowvar=False), 30_000)
    e = metric_inputs(method, base, {"coco": moments})
    ours, theirs = (side["coco"].array("features", "features") for side in (method, base))
    measured = value("fid_coco_real", e)
    assert measured.value == frechet_distance(ours, moments)
    assert measured.baseline == frechet_distance(theirs, moments)
    assert measured.details == {"n": 48, "n_reference": 30_000, "dimensions": 6}
    assert value("fid_coco_base", e).value == frechet_distance(ours, theirs)
    assert "no real pictures" in METRICS["fid_real"].compute(e).note
    kept = metric_inputs(method, base, {"unrelated": real})
    missing = METRICS["fid_coco_real"].compute(kept)
    assert missing.value is None
    assert "varbench fetch coco-30k-statistics" in missing.note


def test_kid_is_brute_force_and_for_independent_rows_nearly_clean_fids() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 3)), rng.normal(size=(12, 3)) + 0.5
    prompts = np.array([0, 0, 1, 1, 1, 2, 3, 3, 4, 4, 5, 5])

    def k(a: Array, b: Array) -> float:
        return float((a @ b / 3 + 1) ** 3)

    blocks = []
    for c in range(6):
        for other in range(6):
            if other != c:
                terms = [
                    k(x[i], x[j]) + k(y[i], y[j]) - k(x[i], y[j]) - k(y[i], x[j])
                    for i in np.flatnonzero(prompts == c)
                    for j in np.flatnonzero(prompts == other)
                ]
                blocks.append(np.mean(terms))
    assert paired_kid(x, y, prompts).value == pytest.approx(np.mean(blocks))
    x, y = rng.normal(size=(400, 3)), rng.normal(size=(400, 3)) + 0.5
    ours = paired_kid(x, y, np.arange(400))
    assert clean_fid_kid(x, y) == pytest.approx(ours.value, rel=0.02)


def test_kid_is_unbiased_also_for_coupled_rows_where_clean_fids_is_not() -> None:
    rng = np.random.default_rng(0)
    plain, coupled, coupled_clean, covered = [], [], [], 0
    for _ in range(150):
        x, y = rng.normal(size=(2, 40, 3))
        found = paired_kid(x, y, np.repeat(np.arange(20), 2))
        plain.append(found.value)
        covered += found.low <= 0 <= found.high
        mixed = 0.95 * x + np.sqrt(1 - 0.95**2) * y  # same distribution, tied to x
        coupled.append(paired_kid(x, mixed, np.arange(40)).value)
        coupled_clean.append(clean_fid_kid(x, mixed))
    for values in (plain, coupled):
        mean, error = np.mean(values), np.std(values) / np.sqrt(len(values))
        assert abs(mean) < 3 * error
        assert min(values) < 0 < max(values)  # unbiased, hence of both signs
    assert np.mean(coupled_clean) < -10 * np.std(coupled_clean) / np.sqrt(150)
    assert covered >= 0.9 * 150


def test_kid_leaves_numpys_global_generator_alone() -> None:
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    value("kid_base", metric_inputs(world(1), world(2)))
    assert np.random.random() == expected


def test_kid_sees_a_shift() -> None:
    base = world(2)
    method = dict(base)
    rows = base["unrelated"].array("features", "features") + 1.5
    method["unrelated"] = group(base["unrelated"].prompts, features=rows)  # type: ignore[arg-type]
    found = value("kid_base", metric_inputs(method, base))
    assert found.low is not None
    assert found.low > 0


# --- CLIP score -----------------------------------------------------------------------------


def test_clip_score_by_hand() -> None:
    prompts = [Prompt("a", "a"), Prompt("a", "a"), Prompt("b", "b")]
    method = group(prompts, cosine=np.array([0.2, -0.5, 0.3]))
    base = group(prompts, cosine=np.array([0.3, 0.3, 0.3]))
    measured = value("clip_score", metric_inputs({"unrelated": method}, {"unrelated": base}))
    assert measured.value == pytest.approx((10 + 30) / 2)  # negatives count as 0, prompts equally
    assert measured.baseline == pytest.approx(30)
    assert measured.difference is not None
    assert measured.difference.value == pytest.approx(-10)
    assert measured.details["unrelated"] == pytest.approx(20)
    assert "neighbours" not in measured.details


def test_clip_scores_name_their_network_and_their_images() -> None:
    one = [Prompt("a", "a"), Prompt("b", "b")]
    kept, coco = group(one, cosine=np.array([0.2, 0.3])), group(one, cosine=np.array([0.1, 0.2]))
    for images, shift in ((kept, 0.1), (coco, 0.3)):
        large = images.scores["clip"]
        images.scores["clip_b32"] = {**large, "cosine": large["cosine"] + shift}  # type: ignore[index]
    e = metric_inputs({"unrelated": kept, "coco": coco})
    expected = {"": 25, "_b32": 35, "_coco": 15, "_coco_b32": 45}
    for suffix, score in expected.items():
        found = value(f"clip_score{suffix}", e)
        assert found.value == pytest.approx(score)
        needed = "clip_b32" if suffix.endswith("b32") else "clip"
        assert METRICS[f"clip_score{suffix}"].info.needs == (needed,)


# --- LD4 ------------------------------------------------------------------------------------


def labelled(word: str, count: int, image: Array) -> ScoredImages:
    prompts = [Prompt(f"{word} {j}", f"{word}{j}", {"identity": word}) for j in range(count)]
    return group(prompts, image=image)


def test_meaning_shift_by_hand() -> None:
    """Clara replaces ada; a third of bruno's images turns into clara's."""
    clara, bruno, far = np.eye(3)
    base = {
        "neighbours": joined(
            labelled("clara", 2, np.stack([clara, clara])),
            labelled("bruno", 3, np.stack([bruno] * 3)),
        ),
        "unrelated": joined(
            labelled("", 2, np.stack([far, far])), labelled("clara", 1, bruno[None])
        ),
    }
    moved = joined(
        labelled("clara", 2, np.stack([far, far])),  # what became of clara herself is no matter
        labelled("bruno", 3, np.stack([clara, bruno, bruno])),
    )
    measured = value("ld4", metric_inputs(base | {"neighbours": moved}, base))
    assert measured.value == pytest.approx(1 / 5)  # of five neutral images one is now clara's
    assert measured.baseline == 0
    assert measured.details == {
        "anchors": 2,
        "similarity": pytest.approx(1 / 5),
        "base_similarity": 0,
        "neighbours": pytest.approx(1 / 3),
        "unrelated": 0,
    }
    away = value("ld4", metric_inputs(base, base | {"neighbours": moved}))
    assert away.value == pytest.approx(0)  # the anchors are the other model's then: far


def joined(*groups: ScoredImages) -> ScoredImages:
    scores: dict[str, dict[str, Array]] = {
        scorer: {name: np.concatenate([g.array(scorer, name) for g in groups]) for name in arrays}
        for scorer, arrays in groups[0].scores.items()
    }
    prompts = [prompt for one in groups for prompt in one.prompts]
    return ScoredImages(prompts, [seed for one in groups for seed in one.seeds], scores)


def test_without_replacement_or_its_images_there_is_no_meaning_shift() -> None:
    base, metric = world(2), METRICS["ld4"]
    for replacement, why in (
        ((), "has no replacement"),
        (("hugo",), "no neighbours labelled hugo"),
    ):
        concept = Concept(replacement=replacement)
        found = metric.compute(MetricInputs(concept, LABELS, base, base))
        assert found.value is None
        assert why in found.note
    alone = {"neighbours": base["neighbours"]}  # all of them clara's
    assert "no other prompts" in metric.compute(metric_inputs(alone)).note


def test_fid_of_few_distinct_images_is_a_number() -> None:
    """The root of a product of low rank has imaginary parts by rounding."""
    r = np.random.default_rng(0)
    few, others = (np.abs(r.normal(size=(2, 64))) * 1000 for _ in range(2))
    a, b = (rows[r.integers(0, 2, 100)].astype(np.float32) for rows in (few, others))
    (m1, s1), (m2, s2) = (
        (x.mean(axis=0), np.cov(x, rowvar=False)) for x in map(np.float64, (a, b))
    )
    # Both covariances have rank 1, and so has their product: its root has one eigenvalue.
    expected = ((m1 - m2) ** 2).sum() + np.trace(s1 + s2) - 2 * np.sqrt(np.trace(s1 @ s2))
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(np.ones((100, 64)), b) > 0
