"""The contenders of `latency.py`: ways to inspect a photograph, and how each is made."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import torch
from cost import flops
from latency_rivals import RIVALS, Rival, build

from roinspect import Inspector
from roinspect.backends import FORMATS, Engine, Predict, open_engine
from roinspect.bundle import read_bundle
from roinspect.data.records import read_records
from roinspect.methods.method import load_graph
from roinspect.pixels import parse_size, read_image, resize_image

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
"""How each is trained: too shortly to be good, at the sizes of the compact preset."""
BATCHES, PHOTOGRAPHS = (1, 4, 8), 32


class Contender(NamedTuple):
    """One way to inspect photographs.

    Attributes:
        terms: what it is; `gflop` are the network's convolutions and products for one image.
        one: a photograph's bytes to a verdict.
        many: photographs' bytes to verdicts, in batches of a size.
        batches: sizes that it takes.
        network: decoded images alone to answers; None where it cannot be had.
    """

    terms: dict[str, Any]
    one: Callable[[bytes], object]
    many: Callable[[Sequence[bytes], int], object]
    batches: tuple[int, ...] = BATCHES
    network: Predict | None = None


def photographs(size: str) -> list[bytes]:
    """Test photographs as JPEG files of the very size that the models look at."""
    paths = [record.image_path for record in read_records(DATA) if record.split == "test"][:PHOTOGRAPHS]
    images = [resize_image(read_image(path), parse_size(size)) for path in paths]
    quality = (cv2.IMWRITE_JPEG_QUALITY, 95)
    return [cv2.imencode(".jpg", image[..., ::-1], quality)[1].tobytes() for image in images]


def own(name: str, size: str, engine: Engine, precision: str = "float32") -> Contender | None:
    """One of our methods; None where its export was refused."""
    trained = WORK / f"{name}-{size}"
    bundle = trained if precision == "float32" else WORK / f"{name}-{size}-int8"
    if engine != "torch" and not (bundle / FORMATS[engine]).exists():
        return None
    manifest = read_bundle(bundle)
    predict = open_engine(bundle, manifest, engine)[1]
    inspector = Inspector(manifest, predict, engine)

    def many(bodies: Sequence[bytes], batch: int) -> None:
        for verdict in inspector.inspect_many(bodies, batch_size=batch):
            assert verdict.error is None, verdict.error

    graph = load_graph(trained)[1]
    with torch.inference_mode():
        count = flops(lambda: graph(torch.rand(1, 3, *manifest.size_hw)))
    terms = {"method": name, "engine": engine, "precision": precision, "gflop": count / 1e9}
    return Contender(terms, inspector.inspect, many, network=predict)


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

    def many(bodies: Sequence[bytes], batch: int) -> None:
        for first in range(0, len(bodies), batch):
            verdicts(bodies[first : first + batch])

    if name == "patchcore-pair":
        return Contender(terms, lambda body: verdicts([body, body]), many, (2,))
    return Contender(terms, lambda body: verdicts([body]), many, (1,) if name == "patchcore" else BATCHES)


def make(size: str) -> None:
    """Train ours, export all; what is there already stays."""
    for name, words in METHODS.items():
        bundle, int8 = WORK / f"{name}-{size}", WORK / f"{name}-{size}-int8"
        if not bundle.exists():
            _run("train", name, DATA, "--roi", "column:roi_path", "--size", size, "--out", bundle, *words)
        if not int8.exists():
            shutil.copytree(bundle, int8, ignore=shutil.ignore_patterns("onnx", "openvino"))
        for form in ("onnx", "openvino"):
            if not (bundle / form).exists():
                _run("export", bundle, "--to", form)
            if not (int8 / form).exists():
                # Refused where a verdict changes; the table then has no such row.
                with suppress(subprocess.CalledProcessError):
                    _run("export", int8, "--to", form, "--int8", DATA)
    for name in RIVALS:
        folder = WORK / f"{name}-{size}"
        if not (folder / "cost.json").exists():
            folder.mkdir(parents=True, exist_ok=True)
            gflop = build(name, parse_size(size), folder)
            (folder / "cost.json").write_text(json.dumps({"gflop": gflop}))


def _run(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "roinspect", *map(str, words)], check=True)
