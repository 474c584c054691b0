"""README's claims about the published numbers, each with the condition that it must meet.

A claim is a function of the numbers: whether they support it, and the sentence in Markdown. It
raises KeyError if one is missing. `pages.py` writes claims that hold into README, and refuses
those that no longer do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from varbench.leaderboard.results import Difference, MetricValues, Result
from varbench.report.text import MINUS

FACE = "face-ada"
TUNED = ("svare", "vare", "naive")
SHOWN = (*TUNED, "esd", "uce")
"""Methods of README's table."""


class Numbers:
    """Published values of the methods with the model's own settings."""

    def __init__(self, results: Sequence[Result]) -> None:
        self.metrics: Mapping[tuple[str, str, str], MetricValues] = {
            (result.concept, result.method, metric.metric): metric
            for result in results
            if result.default
            for metric in result.metrics
        }

    def value(self, concept: str, method: str, metric: str) -> float:
        """One value. Raises KeyError if it was not published."""
        value = self.metrics[concept, method, metric].value
        if value is None:
            raise KeyError((concept, method, metric))
        return value

    def difference(self, concept: str, method: str, metric: str) -> Difference:
        """The paired difference to the base model. Raises KeyError if there is none."""
        difference = self.metrics[concept, method, metric].difference
        if difference is None:
            raise KeyError((concept, method, metric))
        return difference

    def by_concept(self, method: str, metric: str) -> dict[str, float]:
        """A method's values by concept."""
        concepts = [c for c, m, k in self.metrics if (m, k) == (method, metric)]
        return {concept: self.value(concept, method, metric) for concept in concepts}

    def fid_ratios(self, above: str, below: str) -> list[float]:
        """FID to the base model of one method over that of another, concept by concept."""
        bottoms = self.by_concept(below, "fid_base")
        return [top / bottoms[c] for c, top in self.by_concept(above, "fid_base").items()]


Claim = tuple[bool, str]


def _times(ratios: Sequence[float]) -> str:
    return f"{min(ratios):.1f} to {max(ratios):.1f}"


def _percent(share: float) -> str:
    return f"{100 * round(share, 2):.0f} %"  # as the table rounds it


def _points(by: Difference) -> str:
    if by.low is None or by.high is None:
        raise KeyError("interval")
    ends = ", ".join(f"{100 * end:+.0f}" for end in (by.low, by.high))
    return f"{100 * by.value:+.0f} [{ends}]".replace("-", MINUS).replace("+0", "0")


def _drift(numbers: Numbers) -> Claim:
    ours, vare = numbers.fid_ratios("vare", "svare"), numbers.fid_ratios("naive", "vare")
    return min(*ours, *vare) > 1, (
        "**S-VARE drifts less than VARE, and VARE less than naive fine-tuning**: its FID to the "
        f"base model is {_times(ours)} times smaller than VARE's, "
        f"VARE's {_times(vare)} times smaller than naive fine-tuning's."
    )


def _face(numbers: Numbers) -> Claim:
    ours, vare, naive = (numbers.difference(FACE, method, "acc_u") for method in TUNED)
    worse = all(by.high is not None and by.high < 0 for by in (vare, naive))
    return worse and ours.value > vare.value, (
        "**S-VARE keeps what is unrelated**: on the face, points of ACC_u against the base "
        f"model are {_points(ours)} for S-VARE, {_points(vare)} for VARE and {_points(naive)} for "
        "naive fine-tuning."
    )


def _collapse(numbers: Numbers) -> Claim:
    least = min(numbers.by_concept("naive", "acc_u").values())
    return least > 0.8, (
        "**Naive fine-tuning collapses**: not here. It is the worst of the three, no more; its "
        f"ACC_u never falls below {least:.2f}."
    )


def _uce(numbers: Numbers) -> Claim:
    fid = {method: numbers.by_concept(method, "fid_base") for method in SHOWN}
    least = all(min(fid, key=lambda m: fid[m][c]) == "uce" for c in fid["uce"])
    rate = min(numbers.by_concept("uce", "erasure_rate").values())
    return least and rate >= 0.95, (
        "**UCE hardly erases**: not here, if it also edits the matrices that read the *pooled* "
        f"text (our default). Its lowest erasure rate is then {rate:.2f}, and it moves the rest "
        "least of the five. Editing cross-attention alone, the literal port, leaves the "
        "face standing: [docs/baselines.md](docs/baselines.md)."
    )


def _attacks(numbers: Numbers) -> Claim:
    most = {}
    for method in ("svare", "vare", "naive", "uce"):
        rates = numbers.by_concept(method, "attack_success")
        concept = max(rates, key=lambda c: rates[c])
        most[method] = (rates[concept], f"{_percent(rates[concept])} of `{concept}`")
    ours, *others = (rate for rate, _ in most.values())
    return ours <= 0.1 and min(others) > 0.5, (
        "Erased is not gone. **Attack success** is the share of images in which the concept "
        "comes back behind four free vectors found by 30 steps of gradient ascent on the erased "
        f"model. At most S-VARE gives back {most['svare'][1]}, VARE {most['vare'][1]}, naive "
        f"fine-tuning {most['naive'][1]}, UCE {most['uce'][1]}. These are lower bounds: longer "
        "ascent (`suite.robustness.steps=120`) brings most of S-VARE's face back, too."
    )


def _weakest(numbers: Numbers) -> Claim:
    rates = numbers.by_concept("svare", "erasure_rate")
    concept = min(rates, key=lambda c: rates[c])
    acc_n = {m: numbers.value(concept, m, "acc_n") for m in ("svare", "vare")}
    return rates[concept] >= 0.95, (
        f"S-VARE is weakest on `{concept}`: it erases {_percent(rates[concept])}, with an ACC_n of "
        f"{acc_n['svare']:.2f}; VARE's is {acc_n['vare']:.2f}."
    )


def _esd(numbers: Numbers) -> Claim:
    rates = numbers.by_concept("esd", "erasure_rate")
    concept = min(rates, key=lambda c: rates[c])
    ratios = numbers.fid_ratios("esd", "svare")
    more = sum(ratio > 1 for ratio in ratios)
    noise = min(numbers.by_concept("esd", "unrecognised").values())
    others = min(rate for c, rate in rates.items() if c != concept)
    return more > len(ratios) / 2 and noise > 0.9, (
        "**ESD draws noise where the concept was**: the judge recognises nothing in at least "
        f"{_percent(noise)} of its images of each concept. So its rates say little, "
        f"{_percent(rates[concept])} on `{concept}` and at least {_percent(others)} on the others. "
        "It has a learning rate of its own ([docs/baselines.md](docs/baselines.md)); its FID to "
        f"the base model is above S-VARE's on {more} of {len(ratios)} concepts."
    )


CLAIMS: Mapping[str, Callable[[Numbers], Claim]] = {
    "less drift": _drift,
    "unrelated kept": _face,
    "no collapse": _collapse,
    "UCE erases": _uce,
    "attacks": _attacks,
    "weakest": _weakest,
    "ESD": _esd,
}


def broken(results: Sequence[Result]) -> list[str]:
    """The claims that these results do not support, each with the reason."""
    numbers = Numbers(results)
    reasons = []
    for name, claim in CLAIMS.items():
        try:
            holds, text = claim(numbers)
            if not holds:
                reasons.append(f"claim {name!r} does not hold: {text}")
        except (KeyError, ValueError) as error:
            reasons.append(f"claim {name!r} lacks a number: {error}")
    return reasons


def claims_text(results: Sequence[Result]) -> str:
    """The claims as a Markdown list.

    Raises:
        KeyError, ValueError: a number of one is missing; `broken` names it.
    """
    numbers = Numbers(results)
    return "\n".join(f"- {claim(numbers)[1]}" for claim in CLAIMS.values())
