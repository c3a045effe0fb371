"""Memory of the server for one large photograph, and for many at once, each with an overlay in its answer."""

from __future__ import annotations

import http.client
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from results import Results

from roinspect.inspection.inspector import Inspector

from .process import Server, model

SIZE_HW = (4000, 6000)
BODY_MB = 30
OPTIONS = ("--max-body-mb", "40", "--deadline-s", "280")
REST_S = 20.0
"""The server gives memory back every few seconds."""


def memory(bundle: Path, results: Results, *, count: int) -> None:
    """One request alone, then `count` at once; the peak is the kernel's own (`VmHWM`), so Linux only."""
    inspector = Inspector.load(bundle)
    body = _photograph()
    measures: dict[str, object] = {"body_mb": round(len(body) / 1e6, 1)}
    with tempfile.TemporaryDirectory() as scratch:
        server = Server(bundle, Path(scratch), *OPTIONS, "--queue", str(count))
        measures["started_mb"] = server.memory_mb()
        for name, at_once in (("one", 1), ("many", count)):
            with ThreadPoolExecutor(at_once) as senders:
                statuses = list(senders.map(_sent, [server.port] * at_once, [body] * at_once))
            measures[f"{name}_answers"] = {str(one): statuses.count(one) for one in sorted(set(statuses))}
            measures[f"{name}_peak_mb"] = server.peak_mb()
            time.sleep(REST_S)
            measures[f"{name}_rest_mb"] = server.memory_mb()
        server.stop()
        measures["tracebacks"] = server.tracebacks()
    settings = {"verb": "memory", "model": model(inspector), "megapixels": 24, "count": count}
    results.append(settings, measures, seed=0)
    print(measures)


def _photograph() -> bytes:
    """A JPEG of 24 megapixels whose noise makes it about 30 MB large."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (8, 8, 3), np.uint8)
    pixels = cv2.resize(coarse, SIZE_HW[::-1], interpolation=cv2.INTER_CUBIC)
    cv2.add(pixels, rng.integers(0, 60, pixels.shape, np.uint8), pixels)
    bodies = (cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, q))[1] for q in (98, 97, 96, 95, 92))
    return next(one.tobytes() for one in bodies if one.nbytes < BODY_MB * 1e6)


def _sent(port: int, body: bytes) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    connection.request("POST", "/inspect?overlay=true", body)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status
