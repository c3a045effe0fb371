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
from collections import Counter
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
from roinspect.images.pixels import read_image
from roinspect.inspection.inspector import Verdict

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


def compared(
    bundle: Path, runtime: Any, given: Sequence[bytes], answers: Sequence[Verdict]
) -> dict[str, Any]:
    inspector = Inspector.load(bundle, runtime)
    least = 0.01 * inspector.threshold
    scores, maps, changed = list[float](), list[float](), 0
    for data, expected in zip(given, answers, strict=True):
        verdict = inspector.inspect(data)
        assert verdict.anomaly_map is not None and expected.anomaly_map is not None
        scores.append(abs(verdict.pred_score - expected.pred_score) / max(abs(expected.pred_score), least))
        highest = max(float(np.abs(expected.anomaly_map).max()), least)
        maps.append(float(np.abs(verdict.anomaly_map - expected.anomaly_map).max()) / highest)
        changed += verdict.verdict != expected.verdict
    said = Counter(str(expected.verdict) for expected in answers)
    return {"score": max(scores), "map": max(maps), "changed": changed, "verdicts": dict(said)}


def measure(name: str, given: Sequence[bytes]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        bundle = Path(shutil.copytree(trained(name), Path(scratch) / "bundle"))
        trained_network = Inspector.load(bundle, "torch")
        answers = [trained_network.inspect(read_image(data)) for data in given]
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
