"""The quality of the segmenter's regions from a few masks, and of methods trained on these regions.

    python benchmarks/segmenter.py regions     # IoU from 5, 10 and 20 masks, 3 seeds, on unseen images
    python benchmarks/segmenter.py gaps zipper # the same from 10 masks, without covering parts of the region
    python benchmarks/segmenter.py methods     # roibank, CEOD and GRD-Net on predicted and on drawn regions
    python benchmarks/segmenter.py --tables    # puts the results into docs/segmenter.md

A set can be named after the verb. Runs with a result are not repeated. Needs
``pip install 'roinspect[train,weights]'``, and the images in the folder ROINSPECT_DATA.
"""

from __future__ import annotations

import argparse
import csv
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from results import NotMeasuredError, Results, where
from scipy.stats import spearmanr
from tables import markdown, put, shown

from roinspect.data.dataset import DecodedCache
from roinspect.data.reading import read_data
from roinspect.data.records import Record
from roinspect.data.roi import attach_roi
from roinspect.evaluation.evaluate import evaluate_models
from roinspect.methods.method import method_class
from roinspect.segmenter.finder import cleaned, confidence
from roinspect.segmenter.segmenter import load_segmenter, probabilities
from roinspect.segmenter.segmenter_bundle import read_segmenter
from roinspect.segmenter.settings import SegmenterSettings
from roinspect.synthetic.products import write_dataset
from roinspect.training.segmenter import train_segmenter
from roinspect.training.settings import TrainingSettings
from roinspect.training.train import train

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Results("segmenter")
DOCS = ROOT / "docs" / "segmenter.md"
IMAGES = Path(os.environ.get("ROINSPECT_DATA", ROOT.parent / "shared" / "data"))
WORK = Path(os.environ.get("ROINSPECT_WORK", Path(tempfile.gettempdir()) / "roinspect-benchmarks"))
COUNTS, SEEDS, MOST_TESTED = (5, 10, 20), 3, 70
GAPS_COUNT = 10


class Set(NamedTuple):
    """Where the images are, and the size they are resized to."""

    title: str
    data: Path
    roi: str
    size: str


BALLSCREW = IMAGES / "ballscrew" / "manifest.csv"
SETS = {
    "hazelnut": Set("hazelnut_toy", IMAGES / "hazelnut_toy", "auto", "256"),
    "zipper": Set("synthetic zipper", WORK / "zipper", "auto", "256"),
    "right": Set("ball screw, right half of the raceway", BALLSCREW, "column:roi_right_path", "128x320"),
    "raceway": Set("ball screw, raceway", BALLSCREW, "column:roi_path", "128x320"),
}
METHODS = {
    "hazelnut": {"roibank": ("256", None), "grdnet": ("128", 111)},
    "right": {"roibank": ("128x320", None), "ceod": ("128x320", None), "grdnet": ("128x320", 150)},
    "zipper": {"roibank": ("256", None)},
}
"""Sizes and steps of the methods trained on either kind of region; None is the method's default."""


# -- regions -------------------------------------------------------------------------------------------------


def records_of(one: Set) -> list[Record]:
    """All photographs with their drawn regions; the zippers are generated at first use."""
    if one.data == WORK / "zipper" and not one.data.is_dir():
        write_dataset("zipper", one.data, count=400, seed=7, size_hw=(256, 256))
    return attach_roi(read_data(one.data, one.roi))


def choose(records: Sequence[Record], count: int, seed: int) -> tuple[list[Record], list[Record]]:
    """Photographs of the train split that keep their masks, and photographs to test on.

    Only the test split if it is large: the ball screw's shows other positions.
    """
    train_split = [record for record in records if record.split == "train"]
    order = np.random.default_rng((seed, count)).permutation(len(train_split))[:count]
    given = [train_split[place] for place in order]
    used = {record.key for record in given}
    test = [record for record in records if record.split == "test"]
    if len(test) < MOST_TESTED:
        test = [record for record in records if record.key not in used]
    places = np.linspace(0, len(test) - 1, min(len(test), MOST_TESTED)).round().astype(int)
    return given, [test[place] for place in places]


def segmenter_from(
    records: Sequence[Record],
    given: Sequence[Record],
    one: Set,
    seed: int,
    out: Path,
    settings: SegmenterSettings | None = None,
) -> float:
    """Train on a manifest in which only some photographs have a mask; returns seconds."""
    drawn = {record.key for record in given}
    manifest = out.with_name("manifest.csv")
    with manifest.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image_path", "split", "label", "roi_path"])
        for record in records:
            if record.split == "train":
                roi = record.roi_path.resolve() if record.roi_path and record.key in drawn else ""
                writer.writerow([record.image_path.resolve(), "train", "", roi])
    start = time.perf_counter()
    training = TrainingSettings(size=one.size, seed=seed, threads=1)
    train_segmenter(manifest, out, settings=settings or SegmenterSettings(), training=training)
    return time.perf_counter() - start


def measured(bundle: Path, test: Sequence[Record]) -> dict[str, Any]:
    """IoU, share of defects outside the predicted region, and candidates for a confidence, image by image."""
    manifest, graph = load_segmenter(bundle)
    settings = manifest.method_settings
    found: dict[str, list[float | None]] = {}
    with DecodedCache(test, manifest.size_hw) as cache:
        for row, image in enumerate(cache.images):
            p = probabilities(graph, image[None])[0]
            mask = cleaned(p >= 0.5, settings["smallest_part"], settings["largest_hole"])
            drawn = cache.roi_masks[row].astype(bool)
            defect = cache.gt_masks[row].astype(bool) & drawn
            rough = p >= 0.5
            one = {
                "iou": float((mask & drawn).sum() / max((mask | drawn).sum(), 1)),
                "iou_uncleaned": float((rough & drawn).sum() / max((rough | drawn).sum(), 1)),
                "left_out": float((defect & (mask == 0)).sum() / defect.sum()) if defect.any() else None,
                "decided_near_border": confidence(p, mask),
                "soft_iou": float((p * mask).sum() / (p + mask - p * mask).sum()),
                "decided_in_region": float(np.abs(2 * p - 1)[mask > 0].mean()) if mask.any() else 0.0,
                "undecided_share": -float(((p > 0.05) & (p < 0.95)).sum() / max(mask.sum(), 1)),
            }
            for name, value in one.items():
                found.setdefault(name, []).append(value if value is None else round(value, 5))
    return found


def run_regions(
    names: Sequence[str],
    seeds: int,
    verb: str = "regions",
    counts: Sequence[int] = COUNTS,
    settings: SegmenterSettings | None = None,
) -> None:
    for seed in range(seeds):
        for name in names:
            for count in counts:
                place = {"verb": verb, "set": name, "masks": count}
                if RESULTS.has(place, seed):
                    continue
                records = records_of(SETS[name])
                given, test = choose(records, count, seed)
                with tempfile.TemporaryDirectory() as scratch:
                    bundle = Path(scratch, "bundle")
                    seconds = segmenter_from(records, given, SETS[name], seed, bundle, settings)
                    values = measured(bundle, test)
                    held_out = read_segmenter(bundle).metrics
                iou = statistics.mean(value for value in values["iou"] if value is not None)
                print(f"{name}, {count} masks, seed {seed}: IoU {iou:.3f}, {seconds:.0f} s", flush=True)
                measures = {"seconds": seconds, "held_out": held_out, "images": len(test), **values}
                RESULTS.append(place, measures, seed=seed)


# -- methods on them -----------------------------------------------------------------------------------------


def run_methods(names: Sequence[str]) -> None:
    for name in names:
        one = SETS[name]
        records = records_of(one)
        given, _ = choose(records, 10, 0)
        for method, (size, steps) in METHODS.get(name, {}).items():
            for kind in ("drawn", "predicted"):
                place = {"verb": "methods", "set": name, "method": method, "roi": kind, "size": size}
                if RESULTS.has(place, 0):
                    continue
                segmenter = WORK / "segmenters" / name / "bundle"
                if not segmenter.is_dir():
                    segmenter.parent.mkdir(parents=True, exist_ok=True)
                    segmenter_from(records, given, one, 0, segmenter)
                roi = one.roi if kind == "drawn" else f"segmenter:{segmenter}"
                settings: Any = method_class(method).settings_class
                training = replace(TrainingSettings(size=size, threads=1), steps=steps)
                with tempfile.TemporaryDirectory() as scratch:
                    bundle, start = Path(scratch, "bundle"), time.perf_counter()
                    preset = settings.preset("compact")
                    trained = train(
                        method, one.data, bundle, method_settings=preset, training=training, roi=roi
                    )
                    seconds = time.perf_counter() - start
                    # Measured inside the drawn region, whichever region it was trained on.
                    (values,) = evaluate_models([bundle], one.data, Path(scratch, "report"), roi=one.roi)
                measures = {
                    "steps": trained.training["steps"],
                    "seconds": seconds,
                    "image_auroc": values.image_auroc,
                    "pixel_auroc": values.pixel_auroc,
                    "outside_alarm_rate_at_recall95": values.outside_alarm_rate_at_recall95,
                }
                print(f"{name}, {method}, {kind}: {measures}", flush=True)
                RESULTS.append(place, measures, seed=0)


# -- tables --------------------------------------------------------------------------------------------------


def measured_of(**settings: Any) -> list[Mapping[str, Any]]:
    """The measures of the runs with these settings."""
    return [run.measures for run in RESULTS.read(**settings)]


def regions_table() -> str:
    heads = ["data", "masks", "IoU", "lowest tenth", "lowest", "defect pixels left out", "seconds", "seeds"]
    rows = []
    for name, one in SETS.items():
        for count in COUNTS:
            found = measured_of(verb="regions", set=name, masks=count)
            if not found:
                continue
            left = [[value for value in run["left_out"] if value is not None] for run in found]
            rows.append(
                [
                    one.title,
                    str(count),
                    shown(statistics.mean(run["iou"]) for run in found),
                    shown(float(np.quantile(run["iou"], 0.1)) for run in found),
                    shown(min(run["iou"]) for run in found),
                    shown(statistics.mean(values) if values else None for values in left),
                    f"{statistics.mean(run['seconds'] for run in found):.0f}",
                    str(len(found)),
                ]
            )
    return f"{markdown(heads, rows)}\n\n{where(RESULTS.read(verb='regions'))}; one thread"


def gaps_table() -> str:
    rows = []
    for name, one in SETS.items():
        for title, verb in (("covers parts of the region", "regions"), ("does not", "gaps")):
            found = measured_of(verb=verb, set=name, masks=GAPS_COUNT)
            if found and measured_of(verb="gaps", set=name, masks=GAPS_COUNT):
                left = [[value for value in run["left_out"] if value is not None] for run in found]
                iou = shown(statistics.mean(run["iou"]) for run in found)
                out = shown(statistics.mean(values) if values else None for values in left)
                rows.append([one.title, title, iou, out, str(len(found))])
    if not rows:
        raise NotMeasuredError
    heads = ["data", f"training on {GAPS_COUNT} masks", "IoU", "defect pixels left out", "seeds"]
    return markdown(heads, rows)


def confidence_table() -> str:
    names = {
        "decided_near_border": "mean of abs(2p - 1) near the border (in use)",
        "soft_iou": "soft IoU of p with the mask",
        "decided_in_region": "mean of abs(2p - 1) inside the mask",
        "undecided_share": "share of p in (0.05, 0.95), negated",
    }
    RESULTS.latest(verb="regions")
    rows = []
    for key, title in names.items():
        cells = [title]
        for name in SETS:
            found = measured_of(verb="regions", set=name)
            cells.append(shown(float(spearmanr(run[key], run["iou"]).statistic) for run in found))
        rows.append(cells)
    return markdown(["confidence", *(one.title for one in SETS.values())], rows)


def methods_table() -> str:
    heads = ["data", "method", "size", "steps", "ROI of training", "image AUROC", "pixel AUROC"]
    heads += ["outside alarms at 95 % recall", "seconds"]
    rows = []
    for name, methods in METHODS.items():
        for method in methods:
            for kind in ("drawn", "predicted"):
                for run in RESULTS.read(verb="methods", set=name, method=method, roi=kind):
                    measures = ("image_auroc", "pixel_auroc", "outside_alarm_rate_at_recall95")
                    cells = [shown([run.measures[measure]]) for measure in measures]
                    rows.append(
                        [
                            SETS[name].title,
                            method,
                            run.settings["size"],
                            str(run.measures["steps"]),
                            kind,
                            *cells,
                            f"{run.measures['seconds']:.0f}",
                        ]
                    )
    return f"{markdown(heads, rows)}\n\n{where(RESULTS.read(verb='methods'))}; one thread, one seed"


TABLES: dict[str, Callable[[], str]] = {
    "regions": regions_table,
    "gaps": gaps_table,
    "confidence": confidence_table,
    "methods": methods_table,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", nargs="?", choices=("regions", "gaps", "methods"))
    parser.add_argument("sets", nargs="*", help=f"of {', '.join(SETS)}")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--tables", action="store_true")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("roinspect").setLevel(logging.WARNING)
    os.environ.setdefault("ROINSPECT_CACHE", str(WORK / "cache"))
    names = given.sets or list(SETS)
    if given.verb == "regions":
        run_regions(names, given.seeds)
    if given.verb == "gaps":
        run_regions(names, given.seeds, "gaps", [GAPS_COUNT], SegmenterSettings(gaps=0.0))
    if given.verb == "methods":
        run_methods(names)
    if given.tables:
        put(DOCS, TABLES)


if __name__ == "__main__":
    main()
