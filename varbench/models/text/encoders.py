"""Text encoders of all families: their protocol, their features, and reading them from disk."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from safetensors import SafetensorError
from torch import Tensor

from varbench.errors import CheckpointError, UserError
from varbench.utils.weights import stand_in

log = logging.getLogger(__name__)
SHOWN = 60
"""Characters of a prompt that messages quote."""

C_co = TypeVar("C_co", covariant=True)


@dataclass(frozen=True)
class PromptFeatures:
    """Text features of one prompt.

    Attributes:
        tensors: by name, in the encoders' dtype; ``rows`` is ``[n, C]``, one row per token.
        lost: tokens of the prompt that did not fit.
        unread: other tokens that are not in the vocabulary, all of which look alike.
    """

    tensors: Mapping[str, Tensor]
    lost: int
    unread: int = 0


class PromptEncoder(Protocol[C_co]):
    """The text encoders of a model, or a cache in their place."""

    truncated: dict[str, int]
    """Prompts so far that were not read whole, with the number of tokens that each lost."""

    def encode(self, prompts: Sequence[str]) -> C_co:
        """Prompts -> the model's condition; a prompt's rows do not depend on the others."""
        ...

    def tokens(self, prompt: str) -> list[str]:
        """The tokens of a prompt, one per row of its features."""
        ...


class TextEncoders:
    """Text encoders in memory with their tokenizers; frozen, one prompt at a time.

    Prompts are encoded singly and without padding: the kernels that a batch of another shape takes
    round differently, and a prompt's features must not depend on its neighbours. A masked batch
    would give the same numbers up to rounding; it would save little, since a prompt is encoded
    only once.

    Args:
        tokenizers: of the encoders; the first one's tokens are reported.
        encoders: in the dtype that they compute in, on their device. Their rows stand side by
            side; the last one's pooled vector is used, if it has one.
        maxlen: longest prompt in tokens, special ones included; what is beyond is cut off.
    """

    def __init__(self, tokenizers: Sequence[Any], encoders: Sequence[Any], maxlen: int) -> None:
        self.tokenizers = list(tokenizers)
        self.encoders = [encoder.eval().requires_grad_(False) for encoder in encoders]
        self.maxlen = maxlen

    @torch.no_grad()
    def features(self, prompt: str) -> PromptFeatures:
        """``rows`` ``[n, C]`` and perhaps ``pooled`` ``[P]`` of one prompt.

        Raises:
            UserError: an encoder overflows.
        """
        outputs = []
        for tokenizer, encoder in zip(self.tokenizers, self.encoders, strict=True):
            ids = token_ids(tokenizer, prompt, self.maxlen)
            outputs.append(encoder(torch.tensor([ids], device=encoder.device)))
        rows = torch.cat([out.last_hidden_state[0] for out in outputs], dim=-1)
        if not rows.isfinite().all():
            raise UserError(
                f"the text encoder gives infinite or undefined features in {rows.dtype} for the "
                f"prompt {prompt[:SHOWN]!r}: load it in bfloat16 or float32"
            )
        pooled = outputs[-1].get("pooler_output")
        tensors = {"rows": rows} if pooled is None else {"rows": rows, "pooled": pooled[0]}
        text = (self.tokenizers[0], prompt, self.maxlen)
        return PromptFeatures(tensors, tokens_lost(*text), tokens_unread(*text))


def read_encoder(
    folder: Path, kind: Any, device: torch.device, dtype: torch.dtype
) -> tuple[Any, torch.nn.Module]:
    """Tokenizer and text encoder of a folder in transformers' format.

    Args:
        folder: ``config.json``, ``tokenizer.json`` and weights; what is not the text encoder's (a
            decoder, a vision tower) is not read.
        kind: transformers' class of the encoder.
        device: where to put the weights.
        dtype: of the weights, but for those that the class keeps in float32.

    Raises:
        CheckpointError: files missing, damaged, or not those of the configured encoder.
    """
    from transformers.utils import logging as transformers_logging

    # Without its file transformers invents a tokenizer that knows no word.
    absent = [f for f in ("config.json", "tokenizer.json") if not (folder / f).is_file()]
    if absent:
        raise CheckpointError(f"no text encoder in {folder}: it lacks {', '.join(absent)}")
    for file in sorted(folder.glob("*")):
        if file.is_file() and (kind_of_text := stand_in(file)):
            raise CheckpointError(f"{file} is {kind_of_text}, not the encoder's; fetch it again")
    transformers_logging.disable_progress_bar()  # it would break varbench's own
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # what it warns of is an error below
    try:
        tokenizer = read_tokenizer(folder)
        encoder, report = kind.from_pretrained(
            folder,
            local_files_only=True,
            dtype=dtype,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"no usable text encoder in {folder}: {error}") from error
    finally:
        transformers_logging.set_verbosity(verbosity)
    # transformers fills what does not fit with random numbers.
    random = {*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])}
    if random:
        names = ", ".join(sorted(random)[:10])
        raise CheckpointError(
            f"{folder} does not fit its config.json; missing or of another shape: "
            f"{names}{' ...' if len(random) > 10 else ''}"
        )
    return tokenizer, encoder.to(device)


def read_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder in hub format."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def token_ids(tokenizer: Any, prompt: str, maxlen: int) -> list[int]:
    """At most ``maxlen`` tokens; the end-of-sequence token stays where a prompt is cut."""
    ids: list[int] = tokenizer(prompt, truncation=True, max_length=maxlen).input_ids
    return ids


def tokens_lost(tokenizer: Any, prompt: str, maxlen: int) -> int:
    """Number of tokens of a prompt that :func:`token_ids` cuts off."""
    return max(0, len(tokenizer(prompt, verbose=False).input_ids) - maxlen)


def tokens_unread(tokenizer: Any, prompt: str, maxlen: int) -> int:
    """Number of tokens, of those that fit, that stand for no text of the prompt.

    These are the unknown token, and special ones that a prompt spells out, such as ``</s>``.
    """
    inside = tokenizer(prompt, add_special_tokens=False, truncation=True, max_length=maxlen)
    special = {*tokenizer.all_special_ids, tokenizer.convert_tokens_to_ids("<unk>")}
    return sum(id in special for id in inside.input_ids)


def token_names(tokenizer: Any, prompt: str, maxlen: int) -> list[str]:
    """The tokens of :func:`token_ids` as strings."""
    return list(tokenizer.convert_ids_to_tokens(token_ids(tokenizer, prompt, maxlen)))


def report_lost(
    truncated: dict[str, int], encoded: Mapping[str, PromptFeatures], maxlen: int
) -> None:
    """Note prompts that were not read whole in ``truncated``, with a warning for each new one."""
    for prompt, features in encoded.items():
        if not features.lost + features.unread or prompt in truncated:
            continue
        truncated[prompt] = features.lost + features.unread
        if features.lost:
            log.warning(
                "prompt cut to %d tokens, its last %d are lost: %r...",
                maxlen, features.lost, prompt[:SHOWN],
            )  # fmt: skip
        if features.unread:
            log.warning(
                "the text encoder cannot read %d tokens of the prompt %r; say it in other words",
                features.unread, prompt[:SHOWN],
            )  # fmt: skip
