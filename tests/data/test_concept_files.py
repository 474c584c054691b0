"""Concept files of users: they work like the packaged ones, or are refused with line and fix."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from varbench.data import concept as concepts_module
from varbench.data.concept import Judge
from varbench.data.concept_files import ConceptError, load_concept
from varbench.data.selection import Selection
from varbench.errors import UserError

MINE = """\
name: mine
family: style
words: [neon, volta kern]
synonyms: [glowing lights]
replacement: [sepia, mosaic]
neighbours: [sepia, poster]
judge: {name: gallery, head: style, label: neon}
prompts:
  target:
    - {set: gallery-objects, where: {style: [neon]}}
  neighbours:
    - set: gallery-objects
      where: {style: [sepia, poster]}
  unrelated:
    - {set: gallery-faces, where_not: {style: [neon]}, limit: 40}
pairs:
  count: 12
  seed: 5
  templates: ["{thing} {concept} {place}", "an image of {thing} {place} {concept}"]
  slots:
    thing: [a car, a boat]
    place: ["", in the snow, on the beach]
  concept: [in neon, by volta kern]
  neutral: ["in {replacement}"]
  retain: [in sepia, in poster style]
"""


def _mine(folder: Path, text: str = MINE) -> Path:
    path = folder / "any-file-name.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def _path_of(name: str) -> Path:
    return Path(concepts_module.__file__).parents[1] / "conf" / "concept" / f"{name}.yaml"


def test_a_users_file_works_like_a_packaged_one(tmp_path: Path) -> None:
    mine = load_concept(_mine(tmp_path))
    assert mine.judge == Judge("gallery", "style", "neon")
    assert mine.synonyms == ("glowing lights",)
    assert mine.prompts["unrelated"] == (Selection("gallery-faces", {}, {"style": ("neon",)}, 40),)
    assert len(mine.pairs()) == 12 and len(mine.group("unrelated")) == 40
    assert {pair.neutral.split()[-1] for pair in mine.pairs()} > {"sepia", "mosaic"}
    assert load_concept(str(tmp_path / "any-file-name.yaml")) == mine
    again = pickle.loads(pickle.dumps(mine))
    assert again == mine and again.digest() == mine.digest() and hash(mine) == hash(again)
    with pytest.raises(ValueError, match=r"unknown prompt group 'targets': did you mean 'target'"):
        mine.group("targets")  # type: ignore[arg-type]


def test_the_digest_covers_content_and_not_layout(tmp_path: Path) -> None:
    digest = load_concept(_mine(tmp_path)).digest()
    document = yaml.safe_load(MINE)
    reordered = yaml.safe_dump(document, sort_keys=True)
    assert load_concept(_mine(tmp_path, "# why\n" + reordered)).digest() == digest
    for old, new in (("seed: 5", "seed: 6"), ("limit: 40", "limit: 41"),
                     ("[sepia, p", "[ sepia, p"),
                     ("a boat]", "a ship]"), ("name: mine", "name: ours")):  # fmt: skip
        changed = load_concept(_mine(tmp_path, MINE.replace(old, new))).digest()
        assert (changed == digest) == (new.startswith("[ ")), new


def test_an_edit_depends_on_what_methods_read_and_not_on_the_test(tmp_path: Path) -> None:
    digest = load_concept(_mine(tmp_path)).training_digest()
    for old, new, tested_only in (("limit: 40", "limit: 41", True), ("seed: 5", "seed: 6", False),
                                  ("a boat]", "a ship]", False)):  # fmt: skip
        changed = load_concept(_mine(tmp_path, MINE.replace(old, new))).training_digest()
        assert (changed == digest) == tested_only, new


def test_a_users_prompts_lie_beside_the_concept_and_need_no_labels(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("prompt\na neon car\na plain car\na wide street\n")
    text = MINE.replace("{set: gallery-faces, where_not: {style: [neon]}, limit: 40}",
                        "{set: own.csv}")  # fmt: skip
    mine = load_concept(_mine(tmp_path, text))
    assert [prompt.text for prompt in mine.group("unrelated")] == ["a plain car", "a wide street"]
    (tmp_path / "own.csv").write_text("prompt\na car in neon\n")
    with pytest.raises(ConceptError, match=r"yaml:15: every prompt .* shows the concept"):
        load_concept(_mine(tmp_path, text))
    (tmp_path / "own.csv").write_text("prompts\na plain car\n")
    with pytest.raises(ConceptError, match=r"yaml:15: .*own\.csv:1: no column 'prompt'"):
        load_concept(_mine(tmp_path, text))


def test_a_changed_copy_needs_a_name_of_its_own(tmp_path: Path) -> None:
    text = _path_of("church").read_text(encoding="utf-8")
    assert load_concept(_mine(tmp_path, text)) == load_concept("church")
    with pytest.raises(ConceptError, match=r"yaml:3: 'church' is a packaged concept"):
        load_concept(_mine(tmp_path, text.replace("seed: 1", "seed: 2")))


MALFORMED = {  # what is replaced, by what, the line complained about, and part of the fix
    "unknown key": ("synonyms:", "synonymes:", 4, "did you mean 'synonyms'?"),
    "unknown key below": ("label: neon", "lable: neon", 7, "did you mean 'label'?"),
    "missing key": ("synonyms: [glowing lights]\n", "", 1, "'synonyms' is missing"),
    "missing key below": ("  count: 12\n", "", 17, "'count' is missing"),
    "key twice": ("synonyms: [", "words: [", 4, "'words' appears twice"),
    "list instead of text": ("name: mine", "name: [mine]", 1, "must be a text, not a list"),
    "text instead of list": ("[neon, volta kern]", "neon", 3, "must be a list"),
    "text instead of keys": ("judge: {name: gallery, head: style, label: neon}", "judge: me", 7,
                             "must be a block of keys, not a text"),
    "empty value": ("family: style", "family:", 2, "give it a text"),
    "empty list": ("[neon, volta kern]", "[]", 3, "at least one item"),
    "empty item": ("[neon, volta kern]", "[neon, '']", 3, "give it a text"),
    "same item twice": ("[neon, volta kern]", "[neon, neon]", 3, "'neon' twice"),
    "bad name": ("name: mine", "name: mine+yours", 1, "lower-case letters"),
    "unknown family": ("family: style", "family: styles", 2, "did you mean 'style'?"),
    "unknown set": ("set: gallery-faces", "set: gallery-face", 15, "did you mean 'gallery-faces'?"),
    "missing file": ("set: gallery-faces", "set: nowhere.csv", 15, "check the path"),
    "unknown column": ("where: {style: [sepia", "where: {styl: [sepia", 13,
                       "did you mean 'style'?"),
    "unknown label": ("where: {style: [sepia", "where: {style: [sepai", 13,
                      "did you mean 'sepia'?"),
    "nothing selected": ("where_not: {style: [neon]}", "where: {object: ['']}, where_not: "
                         "{object: ['']}", 15, "drop one of them"),
    "bad limit": ("limit: 40", "limit: many", 15, "whole number from 1"),
    "no limit": ("limit: 40", "limit: 0", 15, "whole number from 1"),
    "unknown neighbour": ("neighbours: [sepia, poster]", "neighbours: [sepia, postr]", 6,
                          "did you mean 'poster'?"),
    "neighbour is the concept": ("neighbours: [sepia, poster]", "neighbours: [sepia, neon]", 6,
                                 "delete it from 'neighbours'"),
    "neighbour untested": ("neighbours: [sepia, poster]", "neighbours: [sepia, poster, mosaic]", 6,
                           "select some, or delete it"),
    "unknown judge label": ("label: neon}", "label: neno}", 7, "did you mean 'neon'?"),
    "near-miss head": ("head: style", "head: styles", 7, "did you mean 'style'?"),
    "target of others": ("where: {style: [neon]}}", "where: {style: [neon, sepia]}}", 10,
                         "add where: {style: [neon]}"),
    "neighbours of others": ("where: {style: [sepia, poster]}", "where_not: {style: [neon]}", 12,
                             "add where: {style: [sepia, poster]}"),
    "selected twice": ("set: gallery-faces, ", "set: gallery-objects, ", 15, "is selected twice"),
    "group of the concept": ("where_not: {style: [neon]}, limit: 40", "where: {style: [neon]}", 15,
                             "is for others"),
    "replacement says it": ("[sepia, mosaic]", "[sepia, glowing lights]", 5, "something else"),
    "neutral says it": ('neutral: ["in', 'neutral: ["neon', 24, "still says 'neon'"),
    "slot says it": ("[a car, a boat]", "[a car, a neon boat]", 21, "still says 'neon'"),
    "neutral says it over a seam": ('neutral: ["in {replacement}"]', 'neutral: ["kern"]', 24,
                                    "still says 'volta kern'"),
    "equal sides": ("concept: [in neon, by volta kern]\n  neutral: [\"in {replacement}\"]",
                    "concept: [at night, by volta kern]\n  neutral: [at night, plain]", 24,
                    "contains its concept phrase"),
    "too few neutral phrases": ('["in {replacement}"]', "[plainly, simply, barely]", 24,
                                "one for each"),
    "unknown slot": ('"{thing} {concept} {place}"', '"{thng} {concept} {place}"', 19,
                     "did you mean 'thing'?"),
    "no concept slot": ('"{thing} {concept} {place}"', '"{thing} {place}"', 19, "once; add it"),
    "bad braces": ('"{thing} {concept} {place}"', '"{thing {concept}"', 19, "no other braces"),
    "attribute slot": ('"{thing} {concept} {place}"', '"{thing.a} {concept}"', 19,
                       "no other braces"),
    "unused slot": ("    place:", "    time: [now]\n    place:", 22, "never used"),
    "reserved slot": ("    place:", "    concept: [now]\n    place:", 22, "rename it"),
    "nested slot": ("[a car, a boat]", "[a car, 'a {place}']", 21, "write it out"),
    "too few pairs": ("count: 12", "count: 200", 17, "pairs can be made, not 200"),
    "bad count": ("count: 12", "count: 1e3", 17, "whole number"),
    "bad YAML": ("words: [neon", "words: [neon: [", 3, "fix that line"),
    "control character": ("name: mine", "name: mi\x07ne", 1, "delete it"),
    "two documents": ("words:", "---\nwords:", 3, "fix that line"),
    "impossible escape": ("name: mine", 'name: "\\UFFFFFFFF"', 1, "not valid YAML"),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_file_is_refused_with_line_and_fix(case: str, tmp_path: Path) -> None:
    old, new, line, fix = MALFORMED[case]
    assert MINE.count(old) == 1
    path = _mine(tmp_path, MINE.replace(old, new))
    if case == "neutral says it over a seam":
        path = _mine(tmp_path, path.read_text().replace("[a car, a boat]", "[a car, by volta]"))
    with pytest.raises(ConceptError) as caught:
        load_concept(path)
    assert str(caught.value).startswith(f"{path}:{line}: "), caught.value
    assert fix in str(caught.value)
    assert isinstance(caught.value, UserError)


def test_files_that_are_no_concepts_are_refused(tmp_path: Path) -> None:
    for data, line in ((b"", 1), (b"# nothing\n", 1), (b"[" * 5000, 1), (b"a: 1\nb: \xe9\n", 2),
                       (b"&a [*a]", 1), (b"- a\n- b\n", 1)):  # fmt: skip
        path = tmp_path / "bad.yaml"
        path.write_bytes(data)
        with pytest.raises(ConceptError, match=f"bad.yaml:{line}: "):
            load_concept(path)
    for name in (tmp_path / "none.yaml", "a\0b.yaml", tmp_path):
        with pytest.raises(ConceptError, match="check the path"):
            load_concept(name)
    with pytest.raises(ConceptError, match=r"did you mean 'face-ada'\?"):
        load_concept("face-adda")


LINES = MINE.splitlines()
JUNK = st.text("ab{}[]:,-&*!|>%@\"'#\n\t \\\u00e9\u2028\x00", max_size=6)


@given(st.integers(0, len(MINE)), st.integers(0, 12), JUNK, st.permutations(range(len(LINES))),
       st.booleans())  # fmt: skip
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_text_loads_or_is_refused_with_the_documented_error(
    tmp_path: Path, start: int, cut: int, junk: str, order: list[int], shuffle: bool
) -> None:
    lines = "\n".join(LINES[i] for i in order) if shuffle else MINE
    path = _mine(tmp_path, lines[:start] + junk + lines[start + cut :])
    try:
        mine = load_concept(path)
    except ConceptError as error:
        assert str(error).startswith(f"{path}:")
    else:
        assert len(mine.pairs()) == mine.recipe.count and all(map(mine.group, mine.prompts))
