"""The commands ``run`` and ``plan``: from options to requests to the pipeline."""

from __future__ import annotations

import json
import logging
import re
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from varbench.cli.catalog import warn_of_plugins
from varbench.cli.options import (
    DEFAULT_CONCEPT,
    DEFAULT_METHOD,
    DEFAULT_MODEL,
    DEFAULT_STORE,
    DEFAULT_SUITE,
    DeviceOption,
    ModelOption,
    StoreOption,
    split_names,
    split_seeds,
    user_errors,
)
from varbench.errors import UserError
from varbench.store.failures import LIMIT

if TYPE_CHECKING:
    from varbench.pipeline.ablation import Ablation
    from varbench.pipeline.plan import Request

app = typer.Typer()

Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Settings, e.g. method.alpha=0.5"),
]
Methods = Annotated[
    str | None,
    typer.Option("--method", help="Methods, separated by commas.", show_default=DEFAULT_METHOD),
]
Concepts = Annotated[
    str | None,
    typer.Option(
        "--concept",
        help="Concepts or YAML files, separated by commas; A+B erases both in one edit.",
        show_default=DEFAULT_CONCEPT,
    ),
]
Suite = Annotated[
    str | None, typer.Option("--suite", help="What to measure.", show_default=DEFAULT_SUITE)
]
AblationName = Annotated[
    str | None,
    typer.Option("--ablation", help="Run all variants of this ablation instead of --method."),
]
Seeds = Annotated[str, typer.Option("--seed", help="Seeds of the edit, separated by commas.")]
FromCell = Annotated[
    Path | None, typer.Option("--from", help="Repeat a recorded cell (its cell.json).")
]
ShowConfig = Annotated[
    bool, typer.Option("--show-config", help="Print the resolved configuration and stop.")
]


@dataclass(frozen=True)
class _Job:
    """What the shared options ask for.

    Attributes:
        requests: the run itself with an empty label, or every variant of the ablation by label.
        common: the request; of an ablation only what its variants share.
    """

    requests: dict[str, Request]
    common: Request
    ablation: Ablation | None

    def check(self) -> None:
        """Refuse bad input before torch and the networks are loaded; print warnings."""
        from varbench.pipeline import launch

        for warning in launch.check([*self.requests.values()]):
            typer.echo(f"warning: {warning}", err=True)

    def show_config(self) -> None:
        """Print the command and the resolved configuration of every cell."""
        from omegaconf import OmegaConf

        from varbench.conf.schema import plain
        from varbench.pipeline.plan import plan as cells_of

        self.check()
        for request in self.requests.values():
            for cell in cells_of(request):
                typer.echo(f"# {cell.command}")
                typer.echo(OmegaConf.to_yaml(OmegaConf.create(plain(cell.config))))


def _job(
    overrides: list[str] | None,
    model: str,
    method: str | None,
    concept: str | None,
    suite: str | None,
    ablation: str | None,
    seed: str,
    store: Path,
    device: str,
    cell: Path | None,
) -> _Job:
    from varbench.pipeline.ablation import load_ablation
    from varbench.pipeline.launch import check_metrics, make_request

    if ablation is not None and method is not None:
        raise UserError("--ablation has its own methods; drop --method")
    if suite == "":
        raise UserError("--suite needs a name")
    variants = None if ablation is None else load_ablation(ablation)
    defaults = (DEFAULT_METHOD, DEFAULT_CONCEPT, DEFAULT_SUITE)
    default_method, default_concept, default_suite = defaults if variants is None else ("", "", "")
    common = make_request(
        model,
        _names(method, "--method", default_method),
        _names(concept, "--concept", default_concept),
        default_suite if suite is None else suite,
        split_seeds(seed),
        overrides or (),
        device,
    )
    if cell is not None:
        common = replace(_request_of(cell, device, store), engine=common.engine)
    if variants is None:
        return _Job({"": common}, common, None)
    check_metrics(variants.metrics)
    requests = {v.label: variants.request(v, common) for v in variants.variants}
    return _Job(requests, common, variants)


def _names(text: str | None, option: str, default: str) -> tuple[str, ...]:
    if text is None:
        return (default,) if default else ()
    return split_names(text, option)


def _request_of(path: Path, device: str, store: Path) -> Request:
    """The request that repeats a recorded cell."""
    from varbench.pipeline.plan import Request

    try:
        cell = json.loads(path.read_text(encoding="utf-8"))
        names = [cell[key] for key in ("model", "method", "suite", "erased")]
        overrides, seed = cell["overrides"], cell["seed"]
        if not all(isinstance(text, str) for text in (*names, *overrides)):
            raise TypeError("names and overrides must be text")
        if not isinstance(seed, int):
            raise TypeError(f"seed {seed!r} is not a number")
        model, method, suite, concept = names
        if cell["concept_file"] is not None:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9+_-]*", concept):
                raise ValueError(f"{concept!r} cannot name a concept")  # nor escape the folder
            file = store / "concepts" / f"{concept}.yaml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(cell["concept_file"], encoding="utf-8")
            concept = str(file)
        return Request(model, (method,), (concept,), suite, (seed,), tuple(overrides), device)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is not a cell.json of varbench: {error}") from error


@app.command("run")
def run(
    overrides: Overrides = None,
    model: ModelOption = DEFAULT_MODEL,
    method: Methods = None,
    concept: Concepts = None,
    suite: Suite = None,
    ablation: AblationName = None,
    seed: Seeds = "0",
    store: StoreOption = DEFAULT_STORE,
    device: DeviceOption = "auto",
    from_: FromCell = None,
    show_config: ShowConfig = False,
    max_failed: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Largest share of a group's images that may fail."),
    ] = LIMIT,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Make all failed images of the store again.")
    ] = False,
) -> None:
    """Erase, generate, score, record; then print the table. The same command resumes."""
    with user_errors():
        job = _job(overrides, model, method, concept, suite, ablation, seed, store, device, from_)
        if show_config:
            job.show_config()
            return
        job.check()
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
        warn_of_plugins()
        typer.echo(_execute(job, store, max_failed, retry_failed), nl=False)


def _execute(job: _Job, store: Path, max_failed: float, retry_failed: bool) -> str:
    """Run the job; the table of its results."""
    from rich.console import Console

    from varbench.pipeline import launch
    from varbench.pipeline import run as pipeline
    from varbench.report import Filters, load_records, render
    from varbench.report.ablation_table import render as render_ablation

    with launch.session(
        [*job.requests.values()],
        store,
        shlex.join(sys.argv),
        Console(stderr=True),
        max_failed=max_failed,
        retry_failed=retry_failed,
    ) as ctx:
        if job.ablation is not None:
            pipeline.run_ablation(job.ablation, job.common, ctx)
            return render_ablation(ctx.store, job.ablation.name, "table")
        entries = pipeline.run(job.common, ctx)
    request, cells = job.common, [entry.json("cell.json") for entry in entries]
    concepts = tuple(dict.fromkeys(cell["concept"] for cell in cells))
    filters = Filters((request.model,), request.methods, concepts, (request.suite,))
    return render(load_records(ctx.store, filters), "table") + "\n"


@app.command("plan")
def plan(
    overrides: Overrides = None,
    model: ModelOption = DEFAULT_MODEL,
    method: Methods = None,
    concept: Concepts = None,
    suite: Suite = None,
    ablation: AblationName = None,
    seed: Seeds = "0",
    store: StoreOption = DEFAULT_STORE,
    device: DeviceOption = "auto",
    from_: FromCell = None,
    show_config: ShowConfig = False,
    probe: Annotated[
        bool | None,
        typer.Option(
            "--probe/--no-probe",
            help="Time a few images and steps.",
            show_default="the Gallery only",
        ),
    ] = None,
) -> None:
    """Show what a run would do, what is cached, and the time, disk and memory it needs."""
    with user_errors():
        job = _job(overrides, model, method, concept, suite, ablation, seed, store, device, from_)
        if show_config:
            job.show_config()
            return
        job.check()
        warn_of_plugins()
        from varbench.pipeline.estimate.text import run_estimate_text

        for label, request in job.requests.items():
            heading = f"\n# {label}\n" if label else ""
            typer.echo(heading + run_estimate_text(request, store, probe))
