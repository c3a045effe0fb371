"""No part that set the threshold and passed is rejected by another runtime, or with other threads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from roinspect.images.pixels import write_image
from roinspect.inspection.backends import TARGET_OF, open_runtime
from roinspect.inspection.bundle import read_bundle
from roinspect.inspection.calibration import false_reject_threshold

from ..conftest import SIZES, MakeBundle

pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytest.importorskip("openvino")
pytest.importorskip("timm")

RUNTIMES = [*TARGET_OF, "torch"]


def photographs(size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (24, *size_hw, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def roibank(tmp_path_factory: pytest.TempPathFactory, written_once: None) -> Path:
    from roinspect.methods.roibank_settings import RoiBankSettings
    from roinspect.training.settings import TrainingSettings
    from roinspect.training.train import train

    root = tmp_path_factory.mktemp("roibank")
    for number, image in enumerate(photographs((64, 64))):
        write_image(root / "parts" / "good" / f"{number}.png", image)
    settings = RoiBankSettings(backbone="test_convnext", weights="none", strides=(8, 16), memory_size=50)
    training = TrainingSettings(size="64", epochs=1, accelerator="cpu", held_out=0.5)
    train("roibank", root / "parts", root / "bundle", method_settings=settings, training=training, roi="none")
    return root / "bundle"


@pytest.mark.parametrize("method", ["grdnet", "ceod", "roibank"])
def test_no_engine_rejects_a_part_that_passed(
    method: str, make_bundle: MakeBundle, request: pytest.FixtureRequest
) -> None:
    from roinspect.exports.export import export

    path = request.getfixturevalue("roibank") if method == "roibank" else make_bundle(method)
    for form in TARGET_OF.values():
        export(path, form, tell=lambda _: None)
    images = photographs((64, 64) if method == "roibank" else SIZES[method])
    bundle = read_bundle(path)
    before = open_runtime(path, bundle, "torch", threads=1)[1](images)[0]
    value = false_reject_threshold(before, 0.0).value
    for runtime in RUNTIMES:
        for threads in (1, 2):
            predict = open_runtime(path, bundle, runtime, threads=threads).whole
            for at_once in (1, len(images)):
                batches = [images[i : i + at_once] for i in range(0, len(images), at_once)]
                scores = np.concatenate([predict(batch)[0] for batch in batches])
                assert (scores < value).all(), (runtime, threads, at_once)
    # The room is no more than rounding needs: a part a thousandth stranger is rejected.
    assert value <= before.max() * 1.001
