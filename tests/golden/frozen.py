"""All of today's code that decides keys and published files besides the specs, as plain values."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import typer

from tests.helpers.scoring import new_scorer
from varbench.cli import app
from varbench.conf.compose import model_config, names, resolve
from varbench.conf.schema import plain
from varbench.data.concept_files import list_concepts, load_concept
from varbench.data.prompt_sets import list_prompt_sets, load_prompt_set
from varbench.errors import UserError
from varbench.methods.registry import METHODS, NONE, load_method, uses_seed
from varbench.metrics import METRICS
from varbench.models import registry
from varbench.models.text.cache import CachedTextEncoder
from varbench.pipeline.stages import compare
from varbench.scoring.evaluator import Evaluator, ScorerPool
from varbench.scoring.registry import COMPARERS, JUDGES, SCORERS, JudgeSpec
from varbench.store import digest

ROOT = Path(__file__).parents[2]
FOLDERS = ("results/leaderboard", "results/regression", "results/reported")
MODELS = ("gallery", "infinity-2b", "switti")


def frozen() -> dict[str, Any]:
    """Digests, fingerprints, versions, titles and resolved settings."""
    return {
        "concepts": {name: _concept(name) for name in list_concepts()},
        "prompt_sets": {name: load_prompt_set(name).sha256 for name in list_prompt_sets()},
        "models": {name: _model(name) for name in names("model")},
        "compare": digest(compare.spec_of("lpips", (1, "of"), "own", "base", [("own", 1), None])),
        "scorers": {f"{s}/{r}": _scorer(s, r) for s, roles in SCORERS.items() for r in roles},
        "comparers": {f"{s}/{r}": _comparer(s, r) for s, roles in COMPARERS.items() for r in roles},
        "judges": {name: _judge(name) for name in list_concepts()},
        "reads": {name: _judge_spec(j) for name, j in JUDGES.items()},
        "text": _text(),
        "metrics": {name: _metric(name) for name in METRICS},
        "methods": {name: _method(name) for name in METHODS},
        "settings": _settings(),
        "commands": _commands(),
    }


def files() -> dict[str, str]:
    """One hash per folder, over the sorted paths of its files and their own hashes."""
    patterns = {f"{folder}/**/*": folder for folder in FOLDERS}
    patterns |= {name: name for name in ("varbench/conf/concept/*.yaml", "prompts/*.csv")}
    hashes = {}
    for pattern, name in patterns.items():
        paths = sorted(p for p in ROOT.glob(pattern) if p.is_file())
        sums = [(p.relative_to(ROOT).as_posix(), _sha256(p)) for p in paths]
        hashes[name] = f"{len(sums)} files {hashlib.sha256(repr(sums).encode()).hexdigest()}"
    return hashes


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _or_error(make: Any, *args: str) -> Any:
    """The result; None where a network's file is not on this machine."""
    try:
        return make(*args)
    except UserError:
        return None


def _concept(name: str) -> list[str]:
    concept = load_concept(name)
    return [concept.digest(), concept.training_digest()]


def _model(name: str) -> str:
    """The fingerprint; of a released model, whose files are not here, what goes into it besides."""
    config = model_config(name)
    return (
        digest(config.described()) if hasattr(config, "described") else registry.fingerprint(config)
    )


def _scorer(network_set: str, role: str) -> list[Any]:
    scorer = new_scorer(role, network_set=network_set)
    return [scorer.version, _or_error(scorer.fingerprint)]


def _comparer(network_set: str, role: str) -> list[Any]:
    comparer = ScorerPool().of_roles(COMPARERS[network_set], [role])[role]
    return [comparer.version, _or_error(comparer.fingerprint)]


def _judge(concept: str) -> list[Any]:
    judge = Evaluator(load_concept(concept), (), METRICS, ScorerPool()).judge
    return [judge.version, _or_error(judge.fingerprint)]


def _judge_spec(spec: JudgeSpec) -> list[Any]:
    return [spec.network_set, list(spec.roles), list(spec.provides)]


def _text() -> str:
    """The key of one prompt's text features, which only released models keep."""
    source = SimpleNamespace(fingerprint="of", maxlen=512, dtype=torch.bfloat16)
    return digest(CachedTextEncoder._spec(SimpleNamespace(source=source), "a cat"))  # type: ignore[arg-type]


def _metric(name: str) -> dict[str, Any]:
    info = METRICS[name].info
    return {
        "version": info.version,
        "needs": sorted(info.needs),
        "title": info.title,
        "better": info.better,
        "table": info.table,
        "rate": info.rate,
        "digits": info.digits,
    }


def _method(name: str) -> dict[str, Any]:
    hashes = {m: digest(plain(resolve(m, "smoke", name).method))[:8] for m in MODELS}
    return {"version": load_method(name).version, "seeded": uses_seed(name), "configs": hashes}


def _settings() -> dict[str, str]:
    """Digest of the whole resolved configuration, by model and suite."""
    pairs = [(model, "smoke") for model in names("model")]
    pairs += [("infinity-2b", suite) for suite in names("suite")]
    return {f"{m}/{s}": digest(plain(resolve(m, s, NONE))) for m, s in dict.fromkeys(pairs)}


def _commands() -> dict[str, str]:
    """Arguments and options of every command; stored commands repeat them."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return {
        name: " ".join(sorted(o for p in command.params for o in (*p.opts, *p.secondary_opts)))
        for name, command in sorted(commands.items())
    }
