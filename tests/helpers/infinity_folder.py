"""Reader of Infinity reference folders.

A folder holds ``config.json`` and six safetensors files with the weights, inputs and outputs of
one tiny Infinity; ``data/infinity_reference/README.md`` describes the format. ``infinity_rules``
says for every tensor name how it is checked or why it is not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.helpers.guidance import Traced
from tests.helpers.weights_files import load_into
from tools.gallery.quantise import Quantised, quantise
from varbench.models.common.sampling import ClassifierFreeGuidance
from varbench.models.infinity.attention import TextState
from varbench.models.infinity.checkpoint import STALE, TokenizerFormat, TransformerFormat
from varbench.models.infinity.config import TokenizerConfig, TransformerConfig
from varbench.models.infinity.model import InfinityModel
from varbench.models.infinity.quantiser import Layout
from varbench.models.infinity.schedules import schedule_for
from varbench.models.infinity.text import TextCondition
from varbench.models.infinity.tokenizer import BSQVAE
from varbench.models.infinity.transformer import Block, InfinityTransformer
from varbench.models.protocol import Rollout, Sampling, Schedule
from varbench.models.weights.checkpoint import Format

LOGITS, PIXELS, CODES, EXACT = 1e-4, 3e-5, 1e-5, 0.0
"""Largest absolute differences, as the reference set's README suggests."""

WEIGHT_FILES = ("transformer", "vae")
TENSOR_FILES = ("vae_io", "bsc_io", "train_io", "ar_io")


class UnsupportedOption(Exception):
    """The tensor belongs to an option that varbench leaves out; the message says which."""


class UnknownTensor(AssertionError):
    """No rule says how to check a tensor of this name."""


def close(actual: Tensor, expected: Tensor, tolerance: float, sample0: bool = False) -> None:
    """Assert equal shapes and values; with ``sample0`` only the first sample may be stored."""
    if sample0 and expected.shape[0] == 1:
        actual = actual[:1]
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    if tolerance == EXACT:
        wrong = int((actual.long() != expected.long()).sum())
        assert not wrong, f"{wrong} of {expected.numel()} values differ"
    else:
        worst = float((actual.double() - expected.double()).abs().max())
        assert worst <= tolerance, f"differs by {worst:.2e}, allowed {tolerance:.0e}"


def to_bits_map(stored: Tensor) -> Tensor:
    """Stored bits ``[B, 1, h, w, d]`` -> ``[B, d, h, w]``."""
    return stored.squeeze(1).permute(0, 3, 1, 2)


def from_bits_map(bits: Tensor) -> Tensor:
    """``[B, d, h, w]`` -> the stored layout ``[B, 1, h, w, d]``."""
    return bits.permute(0, 2, 3, 1).unsqueeze(1)


@dataclass
class Folder:
    """One reference folder; everything that varbench computes for it is computed once."""

    path: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.path / "config.json").read_text())
        return found

    def names(self) -> Iterator[tuple[str, str]]:
        """(file, tensor name) of everything but weights, from the files' headers."""
        for file in TENSOR_FILES:
            with safe_open(self.path / f"{file}.safetensors", "pt") as handle:
                yield from ((file, name) for name in sorted(handle.keys()))

    @cached_property
    def tensors(self) -> dict[tuple[str, str], Tensor]:
        return {
            (file, name): value
            for file in TENSOR_FILES
            for name, value in load_file(self.path / f"{file}.safetensors").items()
        }

    def get(self, file: str, name: str) -> Tensor:
        return self.tensors[file, name]

    def unsupported(self) -> list[str]:
        """Options of the folder's transformer that varbench leaves out."""
        required = {
            "rope2d_normalized_by_hw": 2,
            "add_lvl_embeding_only_first_block": 1,
            "shared_aln": True,
            "head_aln": True,
            "head_depth": 1,
            "cos_attn": True,
            "rms_norm": False,
            "nm0": False,
            "swiglu": False,
            "norm_eps": 1e-6,
            "cross_attn_layer_scale": -1,
            "use_bit_label": 1,
        }
        given = self.config["transformer"]
        return [f"{k} = {given[k]}" for k, v in required.items() if given.get(k, v) != v]

    @cached_property
    def model(self) -> InfinityModel:
        if reasons := self.unsupported():
            raise UnsupportedOption(", ".join(reasons))
        given = self.config["transformer"]
        weights = load_file(self.path / "transformer.safetensors")
        transformer = InfinityTransformer(
            TransformerConfig(
                width=given["embed_dim"],
                depth=given["depth"],
                heads=given["num_heads"],
                bits=given["logits_width"] // 2,
                text_width=given["text_channels"],
                text_maxlen=given["text_maxlen"],
                mlp_ratio=given["mlp_ratio"],
                patchify=bool(given["apply_spatial_patchify"]),
                max_levels=weights["lvl_embed.weight"].shape[0],
            )
        )
        per_chunk = given["depth"] // given["block_chunks"]
        load_into(transformer, weights, TransformerFormat(per_chunk), "transformer")
        schedule = Schedule(tuple((h, w) for _, h, w in self.config["scale_schedule"]))
        return InfinityModel("reference", transformer, self.vae, None, schedule, Sampling())

    @cached_property
    def vae(self) -> BSQVAE:
        given = self.config["vae"]
        vae = BSQVAE(
            TokenizerConfig(
                bits=given["codebook_dim"],
                base_width=given["base_ch"],
                width_multipliers=tuple(given["ch_mult"]),
                encoder_blocks=given["num_res_blocks"],
            )
        )
        load_into(vae, load_file(self.path / "vae.safetensors"), TokenizerFormat(), "vae")
        return vae.eval().requires_grad_(False)

    def check_weights(self, file: str) -> None:
        """Every stored weight is in the loaded module, or is a buffer without information."""
        stored = load_file(self.path / f"{file}.safetensors")
        given = self.config["transformer"]
        if file == "transformer":
            module: nn.Module = self.model.transformer
            form: Format = TransformerFormat(given["depth"] // given["block_chunks"])
        else:
            module, form = self.vae, TokenizerFormat()
        for key, value in module.state_dict().items():
            found = [stored.pop(name) for name in form.candidates(key) if name in stored]
            assert len(found) == 1, f"{key}: stored {len(found)} times"
            assert torch.equal(found[0].reshape(value.shape), value), key
        for name, value in stored.items():
            assert STALE.search(name), f"{name} was not read"
            assert name.endswith("mask") or not value.any(), f"{name} is not zero"

    def check_config(self) -> None:
        """Grids, sizes and lengths of the config agree with each other and with varbench."""
        given, config = self.config["transformer"], self.config
        schedule, layout = self.model.schedule, self.model.layout
        assert schedule == schedule_for(given["pn"], given["h_div_w"])
        assert layout.grids == tuple((h, w) for _, h, w in config["vae_scale_schedule"])
        assert all(t == 1 for t, _, _ in config["scale_schedule"])
        factor = self.vae.config.factor
        assert factor == config["vae"]["patch_size"]
        assert [side * factor for side in layout.grids[-1]] == config["image_hw"]
        folding = 4 if given["apply_spatial_patchify"] else 1
        assert given["logits_width"] == 2 * folding * config["vae"]["codebook_dim"]
        assert given["d_vae"] == folding * config["vae"]["codebook_dim"]

    @cached_property
    def layout(self) -> Layout:
        schedule = Schedule(tuple((h, w) for _, h, w in self.config["scale_schedule"]))
        return Layout(schedule, bool(self.config["transformer"]["apply_spatial_patchify"]))

    @cached_property
    def condition(self) -> TextCondition:
        return self._text("text", self.config["text_lens"])

    @cached_property
    def negative(self) -> TextCondition:
        return self._text("neg", self.config["negative_text_lens"])

    def _text(self, kind: str, lengths: Sequence[int]) -> TextCondition:
        rows = self.get("train_io", f"{kind}_kv_compact")
        return TextCondition.padded(
            rows.split(list(lengths)), self.config["transformer"]["text_maxlen"]
        )

    @cached_property
    def rollout(self) -> Rollout:
        inputs = self.get("train_io", "x_BLC_wo_prefix")
        schedule = self.model.schedule
        tokens = torch.zeros(len(inputs), schedule.total, inputs.shape[2], dtype=torch.uint8)
        return Rollout(tokens, inputs, schedule)

    @cached_property
    def text(self) -> TextState:
        with torch.no_grad():
            return self.model.read(self.condition)

    @cached_property
    def block0(self) -> dict[str, Tensor]:
        """Inputs and outputs of the first block and its attentions, and the logits."""
        caught: dict[str, Tensor] = {}

        def keep(name: str) -> Callable[..., None]:
            def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
                caught[name] = output
                caught[f"{name}_first_input"] = inputs[0]

            return hook

        block = self.model.transformer.blocks[0]
        assert isinstance(block, Block)
        places: dict[str, nn.Module] = {"out": block, "sa_out": block.sa, "ca_out": block.ca}
        handles = [module.register_forward_hook(keep(n)) for n, module in places.items()]
        try:
            with torch.no_grad():
                caught["logits"] = self.model.logits(self.rollout, self.condition).flatten(2)
        finally:
            for handle in handles:
                handle.remove()
        caught["in"] = caught["out_first_input"]
        return caught

    @cached_property
    def logits_uncond(self) -> Tensor:
        with torch.no_grad():
            null = self.model.null(self.condition)
            return self.model.logits(self.rollout, null).flatten(2)

    @cached_property
    def _runs(self) -> dict[str, tuple[Rollout, list[Tensor]]]:
        return {}

    def greedy(self, run: str) -> tuple[Rollout, list[Tensor]]:
        """The greedy roll-out of ``config[run]`` (``ar`` or ``ar_neg``)."""
        settings = self.config[run]
        if settings["cfg_insertion_layer"] != [0]:
            raise UnsupportedOption(f"cfg_insertion_layer = {settings['cfg_insertion_layer']}")
        if settings["top_k"] != 1:
            raise UnsupportedOption(f"multinomial sampling with top_k = {settings['top_k']}")
        if run not in self._runs:
            with_null = run == "ar" and settings.get("negative_prompt_none", True)
            guidance = Traced(
                ClassifierFreeGuidance(tuple(settings["cfg_list"])),
                None if with_null else self.negative,
                settings["tau_list"],
            )
            keys = [("reference", row) for row in range(len(self.condition))]
            sampling = Sampling(top_k=settings["top_k"], top_p=settings["top_p"])
            rollout = self.model.generate(
                self.condition, keys, sampling=sampling, guidance=guidance
            )
            self._runs[run] = rollout, guidance.kept
        return self._runs[run]

    @cached_property
    def encoded(self) -> Tensor:
        with torch.no_grad():
            return self.vae.encode(self.get("vae_io", "image_u8").float() / 127.5 - 1)

    @cached_property
    def decoded(self) -> Tensor:
        """Images before the clamp."""
        with torch.no_grad():
            return self.vae.decoder(self.get("vae_io", "quantized"))  # type: ignore[no-any-return]

    @cached_property
    def images(self) -> dict[str, Tensor]:
        """8-bit images ``[B, H, W, 3]`` in B, G, R order, per greedy run."""
        return {}

    @cached_property
    def vae_bits(self) -> Quantised:
        return quantise(self.get("vae_io", "latent"), self.layout)

    @cached_property
    def bsc_clean(self) -> Quantised:
        return quantise(self.get("bsc_io", "raw_features"), self.layout)

    @cached_property
    def bsc_noisy(self) -> Quantised:
        """Self-correction with the stored flips: what is accumulated is ``flipped_bits``."""
        if self.config["bsc"]["noise_apply_requant"] != 1:
            raise UnsupportedOption("self-correction without noise_apply_requant")
        features = self.get("bsc_io", "raw_features")
        flips: list[Tensor | None] = []
        rows = list(self.layout.schedule.slices())
        for scale, part in enumerate(rows):
            accumulated = self.tensors.get(("bsc_io", f"flipped_bits.{scale}"))
            mask = None
            if accumulated is not None:  # the truth here depends on the flips so far
                truth = quantise(features, self.layout, flips).targets[:, part]
                mask = to_bits_map(accumulated).bool() ^ self.layout.to_map(truth, scale).bool()
            flips.append(mask)
        return quantise(features, self.layout, flips)

    def stored_map(self, tokens: Tensor, scale: int) -> Tensor:
        """One scale of roll-out tokens in the stored layout ``[B, 1, H, W, d]``."""
        part = list(self.layout.schedule.slices())[scale]
        return from_bits_map(self.layout.to_map(tokens[:, part], scale))

    def check(self, file: str, name: str, expected: Tensor | None = None) -> None:
        """Check one tensor, or ``expected`` in its place.

        Raises:
            UnsupportedOption: it belongs to an option that varbench leaves out.
            UnknownTensor: no rule covers its name.
            AssertionError: it differs from what varbench computes.
        """
        from tests.helpers.infinity_rules import find_rule  # which needs this module

        rule, match = find_rule(file, name)
        if isinstance(rule, str):
            raise UnsupportedOption(rule)
        with torch.no_grad():
            rule(self, self.get(file, name) if expected is None else expected, *match.groups())
