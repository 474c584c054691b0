"""Any input gives a documented error or works; nothing else comes out, and nothing half done.

What is mutated starts from files that are right, so that most mutants get past the first check. The
quick run tries a few of each; `VARBENCH_FUZZ=5000 pytest tests/data/test_mutated_files.py` tries
many.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.fuzz import SCRAPS, fuzz, mutated
from tests.helpers.paths import ROOT
from varbench.data.concept_files import load_concept
from varbench.data.prompt_sets import load_prompt_set
from varbench.errors import UserError
from varbench.leaderboard.json_files import ResultsError
from varbench.leaderboard.results import read
from varbench.pipeline.ablation import load_ablation
from varbench.pipeline.plan import Request, plan


def packaged(folder: str, name: str) -> str:
    return (resources.files("varbench.conf") / folder / name).read_text(encoding="utf-8")


def save(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(text.encode("utf-8", errors="surrogatepass"))
    return path


@fuzz
@given(mutated(packaged("concept", "church.yaml")))
def test_concept_files(tmp_path: Path, text: str) -> None:
    try:
        plan(Request("gallery", (), (str(save(tmp_path, "mine.yaml", text)),), "smoke", (0,)))
    except UserError as error:
        assert str(error)


@fuzz
@given(mutated(packaged("concept", "style-marlo-tessera.yaml")))
def test_concept_files_by_themselves(tmp_path: Path, text: str) -> None:
    try:
        load_concept(str(save(tmp_path, "mine.yaml", text)))
    except UserError as error:
        assert "mine.yaml" in str(error)


@fuzz
@given(mutated(packaged("ablation", "losses.yaml")))
def test_ablation_files(tmp_path: Path, text: str) -> None:
    try:
        load_ablation(str(save(tmp_path, "mine.yaml", text)))
    except UserError as error:
        assert str(error)


HEAD = "".join((ROOT / "prompts" / "gallery-objects.csv").read_text().splitlines(True)[:12])


@fuzz
@given(mutated(HEAD))
def test_prompt_files(tmp_path: Path, text: str) -> None:
    try:
        load_prompt_set(str(save(tmp_path, "mine.csv", text)))
    except UserError as error:
        assert str(error)


RESULT = ROOT / "results" / "leaderboard" / "gallery" / "church" / "uce.json"


@fuzz
@given(mutated(RESULT.read_text(encoding="utf-8")))
def test_results_files(tmp_path: Path, text: str) -> None:
    path = save(tmp_path, "uce.json", text)
    try:
        result = read(path)
    except ResultsError as error:
        assert "uce.json" in str(error)
    else:
        same = json.loads(RESULT.read_text()) == json.loads(path.read_text())
        assert same or result.sha256 != result.content_sha256()  # a change is seen


KEYS = [
    "method.alpha", "method.gamma", "method.train.steps", "method.train.rate",
    "method.train.batch", "method.train.parts", "method.rollout.temperature", "pairs",
    "suite.block", "suite.metrics", "suite.split", "suite.groups.target.prompts",
    "suite.groups.target.seeds", "suite.probe.prompts", "suite.robustness.scales",
    "model.sampling.guidance", "model.sampling.temperature", "model.batch", "model.strict",
    "model.weights", "concept", "seed", "engine.workers", "+new", "~method", "hydra.run.dir",
    "method@x", "a.b.c.d",
]  # fmt: skip
VALUES = st.one_of(
    SCRAPS, st.integers(-5, 10**12).map(str), st.floats().map(str), st.text(max_size=6),
    st.sampled_from(["[]", "{}", "[1,2", "{a:1}", "true", "null", "1e-4", "[erasure_rate]"]),
)  # fmt: skip


@fuzz
@given(st.lists(st.tuples(st.sampled_from(KEYS), VALUES), min_size=1, max_size=3))
def test_overrides(given_ones: list[tuple[str, str]]) -> None:
    overrides = tuple(f"{key}={value}" for key, value in given_ones)
    try:
        for cell in plan(Request("gallery", ("svare",), ("church",), "tune", (0,), overrides)):
            cell.groups()
    except UserError as error:
        assert str(error)
