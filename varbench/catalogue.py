"""``varbench list``: what there is, from config files and registries, without torch."""

from __future__ import annotations

from tabulate import tabulate

from varbench.concepts import list_concepts, load_concept
from varbench.methods.registry import METHODS, NONE
from varbench.metrics import METRICS
from varbench.models.cards import card
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


def _size(amount: int | None, unit: str) -> str:
    """'8.8 GB', '7.4 MB', '2.2 B' (billions of parameters); empty for None."""
    if amount is None:
        return ""
    big, small = {"bytes": ("GB", "MB"), "parameters": ("B", "M")}[unit]
    return f"{amount / 1e9:.1f} {big}" if amount >= 1e8 else f"{amount / 1e6:.1f} {small}"


MODELS_NOTE = """\
parameters, weights: transformer, picture tokenizer and text encoder. fp32: all of it; bf16: the
blocks in bfloat16, the text encoder in float16, the rest in float32, as the released models run.
one picture: weights as configured + keys and values of one guided picture (2 conditions x 2 x
depth x tokens x width x bytes per number); activations and other memory come on top.
Missing files are fetched when a model is first run, or given as a folder: model.weights=DIR."""


def _models() -> str:
    from varbench.conf.schema import model_config

    rows = []
    for name in LOADERS:
        c = card(model_config(name))
        state = "there" if not c.missing else f"missing {len(c.missing)} of its files"
        sizes = [_size(c.parameters, "parameters")]
        sizes += [_size(amount, "bytes") for amount in (c.fp32, c.bf16, c.generate)]
        rows.append([name, *sizes, c.place, state])
    header = ["model", "parameters", "fp32", "bf16", "one picture", "weights looked for in", ""]
    align = ("left", "right", "right", "right", "right", "left", "left")
    return f"{tabulate(rows, header, disable_numparse=True, colalign=align)}\n\n{MODELS_NOTE}"


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
        return _models()
    return str(tabulate(rows, header))
