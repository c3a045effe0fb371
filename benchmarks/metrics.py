"""The cost of measuring: `RoiMetrics` against anomalib's pixel AUROC and AUPRO on the same maps in one run.

    python benchmarks/metrics.py               # 10,000 maps; prints and records the result
    python benchmarks/metrics.py --count 200   # a quick look, not recorded
    python benchmarks/metrics.py --tables      # puts the result into docs/benchmarks.md

Each side runs in its own process, in turns, so that peak memory is separate; generating the maps and
importing are not timed. `RoiMetrics` computes all its measures: image and pixel AUROC, average precision and
F1, AUPRO at two limits, alarm rates, confidence intervals. anomalib keeps every pixel, so it gets fewer maps
(--peer-count), and its time per map is compared: its sorting takes more than linear time.
It needs ``pip install 'roinspect[peers]'``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from results import Results, where
from tables import markdown, put

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Results("metrics")
DOCS = ROOT / "docs" / "benchmarks.md"
COUNT, SIDE, BATCH, ROUNDS = 10_000, 256, 50, 3

Batch = tuple[NDArray[np.float32], NDArray[np.uint8]]


def batches(count: int) -> Iterator[Batch]:
    """Smooth maps and their ground truth, half with one or two defects that show faintly in the map."""
    random = np.random.default_rng(0)
    for start in range(0, count, BATCH):
        size = min(BATCH, count - start)
        truth = np.zeros((size, SIDE, SIDE), np.uint8)
        maps = np.empty(truth.shape, np.float32)
        for row in range(size):
            for _ in range(random.integers(1, 3) if row % 2 else 0):
                centre = random.integers(0, SIDE, 2).tolist()
                cv2.circle(truth[row], centre, int(random.integers(3, 25)), 1, -1)
            noise = random.random((SIDE // 8, SIDE // 8), np.float32) + 0.4 * truth[row, ::8, ::8]
            maps[row] = cv2.resize(noise, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        yield maps, truth


def measure_ours() -> tuple[Callable[[Batch], None], Callable[[], Any]]:
    from roinspect.evaluation.metrics import RoiMetrics

    metrics, roi = RoiMetrics(), np.ones((BATCH, SIDE, SIDE), np.uint8)

    def update(batch: Batch) -> None:
        maps, truth = batch
        label = truth.any((1, 2))
        metrics.update(
            maps.max((1, 2)),
            maps,
            label,
            np.zeros(len(maps), bool),
            truth,
            roi[: len(maps)],
            ["any"] * len(maps),
        )

    def compute() -> dict[str, float]:
        values = metrics.compute()
        return {"pixel_auroc": values.pixel_auroc, "aupro": values.aupro}

    return update, compute


def measure_anomalibs() -> tuple[Callable[[Batch], None], Callable[[], Any]]:
    import torch
    from anomalib.metrics.aupro import _AUPRO
    from anomalib.metrics.auroc import _AUROC

    auroc, aupro = _AUROC(), _AUPRO(fpr_limit=0.3)

    def update(batch: Batch) -> None:
        maps, truth = (torch.from_numpy(one) for one in batch)
        auroc.update(maps, truth)
        aupro.update(maps, truth)

    def compute() -> dict[str, float]:
        return {"pixel_auroc": auroc.compute().item(), "aupro": aupro.compute().item()}

    return update, compute


SIDES = {"roinspect": measure_ours, "anomalib": measure_anomalibs}


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(side: str, count: int, answers: Any) -> None:
    update, compute = SIDES[side]()
    warm = next(batches(BATCH))
    start = peak_mb()
    # The first call loads and compiles, so it uses another instance.
    SIDES[side]()[0](warm)
    seconds = 0.0
    for batch in batches(count):
        began = time.perf_counter()
        update(batch)
        seconds += time.perf_counter() - began
    began = time.perf_counter()
    values = compute()
    seconds += time.perf_counter() - began
    answers.put({"maps": count, "seconds": seconds, "peak_mb": peak_mb() - start, **values})


def run(side: str, count: int) -> dict[str, float]:
    """One measurement in a fresh process."""
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    process = context.Process(target=timed, args=(side, count, answers))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{side}: stopped with exit code {process.exitcode} (out of memory?)")
    return answers.get()  # type: ignore[no-any-return]


def measure(count: int, peer_count: int) -> dict[str, Any]:
    whole = run("roinspect", count)
    result: dict[str, Any] = {"roinspect": whole}
    if importlib.util.find_spec("anomalib") is None:
        return result
    rounds = [{side: run(side, peer_count) for side in SIDES} for _ in range(ROUNDS)]
    result["anomalib"] = rounds[-1]["anomalib"]
    result["on_the_same_maps"] = rounds[-1]["roinspect"]
    ratios = [one["anomalib"]["seconds"] / one["roinspect"]["seconds"] for one in rounds]
    result["times_faster_than_anomalib"] = statistics.median(ratios)
    return result


def table() -> str:
    run = RESULTS.latest(side=SIDE, maps=COUNT)
    result = run.measures
    rows = list[Sequence[str]]()

    def row(name: str, one: dict[str, float]) -> None:
        rows.append((name, f"{one['maps']:,}", f"{one['seconds']:.2f}", f"{one['peak_mb']:.0f} MB"))

    row("all measures of `roinspect`", result["roinspect"])
    closing = f"Maps of {SIDE} x {SIDE}; drawing them is not timed."
    if "anomalib" in result:
        row("the same, on fewer maps", result["on_the_same_maps"])
        row("anomalib's pixel AUROC and AUPRO on those", result["anomalib"])
        faster = result["times_faster_than_anomalib"]
        closing += f" On the same maps {faster:.1f} times faster than anomalib (median of {ROUNDS} turns)."
    heads = ("what", "maps", "seconds", "memory above the start")
    return f"{markdown(heads, rows)}\n\n{closing}\n{where([run])}"


TABLES = {"metrics": table}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=COUNT, help="maps to measure")
    parser.add_argument("--peer-count", type=int, help="maps to compare on; at most 500 by default")
    parser.add_argument("--tables", action="store_true", help="only write the table into the docs")
    given = parser.parse_args()
    if given.tables:
        put(DOCS, TABLES)
        return
    measures = measure(given.count, given.peer_count or min(given.count, 500))
    if given.count != COUNT:
        print(json.dumps(measures, indent=1))
        return
    RESULTS.append({"side": SIDE, "maps": COUNT}, measures)
    print(table())


if __name__ == "__main__":
    main()
