"""Pointers, pages and foreign pickles in the place of weights are named, never read unsafely."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.infinity_text_folder import write_text_folder
from varbench.errors import CheckpointError
from varbench.models.infinity.text import TextEncoder
from varbench.models.weights.locate import Part
from varbench.models.weights.released import Source
from varbench.models.weights.tensor_files import read_tensors
from varbench.scoring.scorers.imagenet import load_resnet
from varbench.scoring.scorers.images import reading

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 4400000000\n"
TEXTS = {
    POINTER: "a pointer of Git LFS",
    "<!DOCTYPE html><html><body>Not found</body></html>": "a page",
    "\ufeff\n <HTML><head></head></HTML>": "a page",
    '<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>': "a page",
}
FILES = ["a.pth", "a.safetensors", "a.bin", "a.safetensors.index.json"]


@pytest.mark.parametrize("text", TEXTS, ids=TEXTS.values())
@pytest.mark.parametrize("name", FILES)
def test_a_text_in_the_place_of_weights_is_named(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    kind = TEXTS[text]
    with pytest.raises(CheckpointError, match=f"{name} is {kind}, not weights; fetch it again"):
        read_tensors(path)
    part = Part(Source("a/b", "main", "", (name,)), tmp_path, local=True)
    if not name.endswith(".json"):  # which is read for the shards that it names
        with pytest.raises(CheckpointError, match=f"{name} is {kind}"):
            part.checksums()  # when a run is planned
    with pytest.raises(CheckpointError, match=f"{name} is not torchvision's .* {kind}"):
        load_resnet(path)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_pointer_in_a_text_encoders_folder_is_named(name: str, tmp_path: Path) -> None:
    folder = write_text_folder(tmp_path / "flan-t5-xl")
    (folder / name).write_text(POINTER)
    with pytest.raises(CheckpointError, match=f"{name} is a pointer of Git LFS"):
        TextEncoder.from_folder(folder, 512, torch.device("cpu"))


def test_the_advice_to_read_unsafely_is_not_passed_on(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"a": np.float64(1)}, path)
    for data in (path.read_bytes(), pickle.dumps(np.float64(1)), b"\x80\x02garbage", b"text"):
        path.write_bytes(data)
        with pytest.raises(CheckpointError) as refusal:
            read_tensors(path)
        with pytest.raises(CheckpointError) as other, reading(path, "a network"):
            torch.load(path, weights_only=True)
        for message in (str(refusal.value), str(other.value)):
            assert "weights_only" not in message and "safe_globals" not in message
            assert "a.pth" in message
