"""The commands ``run`` and ``plan``: from options to requests to the pipeline."""

from __future__ import annotations

import logging
import shlex
import sys
from pathlib import Path
from typing import Annotated

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
from varbench.cli.results import results_table
from varbench.store.failures import LIMIT

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
        from rich.console import Console

        from varbench.pipeline import launch
        from varbench.pipeline import run as pipeline
        from varbench.report.ablation_table import render

        with launch.session(
            [*requests.values()],
            store,
            shlex.join(sys.argv),
            Console(stderr=True),
            max_failed=max_failed,
            retry_failed=retry_failed,
        ) as ctx:
            if variants is None:
                table = results_table(ctx.store, pipeline.run(requests[""], ctx))
            else:
                pipeline.run_ablation(variants, [*requests.values()], ctx)
                table = render(ctx.store, variants.name, "table")
        typer.echo(table, nl=False)


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
