"""The headline: roibank, chosen by leave-one-set-out, against rivals on the seven sets of `roibank.py`.

    python benchmarks/headline.py rivals       # trains and measures the rivals; continues where it stopped
    python benchmarks/headline.py ours         # roibank with every candidate's settings; likewise
    python benchmarks/headline.py predicted    # the rivals' arm with the ROI that `ours` predicted; likewise
    python benchmarks/headline.py positions    # the ball screw, each position left out in turn; likewise
    python benchmarks/headline.py --tables     # puts the results into docs/benchmarks.md and README.md

What a set is reported with was chosen on the others: the candidate with the best mean of image AUROC, pixel
AUROC and AUPRO there. Two sets with the same photographs are left out together.

A rival's maps and roibank's ROIs of the test photographs stay in the folder ROINSPECT_WORK, so that an arm
can be added without training again. The rivals need ``pip install 'roinspect[peers,weights]'``, and all the
images in the folder ROINSPECT_DATA. `--sets`, `--methods`, `--candidates`, `--contenders` and `--seeds` split
long runs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import statistics
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import positions
import roibank
from numpy.typing import NDArray
from results import NotMeasuredError, Results, Run, where
from roibank import CANDIDATES, SETS, WORK, kinds, pixel_overlaps
from tables import markdown, put, shown

from roinspect.comparison.arms import ARMS, PLAIN, ROI_AT_TEST, ROI_PREDICTED, measure, weighted
from roinspect.comparison.contender import Cost, Scored
from roinspect.comparison.job import HELD_OUT
from roinspect.comparison.peers import run_peer
from roinspect.data.dataset import DecodedCache
from roinspect.data.reading import read_data
from roinspect.data.roi import attach_roi
from roinspect.data.splits import hold_out
from roinspect.errors import UserError
from roinspect.evaluation.intervals import auroc_interval
from roinspect.images.pixels import parse_size, resize_image

RESULTS = Results("headline")
DOCS, README = roibank.ROOT / "docs" / "benchmarks.md", roibank.ROOT / "README.md"
FOLDER = WORK / "headline"
BUDGET, LIMIT = 120.0, 6 * 3600.0
"""Seconds: of processor time for a training step by step, and of the clock for any training."""
SEEDS = 3


class Rival(NamedTuple):
    """How a rival is trained.

    Attributes:
        title: its name in tables.
        budget: seconds for one that is trained step by step.
        scale: of the images' height and width, below 1 for one whose step takes seconds.
        settings: where they differ from anomalib's defaults.
    """

    title: str
    budget: float | None = None
    scale: float = 1.0
    settings: Mapping[str, Any] = {}


RIVALS = {
    "padim": Rival("PaDiM"),
    "mh_patchcore": Rival("MH-PatchCore"),
    "patchcore": Rival("PatchCore (1 %)", settings={"coreset_sampling_ratio": 0.01}),
    "supersimplenet": Rival("SuperSimpleNet", BUDGET),
    "ganomaly": Rival("GANomaly", BUDGET, 0.5),
    "draem": Rival("DRAEM", BUDGET, 0.5),
}

QUALITY = ("image_auroc", "pixel_auroc", "aupro")
OUTSIDE = "outside_alarm_rate_at_recall95"
KEPT = (*QUALITY, OUTSIDE, "pixel_f1_max")

Measures: TypeAlias = Mapping[str, Any]
Floats: TypeAlias = NDArray[np.float32]


# -- rivals --------------------------------------------------------------------------------------------------


def run_rivals(names: Sequence[str], methods: Sequence[str], seeds: Sequence[int]) -> None:
    """Train and measure these rivals on these sets, where that has not been done or has failed."""
    for seed, method, name in product(seeds, methods, names):
        settings = rival_settings(name, method)
        if any(run.seed == seed and run.measures["arms"] for run in RESULTS.read(**settings)):
            continue
        try:
            scored = trained(name, method, seed)
            measures = {**measured(name, method, scored), "notes": dict(scored.notes)}
            measures["cost"] = dataclasses.asdict(scored.cost)
        except UserError as error:
            measures = {"arms": {}, "error": str(error)}
        RESULTS.append(settings, measures, seed=seed, packages=["anomalib"])
        told = {arm: [values[kept] for kept in KEPT] for arm, values in measures["arms"].items()}
        print(f"{name}, {method}, seed {seed}: {measures.get('error', told)}", flush=True)


def run_predicted(names: Sequence[str], methods: Sequence[str], seeds: Sequence[int]) -> None:
    """Measure the arm `roi-predicted` of rivals whose maps are there, with the set's chosen candidate."""
    for seed, method, name in product(seeds, methods, names):
        settings = {**rival_settings(name, method), "verb": "predicted", "candidate": chosen(name)}
        maps, roi = maps_file(name, method, seed), roi_file(name, settings["candidate"], seed)
        is_measured = any(run.seed == seed for run in rival_runs(name, method))
        if RESULTS.has(settings, seed) or not is_measured or not maps.exists() or not roi.exists():
            continue
        scored = trained(name, method, seed)
        if scored.anomaly_map is not None:
            size_hw = size_of(name, method)
            regions = np.stack([resize_image(region, size_hw) for region in np.load(roi)])
            measures = measured(name, method, scored, regions.astype(np.float32) / 255)
            RESULTS.append(settings, measures, seed=seed)
            print(f"{name}, {method}, seed {seed}, predicted ROI", flush=True)


def rival_settings(name: str, method: str) -> dict[str, Any]:
    size = "x".join(map(str, size_of(name, method)))
    return {"verb": "rivals", "set": name, "method": method, "size": size, "budget": RIVALS[method].budget}


def size_of(name: str, method: str) -> tuple[int, int]:
    height, width = parse_size(SETS[name].size)
    return round(height * RIVALS[method].scale), round(width * RIVALS[method].scale)


def maps_file(name: str, method: str, seed: int) -> Path:
    # The rivals do not learn from ROIs: one training serves all sets with the same photographs.
    first = next(other for other in SETS if SETS[other].data == SETS[name].data)
    return FOLDER / "maps" / f"{first}-{method}-{seed}.npz"


def roi_file(name: str, candidate: str, seed: int) -> Path:
    return FOLDER / "roi" / f"{name}-{candidate.replace(' ', '_')}-{seed}.npy"


def trained(name: str, method: str, seed: int) -> Scored:
    """The scores and maps of the test photographs, from an earlier training if there was one."""
    file, one, rival = maps_file(name, method, seed), SETS[name], RIVALS[method]
    if not file.exists():
        data = read_data(one.data, one.roi)
        fitted, _ = hold_out(data.not_test(), "good", HELD_OUT, seed, one.data)
        scored = run_peer(
            method,
            fitted,
            data.split("test"),
            size_of(name, method),
            log=FOLDER / "logs" / f"{file.stem}.log",
            budget_seconds=rival.budget or LIMIT,
            limit_seconds=LIMIT,
            seed=seed,
            settings=rival.settings,
            environment={"OMP_NUM_THREADS": "1"},
            clock="cpu",
        )
        about = json.dumps({"cost": dataclasses.asdict(scored.cost), "notes": dict(scored.notes)})
        maps = np.zeros(0) if scored.anomaly_map is None else scored.anomaly_map
        file.parent.mkdir(parents=True, exist_ok=True)
        partial_file = file.with_suffix(".partial.npz")
        np.savez(partial_file, scores=scored.pred_score, maps=maps, about=about)
        partial_file.replace(file)
    with np.load(file) as arrays:
        about, maps = json.loads(str(arrays["about"])), arrays["maps"]
        return Scored(arrays["scores"], maps if maps.size else None, Cost(**about["cost"]), about["notes"])


def measured(name: str, method: str, scored: Scored, predicted: Floats | None = None) -> dict[str, Any]:
    """The arms plain and roi-at-test, or, with a predicted ROI (N, H, W), roi-predicted.

    Returns:
        `kinds`, see `roibank.kinds`. `arms`: the measures `KEPT`, the score of each photograph to 5 digits,
        and `overlaps_by_rejects`.
    """
    one, maps = SETS[name], scored.anomaly_map
    data = read_data(one.data, one.roi)
    with DecodedCache(attach_roi(data, data.split("test")), size_of(name, method)) as cache:
        wanted = (PLAIN, ROI_AT_TEST) if predicted is None else (ROI_PREDICTED,)
        rois: dict[str, NDArray[Any] | None] = {ROI_AT_TEST: cache.roi_masks, ROI_PREDICTED: predicted}
        arms = {}
        for arm, values in measure(scored, cache, predicted).items():
            if arm not in wanted:
                continue
            arms[arm], scores = {kept: values[kept] for kept in KEPT}, scored.pred_score
            if maps is not None:
                roi = rois.get(arm)
                product = maps if roi is None else weighted(maps, roi, min(0.0, float(maps.min())))
                peaks = product.max((1, 2))
                scores = scores if roi is None else peaks
                arms[arm] |= overlaps_by_rejects(product, peaks, cache)
            arms[arm]["scores"] = [float(f"{score:.5g}") for score in scores]
        return {"kinds": kinds(cache), "arms": arms}


def overlaps_by_rejects(maps: Floats, peaks: Floats, cache: DecodedCache) -> dict[str, list[float]]:
    """Pixel F1 and IoU inside the ROI where the maps of at most 0, 1, ... good photographs are marked.

    Up to a quarter of the good photographs, whose highest map values, among `peaks`, are the thresholds.
    """
    good = np.sort(peaks[np.array(list(kinds(cache))) == "g"])
    limits = np.nextafter(good[-1 - len(good) // 4 :], np.float32(np.inf))
    found = pixel_overlaps(maps, limits, cache)
    return {
        name: values[::-1].round(4).tolist()
        for name, values in zip(("pixel_f1", "pixel_iou"), found, strict=True)
    }


def recall(scores: Sequence[float], which: str, rejected: int) -> float:
    """Share of defective parts that is caught where at most so many good ones are rejected.

    Args:
        scores: of every test photograph.
        which: their kinds, see `roibank.kinds`.
        rejected: how many good parts may be rejected.

    Example:
        >>> recall([0.1, 0.5, 0.4, 0.6], "ggdd", 0)
        0.5
    """
    values, letters = np.array(scores), np.array(list(which))
    good = np.sort(values[letters == "g"])[::-1]
    limit = good[rejected] if rejected < len(good) else -np.inf
    return float((values[letters == "d"] > limit).mean())


# -- ours ----------------------------------------------------------------------------------------------------


def run_ours(names: Sequence[str], candidates: Sequence[str], seeds: Sequence[int]) -> None:
    """Train and measure roibank with these settings on these sets, where that has not been done."""
    for seed, candidate, name in product(seeds, candidates, names):
        settings = {"verb": "ours", "set": name, "candidate": candidate}
        if RESULTS.has(settings, seed):
            continue
        file = roi_file(name, candidate, seed)
        file.parent.mkdir(parents=True, exist_ok=True)
        measures = roibank.fitted_and_measured(SETS[name], CANDIDATES[candidate], seed, roi_file=file)
        measures["scores"] = [float(f"{score:.5g}") for score in measures["scores"]]
        RESULTS.append(settings, measures, seed=seed)
        told = {key: value for key, value in measures.items() if key not in ("scores", "kinds")}
        print(f"{name}, {candidate}, seed {seed}: {told}", flush=True)


def our_runs(name: str, candidate: str) -> list[Run]:
    return RESULTS.read(verb="ours", set=name, candidate=candidate)


def first_runs(name: str, candidate: str) -> list[Run]:
    """Those with seed 0, by which candidates are compared."""
    return [run for run in our_runs(name, candidate) if run.seed == 0]


def quality(runs: Iterable[Run]) -> float:
    """Mean over the seeds and over those measures of `QUALITY` that are defined."""
    values = [run.measures[name] for run in runs for name in QUALITY]
    return statistics.mean(value for value in values if value is not None)


def chosen(name: str | None) -> str:
    """The candidate that is best on the sets with other photographs than this one, or on all of them.

    Raises:
        NotMeasuredError: none has been measured on all of these.
    """
    others = [other for other in SETS if name is None or SETS[other].data != SETS[name].data]
    means = {
        candidate: statistics.mean(quality(first_runs(other, candidate)) for other in others)
        for candidate in CANDIDATES
        if all(first_runs(other, candidate) for other in others)
    }
    if not means:
        raise NotMeasuredError
    return max(means, key=means.__getitem__)


# -- tables --------------------------------------------------------------------------------------------------

OURS = "roibank"
NAMES = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC", "aupro": "AUPRO"}
NAMES[OUTSIDE] = "outside alarms at 95 % recall"
AT_ONE_PERCENT = "recall at 1 % false rejects"


POSITIONS = {"right": {"d": 1, "o": 2, "g": 3}, "raceway": {"d": 3, "g": 3}}
"""Positions of the ball screw that the test parts of each kind come from; photographs of one are alike."""
FEW_GOOD = 20
"""With fewer good test parts a set is marked: whatever ranks them all correctly, they hardly prove it."""
SOURCES = {
    f"mean of the {kind} sets": {
        one.data: [name for name, other in SETS.items() if other.data == one.data]
        for name, one in SETS.items()
        if (name in roibank.SYNTHETIC) == (kind == "synthetic")
    }
    for kind in ("real", "synthetic")
}
"""The rows of means: sets by their photographs. Two regions of the same photographs count as one set."""


def columns() -> dict[str, str]:
    """Ours and the rivals that have been measured, with their titles.

    Not those that are trained step by step: in `BUDGET` seconds of one core they come nowhere near the length
    that their authors give.
    """
    measured_ones = {run.settings["method"] for run in RESULTS.read(verb="rivals")}
    return {
        OURS: "roibank",
        **{
            method: rival.title
            for method, rival in RIVALS.items()
            if method in measured_ones and rival.budget is None
        },
    }


def heads() -> list[str]:
    """The columns' titles, each with its number of seeds."""
    told = []
    for column, title in columns().items():
        counts = sorted({len(values_of(name, column, QUALITY[0])) for name in SETS} - {0})
        if counts:
            title += f", {' to '.join(map(str, counts))} seed{'s' * (counts[-1] > 1)}"
        told.append(title)
    return told


def parts(name: str) -> dict[str, int]:
    """Test parts with a defect inside the ROI (d), with one only outside (o), and without any (g)."""
    which: str = chosen_runs(name)[0].measures["kinds"]
    return {kind: which.count(kind) for kind in "dog"}


def mark(name: str) -> str:
    """Of a set whose figures are less sure than their digits."""
    if name in POSITIONS:
        return " ‡"
    return " †" if chosen_runs(name) and parts(name)["g"] < FEW_GOOD else ""


def chosen_runs(name: str) -> list[Run]:
    """Our runs of the set with the candidate that was chosen without it, if there are any."""
    try:
        return our_runs(name, chosen(name))
    except NotMeasuredError:
        return []


def rival_runs(name: str, method: str, verb: str = "rivals") -> list[Run]:
    settings = {**rival_settings(name, method), "verb": verb}
    if verb == "predicted":
        settings["candidate"] = chosen(name)
    return RESULTS.read(**settings)


def arm_of(run: Run, arm: str) -> Measures | None:
    """A rival's measures in an arm; a method without maps has only the plain one."""
    arms: Mapping[str, Measures] = run.measures["arms"]
    return arms.get(arm) or (arms.get(PLAIN) if arms and arms[PLAIN]["pixel_auroc"] is None else None)


def values_of(name: str, column: str, key: str, arm: str = ROI_AT_TEST) -> list[float | None]:
    """A measure of ours or of a rival on a set, for every seed."""
    if column == OURS:
        return [run.measures[key] for run in chosen_runs(name)]
    found = (arm_of(run, arm) for run in rival_runs(name, column))
    return [measures[key] for measures in found if measures is not None]


def recall_at_one_percent(scores: Sequence[float], which: str) -> float:
    """Where at most 1 % of the good test parts are rejected: none of fewer than 100."""
    return recall(scores, which, which.count("g") // 100)


def average(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.mean(known) if known else None


def bold(cells: Sequence[str], values: Sequence[float | None], *, lowest: bool = False) -> list[str]:
    """The cells, with the best in bold, unless all are the same."""
    rounded = [None if value is None else round(value, 3) for value in values]
    known = [value for value in rounded if value is not None]
    best = (min if lowest else max)(known) if len({*known}) > 1 else None
    return [
        f"**{cell}**" if value is not None and value == best else cell
        for cell, value in zip(cells, rounded, strict=True)
    ]


def set_means(key: str, arm: str = ROI_AT_TEST) -> dict[str, list[float | None]]:
    """By set, the mean over the seeds in each column; last those of `SOURCES`, of columns without a gap."""
    rows = {
        name: [average(values_of(name, column, key, arm)) for column in columns()]
        for name, one in SETS.items()
    }
    rows = {name: row for name, row in rows.items() if any(value is not None for value in row)}
    means = dict[str, list[float | None]]()
    for title, sources in SOURCES.items():
        by_source = [[rows[name] for name in names if name in rows] for names in sources.values()]
        columns_of = [
            [None if None in column else average(column) for column in zip(*some, strict=True)]
            for some in by_source
            if some
        ]
        if columns_of:
            means[title] = [
                None if None in column else average(column) for column in zip(*columns_of, strict=True)
            ]
    return {**rows, **means}


def titled(name: str) -> str:
    """A set's title, marked, or that of a mean."""
    return f"{SETS[name].title}{mark(name)}" if name in SETS else name


def all_runs() -> list[Run]:
    return [run for name in SETS for run in (*chosen_runs(name), *fair_runs(name))]


def fair_runs(name: str) -> list[Run]:
    return [run for method in RIVALS for run in rival_runs(name, method)]


NOTES = """\
*Image AUROC / pixel AUROC / AUPRO inside the ROI, means over the seeds, the best in bold. 256 × 256 pixels, ball screw
128 × 320. Test parts: with a defect inside / only outside / without.
The rivals have our small backbone in place of their own, and the true ROI at test, which roibank predicts. Its settings were
chosen on the other sets; its design was developed on six of the seven. The ball screw's two regions count once in the mean.
† So few good parts prove little: with 1.000 the true AUROC may be {least:.2f}. ‡ Photographs of one position are alike, and the
test parts come from three positions, so there is no interval. [All intervals](docs/benchmarks.md#how-sure-these-figures-are)*"""  # noqa: E501
"""Below the table in the README."""


def short_table() -> str:
    """A row for each set; in each cell the means over the seeds of the measures `QUALITY`."""
    if not any(map(chosen_runs, SETS)):
        raise NotMeasuredError
    by_measure = [set_means(key) for key in QUALITY]
    rows = []
    for name in by_measure[0]:
        marked = [
            bold(["–" if value is None else f"{value:.3f}" for value in means[name]], means[name])
            for means in by_measure
        ]
        counts = " / ".join(map(str, parts(name).values())) if name in SETS and chosen_runs(name) else ""
        rows.append([titled(name), counts, *(" / ".join(cells) for cells in zip(*marked, strict=True))])
    about = NOTES.format(least=least_of_one())
    return f"{markdown(['set', 'test parts', *heads()], rows)}\n\n{about}"


def least_of_one() -> float:
    """The lowest true AUROC that the marked sets are compatible with where all their parts rank correctly."""
    counts = [parts(name) for name in SETS if mark(name) == " †"]
    return min((auroc_interval(1.0, each["d"], each["g"] + each["o"]).low for each in counts), default=1.0)


def measures_table(keys: Sequence[str], arms: Sequence[str], *, lowest: bool = False) -> str:
    """A row for each set and measure, or arm: mean and deviation over the seeds; last the sets' means."""
    found = list[tuple[str, list[str]]]()
    for key, arm in product(keys, arms):
        for name, means in set_means(key, arm).items():
            cells = [shown([value]) for value in means]
            if name in SETS:
                cells = [shown(values_of(name, column, key, arm)) for column in columns()]
            head = [titled(name), arm if len(arms) > 1 else NAMES[key]]
            found.append((name, [*head, *bold(cells, means, lowest=lowest)]))
    order = [*SETS, *SOURCES]
    rows = [row for _, row in sorted(found, key=lambda pair: order.index(pair[0]))]
    second = "arm of the rivals" if len(arms) > 1 else "measure"
    return f"{markdown(['set', second, *heads()], rows)}\n\n{where(all_runs())}"


def threshold_table() -> str:
    """Recall and pixel overlap at our own threshold, and the rivals' where they reject as many good parts."""
    rows = []
    for name in SETS:
        ours = {run.seed: run.measures for run in chosen_runs(name)}
        if not ours:
            continue
        recalls = [[measures["caught"] / measures["defective"] for measures in ours.values()]]
        overlaps = [[(measures["pixel_f1"], measures["pixel_iou"]) for measures in ours.values()]]
        for method in [column for column in columns() if column != OURS]:
            found = [
                (run.measures["kinds"], measures, ours[run.seed]["rejected"])
                for run in rival_runs(name, method)
                if run.seed in ours and (measures := arm_of(run, ROI_AT_TEST)) is not None
            ]
            recalls.append([recall(measures["scores"], which, count) for which, measures, count in found])
            overlaps.append(
                [
                    tuple(m[key][min(count, len(m[key]) - 1)] for key in ("pixel_f1", "pixel_iou"))
                    for _, m, count in found
                    if "pixel_f1" in m
                ]
            )
        rejected = roibank.total(list(ours.values()), "rejected", "good")
        title, means = [titled(name), rejected], [average(values) for values in recalls]
        rows.append([*title, "recall", *bold([shown(values) for values in recalls], means)])
        for place, label in enumerate(("pixel F1", "pixel IoU")):
            of_label = [[pair[place] for pair in pairs] for pairs in overlaps]
            cells = [shown(values) for values in of_label]
            rows.append([*title, label, *bold(cells, [average(values) for values in of_label])])
    if not rows:
        raise NotMeasuredError
    first = ["set", "good parts rejected", "measure"]
    return f"{markdown([*first, *heads()], rows)}\n\n{where(all_runs())}"


def arms_table() -> str:
    """Every method that is trained to its end in every arm on every set."""
    rows = []
    for name, one in SETS.items():
        if ours := chosen_runs(name):
            seconds = [
                average(run.measures[key] for run in ours) or 0.0 for key in ("fit_seconds", "inference_ms")
            ]
            values = [shown(run.measures[key] for run in ours) for key in NAMES]
            found = (recall_at_one_percent(run.measures["scores"], run.measures["kinds"]) for run in ours)
            values.append(shown(found))
            costs = [f"{seconds[0]:.0f}", f"{seconds[1]:.0f}"]
            rows.append([titled(name), OURS, "own", one.size, *values, *costs, str(len(ours))])
        for method, arm in product([column for column in columns() if column != OURS], ARMS):
            verb = "predicted" if arm == ROI_PREDICTED else "rivals"
            try:
                runs = rival_runs(name, method, verb)
            except NotMeasuredError:
                continue
            head = [titled(name), RIVALS[method].title, arm]
            of_arm = [run for run in runs if arm in run.measures["arms"]]
            if of_arm:
                values = [shown(run.measures["arms"][arm][key] for run in of_arm) for key in NAMES]
                found = (
                    recall_at_one_percent(run.measures["arms"][arm]["scores"], run.measures["kinds"])
                    for run in of_arm
                )
                values.append(shown(found))
                trainings = {run.seed: run.measures["cost"] for run in rival_runs(name, method)}
                costs = [
                    f"{statistics.mean(trainings[run.seed][key] for run in of_arm):.0f}"
                    for key in ("train_seconds", "inference_ms")
                ]
                rows.append([*head, runs[0].settings["size"], *values, *costs, str(len(of_arm))])
            elif runs and arm == PLAIN:
                error = runs[0].measures["error"].split(";")[0]
                rows.append([*head, runs[0].settings["size"], *["–"] * 5, error, "–", "0"])
    first = ["set", "method", "arm", "size", *NAMES.values(), AT_ONE_PERCENT]
    first += ["training, s", "ms per image", "seeds"]
    return f"{markdown(first, rows)}\n\n{where(all_runs())}; one thread"


def unfinished_table() -> str:
    """How far those that are trained step by step come in `BUDGET`. Their quality there would say nothing."""
    rows, shown_runs = [], list[Run]()
    for (method, rival), name in product(RIVALS.items(), SETS):
        if rival.budget is None or not (
            runs := [run for run in rival_runs(name, method) if "cost" in run.measures]
        ):
            continue
        cost = runs[0].measures["cost"]
        times = [f"{cost[key]:.0f}" for key in ("train_seconds", "steps", "inference_ms")]
        rows.append([rival.title, SETS[name].title, runs[0].settings["size"], *times])
        shown_runs += runs
    first = ["method", "set", "size", "training, s of processor time", "steps", "ms per image"]
    return f"{markdown(first, rows)}\n\n{where(shown_runs)}; one thread, one seed"


def choice_table() -> str:
    """Which candidate was chosen for each set, and how it compares with the best over all sets."""
    default = chosen(None)
    rows = []
    for name, one in SETS.items():
        candidate = chosen(name)
        values = [
            shown(run.measures[key] for run in our_runs(name, which))
            for which in (candidate, default)
            for key in QUALITY
        ]
        rows.append([f"{one.title}{mark(name)}", candidate, *values])
    first = ["set", "chosen on the other sets", *(NAMES[key] for key in QUALITY)]
    first += [f"{NAMES[key]}, in-sample" for key in QUALITY]
    measured_at = where(run for name in SETS for run in our_runs(name, default))
    return f"{markdown(first, rows)}\n\nIn-sample: {default}, the best over all sets. {measured_at}"


def positions_table() -> str:
    return positions.table(RESULTS)


TABLES: dict[str, Callable[[], str]] = {
    "headline": partial(measures_table, QUALITY, (ROI_AT_TEST,)),
    "headline-choice": choice_table,
    "headline-outside": partial(measures_table, (OUTSIDE,), (PLAIN, ROI_AT_TEST), lowest=True),
    "headline-threshold": threshold_table,
    "headline-arms": arms_table,
    "headline-unfinished": unfinished_table,
    "positions": positions_table,
}
ALSO: dict[Path, dict[str, Callable[[], str]]] = {README: {"headline": short_table}}
"""Tables in other files."""


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", nargs="?", choices=("rivals", "ours", "predicted", positions.VERB))
    parser.add_argument("--sets", nargs="+", choices=SETS, default=tuple(SETS))
    parser.add_argument("--methods", nargs="+", choices=RIVALS, default=tuple(RIVALS))
    parser.add_argument("--candidates", nargs="+", choices=CANDIDATES, default=tuple(CANDIDATES))
    parser.add_argument(
        "--contenders", nargs="+", choices=positions.CONTENDERS, default=tuple(positions.CONTENDERS)
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=range(SEEDS))
    parser.add_argument("--tables", action="store_true")
    arguments = parser.parse_args()
    if arguments.verb and arguments.verb != positions.VERB:
        roibank.generate(arguments.sets)
    if arguments.verb == "rivals":
        run_rivals(arguments.sets, arguments.methods, arguments.seeds)
    elif arguments.verb == "ours":
        run_ours(arguments.sets, arguments.candidates, arguments.seeds)
    elif arguments.verb == "predicted":
        run_predicted(arguments.sets, arguments.methods, arguments.seeds)
    elif arguments.verb == positions.VERB:
        positions.run(RESULTS, arguments.contenders, arguments.seeds)
    if arguments.tables:
        put(DOCS, TABLES)
        for page, tables in ALSO.items():
            put(page, tables)
