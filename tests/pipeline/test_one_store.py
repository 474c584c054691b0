"""One store for many runs: each command gives what it gives in a fresh store."""

from __future__ import annotations

import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.helpers.cli import small_groups, varbench
from tests.helpers.wrong_build import inverted_colours

SMALL = (
    *small_groups(2, 1),
    "suite.block=2",
    "suite.probe.prompts=0",
    "suite.robustness.prompts=0",
    "suite.metrics=[acc_e,acc_u,clip_score,vendi]",
)
PLAIN: tuple[str, ...] = ()
STRONG = ("model.sampling.guidance=6", "model.sampling.temperature=3")
FEWER = ("suite.groups.target.prompts=1",)
OVERRIDES = (PLAIN, STRONG, FEWER)
METHODS = ("none", "uce")
RUNS = st.tuples(st.just("run"), st.sampled_from(METHODS), st.sampled_from(OVERRIDES))
LOSSES = st.tuples(
    st.just("lose"), st.sampled_from(("pictures", "scores", "cell", "edit")), st.just(PLAIN)
)
WRONG = st.tuples(st.just("wrong"), st.sampled_from(METHODS), st.sampled_from(OVERRIDES))


def run(store: Path, method: str, overrides: tuple[str, ...]) -> str:
    """The text that a run prints, without its costs."""
    done = varbench("run", "--method", method, "--store", store, *SMALL, *overrides)
    assert done.exit_code == 0, done.output
    return "\n\n".join(part for part in done.stdout.split("\n\n") if "· cost" not in part)


def report(store: Path, settings_id: str, method: str) -> list[dict[str, Any]]:
    """The records of one of the settings, without what they cost."""
    options = ["--settings", settings_id, "--method", method, "--format", "json"]
    done = varbench("report", "--store", store, *options)
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    return [row for row in rows if not row["metric"].startswith("cost")]


@cache
def fresh(method: str, overrides: tuple[str, ...]) -> tuple[str, str, list[dict[str, Any]]]:
    """Text, settings and records of a run in a store of its own."""
    with tempfile.TemporaryDirectory() as folder:
        text = run(Path(folder), method, overrides)
        settings_id = text.rpartition("settings ")[2][:8]
        return text, settings_id, report(Path(folder), settings_id, method)


@settings(max_examples=2, deadline=None, derandomize=True)
@given(st.lists(st.one_of(RUNS, LOSSES, WRONG), min_size=2, max_size=4))
@example([("run", "uce", PLAIN), ("run", "none", STRONG)])
@example([("wrong", "uce", PLAIN), ("run", "none", FEWER), ("lose", "scores", PLAIN)])
def test_each_command_gives_what_a_fresh_store_gives(
    steps: list[tuple[str, str, tuple[str, ...]]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        for step, name, overrides in [*steps, ("run", "uce", PLAIN)]:
            if step == "lose":
                shutil.rmtree(store / name, ignore_errors=True)
            elif step == "wrong":  # its images are lost, what was computed from them is not
                with inverted_colours():
                    run(store, name, overrides)
                shutil.rmtree(store / "pictures")
            else:
                text, settings_id, records = fresh(name, overrides)
                assert run(store, name, overrides) == text
                assert report(store, settings_id, name) == records
