"""Complete key lists of released Infinity files, written down from upstream's naming rules.

Independent of varbench's modules on purpose: what is compared with them must not be made by them.
``hollow`` files have these keys and shapes at full size and next to no bytes on disk.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

Shapes = dict[str, tuple[int, ...]]


def transformer_keys(
    width: int, depth: int, heads: int, chunks: int, bits: int, text: int = 2048, rows: int = 512
) -> Shapes:
    """Names and shapes of a transformer's state dict, zero buffers included."""
    d, hidden = width, round(4 * width / 256) * 256
    pool = text // 128
    keys: Shapes = {
        "cfg_uncond": (rows, text),
        "pos_start": (1, 1, d),
        "text_norm.weight": (text,),
        "text_proj_for_sos.ca.mat_q": (1, pool, d // pool),
        "text_proj_for_sos.ca.v_bias": (d,),
        "text_proj_for_sos.ca.zero_k_bias": (d,),
        "text_proj_for_sos.ca.mat_kv.weight": (2 * d, text),
        "text_proj_for_sos.ca.proj.weight": (d, d),
        "text_proj_for_sos.ca.proj.bias": (d,),
        "text_proj_for_ca.0.weight": (d, text),
        "text_proj_for_ca.0.bias": (d,),
        "text_proj_for_ca.2.weight": (d, d),
        "text_proj_for_ca.2.bias": (d,),
        "lvl_embed.weight": (15, d),
        "word_embed.weight": (d, bits),
        "word_embed.bias": (d,),
        "shared_ada_lin.1.weight": (6 * d, d),
        "shared_ada_lin.1.bias": (6 * d,),
        "head_nm.ada_lin.1.weight": (2 * d, d),
        "head_nm.ada_lin.1.bias": (2 * d,),
        "head.weight": (2 * bits, d),
        "head.bias": (2 * bits,),
    }
    block: Shapes = {
        "ada_gss": (1, 1, 6, d),
        "sa.scale_mul_1H11": (1, heads, 1, 1),
        "sa.q_bias": (d,),
        "sa.v_bias": (d,),
        "sa.zero_k_bias": (d,),
        "sa.mat_qkv.weight": (3 * d, d),
        "sa.proj.weight": (d, d),
        "sa.proj.bias": (d,),
        "ca.v_bias": (d,),
        "ca.zero_k_bias": (d,),
        "ca.mat_q.weight": (d, d),
        "ca.mat_q.bias": (d,),
        "ca.mat_kv.weight": (2 * d, d),
        "ca.proj.weight": (d, d),
        "ca.proj.bias": (d,),
        "ffn.fc1.weight": (hidden, d),
        "ffn.fc1.bias": (hidden,),
        "ffn.fc2.weight": (d, hidden),
        "ffn.fc2.bias": (d,),
        "ca_norm.weight": (d,),
        "ca_norm.bias": (d,),
    }
    per_chunk = depth // chunks
    for n in range(depth):
        start = f"block_chunks.{n // per_chunk}.module.{n % per_chunk}."
        keys |= {start + name: shape for name, shape in block.items()}
    return keys


def tokenizer_keys(bits: int, multipliers: Sequence[int], base: int = 128) -> Shapes:
    """Names and shapes of a BSQ-VAE's state dict, in upstream's scheme with inner modules."""
    keys: Shapes = {"quantize.lfq.mask": (bits,), "quantizer.lfq.mask": (bits,)}

    def conv(name: str, inp: int, out: int, side: int = 3) -> None:
        keys[f"{name}.conv.weight"] = (out, inp, side, side)
        keys[f"{name}.conv.bias"] = (out,)

    def norm(name: str, channels: int) -> None:
        keys[f"{name}.norm.weight"] = keys[f"{name}.norm.bias"] = (channels,)

    def block(name: str, inp: int, out: int) -> None:
        norm(f"{name}.norm1", inp)
        conv(f"{name}.conv1", inp, out)
        norm(f"{name}.norm2", out)
        conv(f"{name}.conv2", out, out)
        if inp != out:
            conv(f"{name}.nin_shortcut", inp, out, 1)

    widths = [base * m for m in multipliers]
    levels = len(widths)
    conv("encoder.conv_in", 3, base)
    current = base
    for level, width in enumerate(widths):
        for i in range(2):
            block(f"encoder.down.{level}.block.{i}", current, width)
            current = width
        if level < levels - 1:
            conv(f"encoder.down.{level}.downsample.conv", width, width)
    for side, last, out in (("encoder", widths[-1], bits), ("decoder", widths[0], 3)):
        block(f"{side}.mid.block_1", widths[-1], widths[-1])
        block(f"{side}.mid.block_2", widths[-1], widths[-1])
        norm(f"{side}.norm_out", last)
        conv(f"{side}.conv_out", last, out)
    conv("decoder.conv_in", bits, widths[-1])
    current = widths[-1]
    for level in reversed(range(levels)):
        for i in range(3):
            block(f"decoder.up.{level}.block.{i}", current, widths[level])
            current = widths[level]
        if level:
            conv(f"decoder.up.{level}.upsample.conv", current, current)
    return keys


def listed_keys(path: Path) -> Shapes:
    """Names and shapes of a reference set's key list (a Markdown table)."""
    rows = re.findall(r"^\| (\S+) \| (\[.*?\]) \|", path.read_text(), flags=re.MULTILINE)
    return {name: tuple(json.loads(shape)) for name, shape in rows}


def hollow_pickle(path: Path, shapes: Mapping[str, tuple[int, ...]], *nest: str) -> Path:
    """A ``.pth`` of full-size tensors, each of which stores a single zero."""
    content: Any = {
        name: torch.zeros(1, dtype=torch.int64 if name.endswith("mask") else torch.float32).expand(
            shape
        )
        for name, shape in shapes.items()
    }
    for key in reversed(nest):
        content = {key: content}
    torch.save(content, path)
    return path


def hollow_safetensors(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Path:
    """A sparse ``.safetensors`` of full-size tensors of one byte, all of them holes."""
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + torch.Size(shape).numel()
        header[name] = {"dtype": "F8_E4M3", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return path


def hollow_shards(folder: Path, shapes: Mapping[str, tuple[int, ...]], count: int) -> Path:
    """Sparse shards and their index; returns the index."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(shapes)
    weight_map = {}
    for n in range(count):
        file = f"model-{n + 1:05d}-of-{count:05d}.safetensors"
        part = names[n * len(names) // count : (n + 1) * len(names) // count]
        hollow_safetensors(folder / file, {name: shapes[name] for name in part})
        weight_map |= dict.fromkeys(part, file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index
