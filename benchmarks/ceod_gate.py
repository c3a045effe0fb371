"""Which parts the distance steers, and how hard, on drawn zippers, for docs/benchmarks.md.

    python benchmarks/ceod_gate.py            # what has no result yet
    python benchmarks/ceod_gate.py --tables   # writes the table into the docs

The `compact` preset at 256 x 256 with `tf_efficientnet_lite0`, 600 steps of 8, on 400 zippers drawn by
`roinspect synth`; a part is called defective from a probability of 0.5 on. Seeds draw other zippers as well.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, get_args

import lightning
import numpy as np
import torch
from machine import machine

from roinspect.data.dataset import DecodedCache
from roinspect.data.loader import InspectionDataset, train_loader
from roinspect.data.reading import read_data
from roinspect.data.roi import attach_roi
from roinspect.evaluation.metrics import RoiMetrics
from roinspect.methods.ceod import Ceod
from roinspect.methods.ceod_settings import CeodSettings
from roinspect.methods.method import predict
from roinspect.nn.ceod import Gate
from roinspect.synthetic.dataset import write_dataset

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "ceod" / "gate.json"
DOCS = ROOT / "docs" / "benchmarks.md"
SIZE, STEPS, BATCH, SEEDS = (256, 256), 600, 8, 3
BASE = CeodSettings(backbone="tf_efficientnet_lite0")
ARMS: dict[str, CeodSettings] = {
    "omega 0": replace(BASE, omega=0.0),
    **{
        f"gate {gate}, omega {omega:g}": replace(BASE, gate=gate, omega=omega)
        for omega in (0.3, 0.1, 1.0)
        for gate in get_args(Gate)
    },
}


@cache
def zippers(seed: int) -> tuple[DecodedCache, DecodedCache, torch.Tensor, torch.Tensor]:
    """The decoded train and test splits and a frozen backbone's features of both."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "zipper"
        write_dataset("zipper", data, count=400, seed=seed, size_hw=SIZE, train_defects=0.6)
        records = attach_roi(read_data(data, "auto"))
        train, test = (
            DecodedCache([r for r in records if r.split == split], SIZE) for split in ("train", "test")
        )
    model = Ceod(BASE, SIZE)
    model.begin(train.labels)
    ours, theirs = (model.features(InspectionDataset(c), range(len(c))) for c in (train, test))
    return train, test, ours, theirs


def run(settings: CeodSettings, seed: int) -> dict[str, float | None]:
    """Train once and measure on the test split."""
    train, test, features, _ = zippers(seed)
    lightning.seed_everything(seed, verbose=False)
    loader = train_loader(InspectionDataset(train), BATCH, seed)
    epochs = -(-STEPS // len(loader))
    model = Ceod(settings, SIZE, seed=seed, epochs=epochs)
    model.begin(train.labels)
    model.keep(features)
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, loader)
    pred_score, anomaly_map = predict(model.inspection_graph().eval(), test.images)
    metrics = RoiMetrics()
    metrics.update(
        pred_score=pred_score,
        anomaly_map=anomaly_map,
        label=test.labels,
        outside_only=np.array([place == "outside" for place in test.places]),
        gt_mask=test.gt_masks,
        roi_mask=test.roi_masks,
        category=test.places,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = metrics.compute(0.5).to_dict()
    kept = ("image_auroc", "pixel_auroc", "roi_mass")
    caught = (pred_score >= 0.5) & (test.labels == 1)
    return {
        "accuracy": float(((pred_score >= 0.5) == (test.labels == 1)).mean()),
        "caught": float(caught.sum() / (test.labels == 1).sum()),
        "outside": found["outside_alarms"] / max(1, found["outside_only_parts"]),
        **{name: found[name] for name in kept},
    }


HEAD = {
    "accuracy": "accuracy",
    "image_auroc": "image AUROC",
    "pixel_auroc": "pixel AUROC",
    "roi_mass": "heat inside",
    "caught": "share caught",
    "outside": "share of outside alarms",
}


def table(results: dict[str, Sequence[dict[str, Any]]]) -> str:
    """One row a setting: mean and standard deviation over the seeds."""
    lines = [["setting", "seeds", *HEAD.values()], ["---"] * (2 + len(HEAD))]
    for name, runs in results.items():
        cells = []
        for key in HEAD:
            values = [run[key] for run in runs if run[key] is not None]
            spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.3f}{spread}" if values else "–")
        lines.append([name, str(len(runs)), *cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", action="store_true", help="write the table into the docs")
    arguments = parser.parse_args()
    kept: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"rows": {}}
    if arguments.tables:
        text = DOCS.read_text()
        before, rest = text.split("<!-- ceod-gate -->")
        after = rest.split("<!-- /ceod-gate -->")[1]
        shown = f"{table(kept['rows'])}\n\n{kept['machine']}"
        DOCS.write_text(f"{before}<!-- ceod-gate -->\n{shown}\n<!-- /ceod-gate -->{after}")
        return
    for seed in range(SEEDS):
        for name, settings in ARMS.items():
            runs = kept["rows"].setdefault(name, [])
            if len(runs) > seed:
                continue
            runs.append(run(settings, seed))
            kept["machine"] = machine()
            RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
            print(seed, name, runs[-1], flush=True)


if __name__ == "__main__":
    main()
