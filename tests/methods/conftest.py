"""A synthetic product with defects on both sides of its region of interest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from roinspect.images.pixels import write_image

if TYPE_CHECKING:
    from roinspect.data.dataset import DecodedCache

# Another package's method, imported where it is installed.
collect_ignore = ["toy_method.py"]

PLAN = (
    ("train", "good", 12),
    ("train", "inside", 5),
    ("train", "outside", 5),
    ("test", "good", 3),
    ("test", "inside", 2),
    ("test", "outside", 2),
)
"""Split, place of the defect and how many; the left half is inspected."""


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 64 x 64 photographs: noise, and for a defect a bright square, left or right."""
    root, rng = tmp_path_factory.mktemp("parts"), np.random.default_rng(0)
    roi_mask = np.zeros((64, 64), np.uint8)
    roi_mask[:, :32] = 255
    write_image(root / "roi.png", roi_mask)
    lines = ["image_path,split,label,mask_path,roi_path"]
    for split, place, count in PLAN:
        for number in range(count):
            name = f"{split}_{place}_{number}"
            image, mask = rng.integers(60, 130, (64, 64, 3)), np.zeros((64, 64), np.uint8)
            if place != "good":
                y, x = rng.integers(4, 48), rng.integers(4, 16) + 32 * (place == "outside")
                mask[y : y + 12, x : x + 12] = 255
                image[mask > 0] += 110
                write_image(root / f"{name}_mask.png", mask)
            write_image(root / f"{name}.png", image.astype(np.uint8))
            told = "good,," if place == "good" else f"dent,{name}_mask.png,"
            lines.append(f"{name}.png,{split},{told}roi.png")
    (root / "manifest.csv").write_text("\n".join(lines))
    return root / "manifest.csv"


@pytest.fixture(scope="session")
def cache(parts: Path) -> Iterator[DecodedCache]:
    """Its train split, decoded."""
    from roinspect.data.dataset import DecodedCache
    from roinspect.data.records import read_records

    records = [record for record in read_records(parts) if record.split == "train"]
    with DecodedCache(records, (64, 64)) as decoded:
        yield decoded
