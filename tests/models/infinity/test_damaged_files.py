"""Damaged, hostile and foreign weights files are refused by name, and nothing in them runs."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.helpers.weights_files import load_into, state, tokenizer, transformer
from varbench.errors import CheckpointError
from varbench.models.weights.tensor_files import read_tensors


def test_integers_are_no_weights(tmp_path: Path) -> None:
    tensors = state(transformer())
    tensors["head.bias"] = torch.zeros(8, dtype=torch.uint8)
    save_file(tensors, tmp_path / "w.safetensors")
    for source in (tensors, read_tensors(tmp_path / "w.safetensors")):
        with pytest.raises(CheckpointError, match=r"head\.bias of type torch\.uint8"):
            load_into(transformer(), source)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.6, 0.999])
@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_truncated_files(tmp_path: Path, kind: str, share: float) -> None:
    path = tmp_path / f"w.{kind}"
    if kind == "pth":
        torch.save(state(transformer()), path)
    else:
        save_file(state(transformer()), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError, match=f"w.{kind}"):
        read_tensors(path)


def test_flipped_byte_in_the_header(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(state(transformer()), path)
    data = bytearray(path.read_bytes())
    data[20] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(CheckpointError):
        read_tensors(path)


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("how", ["zip", "legacy", "raw", "in_state"])
def test_malicious_pickle_does_not_run(tmp_path: Path, how: str) -> None:
    path, target = tmp_path / "w.pth", tmp_path / "owned"
    payload = Payload(target)
    if how == "zip":
        torch.save(payload, path)
    elif how == "legacy":
        torch.save(payload, path, _use_new_zipfile_serialization=False)
    elif how == "raw":
        path.write_bytes(pickle.dumps(payload))
    else:
        torch.save({"vae": state(tokenizer()) | {"x": payload}}, path)
    with pytest.raises(CheckpointError):
        read_tensors(path)
    assert not target.exists()
    torch.load(path, weights_only=False) if how != "raw" else pickle.loads(path.read_bytes())
    assert target.exists(), "the payload would not have worked anyway"


def test_wrong_file_types(tmp_path: Path) -> None:
    for name in ("w.pth", "w.pt", "w.bin", "w.safetensors"):
        (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
        with pytest.raises(CheckpointError, match=name):
            read_tensors(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
        archive.writestr("hello", "there")
    with pytest.raises(CheckpointError):
        read_tensors(tmp_path / "zip.pth")
    save_file({"a": torch.zeros(2)}, tmp_path / "renamed.pth")
    with pytest.raises(CheckpointError):
        read_tensors(tmp_path / "renamed.pth")


def test_no_such_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing.pth"):
        with pytest.raises(CheckpointError, match="no weights file"):
            read_tensors(path)


@pytest.mark.parametrize(
    "content", [{}, {"vae": {}}, {"vae": torch.zeros(2)}, torch.zeros(2), [1], None], ids=repr
)
def test_files_without_a_state_dict(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="no state dict"):
        read_tensors(tmp_path / "w.pth")


def test_values_that_are_not_tensors_are_named(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1), "step": 3}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="not tensors: step"):
        read_tensors(tmp_path / "w.pth")
