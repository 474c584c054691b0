"""Export of erased models: a whole checkpoint, or only the changed tensors.

``checkpoint``  the model's weights files as they were published, under their names, with the edit
                in place and links to the files that it does not touch. Everything that reads the
                original reads this: ``model.weights=FOLDER`` here, the model's own scripts
                elsewhere.
``edit``        ``edit.safetensors``: the changed tensors by the model's names, and of which model.

Both restore the measured model bit by bit. ``README.md`` is a model card with the edit's numbers,
if measured, and ``edit.json`` the spec of the edit.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import save

from varbench.conf.schema import plain
from varbench.errors import UserError, unknown
from varbench.methods.base import Edit
from varbench.methods.registry import NONE
from varbench.models import registry
from varbench.models.weights import locate
from varbench.models.weights.released import ReleasedConfig
from varbench.models.weights.rewrite import rewrite
from varbench.pipeline.context import EDIT_FILE
from varbench.pipeline.plan import Cell, Request, plan
from varbench.pipeline.stages.edit import edit_spec
from varbench.report import load_cells, records_of
from varbench.report.cells import CellRecord
from varbench.report.tables import render
from varbench.store import Entry, Store

CARD_FILE, ORIGIN_FILE = "README.md", "edit.json"


def export(request: Request, store: Store, form: str, out: Path) -> list[Path]:
    """Write a stored edit in a form of `FORMS` into a folder that is absent or empty.

    Returns:
        The files written; links are not among them.

    Raises:
        UserError: the request is not one edit, the store has none, weights are missing, or the
            folder is in use.
    """
    if form not in FORMS:
        raise unknown("format", form, FORMS)
    cell = _single_cell(request)
    spec = edit_spec(cell, registry.fingerprint(cell.config.model))
    if spec is None:
        raise UserError(f"{cell.method} changes no weights, so there is nothing to export")
    entry = store.get("edit", spec)
    if entry is None:
        raise UserError(f"the store has no such edit yet; run `{cell.command}` first")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is in use; name a folder that is empty or absent")
    out.mkdir(parents=True, exist_ok=True)
    write, use = FORMS[form]
    files = write(cell, entry, out)
    origin = {"key": entry.key, "command": cell.command, **dict(entry.spec)}
    (out / ORIGIN_FILE).write_text(json.dumps(origin, indent=1, sort_keys=True) + "\n")
    (out / CARD_FILE).write_text(_card(cell, entry, use, store))
    return [*files, out / ORIGIN_FILE, out / CARD_FILE]


def _single_cell(request: Request) -> Cell:
    cells = [cell for cell in plan(request) if cell.method != NONE]
    if len({cell.erased.name for cell in cells}) > 1 or len(request.methods) > 1:
        raise UserError("export writes one edit: name one method and one concept (or A+B)")
    if not cells:
        raise UserError("the base model is no edit; name a method")
    if len({cell.seed for cell in cells}) > 1:
        raise UserError("export writes one edit: name one seed")
    return cells[0]


def _write_checkpoint(cell: Cell, entry: Entry, out: Path) -> list[Path]:
    config: Any = cell.config.model
    file = registry.weights_file(config)
    changed = Edit.load(entry.path(EDIT_FILE)).tensors
    if not isinstance(config, ReleasedConfig):
        root = file.path.parent
        written = rewrite(file, changed, out)
        _link_rest(root, [p.relative_to(root) for p in root.rglob("*") if p.is_file()], out)
        return written
    parts = locate.locate(config)
    # The first source is the one of the transformer, in its folder of a local copy.
    inside = file.path.relative_to(parts[0].path("")).parent
    written = rewrite(file, changed, out / parts[0].source.folder / inside)
    for part in parts:
        _link_rest(part.path(""), [Path(name) for name in part.names], out / part.source.folder)
    return written


def _link_rest(root: Path, names: list[Path], out: Path) -> None:
    """Link to the files that the edit does not touch, except the original's card."""
    for name in names:
        if name.name not in (CARD_FILE, ORIGIN_FILE) and not (out / name).exists():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).symlink_to((root / name).resolve())


def _write_edit(cell: Cell, entry: Entry, out: Path) -> list[Path]:
    tensors = {n: t.contiguous() for n, t in Edit.load(entry.path(EDIT_FILE)).tensors.items()}
    header = {"format": "pt", "model": cell.config.model.name, "method": cell.method}
    header |= {"model_fingerprint": entry.spec["model"], "concept": cell.erased.name}
    header |= {"edit": entry.key}
    (out / EDIT_FILE).write_bytes(save(tensors, header))
    return [out / EDIT_FILE]


FORMS: dict[str, tuple[Callable[[Cell, Entry, Path], list[Path]], str]] = {
    "checkpoint": (
        _write_checkpoint,
        "The folder works as `model.weights=FOLDER`; files that the edit does not touch\n"
        "are links to the original's (`cp -rL` makes a copy that can be moved).",
    ),
    "edit": (
        _write_edit,
        "`edit.safetensors` holds the changed tensors by the model's names:\n"
        "`with applied(model, Edit.load(path)): ...` (`varbench.methods.base`) puts them in place.",
    ),
}
"""By name, what writes an edit, and how to use it."""


def _card(cell: Cell, entry: Entry, use: str, store: Store) -> str:
    settings = json.dumps(plain(cell.config.method), indent=1, sort_keys=True)
    measured = [c for c in load_cells(store) if _measures(c, entry, cell)]
    table = "Not measured yet.\n"
    if measured:
        table = render(records_of(measured), "md", "main").partition("\n")[2].strip() + "\n"
    return f"""# {cell.config.model.name} without {cell.erased.name}

Erased by `{cell.method}` (version {entry.spec["version"]}), edit seed {cell.seed}, with varbench:

    {cell.command}

- base model: {cell.config.model.name}, fingerprint `{entry.spec["model"]}`
- edit: `{entry.key}`
- changed: {entry.meta["parameters"]:,} numbers

{use}

## Numbers

{table}
## Settings

```json
{settings}
```

## Before you use or pass this on

The base model's licence holds for these weights too. An erasure can be incomplete, and weights
can be trained back: this is no guarantee that the concept cannot be drawn.
"""


def _measures(measured: CellRecord, entry: Entry, cell: Cell) -> bool:
    """True for a cell of this edit, or of the base model on the same concept."""
    if measured.method == NONE:
        return measured.model == cell.config.model.name and measured.concept == cell.label
    return measured.body.get("edit") == entry.key
