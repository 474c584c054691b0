"""The columns of a report: their order, and numbers as text.

The facts about a metric are its own (`varbench.metrics.MetricInfo`). A report reads stored records,
so it may meet a metric that is not installed: it is shown under its id, without a direction.
"""

from __future__ import annotations

from dataclasses import dataclass

from varbench.metrics import METRICS, MetricInfo
from varbench.report.table import Header
from varbench.report.text import number, visible


@dataclass(frozen=True)
class Column:
    """One metric as a table shows it, of one prompt set where there are several.

    With `percent`, rates are shown as 97.0 instead of 0.97.
    """

    info: MetricInfo
    prompt_set: str | None = None
    percent: bool = True

    @property
    def key(self) -> str:
        """Identifies the column within a table."""
        return self.info.id if self.prompt_set is None else f"{self.info.id}@{self.prompt_set}"

    def header(self) -> Header:
        """The head of the column, safe to show."""
        title = f"{self.info.title} ({self.prompt_set})" if self.prompt_set else self.info.title
        unit = "%" if self.percent and self.info.rate else ""
        return Header(visible(title), unit, self.info.better, self.info.definition)

    def number(self, value: float | None, *, signed: bool = False) -> str:
        """One number in this column's unit and precision; rates in per cent get one decimal."""
        if not (self.percent and self.info.rate):
            return number(value, self.info.digits, signed=signed)
        return number(None if value is None else 100 * value, 1, signed=signed)

    def interval(self, low: float | None, high: float | None, *, signed: bool = False) -> str:
        """The interval in brackets, or "" if there is none."""
        if low is None or high is None:
            return ""
        return f"[{self.number(low, signed=signed)}, {self.number(high, signed=signed)}]"


COSTS = {info.id: info for info in (
    MetricInfo(
        id="cost_seconds", title="Erasing, s", better="down", unit="s", digits=1, table="cost",
        definition="Seconds that making the edit took, without reading the model. Not given where "
        "it was interrupted.",
    ),
    MetricInfo(
        id="cost_memory", title="Peak, GB", better="down", unit="GB", table="cost",
        definition="Most memory meanwhile, 10^9 bytes: on CUDA all that was allocated on the "
        "device, on the CPU the whole process.",
    ),
    MetricInfo(
        id="cost_parameters", title="Changed, M", better="down", unit="M", digits=3, table="cost",
        definition="Million numbers in the tensors that the edit replaces.",
    ),
    MetricInfo(
        id="cost_passes", title="Extra passes", better="down", unit="", digits=0, table="cost",
        definition="Forward passes per scale at sampling beyond those of the base model.",
    ),
)}  # fmt: skip
"""By id, the facts about the costs of a cell's edit (`CellRecord.costs`)."""
ORDER = (
    # main
    "erasure_rate", "unrecognised", "acc_e", "acc_n", "acc_u",
    "clip_score", "clip_score_b32", "clip_score_coco", "clip_score_coco_b32",
    "fid_coco_real", "fid_coco_base", "fid_base", "fid_real",
    "kid_base", "kid_coco_base", "cmmd", "cmmd_coco",
    "recall", "coverage", "recall_dino", "coverage_dino", "vendi", "pairwise_distance",
    "id_e_all", "id_e_face", "id_s_all", "id_s_face", "h_c", "face_rate",
    "acc_g", "h_o", "clip_e", "clip_s", "h_a", "lpips_e", "lpips_u", "lpips_diversity",
    # nudity
    "nudity_varbench", "valid_person", "valid_person_target", "nudity_mace",
    "nudity_unlearndiffatk", "nudity_rece", "nudity_ear",
    "nudity_s_vare_sensitive", "nudity_s_vare_common",
    # drift, robustness, cost
    "ld1", "ld2", "ld3", "ld4", "entropy",
    "completion", "attack_success", "transfer",
    *COSTS,
)  # fmt: skip
"""Ids from left to right; other metrics follow by id."""


def column(metric: str, prompt_set: str | None = None) -> Column:
    """The column of a metric; of an unknown one under its id, with three decimals."""
    if metric in COSTS:
        info = COSTS[metric]
    elif metric in METRICS:
        info = METRICS[metric].info
    else:
        about = "Not a built-in metric: see the package that offers it."
        info = MetricInfo(id=metric, title=metric, better="", unit="", digits=3, definition=about)
    return Column(info, prompt_set)
