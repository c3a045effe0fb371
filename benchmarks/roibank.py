"""roibank against PatchCore and PaDiM with the same backbone, and ablations.

    python benchmarks/roibank.py compare     # four sets, 3 seeds, 3 arms; continues where it stopped
    python benchmarks/roibank.py ablation    # the ROI head with and without synthetic defects; known defects
    python benchmarks/roibank.py crop        # a graph that looks at the ROI's box only
    python benchmarks/roibank.py cost        # time to fit, time per image and memory next to PatchCore
    python benchmarks/roibank.py --tables    # puts the results into docs/roibank.md

PatchCore keeps 1 % of its patches, one of its paper's settings: anomalib's default of 10 % takes ten times as
long. Needs ``pip install 'roinspect[peers,weights]'``, and the images in the folder ROINSPECT_DATA. A set can
be named after the verb.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from compared import run_compare
from numpy.typing import NDArray
from results import Results, where
from tables import markdown, outcomes_table, put, shown

from roinspect.comparison.arms import ARMS, PLAIN, measure
from roinspect.comparison.compare import CompareSettings, compare
from roinspect.comparison.contender import Cost, Scored
from roinspect.comparison.job import HELD_OUT
from roinspect.comparison.peers import run_peer
from roinspect.data.dataset import DecodedCache
from roinspect.data.reading import read_data
from roinspect.data.records import read_records
from roinspect.data.roi import attach_roi
from roinspect.data.splits import hold_out
from roinspect.images.pixels import parse_size
from roinspect.methods.method import load_graph, predict
from roinspect.methods.roibank_settings import RoiBankSettings
from roinspect.synthetic.products import write_dataset
from roinspect.training.settings import TrainingSettings
from roinspect.training.train import train

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Results("roibank")
DOCS = ROOT / "docs" / "roibank.md"
IMAGES = Path(os.environ.get("ROINSPECT_DATA", ROOT.parent / "shared" / "data"))
WORK = Path(os.environ.get("ROINSPECT_WORK", Path(tempfile.gettempdir()) / "roinspect-benchmarks"))
SEEDS = 3
ONE_PERCENT = {"patchcore": {"coreset_sampling_ratio": 0.01}}
LIMIT, COST_LIMIT = 1800.0, 240.0


class Set(NamedTuple):
    """Where the images are, and the size they are resized to."""

    title: str
    data: Path
    roi: str
    size: str


def zipper() -> Path:
    """400 synthetic zippers: the teeth move and matter, the cloth does not."""
    out = WORK / "zipper"
    if not out.is_dir():
        write_dataset("zipper", out, count=400, seed=7, size_hw=(256, 256))
    return out


BALLSCREW = IMAGES / "ballscrew" / "manifest.csv"
SETS = {
    "zipper": Set("synthetic zipper", WORK / "zipper", "auto", "256"),
    "hazelnut": Set("hazelnut_toy", IMAGES / "hazelnut_toy", "auto", "256"),
    "right": Set("ball screw, right half of the raceway", BALLSCREW, "column:roi_right_path", "128x320"),
    "raceway": Set("ball screw, raceway", BALLSCREW, "column:roi_path", "128x320"),
}


def compare_sets(names: list[str]) -> None:
    for name in names:
        one = SETS[name]
        settings = CompareSettings(
            methods=("roibank", "padim", "patchcore"),
            arms=tuple(ARMS),
            seeds=SEEDS,
            size=one.size,
            limit_seconds=LIMIT,
            settings=ONE_PERCENT,
        )
        common, work = {"verb": "compare", "set": name}, WORK / "compare" / name
        run_compare(RESULTS, common, one.data, one.roi, settings, work)


# -- parts ---------------------------------------------------------------------------------------------------

COMPACT = RoiBankSettings()
VARIANTS = {
    "as it is": COMPACT,
    "head without synthetic defects": dataclasses.replace(COMPACT, pasted=0.0, swapped=0.0),
    "head with pasted ones only": dataclasses.replace(COMPACT, pasted=1.0, swapped=0.0),
    "head with swapped patches only": dataclasses.replace(COMPACT, pasted=0.0),
    "no head": dataclasses.replace(COMPACT, roi_head=False),
    "gaussian": dataclasses.replace(COMPACT, bank="gaussian"),
    "re-weighted, 9 neighbours": dataclasses.replace(COMPACT, reweight=9),
    "known defects": dataclasses.replace(COMPACT, known_defects=True),
}


def fitted_and_measured(one: Set, settings: RoiBankSettings, seed: int) -> dict[str, Any]:
    """Train, and measure on the test split: the measures, the defects that the head hides, seconds."""
    size_hw = parse_size(one.size)
    data = read_data(one.data, one.roi)
    test = attach_roi(data, data.split("test"))
    with tempfile.TemporaryDirectory() as place, DecodedCache(test, size_hw) as cache:
        bundle, start = Path(place, "bundle"), time.perf_counter()
        training = TrainingSettings(size=one.size, seed=seed)
        train("roibank", one.data, bundle, method_settings=settings, training=training, roi=one.roi)
        seconds = time.perf_counter() - start
        _, graph = load_graph(bundle)
        scores, maps, roi = [], [], []
        took = []
        for image in cache.images:
            start = time.perf_counter()
            found = predict(graph, image[None])
            took.append(time.perf_counter() - start)
            scores.append(found.pred_score)
            maps.append(found.anomaly_map)
            batch = torch.from_numpy(image[None]).permute(0, 3, 1, 2).float() / 255
            with torch.inference_mode():
                inside = graph.predict_roi(batch)
            roi.append(np.ones((1, *size_hw), np.float32) if inside is None else inside[:, 0].numpy())
        model_bytes = sum(tensor.nbytes for tensor in graph.state_dict().values())
        cost = Cost(seconds, 0, 1000 * statistics.median(took), model_bytes, None)
        scored = Scored(np.concatenate(scores), np.concatenate(maps), cost)
        measures = measure(scored, cache)[PLAIN]
        defects, hidden = count_hidden(np.concatenate(roi), cache)
    kept = ("image_auroc", "pixel_auroc", "aupro", "outside_alarm_rate_at_recall95", "roi_mass")
    return {
        **{name: measures[name] for name in kept},
        "defective": defects,
        "hidden": hidden,
        "fit_seconds": seconds,
        "inference_ms": cost.inference_ms,
        "model_mb": model_bytes / 1e6,
        "scores": scored.pred_score.tolist(),
    }


def count_hidden(roi: NDArray[np.float32], cache: DecodedCache) -> tuple[int, int]:
    """Parts with a defect inside the ROI, and those whose defect the head considers outside on average."""
    marked = (cache.gt_masks > 0) & (cache.roi_masks > 0)
    rows = np.flatnonzero(cache.labels == 1)
    hidden = [row for row in rows if marked[row].any() and roi[row][marked[row]].mean() < 0.5]
    return len(rows), len(hidden)


def run_ablation(names: list[str]) -> None:
    for seed, name in product(range(SEEDS), names):
        one = SETS[name]
        has_known = any(record.split == "train" and record.label == 1 for record in read_records(one.data))
        for title, settings in VARIANTS.items():
            variant = {"verb": "ablation", "set": name, "variant": title}
            if RESULTS.has(variant, seed) or (settings.known_defects and not has_known):
                continue
            measures = fitted_and_measured(one, settings, seed)
            del measures["scores"]
            RESULTS.append(variant, measures, seed=seed)
            print(f"{name}, {title}, seed {seed}: {measures}", flush=True)


def run_crop() -> None:
    """The right half, from the whole image and from the ROI's box plus 32 pixels on each side."""
    one = SETS["right"]
    found = {
        title: fitted_and_measured(one, dataclasses.replace(COMPACT, crop_margin=margin), 0)
        for title, margin in (("whole image", None), ("ROI's box and 32 px", 32))
    }
    whole, cropped = (np.array(result.pop("scores")) for result in found.values())
    labels = [record.label for record in read_records(one.data) if record.split == "test"]
    good = np.array(labels) == 0  # parts without any pit: fewer than count as good
    # Thresholds at equal rates: each rejects the same number of good parts.
    agree = {}
    for rate in (0.01, 0.05):
        verdicts = [
            scores >= np.quantile(scores[good], 1 - rate, method="higher") for scores in (whole, cropped)
        ]
        agree[f"{rate:.0%} of good parts rejected"] = float((verdicts[0] == verdicts[1]).mean())
    RESULTS.append({"verb": "crop", "set": "right"}, {"graphs": found, "verdicts_that_agree": agree}, seed=0)


def run_cost() -> None:
    """268 good images of 256 x 640, all of them fitted, on all cores; PatchCore keeps 1 % or is killed."""
    rows: dict[str, Any] = {}
    for size in ("256x640",):
        one = SETS["raceway"]._replace(size=size)
        data = read_data(one.data, one.roi)
        test = attach_roi(data, data.split("test")[:40])
        fitted, _ = hold_out(data.not_test(), "good", HELD_OUT, 0, one.data)
        with tempfile.TemporaryDirectory() as place:
            settings = CompareSettings(
                methods=("roibank",), arms=(PLAIN,), seeds=1, size=size, limit_seconds=LIMIT
            )
            (outcome,) = compare(one.data, Path(place), settings, roi=one.roi)
            rows[f"roibank, {size}"] = dict(outcome.cost)
            print(rows, flush=True)
            try:
                scored = run_peer(
                    "patchcore",
                    fitted,
                    test,
                    parse_size(size),
                    log=Path(place, "log"),
                    limit_seconds=COST_LIMIT,
                    settings=ONE_PERCENT["patchcore"],
                )
                rows[f"patchcore 1 %, {size}"] = dataclasses.asdict(scored.cost)
            except Exception as error:
                rows[f"patchcore 1 %, {size}"] = {"error": str(error)}
        print(rows, flush=True)
        RESULTS.append({"verb": "cost"}, {"rows": rows, "images": len(fitted)}, seed=0)


# -- tables --------------------------------------------------------------------------------------------------


def compare_table(name: str) -> str:
    return outcomes_table(RESULTS.read(verb="compare", set=name), tuple(ARMS))


def ablation_table() -> str:
    rows = []
    for name in SETS:
        for title in VARIANTS:
            runs = RESULTS.read(verb="ablation", set=name, variant=title)
            if seeds := [run.measures for run in runs]:
                hidden, defective = (sum(seed[key] for seed in seeds) for key in ("hidden", "defective"))
                rows.append(
                    [
                        SETS[name].title,
                        title,
                        *(shown([seed[k] for seed in seeds]) for k in ("image_auroc", "pixel_auroc")),
                        shown([seed["outside_alarm_rate_at_recall95"] for seed in seeds]),
                        f"{hidden} of {defective}",
                        f"{statistics.mean(seed['model_mb'] for seed in seeds):.1f}",
                        str(len(seeds)),
                    ]
                )
    heads = ["set", "variant", "image AUROC", "pixel AUROC", "outside alarms at 95 % recall"]
    heads += ["defects taken for outside", "model, MB", "seeds"]
    return f"{markdown(heads, rows)}\n\n{where(RESULTS.read(verb='ablation'))}"


def crop_table() -> str:
    run = RESULTS.latest(verb="crop")
    rows = [
        [
            title,
            *(f"{measures[k]:.3f}" for k in ("image_auroc", "pixel_auroc")),
            *(f"{measures[k]:.0f}" for k in ("fit_seconds", "inference_ms")),
        ]
        for title, measures in run.measures["graphs"].items()
    ]
    table = markdown(["looked at", "image AUROC", "pixel AUROC", "fit, s", "ms per image"], rows)
    agree = run.measures["verdicts_that_agree"].items()
    shares = ", ".join(f"{share:.1%} where {rate} each" for rate, share in agree)
    return f"{table}\n\nVerdicts that agree: {shares}. {where([run])}"


def cost_table() -> str:
    run = RESULTS.latest(verb="cost")
    rows = []
    for name, cost in run.measures["rows"].items():
        if "error" in cost:
            rows.append([name, cost["error"], "–", "–"])
            continue
        values = (
            f"{cost['train_seconds']:.0f}",
            f"{cost['inference_ms']:.0f}",
            f"{cost['peak_bytes'] / 1e6:,.0f}",
        )
        rows.append([name, *values])
    return f"{markdown(['', 'fit, s', 'ms per image', 'peak memory, MB'], rows)}\n\n{where([run])}"


TABLES: dict[str, Callable[[], str]] = {
    **{f"compare-{name}": partial(compare_table, name) for name in SETS},
    "ablation": ablation_table,
    "crop": crop_table,
    "cost": cost_table,
}

if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", nargs="?", choices=("compare", "ablation", "crop", "cost"))
    parser.add_argument("sets", nargs="*", metavar="set", help=", ".join(SETS))
    parser.add_argument("--tables", action="store_true")
    given = parser.parse_args()
    chosen = given.sets or list(SETS)
    if given.verb in ("compare", "ablation") and "zipper" in chosen:
        zipper()
    if given.verb == "compare":
        compare_sets(chosen)
    elif given.verb == "ablation":
        run_ablation(given.sets or ["zipper", "right"])
    elif given.verb == "crop":
        run_crop()
    elif given.verb == "cost":
        run_cost()
    if given.tables:
        put(DOCS, TABLES)
