"""The right half of the ball screw's raceway, with each of its nine positions left out in turn.

    python benchmarks/headline.py positions    # continues where it stopped
    python benchmarks/headline.py --tables     # puts the result into docs/benchmarks.md

In the set's own split all defects inside the ROI are on photographs of one position, and all damage outside
on those of two others: whatever tells the positions apart seems to tell inside from outside. Here each
photograph is scored by a model that has seen none of its position, and intervals treat a position as one
part. All arms have the seeds, photographs and backbone in common; PatchCore remembers as many patches as
roibank does of each level.

Scores of different models are pooled as they are. *Within a position* needs no pooling: the mean AUROC of the
defective parts and the good ones of the same position.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from results import NotMeasuredError, Results, Run, where
from roibank import DEFAULT, SETS, kinds
from tables import markdown, shown

from roinspect.comparison.arms import PLAIN, ROI_AT_TEST, weighted
from roinspect.comparison.job import HELD_OUT
from roinspect.comparison.peers import run_peer
from roinspect.data.dataset import DecodedCache
from roinspect.data.reading import Data, read_data
from roinspect.data.records import Record
from roinspect.data.roi import attach_roi
from roinspect.data.splits import hold_out
from roinspect.evaluation import curves
from roinspect.evaluation.intervals import RECALL, Interval, find_intervals
from roinspect.images.pixels import parse_size
from roinspect.methods.loading import load_graph
from roinspect.methods.method import predict
from roinspect.methods.roibank_settings import RoiBankSettings
from roinspect.training.settings import TrainingSettings
from roinspect.training.train import train

VERB, SET, COUNT = "positions", "right", 9
BACKBONE = "tf_efficientnet_lite0"
LIMIT = 6 * 3600.0
OWN = dataclasses.replace(DEFAULT, backbone=BACKBONE)


class Ours(NamedTuple):
    """roibank with these settings; without an ROI it is trained on whole images."""

    title: str
    settings: RoiBankSettings
    has_roi: bool


class Theirs(NamedTuple):
    """A rival, with the strides of its features and how many patches it remembers, where it has a memory."""

    title: str
    method: str
    strides: tuple[int, ...] = ()
    memory: int | None = None


LAYERS = {4: "blocks.1", 8: "blocks.2", 16: "blocks.4"}
"""Of the backbone, by stride."""

CONTENDERS: dict[str, Ours | Theirs] = {
    "roibank": Ours("roibank", OWN, True),
    "whole": Ours("roibank, trained without an ROI", OWN, False),
    "memories": Ours(
        "roibank's memories alone, of the whole image",
        dataclasses.replace(OWN, defect_head=False, places=False),
        False,
    ),
    "patchcore": Theirs("PatchCore, strides 8 and 16", "patchcore", (8, 16), OWN.memory_size),
    "patchcore-fine": Theirs("PatchCore, strides 4 and 8", "patchcore", (4, 8), OWN.memory_size),
    "padim": Theirs("PaDiM", "padim"),
    "mh_patchcore": Theirs("MH-PatchCore", "mh_patchcore"),
}


class Scores(NamedTuple):
    """Of the photographs of one position.

    Attributes:
        pred_score: (N,).
        anomaly_map: (N, H, W).
        threshold: None for rivals, which have none here.
        seconds: of training.
    """

    pred_score: NDArray[np.float32]
    anomaly_map: NDArray[np.float32]
    threshold: float | None
    seconds: float


def run(results: Results, names: Sequence[str], seeds: Sequence[int]) -> None:
    """Train and measure these contenders with each position left out, where that has not been done."""
    for seed, name, (position, data) in product(seeds, names, folds()):
        settings = {"verb": VERB, "set": SET, "contender": name, "position": position}
        if not results.has(settings, seed):
            measures = measured(CONTENDERS[name], data, seed)
            results.append(settings, measures, seed=seed, packages=["anomalib"])
            print(f"{name}, without {position}, seed {seed}: {measures['seconds']:.0f} s", flush=True)


def folds() -> Iterator[tuple[str, Data]]:
    """Every position, and the data with its photographs to test on and the other good ones to train on."""
    data = read_data(SETS[SET].data, SETS[SET].roi, {"group": "position"})
    for position in sorted({record.group for record in data.records}):
        tested = [dataclasses.replace(r, split="test") for r in data.records if r.group == position]
        others = [
            dataclasses.replace(r, split="train")
            for r in data.records
            if r.group != position and r.label == 0
        ]
        yield position, dataclasses.replace(data, records=[*others, *tested])


def measured(contender: Ours | Theirs, data: Data, seed: int) -> dict[str, Any]:
    """The score of each photograph of the position that was left out, in each arm.

    A method that learns the ROI has only the arm `plain`: it predicts the ROI of the test photographs.
    """
    size_hw = parse_size(SETS[SET].size)
    with DecodedCache(attach_roi(data, data.split("test")), size_hw) as cache:
        if isinstance(contender, Ours):
            found = ours(contender, data, cache, seed)
        else:
            found = theirs(contender, data, size_hw, seed)
        arms = {PLAIN: found.pred_score}
        if isinstance(contender, Theirs) or not contender.has_roi:
            lowest = min(0.0, float(found.anomaly_map.min()))
            arms[ROI_AT_TEST] = weighted(found.anomaly_map, cache.roi_masks, lowest).max((1, 2))
        return {
            "kinds": kinds(cache),
            "scores": {arm: [float(f"{score:.5g}") for score in scores] for arm, scores in arms.items()},
            "threshold": found.threshold,
            "seconds": found.seconds,
        }


def ours(contender: Ours, data: Data, cache: DecodedCache, seed: int) -> Scores:
    trained_on = data if contender.has_roi else dataclasses.replace(data, roi="none")
    with tempfile.TemporaryDirectory() as folder:
        path, start = Path(folder, "bundle"), time.process_time()
        training = TrainingSettings(size=SETS[SET].size, seed=seed)
        train("roibank", trained_on, path, method_settings=contender.settings, training=training)
        seconds = time.process_time() - start
        bundle, graph = load_graph(path)
        answers = [predict(graph, image[None]) for image in cache.images]
    scores = np.concatenate([answer.pred_score for answer in answers])
    maps = np.concatenate([answer.anomaly_map for answer in answers])
    return Scores(scores, maps, bundle.threshold.value, seconds)


def theirs(contender: Theirs, data: Data, size_hw: tuple[int, int], seed: int) -> Scores:
    fitted, _ = hold_out(data.not_test(), "good", HELD_OUT, seed, SETS[SET].data)
    with tempfile.TemporaryDirectory() as folder:
        scored = run_peer(
            contender.method,
            fitted,
            data.split("test"),
            size_hw,
            log=Path(folder, "log"),
            budget_seconds=LIMIT,
            limit_seconds=LIMIT,
            seed=seed,
            settings=rival_settings(contender, fitted, size_hw),
            environment={"OMP_NUM_THREADS": "1"},
            clock="cpu",
        )
    assert scored.anomaly_map is not None
    return Scores(scored.pred_score, scored.anomaly_map, None, scored.cost.train_seconds)


def rival_settings(contender: Theirs, fitted: Sequence[Record], size_hw: tuple[int, int]) -> dict[str, Any]:
    """The backbone's layers, and the share of all patches that makes a memory of the wanted size."""
    if contender.memory is None:
        return {}
    height, width = size_hw
    finest = contender.strides[0]
    patches = len(fitted) * (height // finest) * (width // finest)
    return {
        "backbone": BACKBONE,
        "layers": [LAYERS[stride] for stride in contender.strides],
        "coreset_sampling_ratio": min(1.0, contender.memory / patches),
    }


# -- table ---------------------------------------------------------------------------------------------------


class Pooled(NamedTuple):
    """All nine positions of one contender, arm and seed."""

    scores: NDArray[np.float64]
    kinds: NDArray[np.str_]
    positions: list[str]


def pooled(runs: Sequence[Run], arm: str) -> Pooled:
    """The scores of the nine models of a seed, one after the other."""
    scores = [np.array(run.measures["scores"][arm], float) for run in runs]
    letters = "".join(run.measures["kinds"] for run in runs)
    groups = [run.settings["position"] for run in runs for _ in run.measures["kinds"]]
    return Pooled(np.concatenate(scores), np.array(list(letters)), groups)


def measures_of(part: Pooled) -> tuple[dict[str, float], Mapping[str, Interval]]:
    """The measures of the table, and intervals of those that are pooled."""
    label, outside = part.kinds == "d", part.kinds == "o"
    limit = curves.threshold_at_recall(part.scores[label], RECALL)
    values = {
        "image_auroc": auroc(part.scores, label),
        "outside_alarm_rate_at_recall95": float((part.scores[outside] >= limit).mean()),
    }
    within = []
    for position in sorted(set(part.positions)):
        here = (np.array(part.positions) == position) & ~outside
        if label[here].any() and not label[here].all():
            within.append(auroc(part.scores[here], label[here]))
    values["within"] = statistics.mean(within)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return values, find_intervals(part.scores, label, outside, part.positions, None).bounds


def auroc(scores: NDArray[np.float64], label: NDArray[np.bool_]) -> float:
    _, positive, negative = curves.tally(scores, label)
    return curves.auroc(positive, negative).value


def table(results: Results) -> str:
    """Every contender and arm of which all nine positions have been measured: means over the seeds."""
    rows, shown_runs = [], list[Run]()
    for name, contender in CONTENDERS.items():
        by_seed: dict[int | None, list[Run]] = {}
        for one in results.read(verb=VERB, set=SET, contender=name):
            by_seed.setdefault(one.seed, []).append(one)
        complete = [runs for runs in by_seed.values() if len(runs) == COUNT]
        if not complete:
            continue
        for arm in complete[0][0].measures["scores"]:
            found = [measures_of(pooled(runs, arm)) for runs in complete]
            cells = [shown(values["within"] for values, _ in found)]
            for measure in ("image_auroc", "outside_alarm_rate_at_recall95"):
                bounds = [interval[measure] for _, interval in found]
                cells += [shown(values[measure] for values, _ in found)]
                low, high = min(one.low for one in bounds), max(one.high for one in bounds)
                cells += ["–" if np.isnan(low) else f"{low:.2f} to {high:.2f}"]
            seconds = statistics.mean(run.measures["seconds"] for runs in complete for run in runs)
            rows.append([contender.title, arm, *cells, *at_threshold(complete, arm), f"{seconds:.0f}"])
            rows[-1].append(str(len(complete)))
        shown_runs += [run for runs in complete for run in runs]
    if not rows:
        raise NotMeasuredError
    heads = ["method", "arm", "AUROC within a position", "image AUROC, pooled", "95 % interval"]
    heads += ["outside alarms at 95 % recall, pooled", "95 % interval"]
    heads += [f"{title} at own thresholds" for title in ("caught", "outside alarms", "good rejected")]
    return f"{markdown([*heads, 'training, s', 'seeds'], rows)}\n\n{where(shown_runs)}"


def at_threshold(complete: Sequence[Sequence[Run]], arm: str) -> list[str]:
    """Caught, outside alarms, good ones rejected, by seed; each photograph at its own model's threshold."""
    if complete[0][0].measures["threshold"] is None or arm != PLAIN:
        return ["–"] * 3
    cells = []
    for kind in "dog":
        counts, whole = [], 0
        for runs in complete:
            alarms = [
                score >= run.measures["threshold"]
                for run in runs
                for score, letter in zip(run.measures["scores"][arm], run.measures["kinds"], strict=True)
                if letter == kind
            ]
            counts.append(str(sum(alarms)))
            whole = len(alarms)
        cells.append(f"{', '.join(counts)} of {whole}")
    return cells
