"""CEOD's gate and weight on synthetic zippers, for docs/benchmarks.md.

    python benchmarks/ceod_gate.py            # everything without a result
    python benchmarks/ceod_gate.py --tables   # writes the table into the docs

The `compact` preset at 256 x 256 with `tf_efficientnet_lite0`, 600 steps of 8, on 400 zippers from
`roinspect synth`; a part is called defective from a probability of 0.5. A seed also changes the zippers.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import get_args

import lightning
import numpy as np
import torch
from results import Results, where
from tables import markdown, put, shown

from roinspect.data.dataset import DecodedCache
from roinspect.data.loader import InspectionDataset, train_loader
from roinspect.data.reading import read_data
from roinspect.data.roi import attach_roi
from roinspect.evaluation.metrics import RoiMetrics
from roinspect.methods.ceod import Ceod
from roinspect.methods.ceod_settings import CeodSettings
from roinspect.methods.method import predict
from roinspect.nn.forms import Gate
from roinspect.synthetic.products import write_dataset

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Results("ceod_gate")
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
    prediction = predict(model.inspection_graph().eval(), test.images)
    pred_score = prediction.pred_score
    metrics = RoiMetrics()
    metrics.update(
        pred_score=pred_score,
        anomaly_map=prediction.anomaly_map,
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


def table() -> str:
    """One row per setting: mean and standard deviation over the seeds."""
    rows = []
    for name in ARMS:
        if runs := RESULTS.read(arm=name):
            values = ([run.measures[key] for run in runs] for key in HEAD)
            rows.append([name, str(len(runs)), *(shown(each) for each in values)])
    return f"{markdown(['setting', 'seeds', *HEAD.values()], rows)}\n\n{where(RESULTS.read())}"


TABLES = {"ceod-gate": table}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", action="store_true", help="write the table into the docs")
    if parser.parse_args().tables:
        put(DOCS, TABLES)
        return
    for seed in range(SEEDS):
        for name, settings in ARMS.items():
            if not RESULTS.has({"arm": name}, seed):
                line = RESULTS.append({"arm": name}, run(settings, seed), seed=seed)
                print(seed, name, line.measures, flush=True)


if __name__ == "__main__":
    main()
