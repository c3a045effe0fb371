"""Whoever watches a training sees what the network makes of damaged parts, whatever the method."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("timm")

from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from roinspect.cli import main
from roinspect.images.pixels import write_image

SIDE = 64
METHODS = {
    "ceod": ["backbone=test_efficientnet", "weights=none", "stride=8"],
    "grdnet": ["width=8", "segmenter_width=8", "latent=4"],
    "roibank": [
        "backbone=test_convnext",
        "weights=none",
        "strides=[8,16]",
        "memory_size=60",
        "candidates=200",
    ],
    "segmenter": ["backbone=test_efficientnet", "weights=none", "strides=[4,8]", "width=8"],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve good parts and four dented ones; the left half is inspected."""
    root, random = tmp_path_factory.mktemp("parts"), np.random.default_rng(0)
    roi_mask = np.zeros((SIDE, SIDE), np.uint8)
    roi_mask[:, : SIDE // 2] = 255
    write_image(root / "roi.png", roi_mask)
    for number in range(16):
        kind = "dent" if number > 11 else "good"
        pixels = random.integers(60, 130, (SIDE, SIDE, 3)).astype(np.uint8)
        write_image(root / "parts" / "train" / kind / f"{number}.png", pixels)
    return root


@pytest.mark.parametrize("method", METHODS)
def test_a_training_shows_what_it_finds(method: str, data: Path, tmp_path: Path) -> None:
    given = [data / "parts", "--roi", data / "roi.png", "--out", tmp_path / "m"]
    words = ["train", method, *map(str, given)]
    options = ["size=64", "epochs=2", "batch_size=4", "held_out=0.2", "accelerator=cpu", "threads=1"]
    words += [f"--training.{option}" for option in options] + [f"--method.{o}" for o in METHODS[method]]
    assert main(words) == 0
    events = EventAccumulator(str(tmp_path / "m.run" / "tensorboard"), {"images": 0})
    events.Reload()
    (tag,) = events.Tags()["images"]
    columns = tag.split(", ")
    assert columns == [
        name
        for name in ("part", "damaged", "repaired", "damage", "found", "region")
        if name != "repaired" or method == "grdnet"
    ]
    shown = events.Images(tag)
    assert shown[-1].step == 1
    picture = np.asarray(Image.open(io.BytesIO(shown[-1].encoded_image_string)).convert("RGB"))
    assert picture.shape[0] % SIDE == 0 and picture.shape[0] <= 4 * SIDE
    part, damaged, *_, damage, found, region = np.split(picture[:SIDE], len(columns), axis=1)
    assert part.shape == (SIDE, SIDE, 3)
    assert np.any(part != damaged, axis=2)[damage[..., 0] > 128].mean() > 0.9
    assert not np.any(part != damaged, axis=2)[damage[..., 0] == 0].any()
    assert (region[:, : SIDE // 2] == 255).all() and (region[:, SIDE // 2 :] == 0).all()
    # A classifier that has learned nothing may see nothing.
    assert found.max() > 0 or method == "ceod"
