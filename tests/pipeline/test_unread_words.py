"""Prompts that a text encoder cannot read: warned of once, recorded, refused if they are most."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from tests.helpers.cli import small_groups, varbench
from tests.helpers.infinity_text_folder import write_text_folder
from varbench.conf.schema import ModelConfig
from varbench.data.concept_files import load_concept
from varbench.data.groups import GROUPS
from varbench.data.prompt import Prompt, prompt_id
from varbench.errors import UserError
from varbench.models.infinity.text import T5Source, TextEncoder
from varbench.models.text.cache import CachedTextEncoder
from varbench.models.text.encoders import PromptFeatures
from varbench.pipeline import compatibility
from varbench.pipeline.compatibility import check_read, unread_words
from varbench.store import Stage, Store
from varbench.utils.files import packaged

UNREAD = {
    "裸体": 1,
    "{red} cat": 1,
    "a zebra": 1,
    "cat </s> dog": 1,
    "a <pad> <unk> cat": 2,
    "🍆": 1,
}
READ = ["a cat", "the red hat on a cup", ""]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text_folder(tmp_path_factory.mktemp("text") / "flan-t5-xl")


def test_unread_tokens_are_warned_of_once_and_recorded(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = TextEncoder.from_folder(folder, 512, torch.device("cpu"))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            encoder.encode([*UNREAD, *READ])
    assert encoder.truncated == UNREAD
    assert len(caplog.records) == len(UNREAD)
    for prompt, record in zip(UNREAD, caplog.records, strict=True):
        assert repr(prompt) in record.getMessage() and "cannot read" in record.getMessage()


def test_features_in_a_store_keep_the_count(folder: Path, tmp_path: Path) -> None:
    source = T5Source((folder,), "f", torch.device("cpu"), 512)
    CachedTextEncoder(source, Store(tmp_path)).encode(["{red} cat"])
    again = CachedTextEncoder(source, Store(tmp_path))
    again.encode(["{red} cat", "a cat"])
    assert again.truncated == {"{red} cat": 1}
    assert {e.meta["unread"] for e in Store(tmp_path).entries(Stage.TEXT)} == {0, 1}


def test_a_cut_prompt_counts_what_is_cut_and_what_is_unread(folder: Path) -> None:
    encoder = TextEncoder.from_folder(folder, 4, torch.device("cpu"))
    encoder.encode(["zebra a cat on the mat"])  # room for three tokens and the end
    features: PromptFeatures = encoder.features("zebra a cat on the mat")
    assert features.lost > 0 and features.unread == 1
    assert encoder.truncated == {"zebra a cat on the mat": features.lost + 1}


def prompts(*texts: str) -> list[Prompt]:
    return [Prompt(text, prompt_id(text), {}) for text in texts]


@pytest.mark.parametrize("group", [*GROUPS, "coco"])
def test_a_group_that_is_mostly_unread_is_refused(
    group: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compatibility, "_tokenizer_file", lambda _: folder / "tokenizer.json")
    model = ModelConfig("released")
    groups = {"fine": prompts("a cat"), group: prompts("裸体", "穿衣服的人", "a cat")}
    with pytest.raises(
        UserError, match=f"of released cannot read '裸体' and most of group '{group}'"
    ):
        check_read(model, groups, "own")
    few = {group: prompts("裸体", "a cat", "a dog", "a red cat with {")}
    (warning,) = check_read(model, few, "own")
    assert (
        "released cannot read '裸体'" in warning and f"of 4 prompts of group {group!r}" in warning
    )
    check_read(model, {group: prompts("the red cat on a {mat}")}, "own")  # most tokens are read


def test_a_prompt_of_which_nothing_is_left_is_unread(folder: Path) -> None:
    assert unread_words(folder / "tokenizer.json", " ") == ((), 1.0)
    assert unread_words(folder / "tokenizer.json", "a cat") == ((), 0.0)


def own_concept(folder: Path, group: str, text: str) -> Path:
    """face-ada with these prompts in one group."""
    concept = (packaged("conf/concept") / "face-ada.yaml").read_text(encoding="utf-8")
    start = concept.index(f"  {group}:")
    rest = concept[start:].split("\n")
    end = next(i for i, line in enumerate(rest) if i and not line.startswith("    "))
    lines = [f"  {group}: [{{set: own.csv}}]", *rest[end:]]
    path = folder / "concept.yaml"
    path.write_text(concept[:start].replace("face-ada", "own-ada") + "\n".join(lines))
    (folder / "own.csv").write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("group", ["target", "unrelated"])
def test_the_gallery_refuses_any_group_of_words_that_it_does_not_know(
    group: str, tmp_path: Path
) -> None:
    start = "ada and " if group == "target" else ""
    texts = ("a zebra in the zoo", "a giraffe under an oak", "三只小猫", "{curly} braces")
    concept = own_concept(tmp_path, group, "prompt\n" + "".join(f"{start}{t}\n" for t in texts))
    options = ("--concept", concept, "--no-probe", "--store", tmp_path / "s", "suite.split=all")
    done = varbench("plan", "--method", "svare", *options)
    assert done.exit_code == 2, done.output
    assert "does not know 'zebra', 'zoo'" in done.stderr and f"group '{group}'" in done.stderr


def test_single_words_that_the_gallery_does_not_know_are_warned_of_once(tmp_path: Path) -> None:
    texts = ("a zebra in a room", "a clock in a room", "a red car", "a tree 🦓")
    concept = own_concept(tmp_path, "unrelated", "prompt\n" + "".join(f"{t}\n" for t in texts))
    options = ("--concept", concept, "--no-probe", "--store", tmp_path / "s", "suite.split=all")
    done = varbench("plan", "--method", "svare", *options, *small_groups(0, 1))
    assert done.exit_code == 0, done.output
    warnings = [line for line in done.stderr.splitlines() if "cannot read" in line]
    assert warnings == [
        "warning: gallery cannot read 'zebra', '🦓' in 2 of 4 prompts of group 'unrelated': "
        "all such words look alike to it"
    ]


@pytest.mark.parametrize("name", ["face-ada", "style-volta-kern", "bare-mannequin", "clock"])
def test_the_gallery_knows_all_words_of_its_own_prompts(name: str) -> None:
    concept = load_concept(name)
    groups = {group: concept.group(group) for group in GROUPS}
    assert not check_read(ModelConfig("gallery"), groups, name)
