"""A server in its own process, and photographs with known scores."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from roinspect.inspection.inspector import Inspector


class Server:
    """`roinspect serve` of one bundle, named part, with its files in a folder.

    Args:
        bundle: the model.
        folder: receives the log, the spool and the results.
        options: of `roinspect serve`.
        port: 0 takes a free one.
    """

    def __init__(self, bundle: Path, folder: Path, *options: str, port: int = 0) -> None:
        self.log = folder / "log"
        words = [sys.executable, "-m", "roinspect", "serve", f"part={bundle.resolve()}", "--port", str(port)]
        with self.log.open("a") as log:
            before = self.log.stat().st_size
            self.process = subprocess.Popen([*words, *options], cwd=folder, stderr=log)
        while self.process.poll() is None:
            if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", self.log.read_text()[before:]):
                self.port = int(found[1])
                return
            time.sleep(0.02)
        raise SystemExit(self.log.read_text()[before:])

    def memory_mb(self) -> float:
        """Resident memory; on Linux only."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)

    def peak_mb(self) -> float:
        """Highest resident memory since it started; on Linux only."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return round(int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6, 1)

    def metric(self, start: str) -> float:
        """Sum of all counters whose line starts with this prefix."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(start))

    def kill(self) -> None:
        """Kill it, like a power cut except for the disk's cache."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Stop it; returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def tracebacks(self) -> int:
        """How many tracebacks it has logged."""
        return self.log.read_text().count("Traceback")


@dataclass(frozen=True)
class Photograph:
    """An encoded image, and its score."""

    body: bytes
    score: float

    def is_told(self, score: float) -> bool:
        """Whether this is the score."""
        return abs(score - self.score) <= 1e-5 * max(1.0, abs(self.score))


def photographs(inspector: Inspector, size_hw: tuple[int, int], count: int, seed: int) -> list[Photograph]:
    """Coloured clouds as PNG and JPEG, all with different scores, so that swapped verdicts are detected."""
    rng = np.random.default_rng(seed)
    found: list[Photograph] = []
    while len(found) < count:
        coarse = rng.integers(0, 255, (8, 8, 3), np.uint8)
        pixels = cv2.resize(coarse, size_hw[::-1], interpolation=cv2.INTER_CUBIC)
        body = cv2.imencode((".png", ".jpg")[len(found) % 2], pixels)[1].tobytes()
        score = inspector.inspect(body).pred_score
        if not any(one.is_told(score) for one in found):
            found.append(Photograph(body, score))
    return found


def free_port() -> int:
    """A free port."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def model(inspector: Inspector) -> str:
    """Method, runtime and size, in one line."""
    height, width = inspector.bundle.size_hw
    return f"{inspector.bundle.method}, {inspector.runtime}, {height} x {width}"
