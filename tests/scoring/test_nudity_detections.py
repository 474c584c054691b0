"""The scorer of NudeNet's detections gives what the package gives, image by image.

The network finds nothing in noise, so its class scores are made louder here, on both sides alike.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nudenet import NudeDetector
from PIL import Image

from tests.helpers.detections import Loud
from tests.helpers.scoring import new_scorer
from varbench.data.published.data_folder import network_path
from varbench.errors import CheckpointError
from varbench.metrics.groups import Array
from varbench.metrics.nudity_protocols import CLASSES
from varbench.scoring.scorers import detections
from varbench.scoring.scorers.detections import (
    MAX_DETECTIONS,
    DetectionScorer,
    LikelyBoxes,
    MediumDetectionScorer,
    as_arrays,
    open_session,
)

SIZES = [(96, 64), (200, 320), (512, 512), (64, 64), (333, 111)]  # width, height


@pytest.fixture
def loud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detections, "open_session", lambda path: Loud(open_session(path)))


@pytest.fixture(scope="module")
def package() -> Any:
    """The package's own detector with its own session, made louder."""
    detector = NudeDetector()
    detector.onnx_session = Loud(detector.onnx_session)
    return detector


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("pictures")
    for i, size in enumerate(SIZES):
        small = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        small.resize(size, Image.Resampling.BICUBIC).save(folder / f"{i:03d}.png")
    return sorted(folder.glob("*.png"))


def as_lists(arrays: dict[str, Array]) -> list[list[dict[str, Any]]]:
    """Stored arrays in the package's own form."""
    return [
        [
            {"class": CLASSES[label], "score": float(score), "box": box.tolist()}
            for label, score, box in zip(*(arrays[k][i] for k in keys), strict=True)
            if label >= 0
        ]
        for keys in [("class", "score", "box")]
        for i in range(len(arrays["count"]))
    ]


@pytest.mark.usefixtures("loud")
def test_detections_are_those_of_the_package_bit_by_bit(package: Any, files: list[Path]) -> None:
    expected = [package.detect(str(file)) for file in files]
    seen = [box["class"] for boxes in expected for box in boxes]
    assert len(seen) > 10 and len(set(seen)) > 2  # else nothing is tested
    assert max(map(len, expected)) < MAX_DETECTIONS
    for threads in (1, 3):
        arrays = DetectionScorer(threads=threads).score(files, [""] * len(files))
        assert as_lists(arrays) == expected
        assert arrays["count"].tolist() == [len(boxes) for boxes in expected]
        assert arrays["size"].tolist() == [list(size) for size in SIZES]
        kinds = {name: rows.dtype for name, rows in arrays.items()}
        assert kinds == {"class": np.int8, "score": np.float32, "box": np.int32, "count": np.int32,
                         "size": np.int32}  # fmt: skip


def test_other_channels_and_other_images_give_other_detections(
    package: Any, files: list[Path]
) -> None:
    """Otherwise the test above would not notice red and blue in each other's place."""
    image = np.asarray(Image.open(files[2]).convert("RGB"))
    flipped = np.ascontiguousarray(image[:, :, ::-1])
    assert package.detect(str(files[2])) == package.detect(flipped)
    assert package.detect(flipped) != package.detect(image)


def test_one_thread_computes_the_same_bits_as_the_packages_session() -> None:
    path = network_path("nudenet-320n")
    pixels = np.random.default_rng(1).random((1, 3, 320, 320), dtype=np.float32)
    own, package = open_session(path), NudeDetector().onnx_session
    (ours,), (theirs,) = (one.run(None, {"images": pixels}) for one in (own, package))
    np.testing.assert_array_equal(ours, theirs)


class Fixed:
    def __init__(self, boxes: Array) -> None:
        self.boxes = boxes

    def run(self, names: Sequence[str] | None, inputs: dict[str, Array]) -> list[Array]:
        return [self.boxes]


@pytest.mark.parametrize("likely", [0, 1, 2, 40, 300])
def test_boxes_that_nothing_claims_change_nothing(likely: int) -> None:
    rng = np.random.default_rng(likely)
    boxes = np.concatenate(
        [rng.uniform(0, 320, (1, 4, 300)), rng.uniform(0, 0.199, (1, 18, 300))], axis=1
    ).astype(np.float32)
    chosen = rng.permutation(300)[:likely]
    # Equal scores, too: which of two equals is kept depends on their order.
    boxes[0, 4 + rng.integers(0, 18, likely), chosen] = rng.integers(1, 6, likely) / 5
    image = np.zeros((200, 300, 3), dtype=np.uint8)
    whole, cut = NudeDetector(), NudeDetector()
    whole.onnx_session, cut.onnx_session = Fixed(boxes), LikelyBoxes(Fixed(boxes))
    assert cut.detect(image) == whole.detect(image)
    assert bool(whole.detect(image)) == (likely > 0)


@pytest.mark.usefixtures("loud")
def test_blocks_can_be_put_together_and_order_is_kept(files: list[Path]) -> None:
    who = DetectionScorer()
    whole = who.score(files, [""] * len(files))
    parts = [who.score(files[:2], ["", ""]), who.score(files[2:], ["", "", ""])]
    back = who.score(files[::-1], [""] * len(files))
    for name, rows in whole.items():
        np.testing.assert_array_equal(np.concatenate([p[name] for p in parts]), rows)
        np.testing.assert_array_equal(back[name][::-1], rows)


def test_more_detections_than_are_stored_are_counted() -> None:
    many = [
        {"class": CLASSES[i % 18], "score": 1 - i / 100, "box": [i, 2 * i, 3, 4]} for i in range(70)
    ]
    arrays = as_arrays([[], many, many[:1]])
    assert arrays["count"].tolist() == [0, 70, 1]
    assert as_lists(arrays)[1] == [
        one | {"score": float(np.float32(one["score"]))} for one in many[:MAX_DETECTIONS]
    ]
    assert (arrays["class"][0] == -1).all() and (arrays["class"][2, 1:] == -1).all()
    with pytest.raises(ValueError, match="unknown class 'HAT'"):
        as_arrays([[{"class": "HAT", "score": 0.9, "box": [0, 0, 1, 1]}]])


@pytest.mark.usefixtures("loud")
def test_other_kinds_of_images_are_read_as_rgb(tmp_path: Path, files: list[Path]) -> None:
    with Image.open(files[2]) as opened:
        rgb = opened.convert("RGB")
    clear = rgb.copy()
    clear.putalpha(100)
    clear.save(tmp_path / "alpha.png")
    rgb.convert("CMYK").save(tmp_path / "cmyk.tiff")
    deep = np.asarray(rgb.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "deep.png")
    rgb.convert("P").save(tmp_path / "palette.png")
    who = DetectionScorer()
    for name in ("alpha.png", "cmyk.tiff", "deep.png", "palette.png"):
        with Image.open(tmp_path / name) as opened:
            opened.convert("RGB").save(tmp_path / "plain.png")
        odd, plain = (as_lists(who.score([tmp_path / n], [""])) for n in (name, "plain.png"))
        assert odd == plain
    alpha = who.score([tmp_path / "alpha.png"], [""])  # seen as it is, whatever its transparency
    assert as_lists(alpha) == as_lists(who.score([files[2]], [""]))


def test_what_is_no_image_or_network_is_refused(
    tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    who = DetectionScorer()
    with pytest.raises(ValueError, match="no images"):
        who.score([], [])
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        who.score([tmp_path / "gone.png"], [""])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "half.png").write_bytes(files[2].read_bytes()[:-2000])
    for name in ("text", "half"):
        with pytest.raises(ValueError, match=rf"{name}\.png is not an image"):
            who.score([files[0], tmp_path / f"{name}.png"], ["", ""])
    monkeypatch.setattr(detections, "network_path", lambda name: tmp_path / "text.png")
    with pytest.raises(CheckpointError, match="not an ONNX network"):
        DetectionScorer().score(files[:1], [""])


def test_networks_differ_in_fingerprint_without_loading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert DetectionScorer(threads=3).fingerprint() == DetectionScorer().fingerprint()
    larger = type("Larger", (DetectionScorer,), {"side": 640})()
    assert larger.fingerprint() != DetectionScorer().fingerprint()
    checksums = {"nudenet-320n": "a", "nudenet-640m": "b"}
    monkeypatch.setattr("varbench.scoring.scorers.images.network_checksum", checksums.get)
    medium = new_scorer("detections_640m", network_set="standard")
    assert isinstance(medium, MediumDetectionScorer)
    assert (medium.network, medium.side) == ("nudenet-640m", 640)
    assert medium.fingerprint() != larger.fingerprint()
    code = (
        "import sys; from varbench.scoring.scorers.detections import DetectionScorer; "
        "DetectionScorer().fingerprint(); "
        "print({'nudenet', 'onnxruntime', 'cv2'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
