"""Draws the README's figure: GRD-Net's findings without and with ROI steering, on synthetic zippers.

    python benchmarks/grdnet.py zipper && python benchmarks/picture.py

Uses the bundles of the benchmark (seed 0) and shows the clearest case of each kind: the defect inside the ROI
that scores highest with steering, and the outside-only defect that scores highest without. For the results on
all parts see docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from roinspect.data.dataset import Sample, load_sample
from roinspect.data.reading import read_data
from roinspect.data.records import read_records
from roinspect.data.roi import attach_roi
from roinspect.images.overlay import overlay
from roinspect.images.pixels import read_image, resize_image, write_image
from roinspect.methods.loading import load_graph
from roinspect.methods.method import predict

ROOT = Path(__file__).resolve().parent.parent
SIDE, GAP, HEAD = 320, 12, 34
KINDS = {"inside": "defect in the ROI", "outside": "defect outside only"}
COLUMNS = ("photograph", "ROI (white), defect (cyan)", "found without ROI", "found with ROI")


def caption(text: str, width: int) -> NDArray[np.uint8]:
    strip = np.full((HEAD, width, 3), 255, np.uint8)
    cv2.putText(strip, text, (2, 23), cv2.FONT_HERSHEY_SIMPLEX, 0.56, (40, 40, 40), 1, cv2.LINE_AA)
    return strip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=ROOT / "runs")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "result.jpg")
    arguments = parser.parse_args()
    data = arguments.work / "zipper"
    records = attach_roi(read_data(data, "auto"), [r for r in read_records(data) if r.split == "test"])
    loaded = [load_graph(arguments.work / f"zipper-{form}-seed0") for form in ("none", "target")]
    size_hw = loaded[0][0].size_hw
    samples = [load_sample(record, size_hw) for record in records]
    images = np.stack([sample.image for sample in samples])
    found = [predict(graph, images) for _, graph in loaded]

    def row(kind: str) -> NDArray[np.uint8]:
        rows = [i for i, sample in enumerate(samples) if sample.place == kind]
        scores = found[1 if kind == "inside" else 0].pred_score
        chosen = max(rows, key=lambda i: float(scores[i]))
        sample: Sample = samples[chosen]
        image = resize_image(read_image(records[chosen].image_path), (SIDE, SIDE))
        cells = [image, overlay(image, None, sample.roi_mask, sample.gt_mask)]
        captions = [KINDS[kind], COLUMNS[1]]
        for name, prediction, (bundle, _) in zip(COLUMNS[2:], found, loaded, strict=True):
            score = float(prediction.pred_score[chosen])
            verdict = "reject" if score >= bundle.threshold.value else "pass"
            captions.append(f"{name.removeprefix('found ')}: {verdict} ({score:.2f})")
            cells.append(overlay(image, prediction.anomaly_map[chosen]))
        parts = [np.vstack((caption(c, SIDE), cell)) for c, cell in zip(captions, cells, strict=True)]
        gap = np.full((SIDE + HEAD, GAP, 3), 255, np.uint8)
        return np.hstack([piece for part in parts for piece in (part, gap)][:-1])

    write_image(arguments.out, np.vstack([row(kind) for kind in KINDS]))


if __name__ == "__main__":
    main()
