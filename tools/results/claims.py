"""README's claims about the published numbers, each with the condition that it must meet.

A claim is a sentence with numbers of the results files in it, and a condition on them. `pages.py`
writes claims that hold into README, and refuses those that no longer do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from varbench.leaderboard.results import Difference, MetricValues, Result
from varbench.report.text import MINUS

FACE = "face-ada"
TUNED = ("svare", "vare", "naive")
SHOWN = (*TUNED, "esd", "uce")
"""Methods of README's table."""


@dataclass(frozen=True)
class Numbers:
    """Published values by (concept, method, metric), of the Gallery's four main concepts."""

    metrics: Mapping[tuple[str, str, str], MetricValues]

    @classmethod
    def of(cls, results: Sequence[Result]) -> Numbers:
        """The values of all results with the model's own settings."""
        return cls(
            {
                (result.concept, result.method, metric.metric): metric
                for result in results
                if result.default
                for metric in result.metrics
            }
        )

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


@dataclass(frozen=True)
class Claim:
    """A sentence about the results.

    Attributes:
        name: identifies it in messages.
        holds: true if the numbers support it.
        text: the sentence in Markdown. Both raise KeyError if a number is missing.
    """

    name: str
    holds: Callable[[Numbers], bool]
    text: Callable[[Numbers], str]


def _ratios(numbers: Numbers, above: str, below: str) -> list[float]:
    tops, bottoms = numbers.by_concept(above, "fid_base"), numbers.by_concept(below, "fid_base")
    return [top / bottoms[concept] for concept, top in tops.items()]


def _times(ratios: Sequence[float]) -> str:
    return f"{min(ratios):.1f} to {max(ratios):.1f}"


def _percent(share: float) -> str:
    return f"{100 * round(share, 2):.0f} %"  # as the table rounds it


def _points(by: Difference) -> str:
    if by.low is None or by.high is None:
        raise KeyError("interval")
    ends = ", ".join(f"{100 * end:+.0f}" for end in (by.low, by.high))
    return f"{100 * by.value:+.0f} [{ends}]".replace("-", MINUS).replace("+0", "0")


def _drift_holds(numbers: Numbers) -> bool:
    pairs = (("vare", "svare"), ("naive", "vare"))
    return all(ratio > 1 for pair in pairs for ratio in _ratios(numbers, *pair))


def _drift(numbers: Numbers) -> str:
    ours, vare = _ratios(numbers, "vare", "svare"), _ratios(numbers, "naive", "vare")
    return (
        "**S-VARE drifts less than VARE, and VARE less than naive fine-tuning**: its FID to the "
        f"base model is {_times(ours)} times smaller than VARE's, "
        f"VARE's {_times(vare)} times smaller than naive fine-tuning's."
    )


def _face_holds(numbers: Numbers) -> bool:
    ours, vare, naive = (numbers.difference(FACE, method, "acc_u") for method in TUNED)
    ends = [by.high for by in (vare, naive)]
    return all(end is not None and end < 0 for end in ends) and ours.value > vare.value


def _face(numbers: Numbers) -> str:
    ours, vare, naive = (_points(numbers.difference(FACE, m, "acc_u")) for m in TUNED)
    return (
        "**S-VARE keeps what is unrelated**: on the face, points of ACC_u against the base "
        f"model are {ours} for S-VARE, {vare} for VARE and {naive} for naive fine-tuning."
    )


def _collapse_holds(numbers: Numbers) -> bool:
    return min(numbers.by_concept("naive", "acc_u").values()) > 0.8


def _collapse(numbers: Numbers) -> str:
    least = min(numbers.by_concept("naive", "acc_u").values())
    return (
        "**Naive fine-tuning collapses**: not here. It is the worst of the three, no more; its "
        f"ACC_u never falls below {least:.2f}."
    )


def _uce_holds(numbers: Numbers) -> bool:
    fid = {method: numbers.by_concept(method, "fid_base") for method in SHOWN}
    least = all(min(fid, key=lambda m: fid[m][c]) == "uce" for c in fid["uce"])
    return least and min(numbers.by_concept("uce", "erasure_rate").values()) >= 0.95


def _uce(numbers: Numbers) -> str:
    rate = min(numbers.by_concept("uce", "erasure_rate").values())
    return (
        "**UCE hardly erases**: not here, if it also edits the matrices that read the *pooled* "
        f"text (our default). Its lowest erasure rate is then {rate:.2f}, and it moves the rest "
        "least of the five. Editing cross-attention alone, the literal port, leaves the "
        "face standing: [docs/baselines.md](docs/baselines.md)."
    )


def _attacks_hold(numbers: Numbers) -> bool:
    ours = numbers.by_concept("svare", "attack_success")
    others = (numbers.by_concept(m, "attack_success") for m in ("vare", "naive", "uce"))
    return max(ours.values()) <= 0.1 and all(max(o.values()) > 0.5 for o in others)


def _attacks(numbers: Numbers) -> str:
    most = {}
    for method in ("svare", "vare", "naive", "uce"):
        rates = numbers.by_concept(method, "attack_success")
        concept = max(rates, key=lambda c: rates[c])
        most[method] = f"{_percent(rates[concept])} of `{concept}`"
    return (
        "Erased is not gone. **Attack success** is the share of images in which the concept "
        "comes back behind four free vectors found by gradient ascent on the erased model. At most "
        f"S-VARE gives back {most['svare']}, VARE {most['vare']}, naive fine-tuning "
        f"{most['naive']}, UCE {most['uce']}."
    )


def _weakest_holds(numbers: Numbers) -> bool:
    return min(numbers.by_concept("svare", "erasure_rate").values()) >= 0.95


def _weakest(numbers: Numbers) -> str:
    rates = numbers.by_concept("svare", "erasure_rate")
    concept = min(rates, key=lambda c: rates[c])
    acc_n = {m: numbers.value(concept, m, "acc_n") for m in ("svare", "vare")}
    return (
        f"S-VARE is weakest on `{concept}`: it erases {_percent(rates[concept])}, with an ACC_n of "
        f"{acc_n['svare']:.2f}; VARE's is {acc_n['vare']:.2f}."
    )


def _esd_holds(numbers: Numbers) -> bool:
    fid = {m: numbers.by_concept(m, "fid_base") for m in ("esd", "svare")}
    more = sum(fid["esd"][concept] > fid["svare"][concept] for concept in fid["esd"])
    return more > len(fid["esd"]) / 2


def _esd(numbers: Numbers) -> str:
    rates = numbers.by_concept("esd", "erasure_rate")
    concept = min(rates, key=lambda c: rates[c])
    ratios = _ratios(numbers, "esd", "svare")
    more = sum(ratio > 1 for ratio in ratios)
    return (
        f"ESD has a learning rate of its own ([docs/baselines.md](docs/baselines.md)). It erases "
        f"{_percent(rates[concept])} of `{concept}` and at least "
        f"{_percent(min(v for c, v in rates.items() if c != concept))} of the others; its FID to "
        f"the base model is above S-VARE's on {more} of {len(ratios)} concepts."
    )


CLAIMS = (
    Claim("less drift", _drift_holds, _drift),
    Claim("unrelated kept", _face_holds, _face),
    Claim("no collapse", _collapse_holds, _collapse),
    Claim("UCE erases", _uce_holds, _uce),
    Claim("attacks", _attacks_hold, _attacks),
    Claim("weakest", _weakest_holds, _weakest),
    Claim("ESD", _esd_holds, _esd),
)


def broken(results: Sequence[Result]) -> list[str]:
    """The claims that these results do not support, each with the reason."""
    numbers = Numbers.of(results)
    reasons = []
    for claim in CLAIMS:
        try:
            text = claim.text(numbers)
            if not claim.holds(numbers):
                reasons.append(f"claim {claim.name!r} does not hold: {text}")
        except (KeyError, ValueError) as error:
            reasons.append(f"claim {claim.name!r} lacks a number: {error}")
    return reasons


def claims_text(results: Sequence[Result]) -> str:
    """The claims as a Markdown list.

    Raises:
        KeyError, ValueError: a number of one is missing; `broken` names it.
    """
    numbers = Numbers.of(results)
    return "\n".join(f"- {claim.text(numbers)}" for claim in CLAIMS)
