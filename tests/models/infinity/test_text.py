"""The text encoder: lengths, neighbours, precisions, what does not fit, and damaged folders."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.helpers.infinity_text_folder import PROMPTS, WIDTH, write_text_folder
from tests.helpers.infinity_tiny import tiny_model
from varbench.errors import CheckpointError, UserError
from varbench.models.infinity.model import InfinityModel
from varbench.models.infinity.text import TextCondition, TextEncoder
from varbench.models.protocol import Rollout, Sampling

MAXLEN = 8
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text_folder(tmp_path_factory.mktemp("text") / "t5")


@pytest.fixture(scope="module")
def encoder(folder: Path) -> TextEncoder:
    return TextEncoder.from_folder(folder, MAXLEN, CPU)


def changed(folder: Path, target: Path, change: Any) -> Path:
    """A copy of the folder with other weights."""
    shutil.copytree(folder, target)
    tensors = load_file(target / "model.safetensors")
    change(tensors)
    save_file(tensors, target / "model.safetensors", {"format": "pt"})
    return target


def close(a: Tensor, b: Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


def test_a_batch_of_eight_prompts_is_eight_batches_of_one(encoder: TextEncoder) -> None:
    together = encoder.encode(PROMPTS)
    assert together.rows.shape == (8, MAXLEN, WIDTH)
    assert together.lengths.tolist() == [len(p.split()) + 1 for p in PROMPTS]
    for i, prompt in enumerate(PROMPTS):
        alone = encoder.encode([prompt])
        assert torch.equal(alone.rows[0], together.rows[i])  # to the bit, not only 1e-5
        assert not together.rows[i, together.lengths[i] :].any()


def test_single_encoding_is_masked_batch_encoding_up_to_rounding(encoder: TextEncoder) -> None:
    """Against transformers' own batch: padded to the longest prompt, and to 512 as upstream."""
    actual = encoder.encode(PROMPTS)
    for padding in ({"padding": True}, {"padding": "max_length", "max_length": 512}):
        batch = encoder.tokenizer(list(PROMPTS), return_tensors="pt", **padding)
        with torch.no_grad():
            rows = encoder.encoder(**batch).last_hidden_state
            unmasked = encoder.encoder(batch.input_ids).last_hidden_state
        assert batch.attention_mask.sum(1).tolist() == actual.lengths.tolist()
        for i, length in enumerate(actual.lengths.tolist()):
            close(rows[i, :length], actual.rows[i, :length])
        assert (unmasked[0, 0] - actual.rows[0, 0]).abs().max() > 0.1  # the mask matters here


def test_repeated_prompts_and_their_order(encoder: TextEncoder) -> None:
    cat, dog = PROMPTS[4], PROMPTS[5]
    both = encoder.encode([cat, dog, cat])
    assert torch.equal(both.rows[0], both.rows[2])
    assert torch.equal(both.rows[1], encoder.encode([dog]).rows[0])


@pytest.fixture(scope="module")
def model(encoder: TextEncoder) -> InfinityModel:
    model = tiny_model()
    model.text_encoder = encoder
    return model


def random_rollout(model: InfinityModel, count: int) -> Rollout:
    generator = torch.Generator().manual_seed(7)
    bits, total = model.transformer.config.bits, model.schedule.total
    tokens = torch.randint(2, (count, total, bits), generator=generator)
    inputs = torch.randn(count, total - 1, bits, generator=generator)
    return Rollout(tokens, inputs, model.schedule)


@pytest.mark.parametrize("null", ["prompts", "null", "mixed"])
@torch.no_grad()
def test_padded_and_masked_rows_equal_compact_ones(model: InfinityModel, null: str) -> None:
    """The whole forward: eight prompts side by side, against each alone and without padding."""
    batch = model.encode(PROMPTS)
    kind = {"prompts": [False] * 8, "null": [True] * 8, "mixed": [False, True] * 4}[null]
    rubbish = torch.randn(batch.rows.shape, generator=torch.Generator().manual_seed(3)) * 50
    rows = torch.where(batch.mask[..., None], batch.rows, rubbish)
    padded = TextCondition(rows, batch.lengths, torch.tensor(kind))
    rollout = random_rollout(model, 8)
    together = model.logits(rollout, padded)
    assert together.std() > 0.3
    for i, length in enumerate(batch.lengths.tolist()):
        compact = TextCondition.padded([batch.rows[i, :length]], length)
        compact = TextCondition(compact.rows, compact.lengths, torch.tensor([kind[i]]))
        close(model.logits(rollout.select([i]), compact)[0], together[i])


@torch.no_grad()
def test_sampled_logits_do_not_see_padding_either(model: InfinityModel) -> None:
    """Sampling reads text through its own code path; greedy bits must be those of each alone."""
    greedy = Sampling(guidance=3.0, top_k=1)
    keys = [(f"prompt-{i}", 0) for i in range(8)]
    batch = model.encode(PROMPTS)
    together = model.generate(batch, keys, sampling=greedy)
    for i, length in enumerate(batch.lengths.tolist()):
        compact = TextCondition.padded([batch.rows[i, :length]], length)
        alone = model.generate(compact, [keys[i]], sampling=greedy)
        close(alone.inputs[0], together.inputs[i])
        assert torch.equal(alone.tokens[0], together.tokens[i])


@pytest.mark.parametrize(
    ("dtype", "wo", "tolerance"),
    [
        (torch.float32, torch.float32, 0.0),
        (torch.float16, torch.float32, 0.01),
        (torch.bfloat16, torch.bfloat16, 0.1),
    ],
    ids=str,
)
def test_precisions(
    encoder: TextEncoder, folder: Path, dtype: torch.dtype, wo: torch.dtype, tolerance: float
) -> None:
    low = TextEncoder.from_folder(folder, MAXLEN, CPU, dtype)
    for name, value in low.encoder.named_parameters():
        assert value.dtype == (wo if ".wo." in name else dtype), name
        assert not value.requires_grad
    actual, exact = low.encode(PROMPTS), encoder.encode(PROMPTS)
    assert actual.rows.dtype == torch.float32
    error = (actual.rows - exact.rows).abs().max()
    assert error <= tolerance
    assert (error == 0) == (dtype == torch.float32)
    assert low.features("a cat").tensors["rows"].dtype == dtype


def test_float16_survives_what_the_sum_over_layers_cannot_hold_in_float16(
    folder: Path, tmp_path: Path
) -> None:
    """flan-t5's residual sums pass 65504; they stay float32 because ``wo`` does."""

    def amplify(tensors: dict[str, Tensor]) -> None:
        for name, value in tensors.items():
            if ".wo." in name:
                value.mul_(3e5)

    loud = changed(folder, tmp_path / "loud", amplify)
    exact = TextEncoder.from_folder(loud, MAXLEN, CPU).encode(PROMPTS)
    half = TextEncoder.from_folder(loud, MAXLEN, CPU, torch.float16)
    close(half.encode(PROMPTS).rows, exact.rows, atol=0.05)
    half.encoder.half()  # what a careless .to(dtype) would do
    with pytest.raises(UserError, match="bfloat16"):
        half.encode(PROMPTS)


def test_overflow_is_an_error_that_names_the_fix(folder: Path, tmp_path: Path) -> None:
    def amplify(tensors: dict[str, Tensor]) -> None:
        for name, value in tensors.items():
            if ".wi_" in name:
                value.mul_(1e4)

    loud = changed(folder, tmp_path / "loud", amplify)
    with pytest.raises(UserError, match=r"float16.*'a red hat'.*bfloat16 or float32"):
        TextEncoder.from_folder(loud, MAXLEN, CPU, torch.float16).encode(["a red hat"])
    bfloat = TextEncoder.from_folder(loud, MAXLEN, CPU, torch.bfloat16).encode(["a red hat"])
    assert bfloat.rows.isfinite().all()


def test_what_does_not_fit_is_reported_once_per_prompt(folder: Path, caplog: Any) -> None:
    encoder = TextEncoder.from_folder(folder, MAXLEN, CPU)
    fits = "the cat on the blue mat and"  # seven words and the end: exactly MAXLEN
    long = fits + " a red dog"
    with caplog.at_level(logging.WARNING):
        encoder.encode([fits, "a cat"])
        assert not caplog.records
        assert encoder.truncated == {}
        cut = encoder.encode([long, "a cat", long])
        encoder.encode([long])
    assert encoder.truncated == {long: 3}
    (record,) = caplog.records
    assert record.name.startswith("varbench.")
    assert "3" in record.getMessage()
    assert str(MAXLEN) in record.getMessage()
    assert long[:20] in record.getMessage()
    # The end-of-sequence token survives: a cut prompt is the shorter prompt.
    assert cut.lengths.tolist() == [MAXLEN, 3, MAXLEN]
    assert torch.equal(cut.rows[0], encoder.encode([fits]).rows[0])


def test_a_folder_with_a_decoder_gives_the_same_features(
    encoder: TextEncoder, folder: Path, tmp_path: Path, caplog: Any
) -> None:
    """As flan-t5-xl's, of which only the encoder is wanted."""

    def extend(tensors: dict[str, Tensor]) -> None:
        tensors["decoder.block.0.layer.0.SelfAttention.q.weight"] = torch.zeros(4, 4)
        tensors["lm_head.weight"] = torch.zeros(4, 4)

    with caplog.at_level(logging.WARNING):
        whole = TextEncoder.from_folder(changed(folder, tmp_path / "whole", extend), MAXLEN, CPU)
    assert not caplog.records
    assert torch.equal(whole.encode(PROMPTS).rows, encoder.encode(PROMPTS).rows)


def test_weights_that_do_not_fit_are_named(folder: Path, tmp_path: Path) -> None:
    name = "encoder.block.1.layer.1.DenseReluDense.wo.weight"
    lacking = changed(folder, tmp_path / "lacking", lambda tensors: tensors.pop(name))
    with pytest.raises(CheckpointError, match=name):
        TextEncoder.from_folder(lacking, MAXLEN, CPU)

    def cut(tensors: dict[str, Tensor]) -> None:
        tensors["shared.weight"] = tensors["shared.weight"][:5].clone()

    misshapen = changed(folder, tmp_path / "misshapen", cut)
    with pytest.raises(CheckpointError, match=r"shared\.weight"):
        TextEncoder.from_folder(misshapen, MAXLEN, CPU)


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_or_damaged_file_is_named(folder: Path, tmp_path: Path, file: str) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / file).write_bytes((broken / file).read_bytes()[:40])
    with pytest.raises(CheckpointError, match=str(broken)):
        TextEncoder.from_folder(broken, MAXLEN, CPU)
    (broken / file).unlink()
    with pytest.raises(CheckpointError, match=rf"{broken}.*{file}"):
        TextEncoder.from_folder(broken, MAXLEN, CPU)
