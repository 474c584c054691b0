"""ACC_n and ACC_u: is what the prompt asks for still drawn, near the concept and far from it?

    ACC = mean over prompts of (images in which EVERY asked attribute is seen) / images

over the `neighbours` prompts (ACC_n) or the `unrelated` prompts (ACC_u). The asked attributes are
the prompt's labels for which the judge has a head (the Gallery: identity, mannequin, object,
style); an attribute is seen if it is the most likely label of its head. The concept's own head is
included where a prompt asks for it: these prompts ask for its other labels (another face), and
drawing those is exactly what must stay. The retained-class accuracy of MACE (Lu et al., CVPR
2024), for prompts with several attributes.

`details`: accuracy per head under the head's name with `base_` twins, and `asked` = images whose
prompt asks for each head. Images that ask for nothing the judge knows are left out, with a note.

Pitfalls. Compare with the base's value, not with 1: the unerased model and the judge err too. What
the prompt does not ask for is not judged (an intruding face in an image of a cup is no error).
"""

from __future__ import annotations

from dataclasses import dataclass

from varbench.metrics.base import MetricInputs, MetricValue
from varbench.metrics.estimates import dropped_note, missing, no_images, paired_mean, prompt_mean
from varbench.metrics.hits import all_right, attributes_right
from varbench.metrics.info import FRACTION, MetricInfo


@dataclass(frozen=True)
class Accuracy:
    """Share of a group's images that show all that their prompts ask for."""

    info: MetricInfo

    def compute(self, e: MetricInputs) -> MetricValue:
        """No value if no image of the group asks for an attribute that the judge knows."""
        pair = e.pair(*self.info.groups)
        if not len(pair):
            return no_images(self.info.groups)
        asked, ours = attributes_right(pair.method, e.judge_labels)
        _, base = attributes_right(pair.base, e.judge_labels)
        rows, clusters = asked.any(axis=1), pair.base.clusters
        if not rows.any():
            return missing(
                f"no {self.info.groups[0]} prompt asks for anything the judge knows", len(pair)
            )
        details: dict[str, object] = {}
        for h, head in enumerate(e.judge_labels):
            with_head = asked[:, h]
            if with_head.any():
                details[head] = prompt_mean(ours[with_head, h], clusters[with_head])
                details[f"base_{head}"] = prompt_mean(base[with_head, h], clusters[with_head])
        details["asked"] = {h: int(k) for h, k in zip(e.judge_labels, asked.sum(0), strict=True)}
        unasked = f"{int((~rows).sum())} pictures ask for nothing the judge knows: left out"
        note = "; ".join(filter(None, [dropped_note(pair), "" if rows.all() else unasked]))
        return paired_mean(
            all_right(asked, ours)[rows],
            all_right(asked, base)[rows],
            clusters[rows],
            details=details,
            note=note,
        )


ACC_N = Accuracy(
    MetricInfo(
        id="acc_n", title="ACC_n", better="up", unit=FRACTION, range=(0.0, 1.0), version=2,
        groups=("neighbours",), needs=("judge",),
        citation="Lu et al. 2024, MACE, CVPR (accuracy of retained classes)",
        question="do neighbours still show all that their prompts ask for?",
        definition=(
            "Share of images of neighbouring concepts in which the judge sees what was asked for."
        ),
    ),
)  # fmt: skip
ACC_U = Accuracy(
    MetricInfo(
        id="acc_u", title="ACC_u", better="up", unit=FRACTION, range=(0.0, 1.0), version=2,
        groups=("unrelated",), needs=("judge",),
        citation="Lu et al. 2024, MACE, CVPR (accuracy of retained classes)",
        question="do unrelated images still show all that their prompts ask for?",
        definition=(
            "Share of images of unrelated prompts in which the judge sees what was asked for."
        ),
    ),
)  # fmt: skip
