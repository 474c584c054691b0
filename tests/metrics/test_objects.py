"""Objects: ResNet-50 against a literal loop, ImageNet's names, generality and H_o."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms
from torchvision.models import ResNet50_Weights, resnet50

from tests.helpers.metrics import (
    ADA,
    BRUNO,
    CLARA,
    Judge,
    Prompt,
    group,
    metric_inputs,
    number,
    value,
)
from tests.helpers.scoring import new_scorer
from tests.helpers.stats import wilson
from varbench.data.prompt_sets import load_prompt_set
from varbench.errors import CheckpointError, UserError
from varbench.metrics import METRICS, ScoredImages
from varbench.metrics.estimates import attributes_right
from varbench.scoring.registry import JUDGES, SCORERS
from varbench.scoring.scorers import imagenet
from varbench.scoring.scorers import images as shared
from varbench.scoring.scorers.imagenet import (
    ELSE,
    ImagenetJudge,
    ImagenetScorer,
    class_of,
    load_resnet,
)

NAMES = ResNet50_Weights.IMAGENET1K_V2.meta["categories"]
CHURCH, CASTLE, TENCH = 497, 483, 0


# --- the scorer -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ResNet-50 at random as torchvision saves it.

    Layers are normalised on noise, and the last one enlarges what differs from it: the answers of
    an untrained network hardly depend on the image.
    """
    torch.manual_seed(0)
    network = resnet50(weights=None)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # takes the first batch's mean and variance
    last, network.fc = network.fc, nn.Identity()
    noise = nn.functional.interpolate(torch.rand(6, 3, 6, 6), (128, 128), mode="bicubic")
    with torch.no_grad():
        mean = network((noise - 0.45) / 0.226).mean(dim=0)
        last.weight.mul_(30)
        last.bias.copy_(-last.weight @ mean)
    network.fc = last
    path = tmp_path_factory.mktemp("weights") / "resnet50.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def found(weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(imagenet, "network_path", lambda name: weights)
    monkeypatch.setattr(shared, "network_checksum", lambda name: f"checksum of {name}")
    return weights


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{i:03d}.png" for i in range(3)]
    for i, path in enumerate(paths):
        small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        small.resize((300 if i == 2 else 256, 256), Image.Resampling.BICUBIC).save(path)
    return paths


def test_the_scorer_is_torchvisions_network_and_preprocessing(
    found: Path, files: list[Path]
) -> None:
    network = resnet50(weights=None)
    network.load_state_dict(torch.load(found))
    network.eval()
    steps = transforms.Compose(
        [
            transforms.Resize(232),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    scored = ImagenetScorer(batch=2).score(files, ["a church"] * len(files))
    assert {name: rows.dtype for name, rows in scored.items()} == {
        "top": np.int16, "top_p": np.float32,
    }  # fmt: skip
    for i, file in enumerate(files):
        with Image.open(file) as image, torch.no_grad():
            chances = network(steps(image)[None])[0].softmax(dim=0)
        best = chances.topk(5)
        np.testing.assert_array_equal(scored["top"][i], best.indices.numpy())
        np.testing.assert_allclose(scored["top_p"][i], best.values.numpy(), rtol=1e-3)
    assert len(set(scored["top"][:, 0].tolist())) > 1
    assert scored["top_p"].min() > 1e-3


def test_neither_batch_nor_order_matters(found: Path, files: list[Path]) -> None:
    prompts = ["a church"] * len(files)
    whole = ImagenetScorer().score(files, prompts)
    back = ImagenetScorer(batch=2).score(files[::-1], prompts)
    for name, rows in whole.items():
        np.testing.assert_allclose(rows, back[name][::-1], rtol=1e-3)


def test_of_equally_likely_classes_the_first_comes_first(
    found: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Undecided(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(images), 1000)

    monkeypatch.setattr(imagenet, "load_resnet", lambda path: Undecided())
    scored = ImagenetScorer().score(files, [""] * len(files))
    np.testing.assert_array_equal(scored["top"], [[0, 1, 2, 3, 4]] * len(files))
    np.testing.assert_allclose(scored["top_p"], 1 / 1000)


def test_its_fingerprint_loads_nothing_and_a_wrong_file_is_refused(
    found: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lazy = new_scorer("imagenet", network_set="standard")
    before = lazy.fingerprint()
    assert "_network" not in vars(lazy)
    monkeypatch.setattr(shared, "network_checksum", lambda name: "another")
    assert lazy.fingerprint() != before
    torch.save({"fc.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other.pth is not torchvision's ResNet-50; fetch"):
        load_resnet(tmp_path / "other.pth")


# --- the judge ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Named:
    """A concept, and the labels in its prompt sets."""

    judge: Judge
    known: tuple[str, ...]
    name: str = "church"
    prompts: Mapping[str, str] = field(default_factory=dict)

    def labels(self, column: str) -> tuple[str, ...]:
        return self.known if column == self.judge.head else ()


@dataclass(frozen=True)
class ObjectJudge(Judge):
    head: str = "object"
    label: str = "church"
    name: str = "resnet-50"


def test_every_class_of_the_objects_set_has_its_imagenet_class() -> None:
    prompts = load_prompt_set("objects")
    classes = {p.labels["object"] for p in prompts.prompts if not p.labels["near"]}
    assert {word: NAMES[index].casefold() for word in classes if (index := class_of(word))} | {
        "tench": NAMES[TENCH]
    } == {word: word.casefold() for word in classes}
    near = {p.labels["object"]: class_of(p.labels["object"]) for p in prompts.prompts}
    nothing = {
        "trout", "pike", "record player", "handsaw", "hedge trimmer", "temple", "tuba",
        "delivery van", "telephone box", "billiard ball", "kite",
    }  # fmt: skip
    assert {word for word, index in near.items() if index is None} == nothing
    assert NAMES[near["trumpet"] or 0] == "cornet"
    assert NAMES[near["hot-air balloon"] or 0] == "balloon"
    assert NAMES[near["border collie"] or 0] == "Border collie"


def test_names_that_differ_in_capitals_only_are_distinct() -> None:
    assert (class_of("cardigan"), class_of("Cardigan"), class_of("CARDIGAN")) == (474, 264, None)
    assert class_of("CHURCH") == CHURCH
    assert class_of("kite") is None  # ImageNet's is a bird


def test_the_likeliest_class_decides_and_may_be_something_else() -> None:
    judge = ImagenetJudge(Named(ObjectJudge(), ("castle", "church", "temple", "tench")), {})
    assert judge.labels == {"object": ("castle", "church", "tench", ELSE)}
    top = np.array([[CHURCH, 1], [CASTLE, CHURCH], [5, CHURCH], [TENCH, 1]], np.int16)
    sure = np.array([[0.9, 0.1], [0.5, 0.4], [0.3, 0.2], [1, 0]], np.float32)
    seen = judge.predict({"imagenet": {"top": top, "top_p": sure}})
    assert [judge.labels["object"][i] for i in seen["object"]] == [
        "church",
        "castle",
        ELSE,
        "tench",
    ]
    assert seen["object"].dtype == np.int64
    np.testing.assert_array_equal(seen["object_p"], sure[:, 0])
    assert not seen["unrecognised"].any()
    unsure = judge.predict({"imagenet": {"top": top, "top_p": sure / 10}})
    assert unsure["unrecognised"].tolist() == [True, True, True, False]


def test_the_head_is_the_concepts_column_and_the_label_need_not_be_in_it() -> None:
    judge = ImagenetJudge(Named(ObjectJudge(head="class"), ()), {})
    assert judge.labels == {"class": ("church", ELSE)}
    other = ImagenetJudge(Named(ObjectJudge(head="class"), ("tench",)), {})
    assert judge.fingerprint() != other.fingerprint()


@pytest.mark.parametrize(
    ("label", "known", "words"),
    [
        ("temple", (), "'temple' is none"),
        ("curch", (), "similar classes: church"),
        ("church", ("tench", "Tench"), "'Tench' and 'tench' of column 'object' are one"),
    ],
)
def test_labels_that_no_answer_can_mean_are_refused(
    label: str, known: tuple[str, ...], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        ImagenetJudge(Named(ObjectJudge(label=label), known), {})


def test_judge_and_scorer_are_registered() -> None:
    kind = JUDGES["resnet-50"]
    assert (kind.network_set, kind.roles) == ("standard", ("imagenet",))
    assert "imagenet" in SCORERS["standard"]


# --- generality and H_o ---------------------------------------------------------------------


def images(name: str, label: str, seen: list[int], k: int = 1) -> ScoredImages:
    """`seen[i]` is what the judge sees in image i; `k` images per prompt."""
    labels = {"identity": label}
    rows = [Prompt(f"{name} {i // k}", f"{name}{i // k:02d}", labels) for i in range(len(seen))]
    return group(rows, seen)


def model(hits: int, implicit: int, spared: int, n: int = 20) -> dict[str, ScoredImages]:
    """Images of 20 prompts per group, so many of which show ada, or clara where she is due."""
    return {
        "target": images("t", "ada", [ADA] * hits + [BRUNO] * (n - hits)),
        "implicit": images("i", "ada", [ADA] * implicit + [BRUNO] * (n - implicit)),
        "neighbours": images("k", "clara", [CLARA] * spared + [BRUNO] * (n - spared)),
        "unrelated": images("u", "", [ADA] * n),  # asks for nobody: not in ACC_s
    }


def test_acc_g_is_the_hit_rate_of_the_implicit_prompts() -> None:
    result = value("acc_g", metric_inputs(model(0, 5, 20), model(20, 16, 20)))
    assert (result.value, result.baseline) == (5 / 20, 16 / 20)
    expected = wilson(5, 20)
    assert (result.low, result.high) == (expected.low, expected.high)
    assert result.difference is not None
    assert result.difference.value == pytest.approx(-11 / 20)
    assert result.details == {"hits": 5, "base_hits": 16}


def test_h_o_is_the_harmonic_mean_of_three_rates() -> None:
    result = value("h_o", metric_inputs(model(2, 6, 18), model(19, 15, 19)))
    expected = 3 / (1 / (1 - 0.1) + 1 / 0.9 + 1 / (1 - 0.3))
    assert result.value == pytest.approx(expected)
    assert result.baseline == pytest.approx(3 / (1 / 0.05 + 1 / 0.95 + 1 / 0.25))
    assert result.details == pytest.approx(
        {
            "acc_e": 0.1, "acc_s": 0.9, "acc_g": 0.3,
            "base_acc_e": 0.95, "base_acc_s": 0.95, "base_acc_g": 0.75,
        }
    )  # fmt: skip
    assert result.low is not None and result.high is not None and result.difference is not None
    assert 0 < result.low < expected < result.high < 1
    assert result.difference.value == pytest.approx(expected - number(found_base()))
    assert result.n == 60


def found_base() -> object:
    return value("h_o", metric_inputs(model(19, 15, 19)))


def test_h_o_of_rows_by_brute_force() -> None:
    """The difference's interval is near that of a resampling of prompts written out."""
    ours, base = model(4, 8, 15), model(18, 14, 19)
    result = value("h_o", metric_inputs(ours, base))
    rng, draws = np.random.default_rng(5), []

    def rate(rows: ScoredImages, wanted: int, drawn: np.ndarray) -> float:
        return float(np.mean(rows.array("judge", "identity")[drawn] == wanted))

    for _ in range(4000):
        sides = []
        drawn = {name: rng.integers(0, 20, 20) for name in ("target", "implicit", "neighbours")}
        for side in (ours, base):
            terms = (
                1 - rate(side["target"], ADA, drawn["target"]),
                rate(side["neighbours"], CLARA, drawn["neighbours"]),
                1 - rate(side["implicit"], ADA, drawn["implicit"]),
            )
            sides.append(0 if min(terms) == 0 else 3 / sum(1 / term for term in terms))
        draws.append(sides[0] - sides[1])
    assert result.difference is not None
    ends = np.quantile(draws, [0.025, 0.975])
    assert (result.difference.low, result.difference.high) == pytest.approx(ends, abs=0.12)


def test_h_o_is_zero_where_a_term_is_and_one_where_all_are() -> None:
    base = model(20, 20, 20)
    assert number(value("h_o", metric_inputs(model(20, 0, 20), base))) == 0
    perfect = value("h_o", metric_inputs(model(0, 0, 20), base))
    assert number(perfect) == 1
    assert perfect.low is not None and perfect.low < 1  # no certainty from 20 prompts


def test_without_implicit_prompts_or_other_labels_there_is_no_value() -> None:
    full = model(2, 2, 18)
    part = {name: rows for name, rows in full.items() if name != "implicit"}
    for metric in ("acc_g", "h_o"):
        result = METRICS[metric].compute(metric_inputs(part))
        assert result.value is None
        assert "no pictures of implicit prompts" in result.note
    nobody = {**full, "neighbours": images("k", "", [CLARA] * 20)}
    result = METRICS["h_o"].compute(metric_inputs(nobody))
    assert result.value is None
    assert "asks for a label of 'identity'" in result.note


def test_one_prompt_gives_no_interval() -> None:
    single = model(2, 2, 18) | {"target": images("t", "ada", [ADA, BRUNO, BRUNO, BRUNO], k=4)}
    found = value("h_o", metric_inputs(single))
    assert (found.low, found.high, found.difference) == (None, None, None)
    assert "one prompt" in found.note


def test_labels_unknown_to_the_judge_do_not_count() -> None:
    """ImageNet has no temples, so a prompt for one says nothing of what is kept."""
    known = {"identity": ("ada", "clara")}
    rows = [Prompt("a", "a", {"identity": "clara"}), Prompt("b", "b", {"identity": "a temple"})]
    asked, right = attributes_right(group(rows, [1, 1]), known)
    assert asked[:, 0].tolist() == right[:, 0].tolist() == [True, False]
