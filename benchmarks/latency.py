"""Latency, throughput and start-up time from a photograph's bytes to a verdict, compared with anomalib.

    python benchmarks/latency.py models [256]     # trains ours briefly, exports all; continues where it
    stopped python benchmarks/latency.py ours 256x640     # every method and runtime
    python benchmarks/latency.py rivals 256       # OpenVINO, next to anomalib's DRAEM, PaDiM and PatchCore
    python benchmarks/latency.py startup          # import, load and first verdict, in fresh processes
    python benchmarks/latency.py --tables         # puts the results into docs/speed.md

All contenders of a run are measured in turns, so that other load affects all alike; nothing else should run.
Needs ``pip install 'roinspect[train,openvino,weights,peers]'`` and the ball screw's photographs in
ROINSPECT_DATA; models are kept in ROINSPECT_WORK.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any, TypeAlias

import latency_tables
import numpy as np
from cost import convolution, flops, timed
from latency_models import METHODS, ROOT, SIZES, WORK, Contender, make, own, photographs, rival
from numpy.typing import NDArray
from results import Results
from tables import put

from roinspect.images.pixels import read_image
from roinspect.inspection.prediction import Predict

Rates: TypeAlias = dict[str, list[tuple[float, float]]]

RESULTS = Results("latency")
DOCS = ROOT / "docs" / "speed.md"
TABLES = latency_tables.tables(RESULTS)
PACKAGES = ("onnxruntime", "openvino", "anomalib", "numpy", "opencv-python-headless")
SINGLE_S, MANY_S, NETWORK_S = 1.5, 1.0, 0.5
LONGEST_S = 10.0
"""Batches that take longer are skipped."""
PROCESSES = 10
PRECISIONS = ("float32", "bfloat16", "int8")
"""In OpenVINO."""
STARTUP = """
import sys, time
from roinspect import Inspector
body = open(sys.argv[3], "rb").read()
verdict = Inspector.load(sys.argv[1], sys.argv[2]).inspect(body)
print(time.time(), verdict.is_defect, "torch" in sys.modules)
"""


class Measured:
    """The measurements of one contender, over all rounds."""

    def __init__(self, contender: Contender, bodies: Sequence[bytes], size: str) -> None:
        self.contender, self.bodies, self.size = contender, bodies, size
        self.singles: list[float] = []
        # By way, in images/s, each with the machine's rate at that time in GFLOP/s.
        self.many: Rates = {}
        self.network: Rates = {}
        contender.one(bodies[0])

    def round(self, peak: float) -> None:
        """One turn; `peak` is the machine's rate around it, in GFLOP/s."""
        one, many, network = self.contender.one, self.contender.many, self.contender.network
        taken = _until(SINGLE_S, one, self.bodies)
        self.singles += taken
        expected = statistics.median(taken)
        for way in self.contender.ways:
            least = way.batch * way.streams
            if least > 1 and least * expected > LONGEST_S:
                continue
            count = least * max(1, round(MANY_S / expected / least))
            bodies = list(islice(cycle(self.bodies), count))
            rate = count / timed(partial(many, bodies, way))
            self.many.setdefault(str(way), []).append((rate, peak))
            if network:
                images = np.stack([read_image(body) for body in bodies[: way.batch]])
                # With too few calls a core would be idle at the end.
                calls = 8 if way.streams > 1 else 1
                work = partial(_side_by_side, network[way.streams], way.streams, calls)
                rate = way.streams * calls * way.batch / statistics.median(_until(NETWORK_S, work, [images]))
                self.network.setdefault(str(way), []).append((rate, peak))

    def result(self) -> dict[str, Any]:
        """The measurements, as recorded."""
        gflop = self.contender.terms["gflop"]
        found = {
            **self.contender.terms,
            "size": self.size,
            "single_ms_median": 1000 * statistics.median(self.singles),
            "single_ms_p99": 1000 * float(np.quantile(self.singles, 0.99)),
            "singles": len(self.singles),
            "images_per_second": _medians(self.many),
            "share_of_peak": _share(gflop, self.many),
        }
        if self.network:
            found["network_images_per_second"] = _medians(self.network)
            found["network_share_of_peak"] = _share(gflop, self.network)
        return found


def _until(seconds: float, work: Callable[[Any], object], on: Sequence[Any]) -> list[float]:
    """Seconds of each call, repeated until the time is up; at least two calls."""
    taken: list[float] = []
    for one in cycle(on):
        taken.append(timed(partial(work, one)))
        if sum(taken) >= seconds and len(taken) >= 2:
            break
    return taken


def _side_by_side(network: Predict, streams: int, calls: int, images: NDArray[np.uint8]) -> None:
    """Call the network `calls` times in each of `streams` threads."""
    if streams == 1:
        network(images)
        return
    with ThreadPoolExecutor(streams) as pool:
        list(pool.map(network, [images] * (streams * calls)))


def _medians(rates: Rates) -> dict[str, float]:
    return {way: statistics.median(rate for rate, _ in of) for way, of in rates.items()}


def _share(gflop: float, rates: Rates) -> float:
    """The best way's share of the machine's rate, as the median of the rounds' ratios."""
    return max(statistics.median(gflop * rate / peak for rate, peak in of) for of in rates.values())


def in_turns(verb: str, contenders: Sequence[Contender], size: str, seconds: float) -> None:
    """Measure all contenders in rounds while time is left, at least two."""
    began, bodies = time.monotonic(), photographs(size)
    conv = convolution()
    conv_gflop = flops(conv) / 1e9
    every = [Measured(contender, bodies, size) for contender in contenders]
    peaks: list[float] = []
    lasted, rounds = 0.0, 0
    while rounds < 2 or time.monotonic() - began + lasted < seconds:
        start = time.monotonic()
        for one in every:
            peak = conv_gflop / statistics.median(timed(conv) for _ in range(5))
            peaks.append(peak)
            one.round(peak)
        rounds, lasted = rounds + 1, time.monotonic() - start
        print(f"round {rounds}: {lasted:.0f} s", flush=True)
    measures = {
        "rounds": rounds,
        "convolution_gflop_per_second": statistics.median(peaks),
        "contenders": [one.result() for one in every],
    }
    RESULTS.append({"verb": verb, "size": size}, measures, packages=PACKAGES)


def measure_ours(size: str, seconds: float) -> None:
    ways: list[tuple[str, str]] = [
        ("torch", "float32"),
        ("onnxruntime", "float32"),
        ("onnxruntime", "int8"),
    ]
    ways += [("openvino", kind) for kind in PRECISIONS]
    found = [own(name, size, runtime, kind) for name in METHODS for runtime, kind in ways]
    in_turns("ours", [one for one in found if one], size, seconds)


def measure_rivals(size: str, seconds: float) -> None:
    found = [own(name, size, "openvino", kind) for name in METHODS for kind in PRECISIONS]
    # OpenVINO uses bfloat16 by default if the processor has it; ours only if verdicts agree.
    found += [rival(name, size, kind) for name in ("draem", "padim", "patchcore") for kind in (None, "f32")]
    found += [rival("patchcore-pair", size)]
    in_turns("rivals", [one for one in found if one], size, seconds)


def measure_startup() -> None:
    """Wall time from the start of a process to its first verdict, measured in turns."""
    ways = [
        (name, size, runtime) for name in METHODS for size in SIZES for runtime in ("onnxruntime", "openvino")
    ]
    taken: dict[tuple[str, str, str], list[float]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as scratch:
        files = {size: Path(scratch) / f"{size}.jpg" for size in SIZES}
        for size, file in files.items():
            file.write_bytes(photographs(size)[0])
        for _ in range(PROCESSES):
            for name, size, runtime in ways:
                words = [sys.executable, "-c", STARTUP, WORK / f"{name}-{size}", runtime, files[size]]
                start = time.time()
                told = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
                assert told[2] == "False", "torch was imported"
                taken[name, size, runtime].append(float(told[0]) - start)
    rows = [
        {
            "method": name,
            "size": size,
            "engine": runtime,
            "median_s": statistics.median(times),
            "slowest_s": max(times),
            "processes": len(times),
        }
        for (name, size, runtime), times in taken.items()
    ]
    RESULTS.append({"verb": "startup"}, {"starts": rows}, packages=PACKAGES)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("models", "ours", "rivals", "startup"), nargs="?")
    parser.add_argument("size", choices=SIZES, nargs="?", help="default: both")
    parser.add_argument("--seconds", type=float, default=400, help="time for the rounds of one size")
    parser.add_argument("--tables", action="store_true", help="only write the tables into the docs")
    given = parser.parse_args()
    for size in [given.size] if given.size else SIZES:
        if given.what == "models":
            make(size)
        elif given.what == "ours":
            measure_ours(size, given.seconds)
        elif given.what == "rivals":
            measure_rivals(size, given.seconds)
    if given.what == "startup":
        measure_startup()
    if given.tables:
        put(DOCS, TABLES)


if __name__ == "__main__":
    main()
