"""CEOD beside other losses on explanations, for docs/ceod.md.

    python benchmarks/explanation_losses.py quality   # all without a result; continues where it stopped
    python benchmarks/explanation_losses.py cost      # times of a training step, on a quiet machine
    python benchmarks/explanation_losses.py --tables  # writes the tables into the docs

Each set is cut into three parts between which nothing is shared; see `SETS`. A seed is also a rotation: part
`seed` is for testing, so that the three seeds test every photograph once. The weight of a loss, and what the
best combination is, are chosen without the test part: trained on one of the other two parts, measured on the
other, the highest mean of accuracy and AUROC. Then both are trained on with what was chosen.

A part is called defective from a probability of 0.5. Labels follow the ROI rule: a defect outside is a good
part. The images are in the folder ROINSPECT_DATA.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from results import NotMeasuredError, Results, Run, where
from tables import markdown, put, shown

from roinspect.data.dataset import DecodedCache
from roinspect.data.loader import Batch, InspectionDataset, train_loader
from roinspect.data.reading import read_data
from roinspect.data.records import Record
from roinspect.data.roi import attach_roi
from roinspect.evaluation.metrics import RoiMetrics
from roinspect.images.pixels import parse_size
from roinspect.methods.ceod import Ceod
from roinspect.methods.ceod_settings import CeodSettings

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Results("explanation_losses")
DOCS = ROOT / "docs" / "ceod.md"
DATA = Path(os.environ.get("ROINSPECT_DATA", ROOT.parent / "shared" / "data"))
PARTS, BATCH = 3, 32

# -- data: three parts without anything in common ------------------------------------------------------------

POSITIONS = (
    ("305000_090", "437500_315", "490000_180"),
    ("277500_315", "332500_225", "430000_180"),
    ("397500_315", "462500_045", "560000_000"),
)
"""Of the ball screw. The first are its own test split; all have pits inside and pits only outside the ROI."""
_GAP = 1000
"""Photographs of one tile follow each other within fewer numbers than this."""


def by_position(records: Sequence[Record]) -> list[int]:
    """The part of each photograph of the ball screw: photographs of one position are near-duplicates."""
    part = {position: number for number, positions in enumerate(POSITIONS) for position in positions}
    return [next(part[position] for position in part if position in record.key) for record in records]


def by_order(records: Sequence[Record]) -> list[int]:
    """The part of each magnetic tile: thirds in order of shooting, cut only where the next tile begins.

    File names have the number of the shot; one tile is photographed several times, dozens of numbers apart.
    """
    numbers = [int(re.findall(r"num_(\d+)", record.key)[0]) for record in records]
    ordered = sorted(numbers)
    cuts = []
    for part in range(1, PARTS):
        place = part * len(ordered) // PARTS
        while ordered[place] - ordered[place - 1] < _GAP:
            place += 1
        cuts.append(ordered[place])
    return [sum(number >= cut for cut in cuts) for number in numbers]


@dataclass(frozen=True)
class Set:
    """A data set.

    Attributes:
        folder: in the folder of data sets.
        roi: see `read_data`.
        parts: the part of each photograph.
        size: of the images.
        epochs: of a training, for about a hundred steps on two parts.
    """

    folder: str
    roi: str
    parts: Callable[[Sequence[Record]], list[int]]
    size: str
    epochs: int


SETS = {
    "ball screw, right half": Set("ballscrew", "column:roi_right_path", by_position, "256x640", 8),
    "magnetic tile": Set("magnetic_tile", "auto", by_order, "256", 16),
}

# -- what is compared ----------------------------------------------------------------------------------------

BASE = CeodSettings(backbone="tf_efficientnet_lite0", area="roi", roi_head=False, balanced=True)
"""Our network, with the ROI as the target of the heat as in the papers; both sets have few defects."""


@dataclass(frozen=True)
class Arm:
    """A way to train.

    Attributes:
        changes: to `BASE`.
        weights: of the loss, from which one is chosen; none if it has no weight.
    """

    changes: Mapping[str, Any]
    weights: tuple[float, ...] = ()


WEIGHTS = (0.1, 0.3, 1.0, 3.0)
STEERED = {
    "CEOD 2022": Arm({"variant": "linear", "areas": "hard", "gate": "all"}, WEIGHTS),
    "CEOD 2024": Arm({}, WEIGHTS),
    "Energy": Arm({"loss": "energy"}, WEIGHTS),
    "evidence (ours)": Arm({"loss": "evidence"}, WEIGHTS),
    # A mean over all cells outside, and squares of small gradients: both are a hundredth of a distance.
    "RES-like": Arm({"loss": "res", "gate": "all"}, (10.0, 30.0, 100.0, 300.0)),
    "RRR": Arm({"loss": "rrr", "gate": "all"}, (3.0, 10.0, 30.0, 100.0)),
    "ISNet-like": Arm({"loss": "isnet", "gate": "all"}, WEIGHTS),
}
CE, HEAD, BEST = "CE", "ROI head alone", "best combination"
ARMS = {CE: Arm({"omega": 0.0}), **STEERED, HEAD: Arm({"omega": 0.0, "roi_head": True})}
_COMBINED = 2
"""So many losses, the best on the validation part, are tried with the ROI head, on either target."""

# -- a training ----------------------------------------------------------------------------------------------


@cache
def records(name: str) -> tuple[tuple[Record, ...], tuple[int, ...]]:
    """The photographs of a set with their ROI, and the part of each."""
    found = attach_roi(read_data(DATA / SETS[name].folder, SETS[name].roi))
    return tuple(found), tuple(SETS[name].parts(found))


@cache
def decoded(name: str, parts: tuple[int, ...]) -> DecodedCache:
    chosen = [record for record, part in zip(*records(name), strict=True) if part in parts]
    return DecodedCache(chosen, parse_size(SETS[name].size))


@cache
def features(name: str, part: int) -> torch.Tensor:
    """A frozen backbone's features of one part: the same for every training."""
    model, images = Ceod(BASE, parse_size(SETS[name].size)), decoded(name, (part,))
    model.begin(images.labels)
    return model.features(InspectionDataset(images), range(len(images)))


def together(name: str, parts: tuple[int, ...]) -> torch.Tensor:
    """The features of several parts, in the order of `decoded`."""
    rows = {part: iter(features(name, part)) for part in parts}
    return torch.stack([next(rows[part]) for part in records(name)[1] if part in parts])


def run(
    name: str, changes: Mapping[str, Any], train: tuple[int, ...], test: int, seed: int
) -> dict[str, Any]:
    """Train once on these parts and measure on another."""
    size_hw, epochs = parse_size(SETS[name].size), SETS[name].epochs
    fitted, tested = decoded(name, train), decoded(name, (test,))
    lightning.seed_everything(seed, verbose=False)
    model = Ceod(replace(BASE, **changes), size_hw, seed=seed, epochs=epochs)
    model.begin(fitted.labels)
    model.keep(together(name, train))
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    start = time.perf_counter()
    trainer.fit(model, train_loader(InspectionDataset(fitted), BATCH, seed))
    seconds = time.perf_counter() - start
    last = {key: float(value) for key, value in trainer.callback_metrics.items()}
    model.eval()
    graph, metrics, scores = model.inspection_graph().eval(), RoiMetrics(), []
    for first in range(0, len(tested), 8):
        rows = slice(first, first + 8)
        with torch.inference_mode():
            evidence = model.classifier.head(features(name, test)[rows])
            score, heat = graph.explain(evidence, size_hw)
        pred_score, anomaly_map = score.numpy(), heat[:, 0].numpy()
        scores.append(pred_score)
        places = tested.places[rows]
        metrics.update(
            pred_score=pred_score,
            anomaly_map=anomaly_map,
            label=tested.labels[rows],
            outside_only=np.array([place == "outside" for place in places]),
            gt_mask=tested.gt_masks[rows],
            roi_mask=tested.roi_masks[rows],
            category=places,
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = metrics.compute(0.5).to_dict()
    rejected = np.concatenate(scores) >= 0.5
    kept = ("image_auroc", "pixel_auroc", "roi_mass", "outside_alarm_rate_at_recall95")
    counts = (
        "caught",
        "defective_parts",
        "outside_alarms",
        "outside_only_parts",
        "good_rejects",
        "good_parts",
    )
    return {
        "accuracy": float((rejected == (tested.labels == 1)).mean()),
        **{key: values[key] for key in (*kept, *counts)},
        "train_seconds": round(seconds, 1),
        "train": last,
    }


# -- choices without the test part, then the measurement -----------------------------------------------------


def quality() -> None:
    """Run everything without a result, the first seed of all sets and arms first."""
    for seed in range(PARTS):
        for name in SETS:
            for arm in (*ARMS, BEST):
                settings = {"verb": "measured", **about(name), "arm": arm}
                if RESULTS.has(settings, seed):
                    continue
                chosen = combination(name, seed) if arm == BEST else weighted(name, arm, seed)
                train = tuple(part for part in range(PARTS) if part != seed)
                measures = {"chosen": chosen, **run(name, chosen, train, seed, seed)}
                told(RESULTS.append(settings, measures, seed=seed))


def about(name: str) -> dict[str, Any]:
    return {"set": name, "size": SETS[name].size, "epochs": SETS[name].epochs}


def validated(name: str, changes: Mapping[str, Any], seed: int) -> float:
    """Mean of accuracy and AUROC on the validation part; run if there is no result."""
    settings = {"verb": "choice", **about(name), "changes": dict(changes)}
    if not RESULTS.has(settings, seed):
        validation, train = (seed + 1) % PARTS, (seed + 2) % PARTS
        told(RESULTS.append(settings, run(name, changes, (train,), validation, seed), seed=seed))
    (line,) = (line for line in RESULTS.read(**settings) if line.seed == seed)
    return statistics.mean((line.measures["accuracy"], line.measures["image_auroc"]))


def weighted(name: str, arm: str, seed: int) -> dict[str, Any]:
    """The arm's changes with its best weight on the validation part, the smallest of equal ones."""
    candidates = [{**ARMS[arm].changes, "omega": omega} for omega in ARMS[arm].weights]
    if not candidates:
        return dict(ARMS[arm].changes)
    return max(candidates, key=lambda changes: validated(name, changes, seed))


def combination(name: str, seed: int) -> dict[str, Any]:
    """The ROI head with one of the best losses, on the ROI or on the drawn defects, as validated."""
    chosen = [weighted(name, arm, seed) for arm in STEERED]
    chosen.sort(key=lambda changes: validated(name, changes, seed), reverse=True)
    candidates = [
        {**changes, "roi_head": True, "area": area}
        for changes in chosen[:_COMBINED]
        for area in ("roi", "defect")
    ]
    return max(candidates, key=lambda changes: validated(name, changes, seed))


def told(line: Run) -> None:
    names = ("accuracy", "image_auroc", "roi_mass", "caught", "outside_alarms", "train_seconds")
    found = {name: line.measures[name] for name in names}
    what = line.settings.get("arm", line.settings.get("changes"))
    print(line.settings["verb"], line.settings["set"], line.seed, what, found, flush=True)


# -- cost ----------------------------------------------------------------------------------------------------


TRAINED: Mapping[str, tuple[int, str, int]] = {"frozen": (0, "256x640", 32), "finetuned": (20, "128x320", 8)}
"""Convolutions of the backbone that are trained, size and batch; the features of a frozen one are at hand."""


def cost(rounds: int = 10) -> None:
    """Times of a training step, alternating between the arms; ratios of their medians to cross-entropy's."""
    chosen = [record for record in records("ball screw, right half")[0] if record.mask_path][: 2 * BATCH : 2]
    ratios: dict[str, Any] = {}
    for trained, (finetune, size, batch) in TRAINED.items():
        data = DecodedCache(chosen, parse_size(size))
        seen = next(iter(train_loader(InspectionDataset(data), batch, 0))).to_float()
        steps = {}
        for arm in ARMS:
            changes = {"omega": 1.0, "finetune": finetune, **ARMS[arm].changes}
            model = Ceod(replace(BASE, **changes), parse_size(size))
            model.begin(np.arange(2))
            model.train()
            steps[arm] = step(model, seen)
        times: dict[str, list[float]] = {arm: [] for arm in steps}
        for number in range(rounds + 1):
            for arm, one in steps.items():
                start = time.perf_counter()
                one()
                if number:
                    times[arm].append(time.perf_counter() - start)
        medians = {arm: statistics.median(each) for arm, each in times.items()}
        ratios[trained] = {arm: median / medians[CE] for arm, median in medians.items()}
        ratios[f"{trained}, seconds of CE"] = medians[CE]
        print(trained, ratios[trained], medians[CE], flush=True)
    RESULTS.append({"verb": "cost"}, {"ratios": ratios})


def step(model: Ceod, batch: Batch) -> Callable[[], None]:
    """A training step of this model on this batch."""
    optimizer = torch.optim.Adamax([weight for weight in model.parameters() if weight.requires_grad])
    trunk = model.classifier.trunk
    with torch.no_grad():
        kept = trunk(batch.image)

    def one() -> None:
        optimizer.zero_grad()
        if model.is_frozen:
            seen = kept.clone()
        else:
            seen = batch.image if model.explains_input else trunk(batch.image)
        model.losses(*model.explained(seen, batch))[0].backward()
        optimizer.step()

    return one


# -- tables --------------------------------------------------------------------------------------------------

HEADS = (
    "set",
    "loss",
    "seeds",
    "accuracy",
    "image AUROC",
    "caught",
    "outside alarms",
    "at 95 % recall",
    "heat inside",
    "step / CE, frozen",
    "step / CE, 20 layers",
)


def quality_table() -> str:
    """Mean and standard deviation over the rotations; parts caught and outside alarms summed up."""
    rows, lines, costs = [], [], RESULTS.read(verb="cost")
    for name in SETS:
        for arm in (*ARMS, BEST):
            if not (runs := RESULTS.read(verb="measured", set=name, arm=arm)):
                continue
            lines += runs
            row = [name, arm, str(len(runs)), *(_mean(runs, key) for key in ("accuracy", "image_auroc"))]
            row.append(_total(runs, "caught", "defective_parts"))
            row.append(_total(runs, "outside_alarms", "outside_only_parts"))
            rows.append([*row, *(_mean(runs, key) for key in ("outside_alarm_rate_at_recall95", "roi_mass"))])
            for trained in TRAINED:
                ratio = costs[-1].measures["ratios"][trained].get(arm) if costs else None
                rows[-1].append("–" if ratio is None else f"{ratio:.2f}")
    if not rows:
        raise NotMeasuredError
    return f"{markdown(HEADS, rows)}\n\n{where([*lines, *costs])}; one thread"


def _mean(runs: Sequence[Run], key: str) -> str:
    return shown(run.measures[key] for run in runs)


def _total(runs: Sequence[Run], count: str, of: str) -> str:
    return f"{sum(run.measures[count] for run in runs)} of {sum(run.measures[of] for run in runs)}"


def choices_table() -> str:
    """What was chosen in each rotation."""
    rows = [
        [name, arm, "; ".join(_named(run.measures["chosen"], arm) for run in runs)]
        for name in SETS
        for arm in (*STEERED, BEST)
        if (runs := RESULTS.read(verb="measured", set=name, arm=arm))
    ]
    if not rows:
        raise NotMeasuredError
    return markdown(["set", "loss", "chosen with each part held back"], rows)


def _named(chosen: Mapping[str, Any], arm: str) -> str:
    if arm != BEST:
        return f"{chosen['omega']:g}"
    rest = {key: value for key, value in chosen.items() if key not in ("omega", "roi_head", "area")}
    title = next(title for title, each in STEERED.items() if dict(each.changes) == rest)
    return f"{title} {chosen['omega']:g} on the {'ROI' if chosen['area'] == 'roi' else 'drawn defects'}"


TABLES = {"explanation-losses": quality_table, "explanation-choices": choices_table}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verbs", nargs="*", choices=["quality", "cost", []], default=[])
    parser.add_argument("--tables", action="store_true")
    arguments = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    for verb in arguments.verbs:
        cost() if verb == "cost" else quality()
    if arguments.tables:
        put(DOCS, TABLES)


if __name__ == "__main__":
    main()
