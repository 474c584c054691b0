"""Features on disk: the encoder is read for new prompts only, freed at once, and never wrong."""

from __future__ import annotations

import logging
import shutil
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers import tiny
from tests.helpers.infinity_text_folder import PROMPTS, write_text_folder
from varbench.data.prompt import Prompt
from varbench.errors import UserError
from varbench.models import registry
from varbench.models.infinity.text import T5Source, TextCondition, TextEncoder
from varbench.models.text.cache import CachedTextEncoder
from varbench.models.text.encoders import PromptFeatures
from varbench.pipeline.context import RunContext
from varbench.pipeline.plan import Cell, Request, Sample, batches, plan
from varbench.pipeline.stages.generate import images_task, sampling_spec
from varbench.pipeline.task import perform
from varbench.store import Entry, Store

MAXLEN = 8
CPU = torch.device("cpu")
LONG = "the cat on the blue mat and a red dog"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text_folder(tmp_path_factory.mktemp("text") / "t5")


class Loads:
    """Counts how often the encoder is read, and whether the last one is still in memory."""

    def __init__(self, kind: type[TextEncoder] = TextEncoder) -> None:
        self.kind = kind
        self.count = 0
        self.last: Any = None

    def __call__(self, *args: Any) -> TextEncoder:
        self.count += 1
        encoder = self.kind.from_folder(*args)
        self.last = weakref.ref(encoder.encoder)
        return encoder

    def freed(self) -> bool:
        return self.last() is None


class Fragile(TextEncoder):
    """Cannot bear dogs."""

    def features(self, prompt: str) -> PromptFeatures:
        if prompt == "a dog":
            raise UserError("overflow")
        return super().features(prompt)


def forbidden(*args: Any) -> TextEncoder:
    raise AssertionError("the encoder was read")


@dataclass(frozen=True)
class Source(T5Source):
    """Encoders that the test reads in its own way."""

    read: Any = TextEncoder.from_folder

    def load(self) -> TextEncoder:
        encoder: TextEncoder = self.read(self.folders[0], self.maxlen, self.device, self.dtype)
        return encoder


def cached(
    folder: Path,
    store: Store | None,
    load: Any,
    *,
    fingerprint: str = "0123",
    maxlen: int = MAXLEN,
    dtype: torch.dtype = torch.float32,
) -> CachedTextEncoder[TextCondition]:
    source = Source((folder,), fingerprint, CPU, maxlen, dtype, read=load)
    return CachedTextEncoder(source, store)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_a_second_encode_reads_no_encoder_and_gives_the_same_bits(
    folder: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    loads = Loads()
    first = cached(folder, Store(tmp_path), loads, dtype=dtype).encode(PROMPTS)
    assert loads.count == 1
    again = cached(folder, Store(tmp_path), forbidden, dtype=dtype).encode(PROMPTS[::-1])
    plain = TextEncoder.from_folder(folder, MAXLEN, CPU, dtype).encode(PROMPTS)
    for actual in (first, again.select(range(7, -1, -1))):
        assert actual.rows.dtype == torch.float32
        assert torch.equal(actual.rows, plain.rows)
        assert torch.equal(actual.lengths, plain.lengths)


def test_what_decides_features_is_in_the_key(folder: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    cached(folder, store, TextEncoder.from_folder).encode(["a cat", "caf\u00e9"])
    cached(folder, store, forbidden).encode(["caf\u00e9", "a cat"])
    others: list[dict[str, Any]] = [
        {"fingerprint": "4567"}, {"maxlen": 4}, {"dtype": torch.float16},
    ]  # fmt: skip
    for other in others:
        with pytest.raises(AssertionError, match="was read"):
            cached(folder, store, forbidden, **other).encode(["a cat"])
    for prompt in ("a dog", "A cat", "a cat ", "cafe\u0301"):
        with pytest.raises(AssertionError, match="was read"):
            cached(folder, store, forbidden).encode([prompt])


def test_the_encoder_is_in_memory_only_while_it_is_needed(folder: Path, tmp_path: Path) -> None:
    loads = Loads()
    text = cached(folder, Store(tmp_path), loads)
    assert loads.count == 0  # lazily
    text.prepare([*PROMPTS, LONG])
    assert loads.count == 1
    assert loads.freed()
    text.encode(PROMPTS[:3])
    text.prepare(PROMPTS)
    assert loads.count == 1
    text.encode(["a red dog", *PROMPTS])
    assert loads.count == 2
    assert loads.freed()


def test_the_encoder_is_freed_after_an_error_and_finished_work_is_kept(
    folder: Path, tmp_path: Path
) -> None:
    loads = Loads(Fragile)
    for act in (CachedTextEncoder.encode, CachedTextEncoder.prepare):
        store = Store(tmp_path / act.__name__)
        text = cached(folder, store, loads)
        with pytest.raises(UserError, match="overflow"):
            act(text, ["a cat", "a dog"])  # type: ignore[operator]
        assert loads.freed()
        cached(folder, store, forbidden).encode(["a cat"])
        assert len(list(store.entries("text"))) == 1


def test_without_a_store_every_call_encodes_and_frees(folder: Path) -> None:
    loads = Loads()
    text = cached(folder, None, loads)
    text.prepare(PROMPTS)
    assert loads.count == 0  # there is nowhere to keep them
    plain = TextEncoder.from_folder(folder, MAXLEN, CPU).encode(PROMPTS)
    assert torch.equal(text.encode(PROMPTS).rows, plain.rows)
    text.encode(PROMPTS)
    assert loads.count == 2
    assert loads.freed()


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_entry_is_noticed_and_made_again(
    folder: Path, tmp_path: Path, caplog: Any, damage: str
) -> None:
    good = cached(folder, Store(tmp_path), TextEncoder.from_folder).encode(PROMPTS)
    entry = next(e for e in Store(tmp_path).entries("text") if e.spec["prompt"] == "a dog")
    file = entry.path("rows.safetensors")
    content = bytearray(file.read_bytes())
    content[-7] ^= 1
    if damage == "remove":
        file.unlink()
    else:
        file.write_bytes(content if damage == "flip" else content[:-5])
    loads = Loads()
    with caplog.at_level(logging.WARNING):
        again = cached(folder, Store(tmp_path), loads).encode(PROMPTS)
    assert "damaged" in caplog.text
    assert loads.count == 1
    assert torch.equal(again.rows, good.rows)
    cached(folder, Store(tmp_path), forbidden).encode(PROMPTS)


def test_the_first_of_two_writers_counts(folder: Path, tmp_path: Path) -> None:
    """Another machine, whose lock is not seen here, stores other last bits meanwhile."""

    def slow(*args: Any) -> TextEncoder:
        encoder = TextEncoder.from_folder(*args)
        cached(folder, Store(tmp_path / "other"), slightly_different).encode(["a cat"])
        theirs, here = (tmp_path / name / "text" for name in ("other", "store"))
        shutil.copytree(theirs, here, dirs_exist_ok=True)
        return encoder

    def slightly_different(*args: Any) -> TextEncoder:
        encoder = TextEncoder.from_folder(*args)
        encoder.encoder.encoder.final_layer_norm.weight.mul_(1 + 1e-6)
        return encoder

    store = Store(tmp_path / "store")
    ours = cached(folder, store, slow).encode(["a cat"])
    stored = cached(folder, store, forbidden).encode(["a cat"])
    alone = TextEncoder.from_folder(folder, MAXLEN, CPU).encode(["a cat"])
    assert torch.equal(ours.rows, stored.rows)
    assert not torch.equal(ours.rows, alone.rows)
    assert len(list(store.entries("text"))) == 1
    assert not list((tmp_path / "store" / "tmp").iterdir())


def test_files_can_be_read_by_colleagues(folder: Path, tmp_path: Path) -> None:
    cached(folder, Store(tmp_path), TextEncoder.from_folder).encode(["a cat"])
    (entry,) = Store(tmp_path).entries("text")
    modes = {entry.path("rows.safetensors").stat().st_mode & 0o777}
    assert modes == {(entry.dir / "manifest.json").stat().st_mode & 0o777}


def test_stored_features_do_not_depend_on_the_number_of_threads(
    folder: Path, tmp_path: Path
) -> None:
    observed = []

    def watching(*args: Any) -> TextEncoder:
        encoder = TextEncoder.from_folder(*args)
        encoder.encoder.register_forward_hook(lambda *_: observed.append(torch.get_num_threads()))
        return encoder

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        cached(folder, Store(tmp_path), watching).encode(["a cat", "a dog"])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert observed == [1, 1]


def test_lost_tokens_are_reported_without_the_encoder(
    folder: Path, tmp_path: Path, caplog: Any
) -> None:
    with caplog.at_level(logging.WARNING):
        for load in (TextEncoder.from_folder, forbidden):
            caplog.clear()
            text = cached(folder, Store(tmp_path), load)
            text.prepare([LONG, "a cat"])
            text.encode([LONG, "a cat", LONG])
            text.encode([LONG])
            assert text.truncated == {LONG: 3}
            (record,) = caplog.records
            assert LONG[:20] in record.getMessage()
            assert "3" in record.getMessage()


# --- in a run ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cell() -> Cell:
    return plan(Request("gallery", ("naive",), ("face-ada",), "smoke", (0,), ("suite.block=2",)))[0]


def run_context(monkeypatch: pytest.MonkeyPatch, root: Path, folder: Path, load: Any) -> RunContext:
    """A context whose model is the tiny one with a cached text encoder."""

    def load_model(config: Any, device: str) -> Any:
        model = tiny.tiny_model()
        model.text_encoder = cached(folder, None, load)
        return model

    monkeypatch.setattr(registry, "load_model", load_model)
    return RunContext(Store(root))


def rows_of(prompts: Sequence[str]) -> list[list[Sample]]:
    rows = [Sample(Prompt(text, f"id-{i}", {}), 0) for i, text in enumerate(prompts)]
    return list(batches(rows, 2))


def images_of(ctx: RunContext, cell: Cell, todo: Sequence[Sequence[Sample]]) -> list[Entry]:
    spec = sampling_spec(ctx, cell, None)
    tasks = [images_task(cell, spec, samples, None) for samples in todo]
    return list(perform(ctx, tasks).values())


def test_a_run_reads_the_encoder_once_and_records_lost_tokens(
    monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path, cell: Cell
) -> None:
    loads = Loads()
    todo = rows_of(["a cat", "a dog", LONG, "a red hat", "cat"])
    ctx = run_context(monkeypatch, tmp_path, folder, loads)
    made = images_of(ctx, cell, todo)
    assert loads.count == 1  # for three blocks
    assert loads.freed()
    assert [entry.meta["tokens_lost"] for entry in made] == [{}, {"id-2": 3}, {}]
    # Another seed of the same prompts, in another process: no encoder at all.
    ctx = run_context(monkeypatch, tmp_path, folder, forbidden)
    other = [[Sample(row.prompt, 1) for row in block] for block in todo]
    again = images_of(ctx, cell, other)
    assert [entry.meta["tokens_lost"] for entry in again] == [{}, {"id-2": 3}, {}]


def test_the_gallery_keeps_no_features(tmp_path: Path, cell: Cell) -> None:
    ctx = RunContext(Store(tmp_path))
    (entry,) = images_of(ctx, cell, rows_of(["a cat " * 40])[:1])
    assert entry.meta["tokens_lost"]["id-0"] > 0
    assert not list(ctx.store.entries("text"))


@pytest.mark.gpu
def test_the_gpu_memory_is_given_back(folder: Path, tmp_path: Path) -> None:
    device = torch.device("cuda")
    source = T5Source((folder,), "0123", device, MAXLEN, torch.float16)
    text = CachedTextEncoder(source, Store(tmp_path))
    text.prepare(["cat"])  # libraries keep workspaces from their first use
    before = torch.cuda.memory_allocated()
    text.prepare(PROMPTS)
    assert torch.cuda.memory_allocated() == before
    actual = text.encode(PROMPTS)
    assert actual.rows.device.type == "cuda"
    exact = TextEncoder.from_folder(folder, MAXLEN, CPU).encode(PROMPTS)
    torch.testing.assert_close(actual.rows.cpu(), exact.rows, rtol=0, atol=0.01)
