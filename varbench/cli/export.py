"""The command ``export``: an edit of the store as files for others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from varbench.cli.options import DEFAULT_STORE, DEFAULT_SUITE, StoreOption, user_errors

app = typer.Typer()


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="Folder to make.")],
    method: Annotated[str, typer.Option(help="The method that erased.")],
    concept: Annotated[str, typer.Option(help="What it erased: a name, a YAML file, or A+B.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="As of the run.")
    ] = None,
    model: Annotated[str, typer.Option(help="Model name.")] = "gallery",
    seed: Annotated[int, typer.Option(help="Seed of the edit.")] = 0,
    form: Annotated[
        str,
        typer.Option(
            "--format", help="checkpoint (the model's own files) or edit (the changed tensors)."
        ),
    ] = "checkpoint",
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write an erased model that `run` made: its weights files or the edit, and a model card."""
    with user_errors():
        from varbench.pipeline.export import export as write
        from varbench.pipeline.plan import Request
        from varbench.store import Store

        # No suite decides an edit; one that all models have will do to plan the run.
        given = tuple(overrides or ())
        asked = Request(model, (method,), (concept,), DEFAULT_SUITE, (seed,), given)
        for path in write(asked, Store(store), form, out):
            typer.echo(f"wrote {path}", err=True)
