"""What was not seen is never good: in every runtime, for every method."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from roinspect.images.pixels import write_image
from roinspect.inspection.backends import TARGET_OF
from roinspect.inspection.bundle import read_bundle
from roinspect.inspection.inspector import Inspector

pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytest.importorskip("openvino")
pytest.importorskip("timm")

RUNTIMES = [*TARGET_OF, "torch"]
SIDE = 64
WEIGHTS = {"backbone": "tf_efficientnet_lite0", "weights": "none"}
METHODS = {
    "roibank": WEIGHTS | {"memory_size": 200, "learning_rate": 0.01},
    "ceod": {"backbone": "customnet", "roi_head": False, "learning_rate": 0.02},
    "grdnet": {"width": 8, "segmenter_width": 8},
}
STEPS = {"roibank": 150, "ceod": 150, "grdnet": 60}


def background(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(60, 90, (SIDE, SIDE, 3), dtype=np.uint8)


def part(seed: int, defect: bool = False) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A bright bar on a dark table, and where it lies."""
    image, roi_mask = background(seed), np.zeros((SIDE, SIDE), np.uint8)
    top = 16 + seed % 5
    roi_mask[top : top + 28, 12:52] = 1
    image[roi_mask > 0] = np.minimum(image[roi_mask > 0] + np.uint8(110), 255)
    if defect:
        image[top + 8 : top + 16, 20:30] = (200, 20, 20)
    return image, roi_mask


@pytest.fixture(scope="module", params=METHODS)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from roinspect.exports.export import export
    from roinspect.methods.method import method_class
    from roinspect.training.settings import TrainingSettings
    from roinspect.training.train import train

    root = tmp_path_factory.mktemp(request.param)
    for number in range(36):
        kind = "bad" if number % 3 == 2 else "good"
        image, roi_mask = part(number, kind == "bad")
        write_image(root / "parts" / "train" / kind / f"{number:02}.png", image)
        write_image(root / "parts" / "roi" / "train" / kind / f"{number:02}.png", roi_mask * 255)
    settings = method_class(request.param).settings_class(**METHODS[request.param])
    steps = STEPS[request.param]
    training = TrainingSettings(size=str(SIDE), steps=steps, batch_size=4, accelerator="cpu")
    train(request.param, root / "parts", root / "bundle", method_settings=settings, training=training)
    for form in TARGET_OF.values():
        export(root / "bundle", form, tell=lambda _: None)
    return root / "bundle"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_does_not_show_the_part_is_never_good(bundle: Path, runtime: str) -> None:
    manifest = read_bundle(bundle)
    inspector = Inspector.load(bundle, runtime)
    # No score rejects anything: what keeps a picture from passing is what it shows.
    lenient = dataclasses.replace(manifest.threshold, value=1e9)
    inspector.bundle = dataclasses.replace(manifest, threshold=lenient)
    unseen = {
        "no part": [background(seed) for seed in range(100, 104)],
        "plain": [np.full((SIDE, SIDE, 3), value, np.uint8) for value in (0, 128, 255)],
        "noise": [np.random.default_rng(5).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)],
        "out of focus": [cv2.GaussianBlur(part(seed)[0], (0, 0), 6) for seed in range(100, 104)],
    }
    for name, pictures in unseen.items():
        for picture in pictures:
            verdict = inspector.inspect(picture)
            assert (verdict.verdict, verdict.is_defect, verdict.is_inspectable) == (
                "not inspectable",
                None,
                False,
            ), name
            assert verdict.reason
    shown = [inspector.inspect(part(seed)[0]) for seed in range(100, 110)]
    assert [verdict.verdict for verdict in shown] == ["good"] * 10
    assert all(verdict.reason is None for verdict in shown)
