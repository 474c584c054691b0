"""The tables of ``varbench list``, from config files, registries and plugins.

No torch is loaded, unless a plugin does: whether one works shows only when it is imported.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Callable

from tabulate import tabulate

from varbench import metrics
from varbench.conf.compose import model_config, names, resolve
from varbench.conf.schema import GroupConfig, NoConfig, RunConfig, SuiteConfig
from varbench.data import concept_files as concepts
from varbench.data import prompt_sets
from varbench.data.concept import Concept, EraseTarget
from varbench.data.prompt import MissingPromptSetError
from varbench.data.published import catalog, data_folder
from varbench.errors import UserError
from varbench.methods import registry as methods
from varbench.models import registry as models
from varbench.models.registry import card
from varbench.models.weights import locate
from varbench.models.weights.locate import Part
from varbench.models.weights.released import ReleasedConfig, Source
from varbench.pipeline.ablation import load_ablation
from varbench.pipeline.compatibility import GALLERY, for_gallery, published_groups
from varbench.pipeline.plan import Cell
from varbench.utils.plugins import FileKind, ObjectKind

Table = tuple[list[str], list[list[object]]]

PLUGINS: dict[str, ObjectKind | FileKind] = {
    "models": models.PLUGINS,
    "methods": methods.PLUGINS,
    "metrics": metrics.PLUGINS,
    "concepts": concepts.KIND,
    "prompts": prompt_sets.KIND,
}

MODELS_NOTE = """\
parameters, weights: transformer, image tokenizer and text encoder. fp32: all of it; bf16: the
blocks in bfloat16, the text encoder in float16, the rest in float32, as the released models run.
one image: weights as configured + keys and values of one guided image (2 conditions x 2 x
depth x tokens x width x bytes per number); activations and other memory come on top.
Missing files are fetched when a model is first run, or given as a folder: model.weights=DIR."""

WEIGHTS_NOTE = """\
networks: used by metrics to score images. Only `varbench fetch NAME` downloads them; files in
another library's cache are used where they are. The Gallery needs none of them.
model weights: `varbench run` downloads missing files from the hub, and says so before it does."""


def problems(*kinds: str) -> list[str]:
    """Problems of the plugins of these kinds, or of all; the plugins are imported."""
    chosen = [PLUGINS[kind] for kind in kinds or PLUGINS if kind in PLUGINS]
    return [problem for plugins in chosen for problem in plugins.problems()]


def list_table(kind: str) -> str:
    """The table of one kind: a key of `TABLES`, or `weights`."""
    if kind == "weights":
        return f"{data_folder.network_table()}\n\n{_weights()}\n\n{WEIGHTS_NOTE}"
    header, rows = TABLES[kind]()
    if kind in PLUGINS:  # the first column has the names
        rows = [[*row, PLUGINS[kind].origin(str(row[0])) or ""] for row in rows]
        header = [*header, "plugin"] if any(row[-1] for row in rows) else header
        rows = [row[: len(header)] for row in rows]
    if kind != "models":
        return str(tabulate(rows, header))
    right = [title in {"parameters", "fp32", "bf16", "one image"} for title in header]
    align = ["right" if number else "left" for number in right]
    return f"{tabulate(rows, header, disable_numparse=True, colalign=align)}\n\n{MODELS_NOTE}"


def _models() -> Table:
    rows: list[list[object]] = []
    for name in models.MODELS:
        c = card(model_config(name))
        state = "there" if not c.missing else f"missing {len(c.missing)} of its files"
        sizes = [_size(c.parameters, "parameters")]
        sizes += [_size(amount, "bytes") for amount in (c.fp32, c.bf16, c.generate)]
        rows.append([name, *sizes, c.place, state])
    rows += [[name, "", "", "", "", "", ""] for name in models.PLUGINS.usable()]
    return ["model", "parameters", "fp32", "bf16", "one image", "weights looked for in", ""], rows


def _weights() -> str:
    """The files of released models, by repository."""
    parts: dict[Source, Part] = {}
    users: dict[Source, list[str]] = {}
    for name in models.MODELS:
        config = model_config(name)
        if isinstance(config, ReleasedConfig):
            for part in locate.find(config):
                parts[part.source] = part
                users.setdefault(part.source, []).append(name)
    rows = []
    for source, part in parts.items():
        there = [part.path(name) for name in part.names if name not in part.missing]
        missing = f"missing {len(part.missing)} of {len(part.names)} files" if part.missing else ""
        rows.append(
            [
                f"{source.repository}@{source.revision[:12]}",
                ", ".join(users[source]),
                _size(sum(path.stat().st_size for path in there) or None, "bytes"),
                missing or str(part.root),
            ]
        )
    return str(tabulate(rows, ["model weights", "for", "size", ""], disable_numparse=True))


def _size(amount: int | None, unit: str) -> str:
    """'8.8 GB', '7.4 MB', '2.2 B' (billions of parameters); empty for None."""
    if amount is None:
        return ""
    big, small = {"bytes": ("GB", "MB"), "parameters": ("B", "M")}[unit]
    return f"{amount / 1e9:.1f} {big}" if amount >= 1e8 else f"{amount / 1e6:.1f} {small}"


def _methods() -> Table:
    rows: list[list[object]] = [[methods.NONE, "the base model"]]
    rows += [[name, summary] for name, summary in methods.summaries().items()]
    return ["method", "what it does"], rows


def _concepts() -> Table:
    rows: list[list[object]] = []
    for name in concepts.list_concepts():
        try:
            c = concepts.load_concept(name)
        except UserError as error:
            if isinstance(error.__context__, MissingPromptSetError):
                rows.append([name, "", "", f"needs {error.__context__.command}", "", ""])
                continue
            if concepts.KIND.origin(name):
                continue  # `problems` tells
            raise
        replaced = ", ".join(c.replacement) or "(dropped)"
        purpose = "the Gallery" if for_gallery(c) else "real models"
        rows.append([name, c.family, ", ".join(c.words), replaced, c.judge.name, purpose])
    return ["concept", "family", "words", "replaced by", "judge", "for"], rows


def _prompts() -> Table:
    rows: list[list[object]] = []
    for name in prompt_sets.list_prompt_sets():
        try:
            s = prompt_sets.load_prompt_set(name)
        except UserError:
            if prompt_sets.KIND.origin(name):
                continue  # `problems` tells
            raise
        rows.append([name, len(s.prompts), prompt_sets.licence(name) or "?", "here"])
    for name, asset in catalog.prompt_sets().items():
        rows.append(
            [name, data_folder.counts(asset)[1], asset.licence, data_folder.state_of(asset)]
        )
    return ["prompt set", "prompts", "licence", ""], rows


def _metrics() -> Table:
    better = {"up": "higher", "down": "lower", "same": "as unerased", "": ""}
    rows: list[list[object]] = [
        [m.id, m.unit, better[m.better], ", ".join(m.needs), m.citation]
        for m in (metric.info for metric in metrics.METRICS.values())
    ]
    return ["metric", "unit", "better", "needs", "source"], rows


def _suites() -> Table:
    packaged = [c for c in concepts.list_concepts() if not concepts.KIND.origin(c)]
    tested = [concepts.load_concept(name) for name in packaged]
    rows: list[list[object]] = []
    for name in names("suite"):
        suite = resolve(GALLERY, name, methods.NONE).suite
        sums = {c.name: sum(images_per_group(suite, c).values()) for c in tested}
        counts = [f"{sums[c.name]} {c.name}" for c in tested if not for_gallery(c)]
        drawn = {sums[c.name] for c in tested if for_gallery(c)}
        if drawn and not published_groups(suite):
            ends = " to ".join(map(str, sorted({min(drawn), max(drawn)})))
            counts.insert(0, f"{ends} the Gallery's")
        groups = "\n".join(_group(name, size) for name, size in suite.groups.items())
        measured = "\n".join(textwrap.wrap(", ".join(suite.metrics), 60)) or "all that apply"
        rows.append([name, suite.split, "\n".join(counts), groups, measured])
    return ["suite", "split", "images per method", "groups, prompts x seeds", "metrics"], rows


def images_per_group(suite: SuiteConfig, concept: Concept) -> dict[str, int]:
    """Images of each group that one method draws.

    A published set that is not on this machine counts with its known number of prompts. The group
    may turn out smaller: prompts of another split, or that show the concept, are left out.

    Raises:
        PromptSetError: a set of the suite is unknown or malformed.
    """
    absent = {name: size for name, size in suite.groups.items() if not _available(size)}
    here = {name: size for name, size in suite.groups.items() if name not in absent}
    config = RunConfig(suite=dataclasses.replace(suite, groups=here), method=NoConfig())
    cell = Cell(config, methods.NONE, concept, EraseTarget((concept,)), concept.name, 0, ())
    counts = {name: len(samples) for name, samples in cell.groups().items()}
    for name, size in absent.items():
        if size.fits(concept.family):
            asset = catalog.prompt_sets()[size.set]
            known = asset.prompts or asset.rows or 0
            counts[name] = min(size.prompts or known, known) * size.seeds
    return {name: counts[name] for name in suite.groups if name in counts}


def _available(size: GroupConfig) -> bool:
    if size.set:
        try:
            prompt_sets.load_prompt_set(size.set)
        except MissingPromptSetError:
            return False
    return True


def _group(name: str, size: GroupConfig) -> str:
    parts = [f"{name} {size.prompts or 'all'} x {size.seeds}"]
    parts += [f"of {size.set}"] if size.set not in ("", name) else []
    parts += [f"({', '.join(size.families)})"] if size.families else []
    return " ".join(parts)


def _ablations() -> Table:
    ablations = [load_ablation(name) for name in names("ablation")]
    rows: list[list[object]] = [[a.name, a.title, len(a.variants)] for a in ablations]
    return ["ablation", "what it varies", "variants"], rows


TABLES: dict[str, Callable[[], Table]] = {
    "models": _models,
    "methods": _methods,
    "concepts": _concepts,
    "suites": _suites,
    "metrics": _metrics,
    "prompts": _prompts,
    "ablations": _ablations,
}
