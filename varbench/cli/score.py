"""The command ``score``: images that another program made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from varbench.cli.options import (
    DEFAULT_STORE,
    DeviceOption,
    EditSeedOption,
    StoreOption,
    user_errors,
)
from varbench.cli.output import echo
from varbench.cli.results import results_table

app = typer.Typer()


@app.command()
def score(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with the images.")],
    concept: Annotated[str, typer.Option(help="What was erased: a name or a YAML file.")],
    method: Annotated[
        str | None,
        typer.Option(
            help="The method that erased it; none for a base model.",
            show_default="the name of the folder",
        ),
    ] = None,
    model_name: Annotated[
        str, typer.Option(help="Name of the model that made the images.")
    ] = "elsewhere",
    against: Annotated[
        Path | None,
        typer.Option(help="Folder with the base model's images, same prompts and seeds."),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            help="The images are exactly those that this suite requires.",
            show_default="all in the folder",
        ),
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="List of the images.", show_default="DIR/manifest.csv")
    ] = None,
    against_manifest: Annotated[
        Path | None, typer.Option(help="The same for --against.", show_default=False)
    ] = None,
    seed: EditSeedOption = 0,
    wanted: Annotated[
        bool,
        typer.Option("--wanted", help="Write the list of images that --suite requires, and stop."),
    ] = False,
    store: StoreOption = DEFAULT_STORE,
    device: DeviceOption = "auto",
) -> None:
    """Score images that another program made; `report` then shows them with all others."""
    with user_errors():
        from rich.console import Console

        from varbench.pipeline.external.job import ScoreRequest, plan_scoring, write_manifest
        from varbench.utils.devices import check_device, pick_device

        check_device(device)
        offer = ScoreRequest(
            folder, concept, method or folder.resolve().name, model_name, against, suite, seed,
            manifest, against_manifest,
        )  # fmt: skip
        if wanted:
            echo(f"wrote {write_manifest(offer)}", err=True)
            return
        job = plan_scoring(offer)  # refuse bad input before torch and the networks are loaded
        echo(job.summary(), err=True)
        from varbench.pipeline.context import RunContext
        from varbench.pipeline.external.score import score as score_all
        from varbench.store import Store
        from varbench.utils.progress import Progress

        ctx = RunContext(Store(store), Progress(Console(stderr=True)), pick_device(device))
        echo(results_table(ctx.store, score_all(job, ctx)), nl=False)
