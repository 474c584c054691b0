"""What the columns of a report mean: title, direction, unit and definition of each metric.

The report reads stored records only, so it knows metrics by their id. A metric that is not listed
here (a plugin's) is shown after the others under its id, without a direction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from varbench.report.text import MISSING, number

ARROWS = {"up": "↑", "down": "↓", "same": "≈", "": ""}


@dataclass(frozen=True)
class Column:
    """One metric as a table shows it. `better` is "up", "down", "same" or "" (not known)."""

    metric: str
    title: str
    better: str
    rate: bool  # a fraction 0 to 1, which may be shown in per cent
    digits: int  # decimals, of a rate as a fraction
    definition: str
    prompt_set: str | None = None  # set where one metric was measured on several prompt sets
    table: str = "main"  # the table that shows it: main, drift or cost

    @property
    def key(self) -> str:
        """Identifies the column within a table."""
        return self.metric if self.prompt_set is None else f"{self.metric}@{self.prompt_set}"

    @property
    def name(self) -> str:
        """The title, with the prompt set where there are several."""
        return f"{self.title} ({self.prompt_set})" if self.prompt_set else self.title

    def sign(self, *, percent: bool = False) -> str:
        """Unit and direction, such as "% ↑"."""
        return f"{'%' if percent and self.rate else ''} {ARROWS[self.better]}".strip()

    def header(self, *, percent: bool = False) -> str:
        """Title, unit and direction, such as "Erasure rate % ↑"."""
        return f"{self.name} {self.sign(percent=percent)}".strip()

    def number(self, value: float | None, *, percent: bool = False, signed: bool = False) -> str:
        """One number in this column's unit and precision; rates in per cent get one decimal."""
        if not (percent and self.rate):
            return number(value, self.digits, signed=signed)
        return number(None if value is None else 100 * value, 1, signed=signed)

    def interval(
        self,
        low: float | None,
        high: float | None,
        *,
        percent: bool = False,
        signed: bool = False,
    ) -> str:
        """The interval in brackets, or "" if there is none."""
        if low is None or high is None:
            return ""
        ends = (self.number(end, percent=percent, signed=signed) for end in (low, high))
        return f"[{', '.join(ends)}]"

    def text(
        self,
        value: float | None,
        low: float | None = None,
        high: float | None = None,
        *,
        percent: bool = False,
        signed: bool = False,
    ) -> str:
        """Value and interval, "0.97 [0.94, 0.99]"; an en dash if there is no value."""
        if value is None:
            return MISSING
        shown = self.number(value, percent=percent, signed=signed)
        return f"{shown} {self.interval(low, high, percent=percent, signed=signed)}".strip()


CORE = (
    Column(
        "erasure_rate", "Erasure rate", "up", True, 2,
        "Share of the concept's pictures that is gone: 1 − hits(method) / hits(unerased model), "
        "on the same prompts and picture seeds.",
    ),
    Column(
        "acc_e", "ACC_e", "down", True, 2,
        "Share of the concept's own prompts whose picture still shows it, says the judge.",
    ),
    Column(
        "acc_n", "ACC_n", "up", True, 2,
        "Share of pictures of neighbouring concepts in which the judge sees what was asked for.",
    ),
    Column(
        "acc_u", "ACC_u", "up", True, 2,
        "Share of pictures of unrelated prompts in which the judge sees what was asked for.",
    ),
    Column(
        "clip_score", "CLIP score", "up", False, 2,
        "100 × cosine of picture and prompt in CLIP's space: does the picture follow the prompt?",
    ),
    Column(
        "fid_base", "FID (base)", "down", False, 1,
        "Fréchet distance of features to the unerased model's pictures of the same prompts. "
        "Compare only at equal n: it falls as n grows.",
    ),
    Column(
        "fid_real", "FID (real)", "down", False, 1,
        "Fréchet distance of features to real pictures. Compare only at equal n.",
    ),
    Column(
        "kid_base", "KID (base)", "down", False, 4,
        "Kernel distance of features to the unerased model's pictures; unbiased in n.",
    ),
    Column(
        "vendi", "Vendi", "up", False, 2,
        "Vendi score: how many clearly different pictures the pool is worth.",
    ),
    Column(
        "pairwise_distance", "Pairwise dist.", "up", False, 3,
        "Mean distance of features between pictures of one prompt: a collapsed model has none.",
    ),
)  # fmt: skip
DRIFT = (
    Column(
        "ld1", "LD1", "down", False, 4,
        "Prediction drift: mean divergence of the edited model's predictions from the unerased "
        "model's, nats per bit, for prompts that must stay.",
        table="drift",
    ),
    Column(
        "ld2", "LD2", "same", False, 3,
        "Text control: how strongly the text moves the predictions, by how strongly it moves the "
        "unerased model's. Below 1 the text is ignored.",
        table="drift",
    ),
    Column(
        "ld3", "LD3", "up", True, 2,
        "R-precision: chance that CLIP finds a picture's own caption among 100 of the suite.",
        table="drift",
    ),
    Column(
        "entropy", "Entropy", "same", False, 3,
        "How undecided the model is about a bit it draws, 0 to 1. Less than the unerased model: "
        "collapse; more: decay.",
        table="drift",
    ),
)  # fmt: skip
COST = (
    Column(
        "cost_seconds", "Erasing, s", "down", False, 1,
        "Seconds that making the edit took, without reading the model. Not given where it was "
        "interrupted.",
        table="cost",
    ),
    Column(
        "cost_memory", "Peak, GB", "down", False, 2,
        "Most memory meanwhile, 10^9 bytes: on CUDA all that was allocated on the device, on the "
        "CPU the whole process.",
        table="cost",
    ),
    Column(
        "cost_parameters", "Changed, M", "down", False, 3,
        "Million numbers in the tensors that the edit replaces.",
        table="cost",
    ),
    Column(
        "cost_passes", "Extra passes", "down", False, 0,
        "Forward passes per scale at sampling beyond those of the unerased model.",
        table="cost",
    ),
)  # fmt: skip
COLUMNS = (*CORE, *DRIFT, *COST)
_BY_METRIC = {column.metric: column for column in COLUMNS}


def column(metric: str, prompt_set: str | None = None) -> Column:
    """How `metric` is shown; an unknown metric by its id, with three decimals."""
    known = _BY_METRIC.get(metric) or Column(
        metric, metric, "", False, 3, "Not a built-in metric: see the package that offers it."
    )
    return replace(known, prompt_set=prompt_set)
