"""Trains and measures CEOD on the ball screw's right half, for docs/benchmarks.md.

    python benchmarks/ceod.py transfer finetuned customnet sweep   # everything without a result
    python benchmarks/ceod.py cost       # times of a step and of inference, on a quiet machine
    python benchmarks/ceod.py --tables   # writes the tables into the docs

Trained on all six train positions, measured on the three test positions; a part is called defective from a
probability of 0.5, as in the paper.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from results import Results, Run, where
from tables import markdown, put

from roinspect.data.dataset import DecodedCache
from roinspect.data.loader import InspectionDataset, train_loader
from roinspect.data.reading import read_data
from roinspect.data.roi import attach_roi
from roinspect.evaluation.metrics import RoiMetrics
from roinspect.images.pixels import parse_size
from roinspect.methods.ceod import Ceod
from roinspect.methods.ceod_settings import CeodSettings
from roinspect.methods.method import predict

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Results("ceod")
DOCS = ROOT / "docs" / "benchmarks.md"
DATA = Path(os.environ.get("ROINSPECT_DATA", ROOT.parent / "shared" / "data")) / "ballscrew"
ROI, SEEDS = "column:roi_right_path", 3


@dataclass(frozen=True)
class Net:
    """A network and the length of its training."""

    settings: CeodSettings
    size: str
    epochs: int


LITE0 = CeodSettings(backbone="tf_efficientnet_lite0", schedule="cosine", gate="all")
NETS = {
    "transfer": Net(LITE0, "256x640", 15),
    "finetuned": Net(replace(LITE0, finetune=20, learning_rate=0.002), "128x320", 8),
    "customnet": Net(replace(LITE0, backbone="customnet", learning_rate=0.002), "128x320", 8),
}
CE: Mapping[str, Any] = {"omega": 0.0, "roi_head": False}
HEAD_ALONE = "CE, ROI head"
ARMS: Mapping[str, Mapping[str, Any]] = {
    "CE": CE,
    "CEOD": {"area": "roi", "roi_head": False, "omega": 1.0},
    "CEOD on drawn defects": {"roi_head": False},
    "CEOD on drawn defects, ROI head": {},
}
PAPER: Mapping[str, Any] = {
    **CE,
    "area": "roi",
    "omega": 0.001,
    "gate": "defects",
    "margin": False,
    "pooling": 1.0,
}
ROI_AREA: Mapping[str, Any] = {**CE, "area": "roi"}
AVERAGE: Mapping[str, Any] = {**ROI_AREA, "pooling": 1.0}
OMEGAS = (0.001, 0.01, 0.1, 1.0, 3.0)
SWEEP: Mapping[str, Mapping[str, Any]] = {
    "CE, average pooling": AVERAGE,
    "the paper's: ROI, average pooling, defect logit, gate defects, omega 0.001": PAPER,
    **{f"ROI, average pooling, omega {omega:g}": {**AVERAGE, "omega": omega} for omega in OMEGAS},
    "CE": CE,
    **{f"ROI, omega {omega:g}": {**ROI_AREA, "omega": omega} for omega in OMEGAS},
    "ROI, omega 1, denominator heatmap": {**ROI_AREA, "omega": 1.0, "denominator": "heatmap"},
    "ROI, omega 1, gate defects": {**ROI_AREA, "omega": 1.0, "gate": "defects"},
    **{f"drawn defects, omega {omega:g}": {**CE, "omega": omega} for omega in OMEGAS},
    "drawn defects, omega 1, denominator heatmap": {**CE, "omega": 1.0, "denominator": "heatmap"},
    "drawn defects, omega 1, gate defects": {**CE, "omega": 1.0, "gate": "defects"},
    HEAD_ALONE: {"omega": 0.0},
}


@cache
def caches(size: str) -> tuple[DecodedCache, DecodedCache]:
    """The decoded train and test splits."""
    records = attach_roi(read_data(DATA, ROI))
    train, test = ([r for r in records if r.split == split] for split in ("train", "test"))
    return DecodedCache(train, parse_size(size)), DecodedCache(test, parse_size(size))


@cache
def features(size: str, backbone: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A frozen backbone's features of both splits: the same for every run of a sweep."""
    model = Ceod(replace(LITE0, backbone=backbone), parse_size(size))
    train, test = caches(size)
    model.begin(train.labels)
    return tuple(model.features(InspectionDataset(c), range(len(c))) for c in (train, test))  # type: ignore[return-value]


def run(net: Net, changes: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Train once and measure on the test split."""
    settings = replace(net.settings, **changes)
    train, test = caches(net.size)
    lightning.seed_everything(seed, verbose=False)
    model = Ceod(settings, parse_size(net.size), seed=seed, epochs=net.epochs)
    model.begin(train.labels)
    if model.is_frozen:
        model.keep(features(net.size, settings.backbone)[0])
    loader = train_loader(InspectionDataset(train), 32, seed)
    start = time.perf_counter()
    trainer = lightning.Trainer(
        max_epochs=net.epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, loader)
    seconds = time.perf_counter() - start
    last = {name: float(value) for name, value in trainer.callback_metrics.items()}
    model.eval()
    metrics, scores = RoiMetrics(), []
    for first in range(0, len(test), 8):
        rows = slice(first, first + 8)
        if model.is_frozen:
            with torch.inference_mode():
                evidence = model.classifier.head(features(net.size, settings.backbone)[1][rows])
                score, heat = model.inspection_graph().explain(evidence, test.images.shape[1:3])
            pred_score, anomaly_map = score.numpy(), heat[:, 0].numpy()
        else:
            prediction = predict(model.inspection_graph().eval(), test.images[rows])
            pred_score, anomaly_map = prediction.pred_score, prediction.anomaly_map
        scores.append(pred_score)
        places = test.places[rows]
        metrics.update(
            pred_score=pred_score,
            anomaly_map=anomaly_map,
            label=test.labels[rows],
            outside_only=np.array([place == "outside" for place in places]),
            gt_mask=test.gt_masks[rows],
            roi_mask=test.roi_masks[rows],
            category=places,
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = metrics.compute(0.5)
    rejected = np.concatenate(scores) >= 0.5
    return {
        "train_seconds": round(seconds, 1),
        "train": last,
        "accuracy": float((rejected == (test.labels == 1)).mean()),
        **values.to_dict(),
    }


def run_group(group: str) -> None:
    """Run everything without a result, the first seed of all arms first."""
    net = NETS["transfer" if group == "sweep" else group]
    for seed in range(SEEDS):
        for arm, changes in (SWEEP if group == "sweep" else ARMS).items():
            settings = {"verb": group, "arm": arm, "size": net.size, "epochs": net.epochs}
            if RESULTS.has(settings, seed):
                continue
            measures = RESULTS.append(settings, run(net, changes, seed), seed=seed).measures
            names = ("accuracy", "image_auroc", "pixel_auroc", "roi_mass", "outside_alarms", "caught")
            values = (f"{n} {measures[n] if measures[n] is None else round(measures[n], 3)}" for n in names)
            print(group, arm, seed, *values, measures["train_seconds"], flush=True)


# -- tables --------------------------------------------------------------------------------------------------


def _spread(runs: Sequence[Run], name: str) -> str:
    values = [run.measures[name] for run in runs]
    if None in values:
        return "–"
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"


HEAD = (
    "accuracy",
    "image AUROC",
    "pixel AUROC",
    "heat inside",
    "caught",
    "outside alarms",
    "good rejected",
    "outside alarms at 95 % recall",
)


def _row(runs: Sequence[Run]) -> list[str]:
    cells = [_spread(runs, name) for name in ("accuracy", "image_auroc", "pixel_auroc", "roi_mass")]
    for count, of in (
        ("caught", "defective_parts"),
        ("outside_alarms", "outside_only_parts"),
        ("good_rejects", "good_parts"),
    ):
        mean = statistics.mean(run.measures[count] for run in runs)
        cells.append(f"{mean:.1f} of {runs[0].measures[of]}")
    return [str(len(runs)), *cells, _spread(runs, "outside_alarm_rate_at_recall95")]


def nets_table() -> str:
    rows, shown = [], []
    for group, net in NETS.items():
        for arm in (*ARMS, HEAD_ALONE):
            # Of the sweep, whose network, size and length are those of `transfer`.
            verb = "sweep" if arm == HEAD_ALONE and group == "transfer" else group
            if runs := RESULTS.read(verb=verb, arm=arm):
                rows.append([f"{group}, {net.size}, {net.epochs} epochs", arm, *_row(runs)])
                shown += runs
    return f"{markdown(['net', 'loss', 'seeds', *HEAD], rows)}\n\n{where(shown)}"


def sweep_table() -> str:
    rows = [[arm, *_row(runs)] for arm in SWEEP if (runs := RESULTS.read(verb="sweep", arm=arm))]
    return f"{markdown(['setting', 'seeds', *HEAD], rows)}\n\n{where(RESULTS.read(verb='sweep'))}"


def cost_table() -> str:
    run = RESULTS.latest(verb="cost")
    rows = [[pair, f"{ratio:.3f}"] for pair, ratio in run.measures["ratios"].items()]
    return f"{markdown(['pair', 'ratio of medians'], rows)}\n\n{where([run])}"


TABLES = {"ceod-nets": nets_table, "ceod-sweep": sweep_table, "ceod-cost": cost_table}


# -- cost ----------------------------------------------------------------------------------------------------


def cost(rounds: int = 16) -> None:
    """Step and inference times, alternating between the two of a pair, and ratios of their medians."""
    ratios = {}
    for name, net in NETS.items():
        train, _ = caches("128x320")
        batch = next(iter(train_loader(InspectionDataset(train), 16, 0)))
        arms = {
            "CE": dict(CE),
            "CEOD": {"roi_head": False},
            "CEOD, autograd": {"roi_head": False, "cam": "autograd"},
        }
        if name == "customnet":
            # The autograd form does not support training its head, which has a batch norm.
            del arms["CEOD, autograd"]
        models = {}
        for arm, changes in arms.items():
            model = Ceod(replace(net.settings, **changes), parse_size("128x320"))
            model.begin(train.labels)
            model.train()
            trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
            models[arm] = model, torch.optim.Adamax(trained)
        steps: dict[str, list[float]] = {arm: [] for arm in models}
        graphs: dict[str, list[float]] = {arm: [] for arm in models}
        for _ in range(rounds):
            for arm, (model, optimizer) in models.items():
                start = time.perf_counter()
                optimizer.zero_grad()
                seen = batch.to_float()
                evidence = model.classifier(seen.image)
                model.losses(evidence, seen)[0].backward()
                optimizer.step()
                steps[arm].append(time.perf_counter() - start)
        shapes = set()
        for _ in range(6 * rounds):
            for arm, (model, _optimizer) in models.items():
                graph = model.inspection_graph().eval()
                start = time.perf_counter()
                answer = predict(graph, train.images[:4])
                graphs[arm].append(time.perf_counter() - start)
                shapes.add((answer.pred_score.shape, answer.anomaly_map.shape))
        assert len(shapes) == 1, "the outputs' shapes differ"
        base = {"training step": steps, "inference": graphs}
        for what, times in base.items():
            for arm in arms:
                if arm != "CE" and (what == "training step" or arm == "CEOD"):
                    ratio = statistics.median(times[arm]) / statistics.median(times["CE"])
                    ratios[f"{name}, {what}: {arm} / CE"] = ratio
                    print(
                        name, what, arm, f"{ratio:.3f}", f"{statistics.median(times['CE']):.3f} s", flush=True
                    )
    RESULTS.append({"verb": "cost"}, {"ratios": ratios})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("groups", nargs="*", choices=[*NETS, "sweep", "cost", []], default=[])
    parser.add_argument("--tables", action="store_true")
    arguments = parser.parse_args()
    for group in arguments.groups:
        cost() if group == "cost" else run_group(group)
    if arguments.tables:
        put(DOCS, TABLES)


if __name__ == "__main__":
    main()
