"""``varbench list``: what there is, from config files and registries, without torch."""

from __future__ import annotations

from tabulate import tabulate

from varbench.concepts import list_concepts, load_concept
from varbench.methods.registry import METHODS, NONE
from varbench.metrics import METRICS
from varbench.models.registry import LOADERS
from varbench.prompts import list_prompt_sets, load_prompt_set


def _concepts() -> tuple[list[str], list[list[object]]]:
    rows: list[list[object]] = []
    for name in list_concepts():
        c = load_concept(name)
        rows.append([name, c.family, ", ".join(c.words), ", ".join(c.replacement) or "(dropped)"])
    return ["concept", "family", "words", "replaced by"], rows


def _metrics() -> tuple[list[str], list[list[object]]]:
    rows: list[list[object]] = [
        [m.id, m.unit, {"up": "higher", "down": "lower"}[m.better], ", ".join(m.needs), m.citation]
        for m in METRICS.values()
    ]
    return ["metric", "unit", "better", "needs", "source"], rows


def catalogue(kind: str) -> str:
    """A table of one kind: models, methods, concepts, suites, metrics or prompts."""
    if kind == "concepts":
        header, rows = _concepts()
    elif kind == "metrics":
        header, rows = _metrics()
    elif kind == "methods":
        header = ["method", "what it does"]
        rows = [[NONE, "the unerased model"]]
        rows += [[name, entry.summary] for name, entry in METHODS.items()]
    elif kind == "prompts":
        header = ["prompt set", "prompts", "sha256"]
        sets = (load_prompt_set(name) for name in list_prompt_sets())
        rows = [[s.name, len(s.prompts), s.sha256[:16]] for s in sets]
    elif kind == "suites":
        from varbench.conf.schema import names

        header, rows = ["suite"], [[name] for name in names("suite")]
    else:
        header, rows = ["model"], [[name] for name in LOADERS]
    return str(tabulate(rows, header))
