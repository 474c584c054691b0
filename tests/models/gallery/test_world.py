"""The Gallery: scenes, images and captions agree with one another and never change."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest

from tests.helpers.gallery_words import CONCEPT_WORDS
from tools.gallery.captions import caption, vocabulary
from tools.gallery.scenes import is_held_out, sample_scene
from varbench.models.gallery.world.render import render
from varbench.models.gallery.world.scene import (
    ARTISTS,
    BACKGROUNDS,
    COLOURED_OBJECTS,
    COLOURS,
    FACES,
    MANNEQUIN_STATES,
    OBJECTS,
    STYLES,
    Scene,
)


def _subjects() -> list[dict[str, str]]:
    people = [{"identity": name} for name in FACES]
    people += [{"mannequin": state} for state in MANNEQUIN_STATES]
    return [*people, *({"object": name} for name in OBJECTS)]


def _scenes(count: int, seed: int = 0, held_out: bool = False) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [sample_scene(rng, held_out=held_out) for _ in range(count)]


def _concepts(scene: Scene) -> list[str]:
    fixed = (scene.identity, scene.mannequin, scene.object, scene.colour, scene.background)
    concepts = [value for value in fixed if value is not None]
    return concepts if scene.style == "plain" else [*concepts, scene.style]


def test_an_image_depends_on_scene_and_seed_only() -> None:
    scene = Scene(identity="ada", object="car", colour="red", style="mosaic", background="snow")
    image = render(scene, 7)
    assert image.shape == (64, 64, 3) and image.dtype == np.uint8
    np.testing.assert_array_equal(image, render(scene, 7))
    assert (image != render(scene, 8)).any()


def test_every_subject_style_and_background_is_an_image_of_its_own() -> None:
    observed = set()
    for subject, style, background in itertools.product(_subjects(), STYLES, BACKGROUNDS):
        image = render(Scene(**subject, style=style, background=background), 3)
        assert image.std() > 15, (subject, style, background)
        observed.add(hashlib.sha256(image.tobytes()).digest())
    assert len(observed) == len(_subjects()) * len(STYLES) * len(BACKGROUNDS)


def test_every_composition_and_colour_renders() -> None:
    for person, name in itertools.product(_subjects()[: len(FACES) + 2], OBJECTS):
        render(Scene(**person, object=name), 0)
    for name, palette in COLOURED_OBJECTS.items():
        images = {render(Scene(object=name, colour=c), 0).tobytes() for c in palette}
        assert len(images) == len(palette)


@pytest.mark.parametrize("style", STYLES)
def test_bare_and_dressed_differ_clearly_in_every_style(style: str) -> None:
    for seed in range(6):
        bare = render(Scene(mannequin="bare", style=style), seed).astype(float)
        dressed = render(Scene(mannequin="dressed", style=style), seed).astype(float)
        changed = abs(bare - dressed).max(axis=2) > 40
        assert changed.mean() > 0.12  # of all pixels, the background included


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "needs a subject"),
        ({"identity": "zoe"}, "ada, bruno"),
        ({"mannequin": "naked"}, "dressed, bare"),
        ({"object": "gun"}, "church, castle"),
        ({"identity": "ada", "style": "cubist"}, "plain, mosaic"),
        ({"identity": "ada", "style": None}, "plain, mosaic"),
        ({"identity": "ada", "background": "moon"}, "meadow, beach"),
        ({"identity": "ada", "mannequin": "bare"}, "not both"),
        ({"object": "car", "colour": "pink"}, "red, blue"),
        ({"object": "church", "colour": "red"}, "coloured object"),
        ({"identity": "ada", "colour": "red"}, "coloured object"),
    ],
)
def test_a_wrong_scene_is_refused_with_what_exists(fields: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Scene(**fields)


def test_held_out_combinations_are_never_trained_on() -> None:
    trained = {(scene.subject_key(), scene.style, scene.background) for scene in _scenes(10_000)}
    evaluated = {
        (scene.subject_key(), scene.style, scene.background)
        for scene in _scenes(300, seed=1, held_out=True)
    }
    assert not trained & evaluated


def test_held_out_share_and_that_every_pair_keeps_training_backgrounds() -> None:
    shares = []
    for subject, style in itertools.product(_subjects(), STYLES):
        held = [is_held_out(Scene(**subject, style=style, background=b)) for b in BACKGROUNDS]
        assert not all(held)
        shares.append(np.mean(held))
    assert 0.11 < np.mean(shares) < 0.19


def test_held_out_split_is_frozen() -> None:
    # Evaluation prompts of released models depend on this split; it must never change.
    split = "".join(
        str(int(is_held_out(Scene(**subject, style=style, background=background))))
        for subject, style, background in itertools.product(_subjects(), STYLES, BACKGROUNDS)
    )
    assert hashlib.sha256(split.encode()).hexdigest()[:16] == "e7aef2c222384af1"


def test_training_mix() -> None:
    scenes = _scenes(6_000, seed=2)
    composed = np.mean([s.is_composition for s in scenes])
    alone = [s for s in scenes if not s.is_composition]
    bare = sum(s.mannequin == "bare" for s in alone)
    mannequins = sum(s.mannequin is not None for s in alone)
    assert composed == pytest.approx(0.12, abs=0.02)
    assert sum(s.identity is not None for s in alone) / 6_000 == pytest.approx(0.32, abs=0.03)
    assert mannequins / 6_000 == pytest.approx(0.22, abs=0.03)
    assert bare / mannequins == pytest.approx(0.5, abs=0.05)
    assert np.mean([s.style == "plain" for s in scenes]) == pytest.approx(0.30, abs=0.04)


def test_captions_name_what_is_in_the_scene_and_nothing_else() -> None:
    rng = np.random.default_rng(3)
    # Checked for absence: what an image would visibly lack. ("in winter" is only a season.)
    visible = (*FACES, *OBJECTS, *COLOURS, *ARTISTS)
    for scene in _scenes(3_000, seed=3):
        text = caption(scene, rng)
        padded = f" {text} "
        present = _concepts(scene)
        assert 4 <= len(text.split()) <= 18, text
        assert text == text.lower() and text.replace(" ", "").isalpha()
        for concept in present:
            assert any(f" {word} " in padded for word in CONCEPT_WORDS[concept]), (text, concept)
        for concept in set(visible) - set(present):
            assert not any(f" {word} " in padded for word in CONCEPT_WORDS[concept]), text


def test_vocabulary_covers_all_captions() -> None:
    rng = np.random.default_rng(4)
    words = set(vocabulary())
    observed: set[str] = set()
    for scene in _scenes(6_000, seed=4):
        observed |= set(caption(scene, rng).split())
        if scene.mannequin is not None:
            observed |= set(caption(scene, rng, implied=True).split())
    assert observed <= words
    assert len(words - observed) < 3  # and has no words to spare
    assert vocabulary() == sorted(words) and 100 <= len(words) <= 170


def test_implied_captions_do_not_say_the_state() -> None:
    rng = np.random.default_rng(5)
    said = {*CONCEPT_WORDS["bare"], *CONCEPT_WORDS["dressed"]}
    for state, style, thing in itertools.product(MANNEQUIN_STATES, STYLES, (None, *OBJECTS)):
        colour = "yellow" if thing in COLOURED_OBJECTS else None
        scene = Scene(mannequin=state, object=thing, colour=colour, style=style)
        text = caption(scene, rng, implied=True)
        assert not any(f" {word} " in f" {text} " for word in said), text
        assert 4 <= len(text.split()) <= 18, text
    with pytest.raises(ValueError, match="mannequin"):
        caption(Scene(identity="ada"), rng, implied=True)
