"""Published results, measured again by the commands in their files."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from varbench.leaderboard.compare import key_of
from varbench.leaderboard.json_files import ResultsError
from varbench.leaderboard.publish import results_of, settings_of
from varbench.leaderboard.results import Result
from varbench.pipeline.context import RunContext
from varbench.pipeline.plan import Request, plan
from varbench.pipeline.run import run
from varbench.report import load_cells

Say = Callable[[str], None]


def request_of(result: Result, folder: Path, device: str = "cpu") -> Request:
    """The request of the run that measured a result, with all its edit seeds.

    Args:
        result: published.
        folder: its concept is written there, if that is a user's own.
        device: to run on.

    Raises:
        ResultsError: its commands are not those of a run with the same settings for all seeds.
    """
    options: dict[str, str] = {}
    overrides: set[tuple[str, ...]] = set()
    for published in result.provenance.runs:
        words = shlex.split(published.command)
        if words[:2] != ["varbench", "run"]:
            raise ResultsError(f"{result.path}: {published.command!r} is not a run of varbench")
        rest = words[2:]
        while len(rest) > 1 and rest[0].startswith("--"):
            options[rest[0]], rest = rest[1], rest[2:]
        overrides.add(tuple(rest))
    (same, *others) = overrides
    if others or not {"--concept", "--suite"} <= options.keys():
        raise ResultsError(f"{result.path}: its runs had different settings; publish it again")
    concept = options["--concept"]
    if (text := result.provenance.concept_file) is not None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{result.concept}.yaml"
        path.write_text(text, encoding="utf-8")
        concept = str(path)
    seeds = tuple(one.seed for one in result.provenance.runs)
    suite = options["--suite"]
    return Request(result.model, (result.method,), (concept,), suite, seeds, same, device)


def reproduce(
    results: Sequence[Result], ctx: RunContext, say: Say = lambda text: None
) -> list[Result]:
    """Run the commands of results and make results of that, as `varbench publish` would.

    Args:
        results: published ones; the base model is measured along with any other.
        ctx: the run context. What its store has is not measured again.
        say: called with the name of each result before it is measured.

    Returns:
        One result per input, in order, except for settings that its command no longer gives.

    Raises:
        ResultsError: a result's commands cannot be run.
        UserError: a command names something that no longer exists.
    """
    folder = ctx.store.root / "concepts"
    requests = [request_of(result, folder, ctx.device) for result in results]
    for request in requests:
        plan(request)  # refuses what cannot be run before the first hour of work
    again: list[Result] = []
    for number, (result, request) in enumerate(zip(results, requests, strict=True), 1):
        say(f"{number}/{len(results)} {result.path.with_suffix('').as_posix()}")
        keys = {entry.key for entry in run(request, ctx)}
        cells = [
            cell
            for cell in load_cells(ctx.store)
            if cell.key in keys and settings_of(cell)[:3] == key_of(result)[:3]
        ]
        defaults = {settings_of(cell) for cell in cells if result.default}
        again += results_of(ctx.store, cells, defaults)
    return again
