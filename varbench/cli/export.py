"""The command ``export``: a stored edit as files for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from varbench.cli.options import (
    DEFAULT_MODEL,
    DEFAULT_STORE,
    DEFAULT_SUITE,
    EditSeedOption,
    ModelOption,
    StoreOption,
    user_errors,
)
from varbench.cli.output import echo

app = typer.Typer()


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="Folder to make.")],
    method: Annotated[str, typer.Option(help="The method that erased.")],
    concept: Annotated[str, typer.Option(help="What it erased: a name, a YAML file, or A+B.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Those of the run.")
    ] = None,
    model: ModelOption = DEFAULT_MODEL,
    seed: EditSeedOption = 0,
    form: Annotated[
        str,
        typer.Option(
            "--format", help="checkpoint (the model's own files) or edit (the changed tensors)."
        ),
    ] = "checkpoint",
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write a model that `run` erased a concept from: its weights or the edit, and a model card."""
    with user_errors():
        from varbench.pipeline.export import export as write_files
        from varbench.pipeline.launch import make_request
        from varbench.store import Store

        # An edit does not depend on the suite; planning needs one that every model can run.
        request = make_request(
            model, method, concept, DEFAULT_SUITE, seed, overrides or (), device="cpu"
        )
        for path in write_files(request, Store(store), form, out):
            echo(f"wrote {path}", err=True)
