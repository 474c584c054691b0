"""The transformer, tokenizer and sampler reproduce upstream's numbers, tensor by tensor.

Runs on every folder given with ``--reference-dir``. A second folder of another shape is made
here, one sample at a time and with loops written from the specification, to show that the
checker reads other folders and that it notices errors.
"""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from tests.helpers.infinity_folder import (
    LOGITS,
    WEIGHT_FILES,
    Folder,
    UnknownTensor,
    UnsupportedOption,
    close,
)
from tests.helpers.infinity_generated import fold, rows, unfold, write_folder
from tests.helpers.infinity_rules import INPUTS, find_rule, required
from varbench.models.common.sampling import ClassifierFreeGuidance
from varbench.models.infinity.text import TextCondition
from varbench.models.protocol import Sampling, Schedule

_FOLDERS: dict[Path, Folder] = {}


def _folder(path: Path) -> Folder:
    """One folder object per path and process, so that models load and run once."""
    return _FOLDERS.setdefault(path, Folder(path))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    paths = [Path(p).resolve() for p in metafunc.config.option.reference_dir]
    for path in paths:
        if not (path / "config.json").is_file():
            raise pytest.UsageError(f"--reference-dir: no config.json in {path}")
    if "tensor" in metafunc.fixturenames:
        cases = [(_folder(path), *name) for path in paths for name in _folder(path).names()]
        ids = [f"{folder.path.name}-{file}-{name}" for folder, file, name in cases]
        metafunc.parametrize(("folder", "file", "tensor"), cases, ids=ids)
    elif "folder" in metafunc.fixturenames:
        metafunc.parametrize("folder", [_folder(p) for p in paths], ids=[p.name for p in paths])


def _supported(folder: Folder) -> None:
    if reasons := folder.unsupported():
        pytest.skip(f"{folder.path.name}: not supported: {', '.join(reasons)}")


def test_tensor(folder: Folder, file: str, tensor: str) -> None:
    try:
        folder.check(file, tensor)
    except UnsupportedOption as reason:
        pytest.skip(f"{file} {tensor}: not supported: {reason}")


def test_no_tensor_is_without_a_rule(folder: Folder) -> None:
    for file, name in folder.names():
        find_rule(file, name)


def test_required_tensors_are_present(folder: Folder) -> None:
    assert required(folder) <= set(folder.names())


@pytest.mark.parametrize("file", WEIGHT_FILES)
def test_every_weight_is_read(folder: Folder, file: str) -> None:
    _supported(folder)
    folder.check_weights(file)


def test_config_agrees_with_schedules(folder: Folder) -> None:
    _supported(folder)
    folder.check_config()


def test_errors_in_any_tensor_are_noticed(folder: Folder) -> None:
    _supported(folder)
    _assert_teeth(folder)


def test_generate_gives_the_greedy_bits(folder: Folder) -> None:
    """Greedy bits do not depend on temperature, so the public entry point gives them too."""
    _supported(folder)
    settings = folder.config["ar"]
    rollout = folder.model.generate(
        folder.condition,
        [("any", row) for row in range(len(folder.condition))],
        sampling=Sampling(top_k=1, top_p=0.0),
        guidance=ClassifierFreeGuidance(tuple(settings["cfg_list"])),
    )
    for k in range(len(folder.layout.grids)):
        close(folder.stored_map(rollout.tokens, k), folder.get("ar_io", f"ar.bits.{k}"), 0.0)


def _assert_teeth(folder: Folder) -> None:
    """Each comparison fails when its stored tensor is a little wrong in one place."""
    for file, name in folder.names():
        if isinstance(find_rule(file, name)[0], str) or INPUTS.fullmatch(name):
            continue
        wrong = folder.get(file, name).clone()
        flat = wrong.view(-1)
        if name.endswith("image_bgr_u8"):
            flat[len(flat) // 2] = 255 - flat[len(flat) // 2]
            if abs(int(flat[len(flat) // 2]) - 127) < 3:
                flat[len(flat) // 2] = 0
        elif wrong.dtype == torch.uint8:
            flat[len(flat) // 2] ^= 1
        else:
            flat[len(flat) // 2] += 1
        with pytest.raises(AssertionError):
            folder.check(file, name, wrong)


# -- a second folder, made here ---------------------------------------------------------------


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    path = tmp_path_factory.mktemp("infinity") / "generated"
    write_folder(path)
    return Folder(path)


def test_generated_folder_is_checked_whole(generated: Folder) -> None:
    """Another size, landscape, patchify, two prompts of different lengths, run one by one."""
    skipped = set()
    for file, name in generated.names():
        try:
            generated.check(file, name)
        except UnsupportedOption:
            skipped.add(name)
    assert skipped == {"variant.logits_rope0", "ar_sampled.bits.0"}
    assert required(generated) <= set(generated.names())
    generated.check_config()
    for file in WEIGHT_FILES:
        generated.check_weights(file)


def test_generated_folder_errors_are_noticed(generated: Folder) -> None:
    _assert_teeth(generated)


def test_single_images_equal_a_batch_of_two(generated: Folder) -> None:
    """Stored: each prompt alone and unpadded. Here: both at once, padded to the longest."""
    close(generated.block0["logits"], generated.get("train_io", "logits"), 1e-5)
    close(generated.logits_uncond, generated.get("train_io", "logits_uncond"), 1e-5)
    assert len(set(generated.config["text_lens"])) == 2


def test_padding_is_never_read(generated: Folder) -> None:
    """Whatever stands in padded rows, and however many there are, logits stay."""
    model, condition = generated.model, generated.condition
    for width in (max(generated.config["text_lens"]), condition.rows.shape[1]):
        lengths = condition.lengths
        rows = condition.rows[:, :width].clone()
        padded = TextCondition(rows, lengths)
        rows[~padded.mask] = 50.0
        with torch.no_grad():
            actual = model.logits(generated.rollout, padded).flatten(2)
        close(actual, generated.block0["logits"], 1e-5)


def test_patchify_is_channel_major(generated: Folder) -> None:
    x = torch.randn(2, 3, 6, 8)
    assert torch.equal(unfold(fold(x)), x)
    layout = generated.layout
    for scale, grid in enumerate(layout.grids):
        x = torch.randn(2, 5, *grid)
        assert torch.equal(layout.to_tokens(x), rows(fold(x)))
        assert torch.equal(layout.to_map(layout.to_tokens(x), scale), x)


def test_options_left_out_are_named(generated: Folder) -> None:
    other = Folder(generated.path)
    other.config = copy.deepcopy(generated.config)
    other.config["ar_neg"]["cfg_insertion_layer"] = [-1]
    with pytest.raises(UnsupportedOption, match="cfg_insertion_layer"):
        other.check("ar_io", "ar_neg.bits.0")
    other.config["transformer"]["rope2d_normalized_by_hw"] = 1
    with pytest.raises(UnsupportedOption, match="rope2d_normalized_by_hw = 1"):
        other.check("train_io", "logits")


def test_unknown_tensor_names_fail(generated: Folder) -> None:
    for file, name in (("train_io", "variant.new"), ("ar_io", "ar.bits"), ("vae_io", "latents")):
        with pytest.raises(UnknownTensor, match=name):
            generated.check(file, name)


def test_tolerances_see_a_wrong_schedule_template(generated: Folder) -> None:
    """The same grids turned by 90 degrees change the logits by far more than the tolerance."""
    turned = Schedule(tuple((w, h) for h, w in generated.layout.schedule.scales))
    with torch.no_grad():
        transformer, text = generated.model.transformer, generated.text
        actual = transformer(generated.rollout.inputs, text, turned).flatten(2)
    assert (actual - generated.block0["logits"]).abs().max() > 100 * LOGITS
