"""Time and memory of one training of roibank on many photographs.

    python benchmarks/many.py 1000 10000     # generates the photographs; a run per number
    python benchmarks/many.py 230000
    python benchmarks/many.py --tables       # puts the results into docs/roibank.md

The photographs are 64 x 64 pixels: 2,000 renderings of a washer on a table, each repeated with another
brightness, contrast and noise of the sensor, so that no two files are equal. Each is a JPEG file of about
2 kB that is read and decoded on its own. All are good, and one mask is the ROI of all.

A run is a process of its own, with one thread. *CPU time* includes reading the files. *Peak* is the highest
resident memory (getrusage). *Without files* leaves out the decoded photographs, which lie in a memory-mapped
file (beyond `CACHE_GB`) that the system drops from memory when others need it.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from results import Results, where
from tables import markdown, put

from roinspect.images.pixels import write_image
from roinspect.synthetic.products import SyntheticSample, render
from roinspect.synthetic.washers import radius_for
from roinspect.training.settings import TrainingSettings
from roinspect.training.train import train

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Results("many")
DOCS = ROOT / "docs" / "roibank.md"
WORK = Path(os.environ.get("ROINSPECT_WORK", Path(tempfile.gettempdir()) / "roinspect-benchmarks")) / "many"
SIDE, RENDERED, PER_FOLDER = 64, 2000, 10_000
CACHE_GB = 0.05
"""Decoded photographs are kept in memory up to this size: small, so that every run is like the largest."""
EVERY_S = 0.2


def generate(count: int, folder: Path) -> tuple[Path, Path]:
    """Write the photographs that do not exist yet; returns their folder and the ROI mask of all."""
    roi, data = folder / "roi.png", folder / f"{count}"
    marker = data / "complete"
    if marker.exists():
        return data, roi
    rng = np.random.default_rng(0)
    parts = [_rendered(number) for number in range(min(count, RENDERED))]
    write_image(roi, parts[0].roi_mask * np.uint8(255))
    for number in range(count):
        name = data / "train" / "good" / f"{number // PER_FOLDER:03}" / f"{number:06}.jpg"
        name.parent.mkdir(parents=True, exist_ok=True)
        image = parts[number % len(parts)].image.astype(np.float32)
        image = (image - 128) * rng.uniform(0.97, 1.03) + 128 * rng.uniform(0.97, 1.03)
        image += rng.normal(0, 1.5, image.shape)
        pixels = image.round().clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(name), pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    marker.touch()
    return data, roi


def _rendered(number: int) -> SyntheticSample:
    return render(
        "washers",
        np.random.default_rng(number),
        size_hw=(SIDE, SIDE),
        options={"count": 1, "radius": radius_for(0.2), "is_moving": False},
    )


def fit_once(data: Path, roi: Path, out: Path) -> dict[str, Any]:
    """Train, and measure this process."""
    highest, done = [0], threading.Event()

    def follow() -> None:
        while not done.wait(EVERY_S):
            highest.append(_anonymous_kb())

    watching = threading.Thread(target=follow, daemon=True)
    watching.start()
    before, start = _anonymous_kb(), time.perf_counter()
    used_before = resource.getrusage(resource.RUSAGE_SELF)
    bundle = train(
        "roibank",
        data,
        out,
        training=TrainingSettings(size=str(SIDE), threads=1, memory_gb=CACHE_GB),
        roi=str(roi),
        overwrite=True,
    )
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_SELF)
    done.set()
    watching.join()
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime - used_before.ru_utime - used_before.ru_stime, 1),
        "peak_mb": round(used.ru_maxrss / 1024),
        "anonymous_mb": round(max(highest) / 1024),
        "at_start_mb": round(before / 1024),
        "threshold": bundle.threshold.value,
        "origin": bundle.threshold.origin,
    }


def _anonymous_kb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def table() -> str:
    runs = sorted(RESULTS.read(verb="fit"), key=lambda run: run.settings["images"])
    rows = [
        [
            f"{run.settings['images']:,}",
            _duration(run.measures["cpu_seconds"]),
            f"{1000 * run.measures['cpu_seconds'] / run.settings['images']:.1f} ms",
            f"{run.measures['peak_mb']:,} MB",
            f"{run.measures['anonymous_mb']:,} MB",
        ]
        for run in runs
    ]
    head = ["good photographs", "CPU time", "for each", "peak", "without files"]
    return f"{markdown(head, rows)}\n\n{where(runs)}, one thread"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


TABLES = {"many": table}


class _Elapsed(logging.Formatter):
    start = time.perf_counter()

    def format(self, record: logging.LogRecord) -> str:
        return f"{time.perf_counter() - self.start:8.1f} s  {record.getMessage()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("counts", nargs="*", type=int)
    parser.add_argument("--tables", action="store_true", help="put the results into docs/roibank.md")
    parser.add_argument(
        "--here", action="store_true", help="train once in this process, and print the measures"
    )
    options = parser.parse_args()
    if options.tables:
        put(DOCS, TABLES)
        return
    for count in options.counts:
        data, roi = generate(count, WORK)
        if options.here:
            handler = logging.StreamHandler(sys.stderr)
            handler.setFormatter(_Elapsed())
            logging.getLogger("roinspect").addHandler(handler)
            logging.getLogger("roinspect").setLevel(logging.INFO)
            with tempfile.TemporaryDirectory(dir=WORK) as out:
                print(json.dumps(fit_once(data, roi, Path(out) / "model")))
            continue
        command = [sys.executable, __file__, "--here", str(count)]
        ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        measures = json.loads(ran.stdout.splitlines()[-1])
        RESULTS.append({"verb": "fit", "images": count, "size": SIDE, "cache_gb": CACHE_GB}, measures)
        print(f"{count:,}: {measures}", flush=True)


if __name__ == "__main__":
    main()
