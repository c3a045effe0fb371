"""Draws the figures of the tutorials, with the commands that they show.

    python benchmarks/tutorials.py            # trains three models into runs/tutorials, a few minutes
    python benchmarks/tutorials.py --shots    # and photographs the report, with chromium

Figures go to docs/pictures. For each kind of test photograph they show the one with the model's median score.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from roinspect import Inspector
from roinspect.cli import main as roinspect
from roinspect.data.reading import read_data
from roinspect.data.records import Record, read_records
from roinspect.data.roi import attach_roi
from roinspect.images.overlay import overlay
from roinspect.images.pixels import read_image, read_mask, resize_image
from roinspect.nn.overlap import soften_mask
from roinspect.nn.perlin import perturb

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
SIDE, GAP, HEAD = 208, 8, 24
QUALITY = 85
KINDS = {
    "good": "good",
    "scratch_inside": "scratch in the ROI",
    "scratch_outside": "scratch outside",
    "particle_inside": "particle in the ROI",
    "particle_outside": "particle outside",
}

Image = NDArray[np.uint8]


def cell(image: Image, caption: str) -> Image:
    """The image under its caption."""
    strip = np.full((HEAD, SIDE, 3), 255, np.uint8)
    cv2.putText(strip, caption, (2, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (40, 40, 40), 1, cv2.LINE_AA)
    return np.vstack((strip, cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)))


def row(cells: Sequence[Image]) -> Image:
    """Cells side by side."""
    gap = np.full((cells[0].shape[0], GAP, 3), 255, np.uint8)
    return np.hstack([piece for one in cells for piece in (one, gap)][:-1])


def save(name: str, picture: Image) -> None:
    """Write a picture of the docs."""
    bgr, options = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    if not cv2.imwrite(str(PICTURES / name), bgr, options):
        raise OSError(f"{PICTURES / name} cannot be written")


def shown(data: Path, model: Path) -> dict[str, Record]:
    """The test photograph with the median score of each kind, with its ROI."""
    records = attach_roi(read_data(data, "auto"), [r for r in read_records(data) if r.split == "test"])
    inspector = Inspector.load(model)
    chosen = {}
    for kind in KINDS:
        scored = [
            (inspector.inspect(r.image_path).pred_score, r.key, r) for r in records if r.category == kind
        ]
        chosen[kind] = sorted(scored)[len(scored) // 2][2]
    return chosen


def draw_photographs(parts: dict[str, Record]) -> None:
    """The data: photograph, ROI in white, defect in cyan."""
    photographs, marked = [], []
    for category, record in parts.items():
        assert record.roi_path is not None
        image = read_image(record.image_path)
        truth = read_mask(record.mask_path) if record.mask_path else None
        photographs.append(cell(image, KINDS[category]))
        marked.append(cell(overlay(image, None, read_mask(record.roi_path), truth), "ROI and defect"))
    save("photographs.jpg", np.vstack((row(photographs), row(marked))))


def draw_verdicts(parts: dict[str, Record], models: dict[str, Path], name: str) -> None:
    """The verdicts of each model on the same bare photographs."""
    rows = [row([cell(read_image(r.image_path), KINDS[category]) for category, r in parts.items()])]
    for title, model in models.items():
        inspector, cells = Inspector.load(model), []
        for record in parts.values():
            verdict = inspector.inspect(record.image_path)
            assert verdict.image is not None and verdict.anomaly_map is not None
            picture = overlay(verdict.image, verdict.anomaly_map, level=verdict.map_level)
            cells.append(cell(picture, f"{title}{'reject' if verdict.is_defect else 'pass'}"))
        rows.append(row(cells))
    save(name, np.vstack(rows))


def draw_synthetic_defects(data: Path) -> None:
    """The synthetic damage of GRD-Net and roibank, on good parts."""
    good = [record for record in read_records(data) if record.split == "train" and record.label == 0][:5]
    images = np.stack([resize_image(read_image(record.image_path), (256, 256)) for record in good])
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    random = torch.Generator().manual_seed(4)
    noisy, mask = perturb(batch, generator=random, clean_share=0)
    pixels = (noisy.permute(0, 2, 3, 1) * 255).round().byte().numpy()
    marks = (mask[:, 0, :, :, None] * 255).byte().numpy().repeat(3, 3)
    damaged, masks = [cell(p, "made-up damage") for p in pixels], [cell(m, "its mask") for m in marks]
    save("synthetic_defects.jpg", np.vstack((row(damaged), row(masks))))


def draw_rims() -> None:
    """The ways to soften a mask's rim, on a grid of 16 x 16 cells."""
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 4:12, 5:9] = 1
    cells = []
    for soften in ("none", "clip", "literal", "max", "falloff"):
        soft = soften_mask(mask, soften=soften)[0, 0].numpy()  # type: ignore[arg-type]
        grey = (255 * soft / max(soft.max(), 1)).astype(np.uint8)
        colours = cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO)[..., ::-1]
        large = cv2.resize(np.ascontiguousarray(colours), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
        cells.append(cell(large, f"{soften}: up to {soft.max():g}"))
    save("rims.png", row(cells))


def photograph_report(report: Path, name: str, height: int) -> None:
    """The report in a browser."""
    shot = report.with_suffix(".png")
    words = ["chromium", "--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size=1100,{height}"]
    subprocess.run([*words, f"--screenshot={shot}", report.resolve().as_uri()], check=True, timeout=120)
    page = read_image(shot)
    save(name, cv2.resize(page, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "tutorials")
    parser.add_argument("--shots", action="store_true", help="photograph the report too")
    arguments = parser.parse_args()
    work: Path = arguments.work
    vials, model, zippers, ce, ceod = (work / name for name in ("vials", "model", "zippers", "ce", "ceod"))

    def run(out: Path, *words: object) -> None:
        if not out.exists() and roinspect([str(word) for word in words]):
            raise SystemExit(f"roinspect {words[0]} failed")

    PICTURES.mkdir(parents=True, exist_ok=True)
    draw_rims()
    run(vials, "synth", "vials", vials)
    run(model, "train", vials, "--out", model)
    run(work / "model.evaluation", "evaluate", model, vials)
    parts = shown(vials, model)
    draw_photographs(parts)
    draw_verdicts(parts, {"": model}, "verdicts.jpg")
    run(zippers, "synth", "zipper", zippers, "--count", 400, "--train-defects", 0.6)
    draw_synthetic_defects(zippers)
    run(ce, "train", "ceod", zippers, "--out", ce, "--method.omega", 0, "--method.roi_head", "false")
    run(ceod, "train", "ceod", zippers, "--out", ceod)
    run(work / "ceod.evaluation", "evaluate", ceod, zippers, "--against", ce)
    draw_verdicts(shown(zippers, ceod), {"cross-entropy: ": ce, "CEOD: ": ceod}, "ceod.jpg")
    if arguments.shots:
        photograph_report(work / "model.evaluation" / "report.html", "report.jpg", 1500)
        photograph_report(work / "ceod.evaluation" / "report.html", "against.jpg", 1500)


if __name__ == "__main__":
    main()
