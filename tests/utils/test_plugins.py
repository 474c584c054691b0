"""Plugins: found by name, reported when broken, never in place of something built in."""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path

import pytest

from tests.helpers.cli import TINY, varbench
from tests.helpers.pages import named_blocks
from tests.helpers.plugin_folder import install
from varbench.cli.list_tables import PLUGINS, problems
from varbench.methods.registry import PLUGINS as METHODS
from varbench.utils.entry_points import PluginError
from varbench.utils.files import packaged

WITHOUT_TRAINING = [option for option in TINY if not option.startswith("method.")]

EXAMPLES = named_blocks("CONTRIBUTING.md")
METHOD, METRIC, MODEL = (EXAMPLES[f"mythings/{kind}.py"] for kind in ("method", "metric", "model"))


def their_prompts() -> str:
    lines = (packaged("prompts") / "gallery-objects.csv").read_text(encoding="utf-8").splitlines()
    return "\n".join([lines[0], *(line for line in lines if ",church," in line)]) + "\n"


def their_concept(name: str) -> str:
    """`church`, tested on their own prompt set."""
    packaged = resources.files("varbench.conf") / "concept" / "church.yaml"
    text = packaged.read_text(encoding="utf-8").replace("name: church", f"name: {name}")
    own = "    - {set: gallery-objects, where: {object: [church]}}\n"
    assert text.count(own) == 1
    return text.replace(own, "    - {set: their-churches}\n")


def put_method(site: Path, package: str, name: str, target: str, text: str) -> None:
    """Install a package with one method."""
    files = {f"{package}/__init__.py": "", f"{package}/method.py": text}
    install(site, package, files, {"varbench.methods": {name: target}})


def test_a_plugin_that_ends_the_program_is_a_warning(site: Path) -> None:
    put_method(site, "quitpack", "quitter", "quitpack.method:Thing", "import sys\nsys.exit(0)\n")
    listed = varbench("list", "methods")
    assert listed.exit_code == 0 and "svare" in listed.stdout and "SystemExit: 0" in listed.stderr
    refused = varbench("run", "--method", "quitter", *WITHOUT_TRAINING, "--store", site / "store")
    assert refused.exit_code == 2 and "SystemExit: 0" in refused.stderr


def test_a_broken_plugin_is_a_warning_until_asked_for(site: Path, tmp_path: Path) -> None:
    text = "import a_module_that_nobody_has\n"
    put_method(site, "brokenpack", "shattered", "brokenpack.method:Thing", text)
    listed = varbench("list", "methods")
    assert listed.exit_code == 0
    assert "svare" in listed.stdout
    assert "shattered" not in listed.stdout
    for part in ("warning", "'shattered'", "brokenpack 0.1", "a_module_that_nobody_has"):
        assert part in listed.stderr
    assert "warning" not in varbench("list", "concepts").output
    store = ("--store", str(tmp_path / "store"))
    done = varbench("run", "--method", "none", *WITHOUT_TRAINING, *store)
    assert done.exit_code == 0, done.output
    assert "a_module_that_nobody_has" in done.stderr
    assert "shattered" not in done.stdout
    for command in ("run", "plan"):
        refused = varbench(command, "--method", "shattered", *WITHOUT_TRAINING, *store)
        assert refused.exit_code == 2
        assert "ModuleNotFoundError: No module named 'a_module_that_nobody_has'" in refused.stderr
        assert "Traceback" not in refused.output


def test_built_in_names_stay_built_in(site: Path) -> None:
    """Whoever asks for `svare` or `face-ada` gets varbench's, and is told of the others."""
    concept = their_concept("face-ada")
    files = {
        "shadowpack/__init__.py": "",
        "shadowpack/things.py": "raise RuntimeError('imported')\n",
        "shadowpack/data/face-ada.yaml": concept,
        "shadowpack/data/gallery-faces.csv": their_prompts(),
    }
    targets = {
        "varbench.methods": {"svare": "shadowpack.things", "none": "shadowpack.things"},
        "varbench.metrics": {"acc_e": "shadowpack.things"},
        "varbench.models": {"gallery": "shadowpack.things"},
        "varbench.concepts": {"shadowpack": "shadowpack.data"},
        "varbench.prompts": {"shadowpack": "shadowpack.data"},
    }
    install(site, "shadowpack", files, targets)
    messages = problems()
    for name in ("svare", "none", "acc_e", "gallery", "face-ada", "gallery-faces"):
        (one,) = (text for text in messages if f"'{name}' is built in" in text)
        assert "shadowpack 0.1" in one
        assert "rename" in one
    assert len(messages) == 6
    shown = varbench("run", "--show-config", "--concept", "face-ada", "--method", "svare")
    assert shown.exit_code == 0, shown.output
    assert "alpha" in shown.output
    listed = varbench("list", "concepts")
    assert "'face-ada' is built in" in listed.stderr
    assert "celebrity" in next(o for o in listed.stdout.splitlines() if o.startswith("face-ada"))
    assert all(kind.origin("svare") is None for kind in PLUGINS.values())


def test_a_name_that_two_packages_offer_is_nobodys(site: Path) -> None:
    for package in ("onepack", "otherpack"):
        put_method(site, package, "fading", f"{package}.method:Fading", METHOD)
    (told,) = problems("methods")
    assert "onepack 0.1 and otherpack 0.1" in told
    refused = varbench("run", "--show-config", "--method", "fading")
    assert refused.exit_code == 2
    assert "uninstall all but one" in refused.stderr
    assert "fading" not in varbench("list", "methods").stdout


WRONG = {
    "method-id": ("methods", METHOD.replace('"fading"', '"faded"'), "id is 'faded'"),
    "method-config": ("methods", METHOD.replace("@dataclass(frozen=True)\n", ""), "no dataclass"),
    "method-default": ("methods", METHOD.replace("float = 0.5", "float"), "factor"),
    "method-function": ("methods", METHOD.replace("def erase", "def remove"), "erase()"),
    "metric-id": ("metrics", METRIC.replace('"image-count"', '"count"'), "id is 'count'"),
    "metric-attribute": ("metrics", METRIC.replace("info =", "facts ="), "has `info`"),
    "metric-compute": ("metrics", METRIC.replace("def compute", "def count"), "compute"),
    "metric-better": ("metrics", METRIC.replace('"down"', '"lower"'), "'lower'"),
    "metric-scorer": ("metrics", METRIC.replace('"judge"', '"oracle"'), "'oracle'"),
    "model-name": ("models", MODEL.replace('"my-gallery"', '"theirs"'), "name is 'theirs'"),
    "model-load": ("models", MODEL.replace("def load", "def read"), "lacks load"),
    "model-config": ("models", "def load(config, device): ...\n", "Config"),
}
OFFERED = {
    "methods": ("fading", "wrongpack.thing:Fading"),
    "metrics": ("image-count", "wrongpack.thing:Count"),
    "models": ("my-gallery", "wrongpack.thing"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_malformed_plugin_is_reported(
    case: str, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, text, words = WRONG[case]
    name, target = OFFERED[kind]
    package = f"wrong_{case.replace('-', '_')}"
    target = target.replace("wrongpack", package)
    install(
        site, package, {f"{package}/__init__.py": "", f"{package}/thing.py": text},
        {f"varbench.{kind}": {name: target}},
    )  # fmt: skip
    (told,) = problems(kind)
    assert words in told
    assert package in told
    with pytest.raises(PluginError, match="cannot be used"):
        PLUGINS[kind].load(name)  # type: ignore[union-attr]
    assert name not in PLUGINS[kind].usable()  # type: ignore[union-attr]


def test_unreadable_folders_and_files_are_reported(site: Path) -> None:
    files = {
        "filespack/__init__.py": "",
        "filespack/module.py": "",
        "filespack/empty/readme.txt": "",
        "filespack/bad/no-words.yaml": "name: no-words\n",
        "filespack/bad/other.yaml": their_concept("church").replace("name: church", "name: mine"),
        "filespack/bad/doubled.csv": "prompt\na cat\na cat\n",
        "filespack/broken/__init__.py": "",
    }
    targets = {
        "varbench.concepts": {
            "bad": "filespack.bad",
            "empty": "filespack.empty",
            "module": "filespack.module",
            "nowhere": "filespack.nowhere",
            "absent": "a_package_that_nobody_has.concepts",
        },
        "varbench.prompts": {"bad": "filespack.bad"},
    }
    install(site, "filespack", files, targets)
    messages = problems("concepts")
    for words in (
        "has no *.yaml",
        "is a module",
        "there is no package 'filespack.nowhere'",
        "ModuleNotFoundError",
        "no-words.yaml",
        "'their-churches'",  # the prompt set of the other file
    ):
        assert sum(words in one for one in messages) == 1, (words, messages)
    (one,) = problems("prompts")
    assert "doubled.csv:3" in one
    assert varbench("list", "concepts").exit_code == 0
    assert varbench("list", "prompts").exit_code == 0
    refused = varbench("run", "--show-config", "--concept", "their-concept")
    assert refused.exit_code == 2
    assert "there is no package 'filespack.nowhere'" in refused.stderr


def test_nothing_is_imported_to_find_plugins(site: Path) -> None:
    put_method(site, "loudpack", "loud", "loudpack.method:Loud", "raise SystemError('imported')\n")
    assert list(METHODS.plugins()) == ["loud"]
    assert METHODS.origin("loud") == "loudpack 0.1"
    assert "loudpack" not in sys.modules
