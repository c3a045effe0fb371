"""Trains and measures CEOD on the ball screw's right half, for docs/benchmarks.md.

    python benchmarks/ceod.py transfer finetuned customnet sweep   # what has no result yet
    python benchmarks/ceod.py cost       # times of a step and of inference, on a quiet machine
    python benchmarks/ceod.py --tables   # writes the tables into the docs

Trained on all six train positions, measured on the three test positions; a part is called defective from a
probability of 0.5 on, as in the paper. Each run's result is one small file in benchmarks/results/ceod.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from machine import machine

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
RESULTS = ROOT / "benchmarks" / "results" / "ceod"
DOCS = ROOT / "docs" / "benchmarks.md"
DATA = Path(os.environ.get("ROINSPECT_DATA", ROOT.parent / "shared" / "data")) / "ballscrew"
ROI, SEEDS = "column:roi_right_path", 3


@dataclass(frozen=True)
class Net:
    """A network and how long it is trained."""

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
    "CE, ROI head": {"omega": 0.0},
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
            pred_score, anomaly_map = predict(model.inspection_graph().eval(), test.images[rows])
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
    found = np.concatenate(scores) >= 0.5
    return {
        "machine": machine(),
        "train_seconds": round(seconds, 1),
        "epochs": net.epochs,
        "size": net.size,
        "train": last,
        "accuracy": float((found == (test.labels == 1)).mean()),
        **values.to_dict(),
    }


def jobs(group: str) -> Iterator[tuple[str, Net, Mapping[str, Any]]]:
    """File name, network and changed settings of every run of a group, less the seed."""
    if group == "sweep":
        for name, changes in SWEEP.items():
            yield f"sweep/{_file(name)}", NETS["transfer"], changes
    else:
        for arm, changes in ARMS.items():
            yield f"{group}/{_file(arm)}", NETS[group], changes


def _file(name: str) -> str:
    return (
        name.replace(",", "")
        .replace("(", "")
        .replace(")", "")
        .replace("'", "")
        .replace(":", "")
        .replace(" ", "-")
        .lower()
    )


def run_group(group: str) -> None:
    """Run what has no result yet, one seed of all first."""
    for seed in range(SEEDS):
        for name, net, changes in jobs(group):
            result = RESULTS / f"{name}-seed{seed}.json"
            if result.exists():
                continue
            content = run(net, changes, seed)
            result.parent.mkdir(parents=True, exist_ok=True)
            partial = result.with_suffix(".tmp")
            partial.write_text(json.dumps(content, indent=1) + "\n")
            partial.replace(result)
            shown = ("accuracy", "image_auroc", "pixel_auroc", "roi_mass", "outside_alarms", "caught")
            print(
                result.stem,
                group,
                *(f"{n} {content[n] if content[n] is None else round(content[n], 3)}" for n in shown),
                content["train_seconds"],
                flush=True,
            )


# -- tables --------------------------------------------------------------------------------------------------


def _results(name: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(RESULTS.glob(f"{name}-seed?.json"))]


def _spread(results: Sequence[Mapping[str, Any]], name: str) -> str:
    values = [result[name] for result in results]
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


def _row(results: Sequence[Mapping[str, Any]]) -> list[str]:
    cells = [_spread(results, name) for name in ("accuracy", "image_auroc", "pixel_auroc", "roi_mass")]
    for count, of in (
        ("caught", "defective_parts"),
        ("outside_alarms", "outside_only_parts"),
        ("good_rejects", "good_parts"),
    ):
        cells.append(f"{statistics.mean(r[count] for r in results):.1f} of {results[0][of]}")
    return [*cells, _spread(results, "outside_alarm_rate_at_recall95")]


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def nets_table() -> str:
    rows = []
    for group, net in NETS.items():
        for arm in ARMS:
            results = _results(f"{group}/{_file(arm)}")
            if results:
                rows.append(
                    [f"{group}, {net.size}, {net.epochs} epochs", arm, str(len(results)), *_row(results)]
                )
    return _markdown(["net", "loss", "seeds", *HEAD], rows) + f"\n\n{machine()}"


def sweep_table() -> str:
    rows = []
    for name in SWEEP:
        results = _results(f"sweep/{_file(name)}")
        if results:
            rows.append([name, str(len(results)), *_row(results)])
    return _markdown(["setting", "seeds", *HEAD], rows) + f"\n\n{machine()}"


def cost_table() -> str:
    values = json.loads((RESULTS / "cost.json").read_text())
    rows = [[name, value] for name, value in values["rows"].items()]
    return _markdown(["pair", "ratio of medians"], rows) + f"\n\n{values['machine']}"


def write_tables() -> None:
    """Put each table between its markers in the docs."""
    text = DOCS.read_text()
    for name, table in (("ceod-nets", nets_table), ("ceod-sweep", sweep_table), ("ceod-cost", cost_table)):
        if name == "ceod-cost" and not (RESULTS / "cost.json").is_file():
            print("cost: not measured yet")
            continue
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, rest = text.split(start)
        text = f"{before}{start}\n{table()}\n{end}{rest.split(end)[1]}"
    DOCS.write_text(text)


# -- cost ----------------------------------------------------------------------------------------------------


def cost(rounds: int = 16) -> None:
    """Step and inference times, the two of a pair in turns; ratios of their medians."""
    rows = {}
    for name, net in NETS.items():
        train, _ = caches("128x320")
        batch = next(iter(train_loader(InspectionDataset(train), 16, 0)))
        arms = {
            "CE": dict(CE),
            "CEOD": {"roi_head": False},
            "CEOD, autograd": {"roi_head": False, "cam": "autograd"},
        }
        if name == "customnet":
            # Its head has a batch norm, for which the autograd form is refused in training.
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
                    rows[f"{name}, {what}: {arm} / CE"] = f"{ratio:.3f}"
                    print(
                        name, what, arm, f"{ratio:.3f}", f"{statistics.median(times['CE']):.3f} s", flush=True
                    )
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "cost.json").write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")


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
        write_tables()


if __name__ == "__main__":
    main()
