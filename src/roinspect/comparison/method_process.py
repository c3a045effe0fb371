"""The subprocess that trains one of our methods for a given time and scores images; started by `job`."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from roinspect.comparison.contender import SCORING, TRAINING, tested
from roinspect.comparison.job import method_settings
from roinspect.comparison.training_speed import measure_speed
from roinspect.data.reading import read_data
from roinspect.isolated import answer
from roinspect.methods.loading import load_graph
from roinspect.methods.method import InspectionGraph, method_class, predict
from roinspect.training.settings import TrainingSettings
from roinspect.training.train import train


def main(request: dict[str, Any], begin: Callable[[str], None]) -> dict[str, Any]:
    """Train and score a request of `run_contender`."""
    cls = method_class(request["method"])
    settings = method_settings(cls.name, request["preset"], request["settings"])
    height, width = request["size_hw"]
    training = TrainingSettings(
        **settings.training(request["preset"])
        | {
            "size": f"{height}x{width}",
            "bits": request["bits"],
            "batch_size": request["batch_size"],
            "seed": request["seed"],
            "held_out": request["held_out"],
            "epochs": request["epochs"],
            "accelerator": request["accelerator"],
        }
    )
    data, bundle_path = Path(request["data"]), Path(request["folder"], "bundle")
    where = {"roi": request["roi"], "columns": request["columns"], "good": request.get("good")}
    steps = f"{cls.default_steps}, its default, in whole epochs"
    if cls.most_steps:
        steps = f"{cls.default_steps} to {cls.most_steps}, its default, until held-out parts stop improving"
    if training.epochs:
        steps = f"{training.epochs} epoch{'s' * (training.epochs > 1)}"
    elif cls.fills_budget and math.isfinite(request["budget_seconds"]):
        speed = measure_speed(request["method"], settings, read_data(data, **where), training)
        training = dataclasses.replace(training, epochs=speed.epochs(request["budget_seconds"]))
        steps = (
            f"{training.epochs} epochs, from {speed.step_seconds:.3g} s per step "
            f"after {speed.start_seconds:.3g} s of preparation"
        )

    begin(TRAINING)
    start = time.perf_counter()
    train(request["method"], data, bundle_path, method_settings=settings, training=training, **where)
    train_seconds = time.perf_counter() - start

    begin(SCORING)
    bundle, graph = load_graph(bundle_path)
    graph = graph.to(_device(request["accelerator"]))

    def predict_one(image: NDArray[np.uint8]) -> tuple[float, NDArray[np.float32]]:
        prediction = predict(graph, image[None])
        return float(prediction.pred_score[0]), prediction.anomaly_map[0]

    reads_defective = cls.learns_from(settings) == "all" and any(
        record.split == "train" and record.label != 0 for record in read_data(data, **where).records
    )
    notes = {
        "steps": steps,
        "preset": ", ".join(
            [request["preset"], *(f"{name}={value}" for name, value in sorted(request["settings"].items()))]
        ),
        "learns from": "good and defective parts" if reads_defective else "good parts",
    }
    if torch.cuda.is_available():
        notes["device"] = torch.cuda.get_device_name() if request["accelerator"] != "cpu" else "CPU"
    if "backbone" in bundle.method_settings:
        # A method that has loaded weights keeps their fingerprint.
        origin = "pretrained" if "backbone" in bundle.fingerprints else "random"
        notes["weights"] = f"{bundle.method_settings['backbone']}, {origin}"
    images = bundle.training["images"]
    return tested(
        predict_one,
        request,
        own_hw=bundle.size_hw,
        train_seconds=train_seconds,
        steps=bundle.training["epochs_trained"] * (images // min(images, training.batch_size)),
        model_bytes=sum(tensor.nbytes for tensor in graph.state_dict().values()),
        notes=notes,
        predict_roi=functools.partial(predicted_roi, graph),
        curves=bundle.history,
    )


def _device(accelerator: str) -> torch.device:
    """Where images are scored: on the device of the training."""
    return torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")


def predicted_roi(graph: InspectionGraph, image: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    """The ROI's probability (H, W) in a decoded image (H, W, 3); None for a graph that predicts none."""
    device = next(graph.parameters()).device
    with torch.inference_mode():
        roi = graph.predict_roi(torch.from_numpy(image).to(device).permute(2, 0, 1)[None].float() / 255)
    return None if roi is None else roi[0, 0].float().cpu().numpy()


if __name__ == "__main__":
    answer(main)
