"""The stage `probe`: numbers against loops over symbols, roll-outs shared, and its absence."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from tests.helpers.runs import cell_tasks
from tests.helpers.tiny import tiny_model
from varbench.conf.schema import ProbeConfig
from varbench.methods.base import Edit, applied
from varbench.metrics import METRICS, MetricInputs, ScoredImages
from varbench.models.protocol import Rollout, Schedule
from varbench.pipeline.context import RunContext
from varbench.pipeline.graph import tasks_of_cell
from varbench.pipeline.outputs import probe_groups
from varbench.pipeline.plan import Cell, Request, batches, plan
from varbench.pipeline.stages import probe as stage
from varbench.pipeline.stages.generate import to_uint8
from varbench.pipeline.stages.probe import probe_tasks, probed_samples, summary
from varbench.pipeline.stages.rollouts import rollouts_tasks
from varbench.pipeline.task import Task, perform
from varbench.store import Entry, Stage, Store, Writer

SMALL = (
    "suite.groups.target.prompts=1",
    "suite.groups.neighbours.prompts=3",
    "suite.groups.unrelated.prompts=3",
    "suite.groups.unrelated.seeds=2",
    "suite.probe.prompts=2",
    "suite.block=3",
)
ARRAYS = {"kl", "kl_null", "flips", "strength", "entropy"}


# --- the numbers ----------------------------------------------------------------------------


class TwoScales:
    schedule = Schedule(((1, 1), (1, 2)))


def logits(values: int, seed: int) -> Tensor:
    return 3 * torch.randn(1, 3, 4, values, generator=torch.Generator().manual_seed(seed))


def by_hand(numbers: list[Tensor], what: str) -> list[float]:
    """One symbol after the other; [L, D] -> mean of token 0, mean of tokens 1 and 2."""
    p0, p0n, p, pn, base_q = (x[0].double().softmax(-1).tolist() for x in numbers)
    sums: list[list[float]] = [[], []]
    for t in range(3):
        for d in range(4):
            values = len(p[t][d])
            a, b = (p0n, pn) if what == "kl_null" else (p0, p)
            pairs = list(zip(a[t][d], b[t][d], strict=True))
            number = {
                "kl": sum(x * math.log(x / y) for x, y in pairs) / math.log2(values),
                "kl_null": sum(x * math.log(x / y) for x, y in pairs) / math.log2(values),
                "flips": sum(abs(x - y) for x, y in pairs) / 2,
                "strength": 2 / values
                * sum(abs(math.log(x / y)) for x, y in zip(p[t][d], pn[t][d], strict=True)),
                "entropy": -sum(x * math.log(x) for x in base_q[t][d]) / math.log(values),
            }[what]  # fmt: skip
            sums[min(t, 1)].append(number)
    return [sum(one) / len(one) for one in sums]


@pytest.mark.parametrize("values", [2, 7])
def test_the_summary_is_the_mean_over_symbols_of_each_scale(values: int) -> None:
    numbers = [logits(values, seed) for seed in range(5)]
    found = summary((numbers[0], numbers[1]), (numbers[2], numbers[3]), numbers[4], TwoScales())  # type: ignore[arg-type]
    assert set(found) == ARRAYS
    for name, row in found.items():
        np.testing.assert_allclose(row, by_hand(numbers, name), rtol=1e-5)


def test_for_bits_strength_is_the_distance_of_log_odds() -> None:
    numbers = [logits(2, seed) for seed in range(2)]
    arrays = summary((numbers[0],) * 2, (numbers[0], numbers[1]), numbers[0], TwoScales())  # type: ignore[arg-type]
    z, null = (x[0, ..., 1] - x[0, ..., 0] for x in numbers)
    gap = (z - null).abs()
    np.testing.assert_allclose(arrays["strength"], [gap[:1].mean(), gap[1:].mean()], rtol=1e-5)


def test_equal_and_saturated_predictions_give_exact_ends() -> None:
    sure = torch.tensor([-60.0, 60.0]).expand(1, 3, 4, 2)
    fair = torch.zeros(1, 3, 4, 2)
    same = summary((sure, fair), (sure, fair), sure, TwoScales())  # type: ignore[arg-type]
    for name in ("kl", "kl_null", "flips"):
        assert same[name].tolist() == [0, 0]
    assert same["entropy"] == pytest.approx([0, 0], abs=1e-12)
    other = summary((fair, fair), (sure, fair), fair, TwoScales())  # type: ignore[arg-type]
    assert other["entropy"].tolist() == [1, 1]
    assert other["flips"] == pytest.approx([0.5, 0.5])
    assert np.isfinite(other["kl"]).all() and (other["kl"] > 10).all()


# --- the stage ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ctx(tmp_path_factory: pytest.TempPathFactory) -> RunContext:
    return RunContext(Store(tmp_path_factory.mktemp("probe")))


@pytest.fixture(scope="module")
def cell() -> Cell:
    return plan(Request("gallery", (), ("face-ada",), "smoke", (0,), SMALL))[0]


@dataclass(frozen=True)
class Probed:
    """The probe of a model: entries by batch, and what metrics read."""

    rollouts: list[Entry]
    predictions: list[Entry]
    groups: dict[str, ScoredImages]


def probe(ctx: RunContext, cell: Cell, edit: Task | None = None) -> Probed:
    """The probe of a model with an edit."""
    samples = probed_samples(cell)
    every = [sample for group in samples.values() for sample in group]
    rollouts = rollouts_tasks(ctx, cell, list(batches(every, cell.config.suite.block)))
    tasks = probe_tasks(ctx, cell, rollouts, edit)
    entries = perform(ctx, [*rollouts, *tasks])
    predictions = [entries[task.key] for task in tasks]
    groups = probe_groups(samples, predictions)
    return Probed([entries[task.key] for task in rollouts], predictions, groups)


@pytest.fixture(scope="module")
def base(ctx: RunContext, cell: Cell) -> Probed:
    return probe(ctx, cell)


def scaled(cell: Cell, factor: float) -> Task:
    """An edit that scales the values of the first block's cross-attention."""
    name = "blocks.0.ca.mat_kv.weight"

    def write(ctx: RunContext, task: Task, inputs: object, writer: Writer) -> None:
        tensors = {name: factor * ctx.model(cell).weights().state_dict()[name]}
        Edit(tensors).save(writer.dir / "edit.safetensors")

    return Task(Stage.EDIT, {"factor": factor}, cell, write)


def test_the_first_prompts_of_the_kept_groups_are_probed(cell: Cell) -> None:
    rows, images = probed_samples(cell), cell.groups()
    assert list(rows) == ["neighbours", "unrelated"]
    for name, samples in rows.items():
        assert len(samples) == 2
        assert [r.seed for r in samples] == [0, 0]
        assert [r.prompt.id for r in samples] == list(
            dict.fromkeys(r.prompt.id for r in images[name])
        )[:2]
    many = replace(cell.config.suite, probe=ProbeConfig(100))
    more = replace(cell, config=replace(cell.config, suite=many))
    assert [len(samples) for samples in probed_samples(more).values()] == [3, 3]
    with pytest.raises(ValueError, match="negative"):
        ProbeConfig(-1)


def test_an_edit_that_changes_nothing_gives_exact_zeros(
    ctx: RunContext, cell: Cell, base: Probed
) -> None:
    same = probe(ctx, cell, scaled(cell, 1.0))
    for name, group in same.groups.items():
        for array in ("kl", "kl_null", "flips"):
            assert (group.array("probe", array) == 0).all()
        for array in ("strength", "entropy"):
            theirs = base.groups[name].array("probe", array)
            np.testing.assert_array_equal(group.array("probe", array), theirs)
    assert same.rollouts == base.rollouts
    assert len(list(ctx.store.entries("rollouts"))) == len(base.rollouts) == 2


def test_an_edit_is_compared_on_the_base_models_roll_outs(
    ctx: RunContext, cell: Cell, base: Probed
) -> None:
    """The second prompt's numbers, from its stored roll-out and plain forward passes."""
    edit = scaled(cell, 3.0)
    weights = ctx.model(cell).weights().state_dict()
    before_probe = {name: value.clone() for name, value in weights.items()}
    probed = probe(ctx, cell, edit).groups["neighbours"]
    model, row = ctx.model(cell), probed_samples(cell)["neighbours"][1]
    assert all(torch.equal(value, before_probe[name]) for name, value in weights.items())
    held = load_file(base.rollouts[0].path("rollouts.safetensors"))
    history = Rollout(held["tokens"][1:2], held["inputs"][1:2], model.schedule)
    text = model.encode([row.prompt.text])
    change = Edit.load(edit.entry(ctx).path("edit.safetensors"))
    with torch.no_grad():
        numbers = [model.logits(history, c) for c in (text, model.null(text))]
        with applied(model, change):
            numbers += [model.logits(history, c) for c in (text, model.null(text))]
            own = model.generate(text, [(row.prompt.id, 0)], guidance=model.guidance(2.0))
            numbers.append(model.logits(own, text))
    assert not torch.equal(own.tokens, history.tokens)
    p0, p0_null, p, p_null, own_p = (x[0].double().softmax(-1) for x in numbers)
    expected = {
        "kl": (p0 * (p0 / p).log()).sum(-1),
        "kl_null": (p0_null * (p0_null / p_null).log()).sum(-1),
        "flips": (p0 - p).abs()[..., 0],
        "strength": (torch.logit(p[..., 1]) - torch.logit(p_null[..., 1])).abs(),
        "entropy": torch.distributions.Bernoulli(probs=own_p[..., 1]).entropy() / math.log(2),
    }
    for name, values in expected.items():
        per_scale = [float(values[rows].mean()) for rows in model.schedule.slices()]
        np.testing.assert_allclose(probed.array("probe", name)[1], per_scale, rtol=2e-3, atol=1e-5)
    assert (probed.array("probe", "kl") > 1e-4).all()


def test_the_roll_outs_are_those_behind_the_images(
    ctx: RunContext, cell: Cell, base: Probed
) -> None:
    samples = probed_samples(cell)["neighbours"]
    ids = [sample.prompt.id for sample in samples]
    model = ctx.model(cell)
    held = load_file(base.rollouts[0].path("rollouts.safetensors"))
    drawn = to_uint8(model.decode(Rollout(held["tokens"], held["inputs"], model.schedule)))
    for task in cell_tasks(ctx, cell, Stage.IMAGES, "neighbours"):
        entry = task.entry(ctx)
        assert entry.meta["extra_passes"] == 0
        for i, sample in enumerate(task.samples):
            if sample in samples:
                image = np.array(Image.open(entry.path(f"{i:03d}.png")))
                np.testing.assert_array_equal(image, drawn[ids.index(sample.prompt.id)])


def test_only_what_is_lost_is_probed_again(ctx: RunContext, cell: Cell) -> None:
    edit = scaled(cell, 2.0)
    first = probe(ctx, cell, edit)
    assert probe(ctx, cell, edit).predictions == first.predictions
    files = [entry.path("probe.npz") for entry in first.predictions]
    stamps = [file.stat().st_ino for file in files]
    files[1].write_bytes(b"lost")
    again = probe(ctx, cell, edit)
    assert [file.stat().st_ino == stamp for file, stamp in zip(files, stamps, strict=True)] == [
        True, False,
    ]  # fmt: skip
    assert [e.key for e in again.predictions] == [e.key for e in first.predictions]
    assert again.groups["unrelated"].array("probe", "kl").shape == (2, 5)


def test_methods_that_change_sampling_have_nothing_to_probe(ctx: RunContext, base: Probed) -> None:
    cells = plan(Request("gallery", ("sld",), ("face-ada",), "smoke", (0,), SMALL))
    steered = tasks_of_cell(ctx, cells[1])
    assert not steered.probe
    groups = probe_groups(probed_samples(cells[1]), [])
    assert groups == {}
    inputs = MetricInputs(cells[1].concept, {}, {}, {}, method_probe=groups, base_probe=base.groups)
    for metric in ("ld1", "ld2", "entropy"):
        value = METRICS[metric].compute(inputs)
        assert value.value is None and "not applicable" in value.note


def test_a_suite_that_probes_nothing_makes_nothing(ctx: RunContext, cell: Cell) -> None:
    none = replace(cell.config.suite, probe=ProbeConfig(0))
    outputs = probe(ctx, replace(cell, config=replace(cell.config, suite=none)))
    assert outputs.groups == {} and not outputs.rollouts and not outputs.predictions


def test_any_model_of_the_protocol_can_be_probed() -> None:
    """The tiny model has other scales and bits than the Gallery."""
    model = tiny_model()
    text = model.encode(["a red cat"])
    rollout = model.generate(text, [("a", 0)])
    with torch.no_grad():
        answers = stage._predict(model, rollout, text)
        found = summary(answers, answers, answers[0], model)
    assert {array.shape for array in found.values()} == {(3,)}
    assert (found["strength"] > 0).all() and (found["entropy"] > 0).all()
