"""How close `inspect_many` comes to the limit of decoding and network, on 2,000 images of 1024 x 1024.

    python benchmarks/throughput.py png jpg     # measures, minutes each; best with nothing else running
    python benchmarks/throughput.py --tables    # puts the results into docs/deploy.md

250 photographs of the ball screw are enlarged to 1024 x 1024, given sensor noise, written as files, and
inspected eight times by roibank at 256 x 256 in OpenVINO. Decoding alone, the network alone on decoded
images, and `inspect_many` are measured in turns, eight times each. Needs ``pip install 'roinspect[dev]'`` and
the images in ROINSPECT_DATA.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from models import exported, photographs
from numpy.typing import NDArray
from results import Results, Run, where
from tables import markdown, put

from roinspect import Inspector
from roinspect.images.pixels import read_image, resize_image
from roinspect.inspection.prediction import Predict
from roinspect.inspection.threads import in_threads

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Results("throughput")
DOCS = ROOT / "docs" / "deploy.md"
CORES = os.cpu_count() or 1
SIDE, DISTINCT, ROUNDS = 1024, 250, 8
ALONE = 100
"""Photographs per round for a stage on its own."""
GRAIN = 2.0
"""Standard deviation in grey levels."""


def write_photographs(folder: Path, kind: str, count: int) -> list[Path]:
    random, found = np.random.default_rng(0), photographs()
    grain = random.normal(0, GRAIN, (SIDE, SIDE, 3)).astype(np.float32)
    files = []
    for number, place in enumerate(np.linspace(0, len(found) - 1, count).astype(int)):
        large = resize_image(read_image(found[place]), (SIDE, SIDE)) + np.roll(grain, 4 * number, (0, 1))
        files.append(folder / f"{number:04}.{kind}")
        cv2.imwrite(str(files[-1]), large.clip(0, 255).round().astype(np.uint8)[..., ::-1])
    return files


def exhaust(items: Iterable[object]) -> None:
    for _ in items:
        pass


def decode(files: list[Path], size_hw: tuple[int, int], workers: int) -> None:
    exhaust(
        in_threads(
            lambda file: resize_image(read_image(file), size_hw), files, workers=workers, ahead=workers + 2
        )
    )


def infer(predict: Predict, images: NDArray[np.uint8], streams: int) -> None:
    exhaust(in_threads(lambda image: predict(image[None]), images, workers=streams, ahead=streams + 1))


def memory_mb() -> float:
    """Resident memory; on Linux only."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def timed(work: Callable[[], None], count: int) -> dict[str, float]:
    cpu, start = time.process_time(), time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    return {"per_second": count / seconds, "cpu_ms": 1000 * (time.process_time() - cpu) / count}


def measure(kind: str, distinct: int, rounds: int) -> dict[str, Any]:
    """Rates and processor time of every stage, round by round."""
    bundle = exported("roibank", "openvino")
    shared = Inspector.load(bundle, "openvino")
    single = Inspector.load(bundle, "openvino", threads=1)
    beside = Inspector.load(bundle, "openvino", streams=CORES)
    size_hw = shared.bundle.size_hw
    with tempfile.TemporaryDirectory() as folder:
        files = write_photographs(Path(folder), kind, distinct)
        megabytes = sum(file.stat().st_size for file in files) / len(files) / 1e6
        some = files[:ALONE]
        images = np.stack([resize_image(read_image(file), size_hw) for file in some])
        works: dict[str, Callable[[], None]] = {
            "decode_1": partial(decode, some, size_hw, 1),
            "decode": partial(decode, some, size_hw, CORES),
            "infer_shared": partial(infer, shared._predict, images, 1),
            "infer_1": partial(infer, single._predict, images, 1),
            "infer": partial(infer, beside._predict, images, CORES),
            "many_shared": lambda: exhaust(shared.inspect_many(some)),
            "many": lambda: exhaust(beside.inspect_many(files)),
        }
        for work in works.values():
            work()
        found, memory = list[dict[str, dict[str, float]]](), [memory_mb()]
        for _ in range(rounds):
            counts = {name: len(files if name == "many" else some) for name in works}
            found.append({name: timed(work, counts[name]) for name, work in works.items()})
            memory.append(memory_mb())
            print(f"{kind}, round {len(found)}: {found[-1]['many']['per_second']:.1f} images/s", flush=True)
    return {"megabytes": megabytes, "rounds": found, "memory_mb": memory}


def median(run: Run, of: Callable[[dict[str, dict[str, float]]], float]) -> float:
    """Over the rounds; ratios are taken within a round, as machines drift."""
    return statistics.median(of(one) for one in run.measures["rounds"])


def slower(one: dict[str, dict[str, float]], *stages: str) -> float:
    return min(one[stage]["per_second"] for stage in stages)


def bound(one: dict[str, dict[str, float]]) -> float:
    """Images per second if the cores only decoded and ran the network, at their processor time alone."""
    return CORES * 1000 / (one["decode"]["cpu_ms"] + one["infer"]["cpu_ms"])


def table() -> str:
    runs = {run.settings["kind"]: run for run in RESULTS.read()}
    rates: dict[str, Callable[[dict[str, dict[str, float]]], float]] = {
        "decoding alone, one core": lambda one: one["decode_1"]["per_second"],
        "decoding alone, all cores": lambda one: one["decode"]["per_second"],
        "network alone, one core": lambda one: one["infer_1"]["per_second"],
        "network alone, all cores on one image": lambda one: one["infer_shared"]["per_second"],
        "network alone, an image on each core": lambda one: one["infer"]["per_second"],
        "bound: the cores do nothing but decode and infer": bound,
        "`inspect_many`, `streams=1`": lambda one: one["many_shared"]["per_second"],
        "**`inspect_many`, a stream for each core**": lambda one: one["many"]["per_second"],
    }
    bounds: dict[str, Callable[[dict[str, dict[str, float]]], float]] = {
        "of the slower stage, each alone on all cores": lambda one: slower(one, "decode", "infer"),
        "of the slower stage, each on one core": lambda one: slower(one, "decode_1", "infer_1"),
        "of the bound": bound,
    }
    spent = {"decoding": "decode", "network": "infer", "`inspect_many`": "many"}
    rows = [[name, *(f"{median(one, of):.1f}" for one in runs.values())] for name, of in rates.items()]
    for name, of in bounds.items():
        shares = (
            median(one, lambda each, of=of: each["many"]["per_second"] / of(each)) for one in runs.values()
        )
        rows.append([f"that is, {name}", *(f"{share:.0%}" for share in shares)])
    for name, stage in spent.items():
        times = (median(one, lambda each, stage=stage: each[stage]["cpu_ms"]) for one in runs.values())
        rows.append([f"{name}: processor time an image, ms", *(f"{time:.1f}" for time in times)])
    rows.append(
        ["memory after 250 images, and the most in the 2,000 after, MB"]
        + [
            f"{run.measures['memory_mb'][0]:.0f}, {max(run.measures['memory_mb']):.0f}"
            for run in runs.values()
        ]
    )
    heads = [
        "images a second",
        *(f"{kind.upper()}, {run.measures['megabytes']:.1f} MB" for kind, run in runs.items()),
    ]
    return f"{markdown(heads, rows)}\n\n{where(runs.values())}"


TABLES = {"throughput": table}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", help="png, jpg: the files' formats")
    parser.add_argument("--distinct", type=int, default=DISTINCT)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--tables", action="store_true")
    given = parser.parse_args()
    if given.tables:
        put(DOCS, TABLES)
        return
    for kind in given.kinds:
        settings = {"kind": kind, "images": given.distinct * given.rounds}
        RESULTS.append(settings, measure(kind, given.distinct, given.rounds))


if __name__ == "__main__":
    main()
