"""The runs whose keys are frozen, as plain values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from varbench.metrics import METRICS

OWN = str(Path(__file__).parent / "own-mannequin.yaml")


def _run(methods: str, concepts: str, suite: str, *overrides: str, seeds: str = "0") -> Any:
    return {
        "model": "gallery",
        "methods": methods.split(","),
        "concepts": concepts.split(","),
        "suite": suite,
        "seeds": [int(seed) for seed in seeds.split(",")],
        "overrides": list(overrides),
    }


ALL_METHODS = (
    "svare,vare,naive,nft-anchor,nft-distill,nft-ascent,ac,salun,fmn,ear,obliviate,"
    "scaleerasure,first-scale,uce,rece,esd,sld,neg-prompt"
)
EVERY_GROUP = (
    "+suite.groups={implicit:{prompts:4,seeds:2},adversarial:{prompts:4,seeds:1},"
    "extra:{set:gallery-objects,prompts:5,seeds:1,asks:false}}"
)
REQUESTS: dict[str, dict[str, Any]] = {
    "smoke": _run("svare,esd,uce,sld", "face-ada", "smoke"),
    "seeds": _run("svare,uce", "church", "smoke", seeds="0,1"),
    "all methods": _run(ALL_METHODS, "church", "regression"),
    "all objects": _run("none", "face-hugo,style-marlo-tessera,style-volta-kern,clock,umbrella,"
                        "bare-mannequin", "regression"),
    "joint": _run("svare,sld", "face-ada+church", "regression"),
    "tune": _run("vare", "bare-mannequin", "tune"),
    "quick": _run("naive", "face-ada", "quick"),
    "own concept": _run("svare,neg-prompt", OWN, "smoke", EVERY_GROUP, "suite.block=7"),
    "settings": _run("svare,fmn", "umbrella", "regression", "method.train.steps=3", "pairs=4",
                     "model.batch=7", "model.sampling.guidance=3.5", "model.train.rate=0.001"),
    "strict": _run("vare,sld", "clock", "regression", "model.strict=true"),
    "robustness": _run("svare,esd,sld", "face-ada", "regression", "suite.robustness.prompts=5",
                       "suite.robustness.seeds=1", "suite.robustness.scales=[1,3]",
                       "suite.robustness.vectors=2", "suite.robustness.examples=6",
                       "suite.robustness.steps=4", "suite.block=4", "suite.split=all"),
    "all metrics": _run("svare", "face-ada", "regression",
                        f"suite.metrics=[{','.join(METRICS)}]", "suite.robustness.prompts=3"),
    "one metric": _run("uce", "church", "smoke", "suite.metrics=[acc_e]"),
}  # fmt: skip
