"""Time of `read_image`, compared with another checkout of the source tree.

    python benchmarks/decoding.py --against OTHER_CHECKOUT/src

Encodes a photograph-like image of 1600 x 1200 in the usual formats. Both trees are timed in turns, each in
its own process with one thread; the fastest read counts. The pixels must be equal.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

OWN = Path(__file__).resolve().parent.parent / "src"
ROUNDS, READS = 6, 8


def picture() -> NDArray[np.uint8]:
    """Soft shapes with sensor noise, (1200, 1600, 3)."""
    random = np.random.default_rng(0)
    soft = cv2.GaussianBlur(random.normal(0, 1, (1200, 1600, 3)), (0, 0), 12)
    return np.clip(128 + 900 * soft + random.normal(0, 2, soft.shape), 0, 255).astype(np.uint8)


def files() -> dict[str, bytes]:
    colour = picture()
    grey = np.ascontiguousarray(colour[..., 1])
    deep = grey.astype(np.uint16) * 257

    def encoded(suffix: str, pixels: NDArray[np.integer], *how: int) -> bytes:
        return cv2.imencode(suffix, pixels, how)[1].tobytes()

    return {
        "JPEG, colour": encoded(".jpg", colour, cv2.IMWRITE_JPEG_QUALITY, 92),
        "JPEG, grey": encoded(".jpg", grey, cv2.IMWRITE_JPEG_QUALITY, 92),
        "JPEG, progressive": encoded(".jpg", colour, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        "PNG, colour": encoded(".png", colour),
        "PNG, grey": encoded(".png", grey),
        "PNG, 16-bit grey": encoded(".png", deep),
        "BMP, colour": encoded(".bmp", colour),
        "TIFF, colour, LZW": encoded(".tif", colour, cv2.IMWRITE_TIFF_COMPRESSION, 5),
        "TIFF, colour, none": encoded(".tif", colour, cv2.IMWRITE_TIFF_COMPRESSION, 1),
        "WebP, colour": encoded(".webp", colour, cv2.IMWRITE_WEBP_QUALITY, 90),
    }


def timed() -> dict[str, tuple[float, str]]:
    """Milliseconds and a digest of the pixels."""
    from roinspect.images.pixels import read_image

    cv2.setNumThreads(1)
    found: dict[str, tuple[float, str]] = {}
    for name, data in files().items():
        best = float("inf")
        for _ in range(READS):
            began = time.perf_counter()
            image = read_image(data)
            best = min(best, time.perf_counter() - began)
        found[name] = 1000 * best, hashlib.sha256(image.tobytes()).hexdigest()
    return found


def run(tree: Path) -> dict[str, tuple[float, str]]:
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, __file__, "--timed"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    return {name: (ms, digest) for name, (ms, digest) in json.loads(done.stdout).items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", type=Path, default=OWN, help="src folder of the other checkout")
    parser.add_argument("--timed", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.timed:
        print(json.dumps(timed()))
        return
    best: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        own, other = run(OWN), run(given.against)
        for name in own:
            assert own[name][1] == other[name][1], f"{name}: the pixels differ"
            before = best.get(name, [float("inf")] * 2)
            best[name] = [min(before[0], own[name][0]), min(before[1], other[name][0])]
    print("| file, 1600 x 1200 | ms | ms, other | ratio |\n| --- | ---: | ---: | ---: |")
    for name, (own_ms, other_ms) in best.items():
        print(f"| {name} | {own_ms:.1f} | {other_ms:.1f} | {own_ms / other_ms:.2f} |")


if __name__ == "__main__":
    main()
