"""Requests as a user states them, and runs with their log: for the command line and `varbench.run`.

Nothing here computes: a request is checked before torch and the networks are loaded, and `session`
opens the store in which `varbench.pipeline.run` then works.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from varbench.conf.compose import split_engine
from varbench.conf.schema import NoConfig, RunConfig, plain
from varbench.errors import UserError, unknown
from varbench.methods.training.config import FineTuneConfig
from varbench.metrics import METRICS
from varbench.models.protocol import PARTS
from varbench.pipeline.compatibility import check_read, compatibility_warnings
from varbench.pipeline.plan import Request, plan, prompts_of
from varbench.store import Store, failures
from varbench.store.run_log import run_log
from varbench.store.temporary import sweep
from varbench.utils.devices import check_device, pick_device
from varbench.utils.progress import Progress
from varbench.utils.seeds import check_seed

if TYPE_CHECKING:
    import pandas as pd

    from varbench.pipeline.context import RunContext

_NOT_NEGATIVE = {
    "guidance", "temperature", "top_k", "top_p", "gamma", "beta1", "beta2", "weight_decay", "clip",
    "text_drop",
}  # fmt: skip


def make_request(
    model: str,
    methods: str | Sequence[str],
    concepts: str | Sequence[str],
    suite: str,
    seeds: int | Sequence[int],
    overrides: Sequence[str] = (),
    device: str = "auto",
) -> Request:
    """A request from names, seeds and ``KEY=VALUE`` overrides, among them those of the engine.

    One name or seed may stand for a sequence of one.

    Raises:
        UserError: a malformed override, an unknown device, or an impossible or repeated seed. Names
            of models, methods, concepts and suites are checked by `plan`.
    """
    edit_seeds = (seeds,) if isinstance(seeds, int) else tuple(seeds)
    _check_seeds(edit_seeds)
    _check_overrides(overrides)
    check_device(device)
    engine, settings = split_engine(overrides)
    return Request(
        model, _names(methods), _names(concepts), suite, edit_seeds, settings, device, engine
    )


def _names(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(dict.fromkeys(map(str, names)))


def _check_seeds(seeds: Sequence[int]) -> None:
    if not seeds:
        raise UserError("a run needs at least one seed")
    for seed in seeds:
        check_seed(seed)
    if len(set(seeds)) < len(seeds):
        raise UserError(f"a seed is given twice: {', '.join(map(str, seeds))}")


def _check_overrides(overrides: Sequence[str]) -> None:
    options = {"model.name": "--model (model=)", "suite.name": "--suite (suite=)"}
    for override in overrides:  # of two with the same key the last counts
        key, equals, _ = override.partition("=")
        if not equals:
            raise UserError(f"overrides have the form KEY=VALUE, got {override!r}")
        if (key := key.lstrip("+~")) in options:
            raise UserError(f"{key} is no setting of its own; choose with {options[key]}")


def check(requests: Sequence[Request]) -> list[str]:
    """Refuse bad requests before a network is loaded.

    Returns:
        Warnings, each once: concepts whose numbers mean nothing on the requested model, and words
        of prompts that its text encoder cannot read.

    Raises:
        UserError: unknown names, keys or values.
    """
    warnings: list[str] = []
    for request in requests:
        if not request.methods or not request.concepts:
            raise UserError("a run needs at least one method and one concept")
        cells = plan(request)
        for config in {cell.method: cell.config for cell in cells}.values():
            _check_settings(config)
        model = cells[0].config.model
        warnings += compatibility_warnings(model, [cell.concept for cell in cells])
        for concept, groups in prompts_of(cells).items():
            warnings += check_read(model, groups, concept)
    return list(dict.fromkeys(warnings))


def _check_settings(config: RunConfig) -> None:
    """Refuse settings that only a later stage would find out to be impossible."""
    check_metrics(config.suite.metrics)
    training = getattr(config.method, "train", None)
    if config.method == NoConfig() and config.model.train:
        try:
            training = FineTuneConfig(**config.model.train)
        except (TypeError, ValueError) as error:
            raise UserError(f"model.train: {error}") from error
    for part in training.parts if isinstance(training, FineTuneConfig) else ():
        if part.partition(".")[0] not in PARTS:
            raise unknown("part of a model", part, PARTS)
    for key, number in _numbers("", plain(config)):
        if not math.isfinite(number):
            raise UserError(f"{key} must be a finite number, got {number}")
        name = key.rpartition(".")[2]
        if number < 0 and name in _NOT_NEGATIVE:
            raise UserError(f"{key} must not be negative, got {number:g}")
        if number == 0 and name == "temperature":
            raise UserError(f"{key} must be positive, got 0")


def check_metrics(names: Sequence[str]) -> None:
    """Refuse unknown metrics. Raises UserError with the choices."""
    for name in names:
        if name not in METRICS:
            raise unknown("metric", name, METRICS)


def _numbers(key: str, value: Any) -> Iterator[tuple[str, float]]:
    """The numbers of nested settings with their dotted keys."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _numbers(f"{key}.{name}".lstrip("."), part)
    elif isinstance(value, list):
        for part in value:
            yield from _numbers(key, part)
    elif isinstance(value, int | float):
        yield key, value


@contextmanager
def session(
    requests: Sequence[Request],
    store: Path,
    command: str,
    console: Console | None = None,
    *,
    max_failed: float = failures.LIMIT,
    retry_failed: bool = False,
) -> Iterator[RunContext]:
    """The context in which checked requests run; what happens inside goes into the run log.

    Args:
        requests: all with the same device and engine. With Ray, their shards are computed first.
        store, command, console: the store's folder, for the log, and for progress if any.
        max_failed: largest share of a group's images that may fail in a recorded cell, 0 to 1.
        retry_failed: remove entries with failed images, so that these are made again.

    Raises:
        StoreError: the store cannot be written.
        UserError: there is no such device, or Ray failed.
    """
    from varbench.pipeline.context import RunContext

    device = pick_device(requests[0].device)
    with run_log(Store(store).root, command, device) as journal:
        progress = Progress(console, journal.stage)
        ctx = RunContext(Store(store), progress, device, max_failed)
        sweep(ctx.store.root)
        if retry_failed:
            progress.say(f"{failures.forget(ctx.store)} entries with failed images removed")
        if requests[0].engine.name == "ray":
            from varbench.pipeline.engines.ray import prepare

            for request in requests:
                prepare(request, ctx)
        try:
            yield ctx
        except SystemExit as error:
            message = f"a plugin or a library ended the program (sys.exit({error.code!r}))"
            raise UserError(f"{message}; what is done is in the store") from error


def run_to_frame(
    request: Request, store: Path, *, max_failed: float = failures.LIMIT, quiet: bool = False
) -> pd.DataFrame:
    """Run a request; the records of exactly its cells (see `varbench.run`)."""
    from varbench.pipeline.run import run
    from varbench.report.cells import cells_of
    from varbench.report.records import records_of, to_frame

    console = None if quiet else Console(stderr=True)
    for warning in check([request]):
        Progress(console).say(f"warning: {warning}")
    command = f"varbench.run({request})"
    with session([request], store, command, console, max_failed=max_failed) as ctx:
        entries = run(request, ctx)
    return to_frame(records_of(cells_of(ctx.store, entries)))


def plan_to_frame(request: Request, store: Path) -> pd.DataFrame:
    """Stage by stage, what a run requires and what the store has of it (see `varbench.plan`)."""
    import pandas as pd

    from varbench.pipeline.context import RunContext
    from varbench.pipeline.estimate.workload import run_workload

    check([request])
    ctx = RunContext(Store(store), device=pick_device(request.device))
    works = run_workload(plan(request), ctx)
    rows = [(str(w.stage), w.parts, w.required, w.cached, w.todo) for w in works]
    counts = ["required", "cached", "to_do"]
    frame = pd.DataFrame(rows, columns=["stage", "what", *counts])
    return frame.astype(dict.fromkeys(counts, "Int64"))
