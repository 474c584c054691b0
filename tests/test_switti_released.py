"""Released Switti files load whole or not at all, and the error says what is wrong."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.switti_tiny import SCHEDULE, TOKENIZER, TRANSFORMER, tokenizer, transformer
from varbench.errors import CheckpointError, UserError
from varbench.models.base import Sampling, Schedule
from varbench.models.switti.released import (
    ENCODERS,
    RELEASED,
    Release,
    assemble,
    load_released,
    load_tokenizer,
    load_transformer,
)
from varbench.models.switti.released import TOKENIZER as TOKENIZER_HUB
from varbench.models.switti.text import CLIPPair, load_encoder
from varbench.models.switti.transformer import SwittiTransformer

CPU = torch.device("cpu")
WORDS = ("a", "red", "blue", "cat", "dog")
MAXLEN = 8
RELEASE = Release("yresearch/Switti", SCHEDULE, TRANSFORMER, TOKENIZER)
RELEASE_AR = replace(RELEASE, transformer=replace(TRANSFORMER, causal=True))


def mask_of(schedule: Schedule, causal: bool) -> Tensor:
    """The mask that the original keeps in its files."""
    levels = torch.cat([torch.full((n,), float(k)) for k, n in enumerate(schedule.lengths)])
    sees = levels[:, None] >= levels if causal else levels[:, None] == levels
    return torch.zeros(sees.shape).masked_fill(~sees, -torch.inf)[None, None]


def hub_transformer(causal: bool = False) -> dict[str, Tensor]:
    """All tensors of a transformer's file, as the original saves them."""
    levels = torch.cat([torch.full((n,), k) for k, n in enumerate(SCHEDULE.lengths)])
    state = {k: v.clone() for k, v in transformer(causal).state_dict().items()}
    mask = mask_of(SCHEDULE, causal)
    return state | {"lvl_1L": levels[None], "attn_bias_for_masking": mask}


def hub_tokenizer() -> dict[str, Tensor]:
    unread = {
        "encoder.conv_in.weight": torch.zeros(32, 3, 3, 3),
        "encoder.down.0.block.0.norm1.bias": torch.zeros(32),
        "quant_conv.weight": torch.zeros(8, 8, 3, 3),
        "quantize.ema_vocab_hit_SV": torch.zeros(10, 24),
    }
    return {k: v.clone() for k, v in tokenizer().state_dict().items()} | unread


# -- text encoders ----------------------------------------------------------------------------


def save_clip(folder: Path, width: int, seed: int) -> None:
    """A random CLIP text encoder with a tokenizer of whole words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

    ids = {word: i for i, word in enumerate(("!", *WORDS, "<s>", "</s>"))}
    words = Tokenizer(models.WordLevel(ids, unk_token="!"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", ids["<s>"]), ("</s>", ids["</s>"])]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="!", unk_token="!"
    ).save_pretrained(folder)
    torch.manual_seed(seed)
    config = CLIPTextConfig(
        vocab_size=len(ids),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        bos_token_id=ids["<s>"],
        eos_token_id=ids["</s>"],
        pad_token_id=ids["!"],
    )
    CLIPTextModel(config).save_pretrained(folder)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one folder per hub repository."""
    root = tmp_path_factory.mktemp("hub")
    for repository, tensors in (
        (RELEASE.hub, hub_transformer()),
        (TOKENIZER_HUB, hub_tokenizer()),
    ):
        folder = root / repository.split("/")[1]
        folder.mkdir()
        save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "model.safetensors")
    widths = (TRANSFORMER.text_width - TRANSFORMER.pooled_width, TRANSFORMER.pooled_width)
    for seed, (repository, width) in enumerate(zip(ENCODERS, widths, strict=True)):
        save_clip(root / repository.split("/")[1], width, seed)
    return root


@pytest.fixture(scope="module")
def pair(hub: Path) -> CLIPPair:
    (first, one), (second, two) = (load_encoder(hub / e.split("/")[1]) for e in ENCODERS)
    return CLIPPair([first, second], [one, two], MAXLEN)


def test_text_rows_are_both_encoders_side_by_side(pair: CLIPPair) -> None:
    """Compared with the encoders on the bare prompt, without padding or mask."""
    found = pair.encode(["a red cat", "dog"])
    assert found.rows.shape == (2, MAXLEN, 20)
    assert found.pooled.shape == (2, 12)
    assert found.mask.sum(1).tolist() == [5, 3]
    with torch.no_grad():
        for row, prompt in enumerate(["a red cat", "dog"]):
            ids = torch.tensor([pair.tokenizers[0](prompt).input_ids])
            one, two = (encoder(input_ids=ids) for encoder in pair.encoders)
            expected = torch.cat([one.last_hidden_state, two.last_hidden_state], dim=-1)[0]
            torch.testing.assert_close(found.rows[row, : len(expected)], expected)
            torch.testing.assert_close(found.pooled[row], two.pooler_output[0])
            torch.testing.assert_close(found.pooled[row], expected[-1, 8:])


def test_a_prompt_does_not_depend_on_its_neighbours(pair: CLIPPair) -> None:
    together, alone = pair.encode(["a red cat", "dog", ""]), pair.encode(["dog"])
    assert torch.equal(together.rows[1], alone.rows[0])
    assert torch.equal(together.pooled[1], alone.pooled[0])
    assert together.mask[2].sum() == 2


def test_a_long_prompt_is_cut_and_reported_once(
    pair: CLIPPair, caplog: pytest.LogCaptureFixture
) -> None:
    long = "a red cat a blue dog a cat"
    with caplog.at_level(logging.WARNING):
        found = pair.encode([long, long])
    assert found.mask.all()
    assert pair.truncated == {long: 2}
    assert len(caplog.records) == 1


@pytest.mark.parametrize("lacks", ["config.json", "final_layer_norm.weight"])
def test_a_broken_text_encoder_is_refused(hub: Path, tmp_path: Path, lacks: str) -> None:
    shutil.copytree(hub / ENCODERS[0].split("/")[1], tmp_path, dirs_exist_ok=True)
    if lacks == "config.json":
        (tmp_path / lacks).unlink()
    else:
        tensors = load_file(tmp_path / "model.safetensors")
        del tensors[next(name for name in tensors if name.endswith(lacks))]
        save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=lacks):
        load_encoder(tmp_path)


# -- whole models -----------------------------------------------------------------------------


def test_a_folder_becomes_the_model(hub: Path) -> None:
    model = assemble("tiny", RELEASE, hub, CPU, Sampling(guidance=3.0, top_k=12), strict=False)
    for mine, own in ((model.transformer, transformer()), (model.tokenizer, tokenizer())):
        expected = own.state_dict()
        assert mine.state_dict().keys() == expected.keys()
        assert all(torch.equal(v, expected[k]) for k, v in mine.state_dict().items())
    prompts = model.encode(["a red cat", "a blue dog"])
    assert prompts.rows.shape == (2, 77, 20)
    pictures = model.decode(model.generate(prompts, [("a", 0), ("b", 1)]))
    assert pictures.shape == (2, 3, 64, 64)
    assert not torch.equal(pictures[0], pictures[1])


def test_missing_folders_are_named_with_the_command(hub: Path, tmp_path: Path) -> None:
    for repository in ENCODERS:
        (tmp_path / repository.split("/")[1]).mkdir()
    with pytest.raises(CheckpointError, match=r"yresearch/Switti in .*VQVAE-Switti.*hf download"):
        load_released("switti", tmp_path, CPU)
    with pytest.raises(UserError, match="switti-1024"):
        load_released("switti-2048", tmp_path, CPU)


Change = Callable[[dict[str, Tensor]], None]
DAMAGE: list[tuple[str, Change, str]] = [
    ("missing", lambda t: t.pop("blocks.1.ffn.up_proj.weight"), r"missing: blocks\.1\.ffn\.up"),  # type: ignore[list-item,return-value]
    ("missing", lambda t: t.pop("crop_embed.weight"), r"missing: crop_embed\.weight"),  # type: ignore[list-item,return-value]
    ("extra", lambda t: t.update(pos_1LC=torch.zeros(1, 30, 32)), "extra: pos_1LC"),
    ("misshapen", lambda t: t.update({"head.bias": torch.zeros(4096)}), r"head\.bias \(4096,\)"),
]


@pytest.mark.parametrize(("kind", "change", "message"), DAMAGE)
def test_a_transformer_file_must_fit(
    kind: str, change: Change, message: str, tmp_path: Path
) -> None:
    tensors = hub_transformer()
    change(tensors)
    save_file(tensors, tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match=message) as caught:
        load_transformer(tmp_path / "m.safetensors", RELEASE)
    assert kind in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("decoder.mid.attn_1.qkv.weight"), r"missing: decoder\.mid\.attn_1"),
        (lambda t: t.pop("quantize.quant_resi.qresi_ls.3.bias"), r"qresi_ls\.3\.bias"),
        (lambda t: t.update({"quantize.more": torch.zeros(2)}), r"extra: quantize\.more"),
        (
            lambda t: t.update({"quantize.embedding.weight": torch.zeros(9, 8)}),
            r"embedding\.weight \(9, 8\), expected \(24, 8\)",
        ),
    ],
)
def test_a_tokenizer_file_must_fit(change: Change, message: str, tmp_path: Path) -> None:
    tensors = hub_tokenizer()
    change(tensors)
    save_file(tensors, tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match=message):
        load_tokenizer(tmp_path / "m.safetensors", TOKENIZER)


def test_the_other_variant_and_resolution_are_refused(tmp_path: Path) -> None:
    """Their keys and shapes are the same; the mask in the file tells."""
    for causal, release in ((False, RELEASE), (True, RELEASE_AR)):
        path = tmp_path / f"{causal}.safetensors"
        save_file(hub_transformer(causal), path)
        assert load_transformer(path, release).config.causal is causal
        wrong = RELEASE if causal else RELEASE_AR
        with pytest.raises(CheckpointError, match="choose the other model"):
            load_transformer(path, wrong)
    finer = Schedule((*SCHEDULE.scales[:-1], (5, 5)))
    with pytest.raises(CheckpointError, match=r"30 tokens, yresearch/Switti has 39"):
        load_transformer(path, replace(RELEASE_AR, schedule=finer))


@pytest.mark.parametrize(
    ("name", "tokens", "gigabytes"),
    [
        ("switti", 2240, 9.9),
        ("switti-ar", 2240, 9.9),
        ("switti-1024", 9451, 10.2),
        ("switti-1024-ar", 9451, 10.2),
    ],
)
def test_full_sizes_are_those_of_the_hub_files(name: str, tokens: int, gigabytes: float) -> None:
    release = RELEASED[name]
    assert release.schedule.total == tokens
    assert release.transformer.causal == name.endswith("ar")
    with torch.device("meta"):
        made = SwittiTransformer(release.transformer)
    weights = sum(value.numel() for value in made.state_dict().values())
    bytes_of_file = 4 * weights + 4 * tokens**2 + 8 * tokens  # the mask and the levels
    assert round(bytes_of_file / 1e9, 1) == gigabytes
    if tokens == 2240:  # the hub counts the mask as parameters
        assert round((weights + tokens**2) / 1e9, 2) == 2.48
