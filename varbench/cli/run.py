"""The commands ``run`` and ``plan``: from options to requests to the pipeline."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from varbench.cli.options import (
    DEFAULT_CONCEPT,
    DEFAULT_METHOD,
    DEFAULT_MODEL,
    DEFAULT_STORE,
    DEFAULT_SUITE,
    DeviceOption,
    ModelOption,
    StoreOption,
    user_errors,
)
from varbench.cli.requests import checked_requests
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
        requests, variants = checked_requests(
            overrides, model, method, concept, suite, ablation, seed, store, device, from_,
            show_config,
        )  # fmt: skip
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
        results = _execute([*requests.values()], variants, store, max_failed, retry_failed)
        typer.echo(results, nl=False)


def _execute(
    requests: Sequence[Request],
    ablation: Ablation | None,
    store: Path,
    max_failed: float,
    retry_failed: bool,
) -> str:
    """Run requests; the table of their results."""
    from rich.console import Console

    from varbench.pipeline import launch
    from varbench.pipeline import run as pipeline
    from varbench.report import Filters, load_records, render
    from varbench.report.ablation_table import render as render_ablation

    with launch.session(
        requests,
        store,
        shlex.join(sys.argv),
        Console(stderr=True),
        max_failed=max_failed,
        retry_failed=retry_failed,
    ) as ctx:
        if ablation is not None:
            pipeline.run_ablation(ablation, requests, ctx)
            return render_ablation(ctx.store, ablation.name, "table")
        (request,) = requests
        entries = pipeline.run(request, ctx)
    cells = [entry.json("cell.json") for entry in entries]
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
        requests, _ = checked_requests(
            overrides, model, method, concept, suite, ablation, seed, store, device, from_,
            show_config,
        )  # fmt: skip
        from varbench.pipeline.estimate.text import run_estimate_text

        for label, request in requests.items():
            heading = f"\n# {label}\n" if label else ""
            typer.echo(heading + run_estimate_text(request, store, probe))
