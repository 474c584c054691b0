"""Switti's two text encoders from released files, cached in the store."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.helpers.switti_folder import (
    CPU,
    FOLDERS,
    MAXLEN,
    config_of,
    copy,
    empty_caches,
    make_hub,
)
from varbench.data.prompt import Prompt
from varbench.errors import CheckpointError
from varbench.models.switti.config import WEIGHTS
from varbench.models.switti.text import CLIPSource, SwittiCondition
from varbench.models.text.cache import CachedTextEncoder
from varbench.models.text.encoders import TextEncoders
from varbench.pipeline.context import RunContext
from varbench.pipeline.plan import Request, Sample, batches, plan
from varbench.pipeline.stages.generate import images_task, sampling_spec
from varbench.pipeline.task import perform
from varbench.store import Store


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_hub(tmp_path_factory.mktemp("hub"))


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty_caches(tmp_path, monkeypatch)


def source(hub: Path, maxlen: int = MAXLEN) -> CLIPSource:
    return CLIPSource((hub / FOLDERS[2], hub / FOLDERS[3]), "0123", CPU, maxlen)


@pytest.fixture
def text(hub: Path) -> CachedTextEncoder[SwittiCondition]:
    return CachedTextEncoder(source(hub))


def test_text_rows_are_both_encoders_side_by_side(hub: Path) -> None:
    """Compared with the encoders on prompts padded to one length and masked, as the original."""
    pair, prompts = source(hub).load(), ["a red cat", "dog"]
    actual = source(hub).condition([pair.features(prompt) for prompt in prompts])
    assert actual.rows.shape == (2, MAXLEN, 20)
    assert actual.pooled.shape == (2, 12)
    assert actual.mask.sum(1).tolist() == [5, 3]
    out = []
    for tokenize, encoder in zip(pair.tokenizers, pair.encoders, strict=True):
        batch = tokenize(prompts, padding="max_length", max_length=MAXLEN, return_tensors="pt")
        with torch.no_grad():
            out.append(encoder(batch.input_ids, attention_mask=batch.attention_mask))
    rows = torch.cat([o.last_hidden_state for o in out], dim=-1)
    for row, length in enumerate((5, 3)):
        torch.testing.assert_close(actual.rows[row, :length], rows[row, :length])
        assert not actual.rows[row, length:].any()
        torch.testing.assert_close(actual.pooled[row], out[1].pooler_output[row])
        torch.testing.assert_close(actual.pooled[row], rows[row, length - 1, 8:])


def test_a_prompt_does_not_depend_on_its_neighbours(
    text: CachedTextEncoder[SwittiCondition],
) -> None:
    together, alone = text.encode(["a red cat", "dog", ""]), text.encode(["dog"])
    assert torch.equal(together.rows[1], alone.rows[0])
    assert torch.equal(together.pooled[1], alone.pooled[0])
    assert together.mask[2].sum() == 2
    assert text.tokens("a dog") == ["<s>", "a", "dog", "</s>"]


def test_a_long_prompt_is_cut_and_reported_once(
    text: CachedTextEncoder[SwittiCondition], caplog: pytest.LogCaptureFixture
) -> None:
    long = "a red cat a blue dog a cat"
    with caplog.at_level(logging.WARNING):
        actual = text.encode([long, long])
    assert actual.mask.all()
    assert text.truncated == {long: 2}
    assert len(caplog.records) == 1
    assert text.tokens(long)[-2:] == ["dog", "</s>"]


@pytest.mark.parametrize("lacks", ["config.json", "tokenizer.json", "final_layer_norm.weight"])
def test_a_broken_text_encoder_is_refused(hub: Path, tmp_path: Path, lacks: str) -> None:
    root = copy(hub, tmp_path / "hub")
    folder = root / FOLDERS[3]
    if lacks.endswith("json"):
        (folder / lacks).unlink()
    else:
        tensors = load_file(folder / WEIGHTS)
        del tensors[next(name for name in tensors if name.endswith(lacks))]
        save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    with pytest.raises(CheckpointError, match=lacks):
        source(root).load()


def test_features_are_stored_and_the_encoders_read_once(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a run: two blocks and the empty prompt of guidance take one reading; then none."""
    cell = plan(Request("gallery", ("none",), ("face-ada",), "smoke", (0,), ("suite.block=2",)))[0]
    cell = replace(cell, config=replace(cell.config, model=config_of(hub)))
    loads: list[TextEncoders] = []
    read = CLIPSource.load

    def counted(self: CLIPSource) -> TextEncoders:
        loads.append(read(self))
        return loads[-1]

    def images(seed: int) -> list[Any]:
        ctx = RunContext(Store(tmp_path))
        prompts = ["a red cat", "a dog", "blue dog " * 50]
        rows = [Sample(Prompt(text, f"id-{i}", {}), seed) for i, text in enumerate(prompts)]
        spec = sampling_spec(ctx, cell, None)
        tasks = [images_task(cell, spec, samples, None) for samples in batches(rows, 2)]
        return list(perform(ctx, tasks).values())

    monkeypatch.setattr(CLIPSource, "load", counted)
    first = images(0)
    assert len(loads) == 1
    entries = list(Store(tmp_path).entries("text"))
    assert {entry.spec["prompt"] for entry in entries} == {
        "", "a red cat", "a dog", "blue dog " * 50,
    }  # fmt: skip
    assert {entry.spec["dtype"] for entry in entries} == {"float32"}
    assert {frozenset(load_file(e.path("rows.safetensors"))) for e in entries} == {
        frozenset({"rows", "pooled"})
    }
    assert [entry.meta["tokens_lost"] for entry in first] == [{}, {"id-2": 25}]
    images(1)
    assert len(loads) == 1
