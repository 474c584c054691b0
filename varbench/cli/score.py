"""The command ``score``: images that another program made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from varbench.cli.options import DEFAULT_STORE, StoreOption, user_errors

app = typer.Typer()


@app.command()
def score(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with the images.")],
    concept: Annotated[str, typer.Option(help="What was erased: a name or a YAML file.")],
    method: Annotated[
        str | None,
        typer.Option(
            help="What erased it; none: nothing did.", show_default="the name of the folder"
        ),
    ] = None,
    model_name: Annotated[str, typer.Option(help="What made the images.")] = "elsewhere",
    against: Annotated[
        Path | None,
        typer.Option(help="Folder with the unerased model's images, same prompts and seeds."),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            help="The images are exactly what this suite asks for.", show_default="what is there"
        ),
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="List of the images.", show_default="DIR/manifest.csv")
    ] = None,
    against_manifest: Annotated[
        Path | None, typer.Option(help="The same for --against.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the edit.")] = 0,
    wanted: Annotated[
        bool,
        typer.Option("--wanted", help="Write the list of what --suite asks for, and stop."),
    ] = False,
    store: StoreOption = DEFAULT_STORE,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Score images that another program made; `report` then shows them beside all others."""
    with user_errors():
        from rich.console import Console

        from varbench.pipeline.external.job import ScoreRequest, plan_offer, write_wanted

        offer = ScoreRequest(
            folder, concept, method or folder.resolve().name, model_name, against, suite, seed,
            manifest, against_manifest,
        )  # fmt: skip
        if wanted:
            typer.echo(f"wrote {write_wanted(offer)}", err=True)
            return
        job = plan_offer(offer)  # refuse bad input before torch and the networks are loaded
        typer.echo(job.summary(), err=True)
        from varbench.pipeline.context import RunContext
        from varbench.pipeline.external.score import score as score_all
        from varbench.report import Filters, load_records, render
        from varbench.store import Store
        from varbench.utils.devices import pick_device
        from varbench.utils.progress import Progress

        ctx = RunContext(Store(store), Progress(Console(stderr=True)), pick_device(device))
        cell = score_all(job, ctx)[-1].json("cell.json")
        shown = Filters(*((cell[name],) for name in ("model", "method", "concept", "suite")))
        typer.echo(render(load_records(ctx.store, shown), "table"))
