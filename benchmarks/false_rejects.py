"""Good test parts of real sets that are rejected with the former threshold rule and with today's.

    python benchmarks/false_rejects.py             # a few minutes
    python benchmarks/false_rejects.py --tables    # puts the result into docs/thresholds.md

The former rule: one float step above the highest of the 15 % held-out good parts, after removing the share
    that may
be rejected. Today's: see docs/thresholds.md. Both use the same roibank. Needs the images in the folder
ROINSPECT_DATA.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from results import Results, where
from tables import markdown, out_of, put

from roinspect.data.dataset import DecodedCache
from roinspect.data.reading import read_data
from roinspect.data.records import Record
from roinspect.inspection.calibration import LeftOut, false_reject_threshold, highest_rate
from roinspect.methods.loading import load_graph
from roinspect.methods.method import InspectionGraph, predict
from roinspect.methods.roibank import RoiBank
from roinspect.methods.roibank_settings import RoiBankSettings
from roinspect.segmenter.roi import with_roi
from roinspect.training.settings import TrainingSettings
from roinspect.training.train import prepare, train

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Results("false_rejects")
DOCS = ROOT / "docs" / "thresholds.md"
IMAGES = Path(os.environ.get("ROINSPECT_DATA", ROOT.parent / "shared" / "data"))
SEEDS, RATE = 5, 0.01


class Set(NamedTuple):
    """Where the images are, and the size they are resized to."""

    data: Path
    roi: str
    size: str
    columns: Mapping[str, str] | None = None


BALLSCREW = IMAGES / "ballscrew" / "manifest.csv"
SETS = {
    "hazelnut_toy": Set(IMAGES / "hazelnut_toy", "auto", "128"),
    "bottle, rim": Set(IMAGES / "bottle", str(IMAGES / "bottle" / "roi_rim.png"), "128"),
    "magnetic_tile": Set(IMAGES / "magnetic_tile", "auto", "128"),
    "ball screw, positions declared": Set(BALLSCREW, "column:roi_path", "96x240", {"group": "position"}),
    "ball screw, not declared": Set(BALLSCREW, "column:roi_path", "96x240"),
}


def scored(graph: InspectionGraph, records: Sequence[Record], size_hw: tuple[int, int]) -> tuple[Any, Any]:
    """Scores and effective labels."""
    with DecodedCache(records, size_hw) as cache:
        found = [predict(graph, cache.images[i : i + 8]).pred_score for i in range(0, len(cache), 8)]
        return np.concatenate(found), cache.labels.copy()


def former(scores: NDArray[np.float32]) -> float:
    """The threshold of the former rule."""
    highest_passed = np.sort(scores)[len(scores) - 1 - math.floor(RATE * len(scores) + 1e-9)]
    return float(np.nextafter(highest_passed, np.float32(np.inf)))


def measured(one: Set, seed: int) -> dict[str, Any]:
    """Train once, and count the test parts that each rule rejects."""
    training = TrainingSettings(size=one.size, seed=seed, false_reject=RATE)
    kept: dict[str, Any] = {}
    inner = RoiBank.left_out_scores

    def timed(model: RoiBank, fitted: DecodedCache, groups: Sequence[str]) -> LeftOut | None:
        start = time.perf_counter()
        found = inner(model, fitted, groups)
        kept.update(seconds=time.perf_counter() - start, found=found)
        return found

    with tempfile.TemporaryDirectory() as place, mock.patch.object(RoiBank, "left_out_scores", timed):
        out, start = Path(place, "bundle"), time.perf_counter()
        bundle = train(
            "roibank", one.data, out, method_settings=RoiBankSettings(), training=training, roi=one.roi,
            columns=one.columns,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        graph = load_graph(out)[1]
    data = read_data(one.data, one.roi, one.columns)
    held_out = prepare("roibank", data, RoiBankSettings(), training).held_out
    held_scores, held_labels = scored(graph, held_out, bundle.size_hw)
    good = held_scores[held_labels == 0]
    names = [record.group for record, label in zip(held_out, held_labels, strict=True) if label == 0]
    scores, labels = scored(graph, with_roi(data, data.split("test")), bundle.size_hw)
    left_out = kept["found"]
    units = [name or row for row, name in enumerate([*names, *left_out.groups])]
    count = len(set(units))
    pooled = np.concatenate([good, left_out.scores])
    touched = {unit for unit, score in zip(units, pooled, strict=True) if score >= bundle.threshold.value}
    levels = {
        "former": former(good),
        "held out alone": false_reject_threshold(good, RATE, names).value,
        "new": bundle.threshold.value,
    }
    return {
        "seconds": seconds,
        "left_out_seconds": kept["seconds"],
        "good_test_parts": int((labels == 0).sum()),
        "defective_test_parts": int((labels == 1).sum()),
        "held_out": len(good),
        "used": len(pooled),
        "units": count,
        "expected": (len(touched) + 1) / (count + 1),
        "bound": highest_rate(len(touched), count),
        "expected_held_out_alone": 1 / (len(set(name or row for row, name in enumerate(names))) + 1),
        "rejected": {name: int((scores[labels == 0] >= level).sum()) for name, level in levels.items()},
        "caught": {name: int((scores[labels == 1] >= level).sum()) for name, level in levels.items()},
        "origin": bundle.threshold.origin,
    }


def table() -> str:
    """One row per set, summed over its seeds."""
    rows = []
    for name in SETS:
        if not (seeds := [run.measures for run in RESULTS.read(set=name, rate=RATE)]):
            continue

        def total(key: str, rule: str, seeds: list[Any] = seeds) -> int:
            return sum(one[key][rule] for one in seeds)

        expected, bound = (np.mean([one[key] for one in seeds]) for key in ("expected", "bound"))
        good, bad = ([one[f"{kind}_test_parts"] for one in seeds] for kind in ("good", "defective"))
        rejected = [out_of(total("rejected", rule), good) for rule in ("former", "new")]
        rates = [f"{total('rejected', rule) / sum(good):.1%}" for rule in ("former", "new")]
        caught = [out_of(total("caught", rule), bad) for rule in ("former", "new")]
        used = f"{seeds[0]['held_out']} to {seeds[0]['used']}"
        used += f" ({seeds[0]['units']} groups)" if seeds[0]["units"] < seeds[0]["used"] else ""
        cells = [f"{count} ({rate})" for count, rate in zip(rejected, rates, strict=True)]
        rows.append([name, used, *cells, f"{expected:.1%}, {bound:.0%}", *caught])
    heads = [
        "set", "good parts used", "good rejected, former rule", "good rejected, new",
        "expected, bound", "caught, former", "caught, new",
    ]  # fmt: skip
    runs = RESULTS.read(rate=RATE)
    times = [(run.measures["left_out_seconds"], run.measures["seconds"]) for run in runs]
    shares = [left_out / (whole - left_out) for left_out, whole in times]
    machines, count = where(runs), len({run.seed for run in runs})
    return (
        f"{markdown(heads, rows)}\n\nSums over {count} seeds, {RATE:.0%} asked for. Scoring "
        f"the left-out parts took {min(shares):.0%} to {max(shares):.0%} of the rest of the training. "
        f"{machines}."
    )


TABLES = {"false rejects": table}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", action="store_true")
    if not parser.parse_args().tables:
        for (name, one), seed in product(SETS.items(), range(SEEDS)):
            run = RESULTS.append({"set": name, "rate": RATE}, measured(one, seed), seed=seed)
            print(name, seed, run.measures, flush=True)
    put(DOCS, TABLES)


if __name__ == "__main__":
    main()
