"""The record of a cell: all metrics of a model's outputs, written to ``cell.json``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from varbench.conf.schema import plain
from varbench.data import own_files
from varbench.methods.registry import NONE
from varbench.metrics import MetricInputs, MetricValue, concept_hits
from varbench.metrics.groups import Key
from varbench.metrics.record import CELL_SCHEMA, MetricRecord
from varbench.metrics.stats import PairedSamples, write_rows
from varbench.pipeline import provenance
from varbench.pipeline.context import RunContext
from varbench.pipeline.outputs import CellOutputs, inputs_of, lost_in, prompts_read
from varbench.pipeline.plan import Cell, Sample
from varbench.pipeline.stages import attack, generate, probe
from varbench.pipeline.stages.edit import edit_spec, steering_spec
from varbench.pipeline.stages.reference import statistics_spec
from varbench.scoring.evaluator import judged
from varbench.store import (
    INPUTS,
    ORIGIN,
    Entry,
    Stage,
    Store,
    Writer,
    cached,
    digest,
    next_sequence,
)
from varbench.store.failures import Failed, check_share, note
from varbench.utils.origin import distinct, origin

FILE = "cell.json"


@dataclass(frozen=True)
class CellHeader:
    """Spec of a cell; fields of ``cell.json``, and of its provenance, that not all cells have."""

    spec: Mapping[str, Any]
    fields: Mapping[str, Any]
    origin: Mapping[str, Any]


def cell_spec(ctx: RunContext, cell: Cell) -> dict[str, Any]:
    """Spec of a cell of a run.

    Raises:
        UserError: published statistics are damaged, or a network is missing.
    """
    config, evaluator = plain(cell.config), ctx.evaluator(cell)
    model = ctx.fingerprint(cell)
    config["model"].pop("weights", None)  # a path; the fingerprint says what is there
    config["model"].pop("methods", None)  # of all methods; the cell's own is in `method`
    return {
        "schema": CELL_SCHEMA,
        "model": model,
        "config": config,
        "edit": edit_spec(cell, model),
        "steering": steering_spec(cell),
        "concept": cell.concept.digest(),
        "erased": [concept.digest() for concept in cell.erased.concepts],
        "seed": cell.seed,
        **evaluator.spec,
        **statistics_spec(cell, evaluator),
        "generate": generate.VERSION,
        "probe": probe.VERSION,
        "robustness": attack.VERSION,
    }


def recorded(
    store: Store,
    spec: Mapping[str, Any],
    samples: Mapping[str, Sequence[Sample]],
    *,
    verify: bool = True,
) -> Entry | None:
    """The cell of a spec, if it was computed from these samples and from what the store has."""
    cell, read = store.find(Stage.CELL, digest(spec), verify=verify), prompts_read(samples)
    if cell is None:
        return None
    names = (name.partition("/") for name in cell.meta.get(INPUTS, {}) if name not in read)
    inputs = [store.find(stage, key, verify=verify) for stage, _, key in names]
    present = [entry for entry in inputs if entry is not None]
    return cell if 0 < len(inputs) == len(present) and cell.computed_from(present, read) else None


def record_cell(
    ctx: RunContext,
    cell: Cell,
    outputs: CellOutputs,
    base: CellOutputs,
    header: CellHeader,
) -> Entry:
    """Compute all metrics of a cell and write its entry.

    For the base model `base` is `outputs` itself.

    Raises:
        UserError: too many of its images failed.
    """
    lost, stored = lost_in(outputs, base), outputs.all_stored()
    sizes = {name: len(group.samples) for name, group in stored.items()}
    check_share({name: list(lost[name].values()) for name in sizes}, sizes, ctx.max_failed)
    record = _Record(ctx, cell, outputs, base, header, lost)

    def write(writer: Writer) -> None:
        (writer.dir / FILE).write_text(record.text())
        write_rows(writer.dir / "rows.npz", record.rows())
        note(writer, {name: len(keys) for name, keys in lost.items() if keys})
        writer.meta |= next_sequence(ctx.store, Stage.CELL)

    read = prompts_read({name: group.samples for name, group in outputs.stored.items()})
    inputs = inputs_of(outputs, base)
    return cached(ctx.store, Stage.CELL, header.spec, write, inputs, read=read)


@dataclass(frozen=True)
class _Record:
    """The content of a cell; arguments as of `record_cell`."""

    ctx: RunContext
    cell: Cell
    outputs: CellOutputs
    base: CellOutputs
    header: CellHeader
    lost: Mapping[str, Mapping[Key, Failed]]

    @cached_property
    def inputs(self) -> MetricInputs:
        judge = self.ctx.evaluator(self.cell).judge_of(self.base.groups())
        return MetricInputs(
            concept=self.cell.concept,
            judge_labels=judge.labels,
            method=judged(self.outputs.all_groups(self.lost), judge),
            base=judged(self.base.all_groups(self.lost), judge),
            reference=self.outputs.reference,
            method_probe=self.outputs.probe,
            base_probe=self.base.probe,
        )

    @cached_property
    def _measured(self) -> dict[str, tuple[MetricValue, int]]:
        """By metric its value, and how many images are missing from the groups that it used."""
        measured = {}
        for id, metric in self.ctx.evaluator(self.cell).metrics.items():
            inputs = replace(self.inputs, used_groups=set())
            of_base = self.cell.method == NONE
            value = metric.compute(inputs).recorded(metric.info, of_base=of_base)
            failed = {key for name in inputs.used_groups for key in self.lost.get(name, ())}
            measured[id] = value, len(failed)
        return measured

    def rows(self) -> dict[str, PairedSamples]:
        values = {id: value for id, (value, _) in self._measured.items()}
        return {id: value.rows for id, value in values.items() if value.rows is not None}

    def text(self) -> str:
        cell, evaluator = self.cell, self.ctx.evaluator(self.cell).spec
        content = {
            "schema": CELL_SCHEMA,
            "model": cell.config.model.name,
            "embedded": cell.config.model.embedded,
            "method": cell.method,
            "config": cell.config_hash(),
            "concept": cell.label,
            "erased": cell.erased.name,
            **own_files.contents(cell.name),
            "family": cell.concept.family,
            "suite": cell.config.suite.name,
            "seed": cell.seed,
            **self.header.fields,
            "provenance": {
                **self.header.origin,
                "scorers": evaluator["scorers"],
                "comparers": evaluator["comparers"],
                "judge": [cell.concept.judge.name, *evaluator["judge"]],
                "concept": cell.concept.digest(),
                "plugins": provenance.plugins(cell),
                **self._origin(),
            },
            "records": [record.for_cell() for record in self._records()],
            "pictures": self._images(),
            "failed": self._failed(),
            "inputs": [entry.name for entry in inputs_of(self.outputs, self.base)],
        }
        return json.dumps(content, indent=1, allow_nan=False)

    def _origin(self) -> dict[str, Any]:
        """Versions, commits and devices that computed the cell's entries, and record it."""
        stored = [entry.meta[ORIGIN] for entry in inputs_of(self.outputs, self.base)]
        origins = distinct([*stored, origin(None)])
        return origins | {"device": origins["device"] or provenance.device_name(self.ctx.device)}

    def _records(self) -> Iterator[MetricRecord]:
        cell, suite = self.cell, self.cell.config.suite.name
        for metric, (value, failed) in self._measured.items():
            yield MetricRecord.of_value(
                value,
                failed,
                model=cell.config.model.name,
                method=cell.method,
                config=cell.config_hash(),
                concept=cell.label,
                suite=suite,
                prompt_set=suite,
                metric=metric,
                seed=cell.seed,
            )

    def _images(self) -> dict[str, list[dict[str, Any]]]:
        """All images by group: where they are, and whether the judge sees the concept."""
        inputs, listed = self.inputs, {}
        for name, stored in self.outputs.all_stored().items():
            group, files = inputs.method[name], stored.files()
            hits = concept_hits(group, inputs.concept, inputs.judge_labels)
            listed[name] = [
                {
                    "prompt": prompt.text,
                    "prompt_id": key[0],
                    "seed": key[1],
                    "stage": files[key][0].stage,
                    "key": files[key][0].key,
                    "file": files[key][1],
                    "hit": bool(hit),
                }
                for key, prompt, hit in zip(group.keys(), group.prompts, hits, strict=True)
            ]
        return listed

    def _failed(self) -> dict[str, list[dict[str, Any]]]:
        """Failed images of the model, by group."""
        return {
            name: [
                {"prompt_id": prompt, "seed": seed, "entry": why.entry, "reason": why.reason}
                for (prompt, seed), why in failed.items()
            ]
            for name, failed in self.outputs.failed().items()
            if failed
        }
