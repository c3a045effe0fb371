"""Train and run one method, ours or a rival's, within the same image, time and process limits."""

from __future__ import annotations

import dataclasses
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roinspect.images.pixels import read_image, resize_image
from roinspect.isolated import FIRST_STAGE, run_isolated

TRAINING, SCORING = "training", "scoring"
"""The stages after loading."""

SLACK = 1.5
"""Without a limit, a training is killed after this many times the budget, plus a minute."""

Predict = Callable[[NDArray[np.uint8]], tuple[float, NDArray[np.float32] | None]]
"""(H, W, 3) uint8 RGB to a score and a map (H, W), or None for methods without maps."""

PredictRoi = Callable[[NDArray[np.uint8]], NDArray[np.float32] | None]
"""(H, W, 3) uint8 RGB to the probability (H, W) of the ROI, or None for methods that predict none."""

_SCORES, _MAPS, _ROI = "scores.npy", "maps.npy", "roi.npy"


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost on this machine.

    Attributes:
        train_seconds: from the first decoded training image to the trained model.
        steps: training steps.
        inference_ms: median milliseconds for one decoded image by itself.
        model_bytes: of all tensors that the trained model needs.
        peak_bytes: peak memory of the process; None if the system does not report it.
    """

    train_seconds: float
    steps: int
    inference_ms: float
    model_bytes: int
    peak_bytes: int | None


@dataclass(frozen=True, slots=True)
class Scored:
    """Predictions of one trained method for N test images; higher is more anomalous.

    Attributes:
        pred_score: (N,).
        anomaly_map: (N, H, W) at the requested size; None for methods without maps.
        cost: of training and inference.
        notes: for readers of the results, such as the origin of the weights.
        roi_probability: (N, H, W) in [0, 1], the ROI predicted from the bare images; None for methods that
            predict none.
        curves: of the losses, by name: pairs of epoch and value; empty for rivals.
    """

    pred_score: NDArray[np.float32]
    anomaly_map: NDArray[np.float32] | None
    cost: Cost
    notes: Mapping[str, str] = field(default_factory=dict)
    roi_probability: NDArray[np.float32] | None = None
    curves: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)


def run_contender(
    module: str,
    request: Mapping[str, Any],
    test: Sequence[Path],
    size_hw: tuple[int, int],
    *,
    name: str,
    budget_seconds: float,
    limit_seconds: float | None,
    log: Path,
    environment: Mapping[str, str],
    stop: threading.Event | None = None,
) -> Scored:
    """Train and score in a subprocess.

    Args:
        module: its main returns the result of `tested`, and reports when training and scoring begin.
        request: values for the module, including `bits`; `test`, `size_hw`, `budget_seconds` and `folder` are
            added.
        test: images to score, in order.
        size_hw: height and width of the images and the maps.
        name: used in errors.
        budget_seconds: for training; infinite without a limit.
        limit_seconds: after which a training that exceeds its budget is killed; None: see `SLACK`.
        log: file for the process's output.
        environment: variables set for the process.
        stop: see `run_isolated`.

    Raises:
        UserError: see `run_isolated`.
    """
    limits = {
        FIRST_STAGE: 300 + budget_seconds,
        TRAINING: SLACK * budget_seconds + 60 if limit_seconds is None else limit_seconds,
        SCORING: 60 + 10.0 * len(test),
    }
    with tempfile.TemporaryDirectory(prefix="roinspect-contender-") as folder:
        full_request = {
            **request,
            "test": [str(path.resolve()) for path in test],
            "size_hw": size_hw,
            "budget_seconds": budget_seconds,
            "folder": folder,
        }
        answer = run_isolated(
            module,
            full_request,
            limits,
            name=name,
            folder=Path(folder),
            log=log,
            remedy="give a larger --budget or a smaller --size",
            environment=environment,
            stop=stop,
        )
        maps, roi = Path(folder, _MAPS), Path(folder, _ROI)
        return Scored(
            pred_score=np.load(Path(folder, _SCORES)),
            anomaly_map=np.load(maps) if maps.exists() else None,
            cost=Cost(**answer["cost"]),
            notes=answer["notes"],
            roi_probability=np.load(roi) if roi.exists() else None,
            curves=answer.get("curves", {}),
        )


# -- in the process ------------------------------------------------------------------------------------------


def tested(
    predict: Predict,
    request: Mapping[str, Any],
    *,
    own_hw: tuple[int, int],
    train_seconds: float,
    steps: int,
    model_bytes: int,
    notes: Mapping[str, str],
    predict_roi: PredictRoi | None = None,
    curves: Mapping[str, Sequence[tuple[int, float]]] | None = None,
) -> dict[str, Any]:
    """Score the request's test images one by one, save the arrays in its folder, and return cost and notes.

    Args:
        predict: the trained model.
        request: from `run_contender`.
        own_hw: height and width of the model's input.
        train_seconds: see `Cost`, also for the next two.
        steps: training steps.
        model_bytes: size of the model.
        notes: see `Scored`.
        predict_roi: the ROI predicted by the trained model; its time is not counted.
        curves: see `Scored`.
    """
    folder, count = Path(request["folder"]), len(request["test"])
    height, width = request["size_hw"]
    scores = np.zeros(count, np.float32)
    seconds = list[float]()
    for row, path in enumerate(request["test"]):
        image = resize_image(read_image(path, request["bits"]), own_hw)
        start = time.perf_counter()
        scores[row], anomaly_map = predict(image)
        seconds.append(time.perf_counter() - start)
        roi = None if predict_roi is None else predict_roi(image)
        for name, values in ((_MAPS, anomaly_map), (_ROI, roi)):
            if values is not None:
                _append(folder / name, resize_image(values, (height, width)), count)
    np.save(folder / _SCORES, scores)
    cost = Cost(train_seconds, steps, 1000 * statistics.median(seconds), model_bytes, _peak_bytes())
    return {"cost": dataclasses.asdict(cost), "notes": dict(notes), "curves": dict(curves or {})}


def _append(path: Path, row: NDArray[np.float32], count: int) -> None:
    """Append one of `count` arrays to a .npy file; a memory map would count as the method's memory."""
    with path.open("ab") as file:
        if not file.tell():
            header = {"descr": "<f4", "fortran_order": False, "shape": (count, *row.shape)}
            np.lib.format.write_array_header_1_0(file, header)
        file.write(np.ascontiguousarray(row, "<f4").tobytes())


def _peak_bytes() -> int | None:
    status = Path("/proc/self/status")
    if status.exists():
        # The resource module would include the caller's memory from before this process was forked.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None
