"""Concepts: the packaged ones test what they say, and a malformed file is refused with its line."""

from __future__ import annotations

import dataclasses
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from varbench import concepts as concepts_module
from varbench.concepts import (
    FAMILIES,
    Concept,
    Pair,
    Selection,
    list_concepts,
    load_concept,
)
from varbench.models.gallery import vocabulary
from varbench.pairs import PairRecipe, make_pairs, make_retained, placeholders
from varbench.prompts import list_prompt_sets, load_prompt_set
from varbench.selection import choose, spread
from varbench.wording import normalise, says

PACKAGED = [
    "bare-mannequin", "church", "clock", "face-ada", "face-hugo", "style-marlo-tessera",
    "style-volta-kern", "umbrella",
]  # fmt: skip
IMPLIED_UNTRAINED = ("after everything was sold off it", "just as the carpenter made it")


@pytest.fixture(scope="module", params=PACKAGED)
def concept(request: pytest.FixtureRequest) -> Concept:
    return load_concept(str(request.param))


# --- the packaged concepts


def test_every_packaged_concept_is_listed_under_its_name() -> None:
    assert list_concepts() == PACKAGED
    loaded = [load_concept(name) for name in PACKAGED]
    assert [one.name for one in loaded] == PACKAGED
    assert {one.family for one in loaded} == set(FAMILIES)
    assert len({one.digest() for one in loaded}) == len(loaded)


def test_fifty_distinct_pairs_say_the_concept_on_one_side(concept: Concept) -> None:
    pairs = concept.pairs()
    assert len(pairs) == 50 == len({normalise(pair.concept) for pair in pairs})
    assert len(set(pairs)) == 50 and pairs == concept.pairs()
    words = (*concept.words, *concept.synonyms)
    for pair in pairs:
        assert not any(says(pair.neutral, word) for word in words), pair
        assert normalise(pair.concept) not in normalise(pair.neutral)
        for side in (pair.concept, pair.neutral):
            assert set(side.split()) <= set(vocabulary()), side
            assert 3 <= len(side.split()) <= 18 and side == " ".join(side.split())
    unsaid = [pair for pair in pairs if not any(says(pair.concept, word) for word in words)]
    assert bool(unsaid) == (concept.family == "nudity")  # implied wordings


def test_pairs_use_phrases_and_replacements_equally(concept: Concept) -> None:
    pairs = concept.pairs()
    shares = [sum(says(p.neutral, name) for p in pairs) for name in concept.replacement]
    assert not shares or max(shares) - min(shares) <= 2, shares
    places = Counter(
        place for p in pairs for place in concept.recipe.slots["place"] if says(p.concept, place)
    )
    assert min(places.values()) >= 4 and len(places) == len(concept.recipe.slots["place"])


def test_no_pair_is_an_evaluation_prompt_of_any_set(concept: Concept) -> None:
    seen = {normalise(side) for pair in concept.pairs() for side in dataclasses.astuple(pair)}
    for name in list_prompt_sets():
        assert not seen & {normalise(prompt.text) for prompt in load_prompt_set(name).prompts}


def test_groups_are_large_disjoint_and_show_what_they_should(concept: Concept) -> None:
    head, erased = concept.judge.head, concept.judge.label
    groups = {name: concept.group(name) for name in concept.prompts}
    assert len(groups["target"]) >= 100
    assert len(groups["neighbours"]) >= 250 and len(groups["unrelated"]) >= 250
    ids = [prompt.id for group in groups.values() for prompt in group]
    assert len(ids) == len(set(ids))
    words = (*concept.words, *concept.synonyms)
    for prompt in groups["target"]:
        assert prompt.labels[head] == erased and concept.shown_by(prompt)
        assert prompt.labels.get("implied") or any(says(prompt.text, word) for word in words)
    for prompt in groups["neighbours"] + groups["unrelated"]:
        assert prompt.labels[head] != erased and not concept.shown_by(prompt)
        assert not any(says(prompt.text, word) for word in words)
    near = Counter(prompt.labels[head] for prompt in groups["neighbours"])
    assert set(near) == set(concept.neighbours)
    assert max(near.values()) <= 1.2 * min(near.values())


def test_the_nearest_face_is_a_neighbour_that_training_never_uses() -> None:
    ada = load_concept("face-ada")
    assert "clara" in ada.neighbours and "clara" not in ada.replacement
    assert not any(says(pair.neutral, "clara") for pair in ada.pairs())
    others = {p.labels["identity"] for p in ada.group("unrelated")} - {""}
    assert others == set(ada.neighbours)


def test_two_implied_wordings_are_kept_for_evaluation() -> None:
    bare = load_concept("bare-mannequin")
    tested = Counter(prompt.labels.get("implied") for prompt in bare.group("target"))
    assert len(set(tested) - {None, ""}) == 6
    for wording in IMPLIED_UNTRAINED:
        assert tested[wording] >= 8
        assert not any(says(pair.concept, wording) for pair in bare.pairs())


# --- the parts


def test_pairs_avoid_excluded_texts_on_both_sides() -> None:
    places = {"place": ("", "now")}
    recipe = PairRecipe(4, 0, ("{concept} {place}",), places, ("a", "b"), ("c",), ("d",))
    made = make_pairs(recipe, ())
    assert {pair.concept for pair in made} == {"a", "b", "a now", "b now"}
    assert Pair("a now", "c now") in made
    assert {p.concept for p in make_pairs(recipe, (), {"a"})} == {"b", "a now", "b now"}
    assert {p.concept for p in make_pairs(recipe, (), {"c"})} == {"a now", "b now"}
    assert sorted(make_retained(recipe)) == ["d", "d now"]
    assert make_retained(recipe, {"d now"}) == ["d"]
    assert placeholders("{a} b {c}") == ["a", "c"]


def test_a_smaller_part_is_balanced_stable_and_in_order() -> None:
    prompts = load_prompt_set("gallery-faces").prompts
    some = spread(prompts, 41, "identity")
    assert sorted(Counter(p.labels["identity"] for p in some).values()) == [5] * 7 + [6]
    assert [p for p in prompts if p in some] == some
    mixed = random.Random(1).sample(prompts, len(prompts))
    assert {p.id for p in spread(mixed, 41, "identity")} == {p.id for p in some}
    assert {p.id for p in spread(prompts, 20, "identity")} < {p.id for p in some}
    assert spread(prompts, None, "identity") == list(prompts)
    assert max(Counter(p.labels["identity"] for p in spread(prompts, 16, "x")).values()) == 2
    faces = load_prompt_set("gallery-faces")
    skipped = frozenset(p.id for p in prompts if p.labels["identity"] == "ada")
    assert len(choose(Selection("gallery-faces", limit=14), faces, "identity", skipped)) == 14


def test_pairs_and_digest_are_the_same_in_another_process() -> None:
    code = "from varbench.concepts import load_concept; print(load_concept('church').digest())"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(concepts_module.__file__).parents[1], capture_output=True, text=True, check=True,
        env={"PYTHONHASHSEED": "77"},
    )  # fmt: skip
    assert run.stdout.strip() == load_concept("church").digest()
