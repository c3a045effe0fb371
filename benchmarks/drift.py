"""Drift: how many parts until the alarm, and how many false alarms of parts that stay as they are.

    python benchmarks/drift.py stable       # 10,000 synthetic zippers as in training
    python benchmarks/drift.py lamp         # the same with a lamp that loses 1 % of its light in 200 parts
    python benchmarks/drift.py ballscrew    # photographs of weeks in the order in which they were taken
    python benchmarks/drift.py --tables     # puts the results into docs/deploy.md

roibank's defaults, with 200 good zippers of 128 x 128 pixels to train on, 15 % of them held out; the charts
are the defaults. Parts until the alarm are counted from the first part of a drift. For the ball screw (folder
ROINSPECT_DATA) the earlier half of the photographs of all nine positions is trained on, and the later half
inspected in their order; then the same with halves and order drawn by lot, where nothing drifts.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from results import NotMeasuredError, Results, where
from tables import markdown, put

from roinspect.data.reading import read_data
from roinspect.images.pixels import write_image
from roinspect.inspection.drift import FLOORS, DriftMonitor
from roinspect.inspection.inspector import Inspector, Verdict, drift_row
from roinspect.methods.roibank_settings import RoiBankSettings
from roinspect.synthetic.products import render
from roinspect.training.settings import TrainingSettings
from roinspect.training.train import train

ROOT = Path(__file__).resolve().parent.parent
RESULTS, DOCS = Results("drift"), ROOT / "docs" / "deploy.md"
SCREW = Path(os.environ.get("ROINSPECT_DATA", ROOT.parent / "shared" / "data")) / "ballscrew"
SIZE_HW, PARTS, STABLE, AGEING = (128, 128), 200, 10_000, 10_000
LOSS = 0.01 / 200
"""Share of the lamp's light that is lost from one part to the next."""


def zippers(count: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield render("zipper", rng, size_hw=SIZE_HW).image


def trained_on_zippers(folder: Path) -> Path:
    rng = np.random.default_rng(1)
    for place in range(PARTS):
        sample = render("zipper", rng, size_hw=SIZE_HW)
        write_image(folder / f"parts/train/good/{place:03}.png", sample.image)
        write_image(folder / f"parts/roi/train/good/{place:03}.png", 255 * sample.roi_mask)
    return trained(folder / "parts", folder / "model", size="128")


def trained(data: Any, out: Path, size: str) -> Path:
    settings = RoiBankSettings(known_defects=False)
    train("roibank", data, out, method_settings=settings, training=TrainingSettings(size=size))
    return out


def watched(model: Path, parts: Iterable[Any]) -> dict[str, Any]:
    """Parts until each signal moves, and until the first verdict that is not "good"."""
    inspector = Inspector.load(model)
    assert inspector.bundle.usual is not None
    monitor = DriftMonitor(inspector.bundle.usual)
    alarms, count, first_wrong, seen = list[list[Any]](), 0, None, set[str]()
    rejected = unseen = 0
    for verdict in inspector.inspect_many(parts):
        count += 1
        drift_row(monitor, verdict)
        rejected, unseen = rejected + (verdict.verdict == "defective"), unseen + _is_unseen(verdict)
        if verdict.verdict != "good" and first_wrong is None:
            first_wrong = count
        alarms += [[count, name] for name in monitor.moved if name not in seen]
        seen = set(monitor.moved)
    return {
        "parts": count,
        "held_out": monitor.usual.parts,
        "alarms": alarms,
        "first_not_good": first_wrong,
        "rejected": rejected,
        "not_inspectable": unseen,
    }


def _is_unseen(verdict: Verdict) -> bool:
    return verdict.verdict == "not inspectable"


def run_zippers(verb: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        model = trained_on_zippers(Path(scratch))
        stable = zippers(STABLE if verb == "stable" else AGEING, seed=2)
        ageing = (
            np.clip(image * (1 - LOSS * place), 0, 255).round().astype(np.uint8)
            for place, image in enumerate(stable)
        )
        measures = watched(model, stable if verb == "stable" else ageing)
    RESULTS.append({"verb": verb}, measures, seed=0)
    print(verb, measures, flush=True)


def run_screw() -> None:
    with (SCREW / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] == "good"]
    rows.sort(key=lambda row: _taken(row["image_path"]))
    for order in ("time", "lot"):
        if order == "lot":
            np.random.default_rng(0).shuffle(rows)  # type: ignore[arg-type]
        half = len(rows) // 2
        with tempfile.TemporaryDirectory() as scratch:
            manifest = Path(scratch) / "first.csv"
            with manifest.open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["image_path", "split", "label", "roi_path"])
                for row in rows[:half]:
                    writer.writerow(
                        [SCREW / row["image_path"], "train", "good", SCREW / row["roi_right_path"]]
                    )
            model = trained(read_data(manifest), Path(scratch) / "model", size="128x320")
            measures = watched(model, [SCREW / row["image_path"] for row in rows[half:]])
        days = [_taken(row["image_path"])[:6] for row in (rows[0], rows[half], rows[-1])]
        RESULTS.append({"verb": "ballscrew", "order": order}, {**measures, "days": days}, seed=0)
        print(order, measures, flush=True)


def _taken(path: str) -> str:
    found = re.search(r"_(\d{12})_", path)
    assert found is not None
    return found[1]


def drift_table() -> str:
    found = [
        ("zippers that stay as they are", RESULTS.read(verb="stable")),
        (f"zippers, a lamp that loses {LOSS:.3%} of its light with each", RESULTS.read(verb="lamp")),
        ("ball screw, later half in the order of time", RESULTS.read(verb="ballscrew", order="time")),
        ("ball screw, halves and order by lot", RESULTS.read(verb="ballscrew", order="lot")),
    ]
    runs = [run for _, some in found for run in some]
    if not runs:
        raise NotMeasuredError
    rows = []
    for title, some in found:
        for run in some:
            m = run.measures
            first = m["alarms"][0] if m["alarms"] else None
            rows.append(
                [
                    title,
                    f"{m['held_out']}",
                    f"{m['parts']:,}",
                    "none" if first is None else f"{first[0]:,}: {FLOORS[first[1]].words}",
                    f"{len(m['alarms'])}",
                    f"{m['rejected']:,}",
                    f"{m['not_inspectable']:,}",
                    "–" if m["first_not_good"] is None else f"{m['first_not_good']:,}",
                ]
            )
    heads = ["good parts", "held out", "inspected", "first alarm after", "alarms", "rejected"]
    return f"{markdown([*heads, 'not inspectable', 'first part not good'], rows)}\n\n{where(runs)}"


TABLES = {"drift": drift_table}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verbs", nargs="*", metavar="verb", help="stable, lamp, ballscrew")
    parser.add_argument("--tables", action="store_true")
    arguments = parser.parse_args()
    for verb in arguments.verbs:
        start = time.perf_counter()
        run_screw() if verb == "ballscrew" else run_zippers(verb)
        print(f"{verb}: {time.perf_counter() - start:.0f} s", flush=True)
    if arguments.tables:
        put(DOCS, TABLES)
