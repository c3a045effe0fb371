"""Compares the predictions of every export of every method with the trained network, on many kinds of files.

    python benchmarks/parity.py             # trains what is missing, exports, compares: minutes
    python benchmarks/parity.py --tables    # puts the result into docs/deploy.md

Sixty of the ball screw's test photographs are cropped to odd sizes and written as colour and grey PNG, 16-bit
grey PNG, PNG with alpha, and JPEG rotated by EXIF. The network in torch gets the pixels from `read_image`,
the export the file's bytes through `Inspector`. Needs ``pip install 'roinspect[dev]'`` and the images
in ROINSPECT_DATA.
"""

from __future__ import annotations

import argparse
import shutil
import struct
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from models import DATA, MODELS, photographs, trained
from numpy.typing import NDArray
from results import Results, where
from tables import markdown, put

from roinspect import Inspector, UserError
from roinspect.exports.export import export
from roinspect.images.pixels import read_image, resize_image
from roinspect.methods.loading import load_graph
from roinspect.methods.method import predict

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Results("parity")
DOCS = ROOT / "docs" / "deploy.md"
COUNT = 60

EXPORTS: dict[str, tuple[str, bool, Any]] = {
    "ONNX": ("onnx", False, "onnxruntime"),
    "OpenVINO": ("openvino", False, "openvino"),
    "TorchScript": ("torchscript", False, "torchscript"),
    "ONNX INT8": ("onnx", True, "onnxruntime"),
    "OpenVINO INT8": ("openvino", True, "openvino"),
}
"""The format, whether in INT8, and the runtime."""

_TURNED = b"Exif\0\0" + struct.pack("<2sHIHHHII", b"II", 42, 8, 1, 0x0112, 3, 1, 6) + bytes(4)
"""An EXIF block that rotates by 90 degrees."""


def encoded(suffix: str, pixels: NDArray[Any]) -> bytes:
    return bytes(cv2.imencode(suffix, pixels)[1])


def files() -> Iterator[bytes]:
    """Photographs cropped to odd sizes and written in five ways."""
    random, found = np.random.default_rng(0), photographs("test")
    for number, place in enumerate(np.linspace(0, len(found) - 1, COUNT).astype(int)):
        image = read_image(found[place])[..., ::-1]
        image = image[
            : image.shape[0] - 2 * random.integers(8) - 1, : image.shape[1] - 2 * random.integers(8) - 1
        ]
        grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_BGR2GRAY)
        fine = random.integers(0, 257, grey.shape)
        veil = np.full(grey.shape, 128 + number, np.uint8)
        jpeg = encoded(".jpg", np.rot90(image))
        yield (
            encoded(".png", image),
            encoded(".png", grey),
            encoded(".png", np.minimum(grey.astype(np.uint32) * 257 + fine, 65535).astype(np.uint16)),
            encoded(".png", np.dstack((image, veil))),
            jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(_TURNED) + 2) + _TURNED + jpeg[2:],
        )[number % 5]


def compared(bundle: Path, runtime: Any, given: Sequence[bytes], answers: Sequence[Any]) -> dict[str, Any]:
    inspector = Inspector.load(bundle, runtime)
    least = 0.01 * inspector.threshold
    scores, maps, changed, rejected = list[float](), list[float](), 0, 0
    for data, (score, anomaly_map) in zip(given, answers, strict=True):
        verdict = inspector.inspect(data)
        assert verdict.anomaly_map is not None and verdict.anomaly_map.shape == anomaly_map.shape
        scores.append(abs(verdict.pred_score - score) / max(abs(score), least))
        highest = max(float(np.abs(anomaly_map).max()), least)
        maps.append(float(np.abs(verdict.anomaly_map - anomaly_map).max()) / highest)
        changed += verdict.is_defect != (score >= inspector.threshold)
        rejected += score >= inspector.threshold
    return {"score": max(scores), "map": max(maps), "changed": changed, "rejected": int(rejected)}


def measure(name: str, given: Sequence[bytes]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        bundle = Path(shutil.copytree(trained(name), Path(scratch) / "bundle"))
        manifest, graph = load_graph(bundle)
        answers = []
        for data in given:
            image = read_image(data)
            answer = predict(graph, resize_image(image, manifest.size_hw)[None])
            anomaly_map = resize_image(answer.anomaly_map[0], image.shape[:2])
            answers.append((float(answer.pred_score[0]), anomaly_map))
        for title, (to, is_int8, runtime) in EXPORTS.items():
            told = list[str]()
            try:
                export(bundle, to, int8=DATA if is_int8 else None, tell=told.append)
            except UserError:
                found[title] = {"refused": told[-1]}
            else:
                found[title] = compared(bundle, runtime, given, answers)
            print(name, title, found[title], flush=True)
    return found


def table() -> str:
    runs, rows = RESULTS.read(photographs=COUNT), []
    for run in runs:
        for title, answers in run.measures.items():
            if "refused" in answers:
                # In the words of `roinspect export`.
                share = answers["refused"].split("changed: ")[1].split(".")[0]
                cells = ["–", "–", f"refused, {share} of those held out"]
            else:
                cells = [f"{answers['score']:.1e}", f"{answers['map']:.1e}", str(answers["changed"])]
            rows.append([run.settings["model"], title, *cells])
    heads = ["model", "export", "score, largest difference", "map, largest difference", "verdicts changed"]
    return f"{markdown(heads, rows)}\n\n{COUNT} photographs for each; {where(runs)}"


TABLES = {"parity": table}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", help=", ".join(MODELS))
    parser.add_argument("--tables", action="store_true")
    arguments = parser.parse_args()
    if arguments.tables:
        put(DOCS, TABLES)
        return
    photos = list(files())
    for name in arguments.models or MODELS:
        RESULTS.append({"model": name, "photographs": COUNT}, measure(name, photos))


if __name__ == "__main__":
    main()
