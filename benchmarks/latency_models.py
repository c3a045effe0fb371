"""The contenders of `latency.py`, and how each is created."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import torch
from cost import flops
from latency_rivals import RIVALS, Rival, build

from roinspect import Inspector
from roinspect.data.records import read_records
from roinspect.images.pixels import parse_size, read_image, resize_image
from roinspect.inspection.backends import TARGET_OF, open_runtime
from roinspect.inspection.bundle import read_bundle
from roinspect.inspection.prediction import Predict
from roinspect.methods.loading import load_graph

ROOT = Path(__file__).resolve().parent.parent
IMAGES = Path(os.environ.get("ROINSPECT_DATA", ROOT.parent / "shared" / "data"))
_HERE = Path(tempfile.gettempdir()) / "roinspect-benchmarks"
WORK = Path(os.environ.get("ROINSPECT_WORK", _HERE)) / "latency"
DATA = IMAGES / "ballscrew" / "manifest.csv"
SIZES = ("256", "256x640")
_LITE0 = ("--method.backbone", "tf_efficientnet_lite0")
METHODS: dict[str, tuple[str, ...]] = {
    "grdnet": ("--training.steps", "40"),
    "ceod": ("--training.steps", "200", *_LITE0),
    "roibank": _LITE0,
}
"""Training settings: too short to be good, with the sizes of the compact preset."""
REDUCED = (("int8", "--int8", "onnx"), ("int8", "--int8", "openvino"), ("bfloat16", "--bf16", "openvino"))
"""Exports whose predictions differ a little: precision, option and format."""
PHOTOGRAPHS = 32


class Way(NamedTuple):
    """How photographs are passed to the network.

    Attributes:
        batch: images per call of the network.
        streams: concurrent calls, each on its share of the cores.
    """

    batch: int = 1
    streams: int = 1

    def __str__(self) -> str:
        return f"{self.streams} side by side" if self.streams > 1 else f"batch {self.batch}"


BATCHES = (Way(1), Way(4), Way(8))
ON_EVERY_CORE = Way(streams=os.cpu_count() or 1)


class Contender(NamedTuple):
    """A model that inspects photographs.

    Attributes:
        terms: its description; `gflop` counts the network's convolutions and products for one image.
        one: a photograph's bytes to a verdict.
        many: photographs' bytes to verdicts.
        ways: supported ways to pass photographs.
        network: by the number of streams, decoded images to predictions; empty if not available.
    """

    terms: dict[str, Any]
    one: Callable[[bytes], object]
    many: Callable[[Sequence[bytes], Way], object]
    ways: tuple[Way, ...]
    network: Mapping[int, Predict] = {}


def photographs(size: str) -> list[bytes]:
    """Test photographs as JPEG files in the models' own size."""
    paths = [record.image_path for record in read_records(DATA) if record.split == "test"][:PHOTOGRAPHS]
    images = [resize_image(read_image(path), parse_size(size)) for path in paths]
    quality = (cv2.IMWRITE_JPEG_QUALITY, 95)
    return [cv2.imencode(".jpg", image[..., ::-1], quality)[1].tobytes() for image in images]


def own(name: str, size: str, runtime: str, precision: str = "float32") -> Contender | None:
    """One of our methods; None if its export was rejected."""
    trained = WORK / f"{name}-{size}"
    bundle = trained if precision == "float32" else WORK / f"{name}-{size}-{precision}"
    if runtime != "torch" and not (bundle / TARGET_OF[runtime]).exists():
        return None
    manifest = read_bundle(bundle)
    # torch cannot give each thread its share of the cores.
    ways = BATCHES if runtime == "torch" else (*BATCHES, ON_EVERY_CORE)
    networks = {
        streams: open_runtime(bundle, manifest, runtime, streams=streams)[1]
        for streams in dict.fromkeys(way.streams for way in ways)
    }
    inspectors = {streams: Inspector(manifest, of, runtime, streams) for streams, of in networks.items()}

    def many(bodies: Sequence[bytes], way: Way) -> None:
        for verdict in inspectors[way.streams].inspect_many(bodies, batch_size=way.batch):
            assert verdict.error is None, verdict.error

    graph = load_graph(trained)[1]
    with torch.inference_mode():
        count = flops(lambda: graph(torch.rand(1, 3, *manifest.size_hw)))
    terms = {"method": name, "engine": runtime, "precision": precision, "gflop": count / 1e9}
    return Contender(terms, inspectors[1].inspect, many, ways, networks)


def rival(name: str, size: str, precision: str | None = None) -> Contender:
    """One of anomalib's models."""
    folder = WORK / f"{name}-{size}"
    verdicts = Rival(folder, precision)
    terms = {
        "method": name,
        "engine": "OpenVINOInferencer",
        "precision": verdicts.precision,
        "gflop": json.loads((folder / "cost.json").read_text())["gflop"],
    }

    if name == "patchcore-pair":
        pair = Way(batch=2)
        return Contender(terms, lambda body: verdicts([body, body]), _in_batches(verdicts), (pair,))
    # What its users could do for the same purpose: an inferencer and a thread for each core.
    every = [Rival(folder, precision, threads=1) for _ in range(ON_EVERY_CORE.streams)]

    def many(bodies: Sequence[bytes], way: Way) -> None:
        if way.streams == 1:
            _in_batches(verdicts)(bodies, way)
            return
        with ThreadPoolExecutor(way.streams) as pool:
            turns = (
                pool.submit(_in_batches(one), bodies[n :: way.streams], Way()) for n, one in enumerate(every)
            )
            for turn in list(turns):
                turn.result()

    ways = (Way(), ON_EVERY_CORE) if name == "patchcore" else (*BATCHES, ON_EVERY_CORE)
    return Contender(terms, lambda body: verdicts([body]), many, ways)


def _in_batches(verdicts: Rival) -> Callable[[Sequence[bytes], Way], None]:
    def many(bodies: Sequence[bytes], way: Way) -> None:
        for first in range(0, len(bodies), way.batch):
            verdicts(bodies[first : first + way.batch])

    return many


def make(size: str) -> None:
    """Train ours and export all, except what already exists."""
    for name, words in METHODS.items():
        bundle = WORK / f"{name}-{size}"
        if not bundle.exists():
            _run("train", name, DATA, "--roi", "column:roi_path", "--size", size, "--out", bundle, *words)
        for form in ("onnx", "openvino"):
            if not (bundle / form).exists():
                _run("export", bundle, "--to", form)
        for precision, option, form in REDUCED:
            reduced = WORK / f"{name}-{size}-{precision}"
            if not reduced.exists():
                shutil.copytree(bundle, reduced, ignore=shutil.ignore_patterns("onnx", "openvino"))
            if not (reduced / form).exists():
                # Rejected if a verdict changes; the table then has no such row.
                with suppress(subprocess.CalledProcessError):
                    _run("export", reduced, "--to", form, option, DATA)
    for name in RIVALS:
        folder = WORK / f"{name}-{size}"
        if not (folder / "cost.json").exists():
            folder.mkdir(parents=True, exist_ok=True)
            gflop = build(name, parse_size(size), folder)
            (folder / "cost.json").write_text(json.dumps({"gflop": gflop}))


def _run(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "roinspect", *map(str, words)], check=True)
