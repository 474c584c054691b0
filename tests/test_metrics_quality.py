"""FID, KID and the CLIP score against closed forms, brute force and hand counts."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from tests.metrics_helpers import LABELS, Concept, Prompt, evidence, group, number, value, world
from varbench.metrics import METRICS, Evidence
from varbench.metrics.base import Array
from varbench.metrics.fid import frechet_distance
from varbench.metrics.kid import clean_fid_kid, paired_kid

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


def test_fid_with_fewer_pictures_than_dimensions_is_quiet_and_says_so(
    capfd: pytest.CaptureFixture[str],
) -> None:
    method, base = world(1, prompts=2, k=2, d=64), world(2, prompts=2, k=2, d=64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = value("fid_base", evidence(method, base))
    assert "only 8 pictures for 64 dimensions" in found.note
    assert np.isfinite(number(found))
    assert capfd.readouterr() == ("", "")


def test_fid_real_compares_both_models_with_real_pictures() -> None:
    method, base = world(1), world(2)
    real = np.random.default_rng(9).normal(size=(80, 6))
    found = value("fid_real", evidence(method, base, {"features": real}))
    pair = evidence(method, base).pair("neighbours", "unrelated")
    rows = pair.base.array("features", "features")
    assert found.baseline == pytest.approx(frechet_distance(rows, real), rel=1e-12)
    bare = Evidence(Concept(), LABELS, method, base)
    assert "no real pictures" in METRICS["fid_real"].compute(bare).note
    assert value("fid_base", bare).value is not None


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
    value("kid_base", evidence(world(1), world(2)))
    assert np.random.random() == expected


def test_kid_sees_a_shift() -> None:
    base = world(2)
    method = dict(base)
    rows = base["unrelated"].array("features", "features") + 1.5
    method["unrelated"] = group(base["unrelated"].prompts, features=rows)  # type: ignore[arg-type]
    found = value("kid_base", evidence(method, base))
    assert found.low is not None
    assert found.low > 0


# --- CLIP score -----------------------------------------------------------------------------


def test_clip_score_by_hand() -> None:
    prompts = [Prompt("a", "a"), Prompt("a", "a"), Prompt("b", "b")]
    method = group(prompts, cosine=np.array([0.2, -0.5, 0.3]))
    base = group(prompts, cosine=np.array([0.3, 0.3, 0.3]))
    found = value("clip_score", evidence({"unrelated": method}, {"unrelated": base}))
    assert found.value == pytest.approx((10 + 30) / 2)  # negatives count as 0, prompts equally
    assert found.baseline == pytest.approx(30)
    assert found.difference is not None
    assert found.difference.value == pytest.approx(-10)
    assert found.details["unrelated"] == pytest.approx(20)
    assert "neighbours" not in found.details
