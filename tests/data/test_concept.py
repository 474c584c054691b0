"""Concepts: the packaged ones test what they say, and a malformed file is refused with its line."""

from __future__ import annotations

import dataclasses
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tools.gallery.captions import vocabulary
from varbench.data import concept as concepts_module
from varbench.data.concept import FAMILIES, Concept
from varbench.data.concept_files import list_concepts, load_concept
from varbench.data.prompt_sets import list_prompt_sets, load_prompt_set
from varbench.data.selection import Selection, choose, split_of, stratified_subset
from varbench.data.training_pairs import (
    Pair,
    PairRecipe,
    placeholders,
)
from varbench.metrics.nudity_protocols import PROTOCOLS
from varbench.scoring.registry import judge_spec
from varbench.utils.text import mentions, normalise

GALLERY = [
    "bare-mannequin", "church", "clock", "face-ada", "face-hugo", "style-marlo-tessera",
    "style-volta-kern", "umbrella",
]  # fmt: skip
REAL = ["celebrity-albert-einstein", "imagenet-church", "nudity", "style-van-gogh"]
PACKAGED = sorted(GALLERY + REAL)
IMPLIED_UNTRAINED = ("after everything was sold off it", "just as the carpenter made it")


@pytest.fixture(scope="module", params=PACKAGED)
def concept(request: pytest.FixtureRequest) -> Concept:
    return load_concept(str(request.param))


@pytest.fixture(scope="module", params=GALLERY)
def gallerys(request: pytest.FixtureRequest) -> Concept:
    return load_concept(str(request.param))


@pytest.fixture(scope="module", params=REAL)
def real(request: pytest.FixtureRequest) -> Concept:
    return load_concept(str(request.param))


# --- the packaged concepts


def test_every_packaged_concept_is_listed_under_its_name() -> None:
    assert list_concepts() == PACKAGED
    loaded = [load_concept(name) for name in PACKAGED]
    assert [concept.name for concept in loaded] == PACKAGED
    for names in (GALLERY, REAL):
        assert {concept.family for concept in loaded if concept.name in names} == set(FAMILIES)
    assert len({concept.digest() for concept in loaded}) == len(loaded)


def test_fifty_distinct_pairs_say_the_concept_on_one_side(concept: Concept) -> None:
    pairs = concept.pairs()
    assert len(pairs) == 50 == len({normalise(pair.concept) for pair in pairs})
    assert len(set(pairs)) == 50 and pairs == concept.pairs()
    words = (*concept.words, *concept.synonyms)
    for pair in pairs:
        assert not any(mentions(pair.neutral, word) for word in words), pair
        assert normalise(pair.concept) not in normalise(pair.neutral)
    unsaid = [pair for pair in pairs if not any(mentions(pair.concept, word) for word in words)]
    assert bool(unsaid) == (concept.name == "bare-mannequin")  # implied wordings


def test_pairs_of_the_gallery_are_in_its_words(gallerys: Concept) -> None:
    for pair in gallerys.pairs():
        for side in (pair.concept, pair.neutral):
            assert set(side.split()) <= set(vocabulary()), side
            assert 3 <= len(side.split()) <= 18 and side == " ".join(side.split())


def test_pairs_use_phrases_and_replacements_equally(concept: Concept) -> None:
    pairs = concept.pairs()
    assert isinstance(concept.recipe, PairRecipe)
    shares = [sum(mentions(p.neutral, name) for p in pairs) for name in concept.replacement]
    assert not shares or max(shares) - min(shares) <= 2, shares
    places = Counter(
        place
        for p in pairs
        for place in concept.recipe.slots["place"]
        if mentions(p.concept, place)
    )
    assert min(places.values()) >= 4 and len(places) == len(concept.recipe.slots["place"])


def test_no_pair_is_an_evaluation_prompt_of_any_set(concept: Concept) -> None:
    seen = {normalise(side) for pair in concept.pairs() for side in dataclasses.astuple(pair)}
    for name in list_prompt_sets():
        assert not seen & {normalise(prompt.text) for prompt in load_prompt_set(name).prompts}


def test_what_training_retains_of_real_models_is_in_no_set(real: Concept) -> None:
    """Else concepts that are erased together would practise each other's tests."""
    retained = {normalise(text) for text in real.retain_prompts()}
    assert len(retained) == 50
    for name in list_prompt_sets():
        assert not retained & {normalise(prompt.text) for prompt in load_prompt_set(name).prompts}


def test_groups_of_real_concepts_are_whole_and_show_what_they_should(real: Concept) -> None:
    groups = {name: real.group(name) for name in real.prompts}
    ids = [prompt.id for group in groups.values() for prompt in group]
    assert len(ids) == len(set(ids))
    words = (*real.words, *real.synonyms)
    for prompt in groups["target"]:
        assert any(mentions(prompt.text, word) for word in words)
    for prompt in groups.get("implicit", []):
        assert not any(mentions(prompt.text, word) for word in words)
    for prompt in groups["neighbours"] + groups["unrelated"]:
        assert not real.depicts(prompt)
    if real.family != "nudity":  # its judge's protocols are no labels of prompts
        head, label = real.judge.head, real.judge.label
        assert {p.labels[head] for p in groups["target"]} == {label}
        assert {p.labels[head] for p in groups.get("implicit", [])} <= {label}
        assert {p.labels[head] for p in groups["neighbours"]} == set(real.neighbours)
    # Everything but the target's few prompts is in both splits; so is at least one of the target's.
    for name, group in groups.items():
        splits = Counter(split_of(prompt.id) for prompt in group)
        assert min(splits["test"], splits["tune"]) >= 1, name
        assert name == "target" or splits["test"] >= 10


def test_implicit_wordings_of_real_concepts_are_never_trained_on(real: Concept) -> None:
    implied = {"nudity": ("without clothes", "wearing nothing"),
               "imagenet-church": ("chapel", "house of worship")}.get(real.name, ())  # fmt: skip
    assert bool(implied) == bool(real.group("implicit"))
    for wording in implied:
        assert any(mentions(prompt.text, wording) for prompt in real.group("implicit"))
        assert not any(mentions(pair.concept, wording) for pair in real.pairs())


def test_real_concepts_have_a_judge_that_knows_their_label(real: Concept) -> None:
    assert judge_spec(real.judge.name).network_set == "standard"
    if real.judge.name != "nudenet":
        assert real.judge.label in real.labels(real.judge.head)
    else:
        assert real.judge.head in PROTOCOLS


def test_what_a_file_says_is_worked_out_once(
    gallerys: Concept, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = dataclasses.replace(gallerys)
    pairs, group, digest = fresh.pairs(), fresh.group("target"), fresh.digest()
    monkeypatch.setattr(PairRecipe, "pairs", None)
    monkeypatch.setattr(concepts_module, "choose", None)
    fresh.pairs().clear()
    fresh.group("target").clear()  # a caller's own copy
    assert (fresh.pairs(), fresh.group("target"), fresh.digest()) == (pairs, group, digest)
    assert pairs and group and digest == gallerys.digest()


def test_groups_are_large_disjoint_and_show_what_they_should(gallerys: Concept) -> None:
    concept = gallerys
    head, erased = concept.judge.head, concept.judge.label
    groups = {name: concept.group(name) for name in concept.prompts}
    assert len(groups["target"]) >= 100
    assert len(groups["neighbours"]) >= 250 and len(groups["unrelated"]) >= 250
    ids = [prompt.id for group in groups.values() for prompt in group]
    assert len(ids) == len(set(ids))
    words = (*concept.words, *concept.synonyms)
    for prompt in groups["target"]:
        assert prompt.labels[head] == erased and concept.depicts(prompt)
        assert prompt.labels.get("implied") or any(mentions(prompt.text, word) for word in words)
    for prompt in groups["neighbours"] + groups["unrelated"]:
        assert prompt.labels[head] != erased and not concept.depicts(prompt)
        assert not any(mentions(prompt.text, word) for word in words)
    near = Counter(prompt.labels[head] for prompt in groups["neighbours"])
    assert set(near) == set(concept.neighbours)
    assert max(near.values()) <= 1.2 * min(near.values())


def test_the_nearest_face_is_a_neighbour_that_training_never_uses() -> None:
    ada = load_concept("face-ada")
    assert "clara" in ada.neighbours and "clara" not in ada.replacement
    assert not any(mentions(pair.neutral, "clara") for pair in ada.pairs())
    others = {p.labels["identity"] for p in ada.group("unrelated")} - {""}
    assert others == set(ada.neighbours)


def test_two_implied_wordings_are_kept_for_evaluation() -> None:
    bare = load_concept("bare-mannequin")
    tested = Counter(prompt.labels.get("implied") for prompt in bare.group("target"))
    assert len(set(tested) - {None, ""}) == 6
    for wording in IMPLIED_UNTRAINED:
        assert tested[wording] >= 8
        assert not any(mentions(pair.concept, wording) for pair in bare.pairs())


# --- the parts


def test_pairs_avoid_excluded_texts_on_both_sides() -> None:
    places = {"place": ("", "now")}
    recipe = PairRecipe(4, 0, ("{concept} {place}",), ("a", "b"), ("c",), ("d",), places)
    made = recipe.pairs(())
    assert {pair.concept for pair in made} == {"a", "b", "a now", "b now"}
    assert Pair("a now", "c now") in made
    assert {p.concept for p in recipe.pairs({"a"})} == {"b", "a now", "b now"}
    assert {p.concept for p in recipe.pairs({"c"})} == {"a now", "b now"}
    assert sorted(recipe.retain_prompts(())) == ["d", "d now"]
    assert recipe.retain_prompts({"d now"}) == ["d"]
    assert placeholders("{a} b {c}") == ["a", "c"]


def test_a_smaller_part_is_balanced_stable_and_in_order() -> None:
    prompts = load_prompt_set("gallery-faces").prompts
    subset = stratified_subset(prompts, 41, "identity")
    assert sorted(Counter(p.labels["identity"] for p in subset).values()) == [5] * 7 + [6]
    assert [p for p in prompts if p in subset] == subset
    mixed = random.Random(1).sample(prompts, len(prompts))
    assert {p.id for p in stratified_subset(mixed, 41, "identity")} == {p.id for p in subset}
    assert {p.id for p in stratified_subset(prompts, 20, "identity")} < {p.id for p in subset}
    assert stratified_subset(prompts, None, "identity") == list(prompts)
    assert (
        max(Counter(p.labels["identity"] for p in stratified_subset(prompts, 16, "x")).values())
        == 2
    )
    faces = load_prompt_set("gallery-faces")
    skipped = frozenset(p.id for p in prompts if p.labels["identity"] == "ada")
    assert len(choose(Selection("gallery-faces", limit=14), faces, "identity", skipped)) == 14


def test_pairs_and_digest_are_the_same_in_another_process() -> None:
    code = "from varbench.data import concept_files as f; print(f.load_concept('church').digest())"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(concepts_module.__file__).parents[2], capture_output=True, text=True, check=True,
        env={"PYTHONHASHSEED": "77"},
    )  # fmt: skip
    assert run.stdout.strip() == load_concept("church").digest()
