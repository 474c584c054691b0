"""Published results, measured again by the commands in their files."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from varbench.leaderboard.compare import cell_of
from varbench.leaderboard.publish import results_of, settings_of
from varbench.leaderboard.results import Result, ResultsError
from varbench.pipeline import run as bench
from varbench.pipeline.context import RunContext
from varbench.pipeline.plan import Request, plan
from varbench.report import load_cells

Say = Callable[[str], None]


def request_of(result: Result, folder: Path, device: str = "cpu") -> Request:
    """The run that measured a result, all its edit seeds.

    Args:
        result: published.
        folder: where its concept is written, if that is a user's own.
        device: to run on.

    Raises:
        ResultsError: its commands are not those of a run with the same settings for all seeds.
    """
    options: dict[str, str] = {}
    overrides: set[tuple[str, ...]] = set()
    for run in result.provenance.runs:
        words = shlex.split(run.command)
        if words[:2] != ["varbench", "run"]:
            raise ResultsError(f"{result.place}: {run.command!r} is not a run of varbench")
        rest = words[2:]
        while len(rest) > 1 and rest[0].startswith("--"):
            options[rest[0]], rest = rest[1], rest[2:]
        overrides.add(tuple(rest))
    (same, *others) = overrides
    if others or not {"--concept", "--suite"} <= options.keys():
        raise ResultsError(f"{result.place}: its runs had different settings; publish it again")
    concept = options["--concept"]
    if (text := result.provenance.concept_file) is not None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{result.concept}.yaml"
        path.write_text(text, encoding="utf-8")
        concept = str(path)
    seeds = tuple(run.seed for run in result.provenance.runs)
    suite = options["--suite"]
    return Request(result.model, (result.method,), (concept,), suite, seeds, same, device)


def reproduce(
    results: Sequence[Result], ctx: RunContext, say: Say = lambda text: None
) -> list[Result]:
    """Run what the results say and make results of it, as `varbench publish` would.

    Args:
        results: published ones; the unerased model's are measured along with any other.
        shop: the place of work. What its store has is not measured again.
        say: told which result is next.

    Returns:
        One result per input, in order, except for settings that its command no longer gives.

    Raises:
        ResultsError: a result's commands cannot be run.
        UserError: they ask for what is not there any more.
    """
    folder = ctx.store.root / "concepts"
    asked = [request_of(result, folder, ctx.device) for result in results]
    for request in asked:
        plan(request)  # refuses what cannot be run before the first hour of work
    made: list[Result] = []
    for number, (result, request) in enumerate(zip(results, asked, strict=True), 1):
        say(f"{number}/{len(results)} {result.place.with_suffix('').as_posix()}")
        keys = {entry.key for entry in bench.run(request, ctx)}
        cells = [cell for cell in load_cells(ctx.store) if cell.key in keys]
        mine = [cell for cell in cells if cell_of(result)[:3] == settings_of(cell)[:3]]
        own = {settings_of(cell) for cell in mine if result.default}
        made += results_of(ctx.store, mine, own)
    return made
