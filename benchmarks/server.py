"""Saturate a server with good, corrupt, huge and slow requests: what is lost, what is wrong, at what price.

    python benchmarks/server.py BUNDLE --seconds 1800 --out benchmarks/results/server.json

Each good photograph has a verdict that is known beforehand; every answer is compared with it. A corrupt file
must be a 422, one of too many pixels a 422, a body that is too large a 413, one that dribbles a 408.
429 counts as an answer: the sender comes again, as it is told.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import cv2
import numpy as np

from roinspect.inspector import Inspector

PHOTOGRAPHS = 24
DEADLINE_S = 5


class Kind:
    """A sort of request: its body, and what is the right answer to it."""

    def __init__(self, body: bytes, status: int, score: float | None = None) -> None:
        self.body, self.status, self.score = body, status, score


class Sender(threading.Thread):
    """Sends one request after the other over one connection, as a client does that waits for answers."""

    def __init__(self, port: int, kinds: dict[str, list[Kind]], until: float, seed: int) -> None:
        super().__init__(daemon=True)
        self._port, self._kinds, self._until = port, kinds, until
        self._random = random.Random(seed)
        self.told: collections.Counter[str] = collections.Counter()
        self.faults: list[str] = []
        self.latencies: list[float] = []
        self.ids: list[str] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        while time.monotonic() < self._until:
            name = self._random.choices(("good", "corrupt", "bomb", "huge"), (90, 5, 3, 2))[0]
            kind = self._random.choice(self._kinds[name])
            start = time.perf_counter()
            try:
                connection.request("POST", "/inspect", kind.body, {"X-Part-Id": name})
                answer = connection.getresponse()
                row = json.loads(answer.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.faults.append(f"{name}: lost: {error!r}")
                connection.close()
                continue
            self.told[f"{name} {answer.status}"] += 1
            if answer.status == 429:
                time.sleep(0.02)
                continue
            if "id" in row:
                self.ids.append(row["id"])
            if answer.status != kind.status:
                self.faults.append(f"{name}: {answer.status} {row}")
            elif kind.score is not None:
                self.latencies.append(time.perf_counter() - start)
                if abs(row["pred_score"] - kind.score) > 1e-5 * max(1.0, abs(kind.score)):
                    self.faults.append(f"{name}: wrong: {row['pred_score']} for {kind.score}")
        connection.close()


class SlowSender(threading.Thread):
    """Sends a byte a second of a body that never ends, and wants to be told so."""

    def __init__(self, port: int, until: float) -> None:
        super().__init__(daemon=True)
        self._port, self._until = port, until
        self.told: collections.Counter[str] = collections.Counter()
        self.faults: list[str] = []

    def run(self) -> None:
        while time.monotonic() < self._until:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1) as opened:
                opened.sendall(b"POST /inspect HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n")
                told = b""
                for _ in range(DEADLINE_S + 10):
                    try:
                        told = opened.recv(4096)
                        break
                    except TimeoutError:
                        opened.sendall(b"x")
                status = told[9:12].decode()
                self.told[f"slow {status}"] += 1
                if status not in ("408", "429"):
                    self.faults.append(f"slow: {told!r}")
            time.sleep(0.1)


def kinds(inspector: Inspector, size_hw: tuple[int, int]) -> dict[str, list[Kind]]:
    """Bodies of every sort; the good ones with their scores."""
    rng = np.random.default_rng(0)
    good = []
    for number in range(PHOTOGRAPHS):
        coarse = rng.integers(0, 255, (8, 8, 3), np.uint8)
        photograph = cv2.resize(coarse, size_hw[::-1], interpolation=cv2.INTER_CUBIC)
        body = cv2.imencode((".png", ".jpg")[number % 2], photograph)[1].tobytes()
        good.append(Kind(body, 200, inspector.inspect(body).pred_score))
    corrupt = [Kind(kind.body[: len(kind.body) * n // 5], 422) for kind in good[:4] for n in range(1, 5)]
    corrupt += [Kind(rng.bytes(5000), 422), Kind(b"", 422)]
    bomb = cv2.imencode(".png", np.zeros((12000, 12000), np.uint8))[1].tobytes()
    return {
        "good": good,
        "corrupt": corrupt,
        "bomb": [Kind(bomb, 422)],
        "huge": [Kind(bytes(40_000_000), 413)],
    }


def memory_mb(process: int) -> float:
    """Resident memory of a process; Linux alone tells it so."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def start(bundle: Path, folder: Path) -> tuple[subprocess.Popen[str], int]:
    """A server on a free port, whose results go to a folder."""
    words = [sys.executable, "-m", "roinspect", "serve", f"part={bundle.resolve()}", "--port", "0"]
    words += ["--deadline_s", str(DEADLINE_S), "--results", "folder:results"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(words, cwd=folder, stderr=log, text=True)
    while process.poll() is None:
        if "running on" in (text := (folder / "log").read_text()):
            return process, int(text.split("127.0.0.1:")[1].split()[0])
        time.sleep(0.1)
    raise SystemExit((folder / "log").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--senders", type=int, default=8)
    parser.add_argument("--slow", type=int, default=4)
    parser.add_argument("--size", type=int, nargs=2, default=(1024, 1024), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    sorts = kinds(Inspector.load(given.bundle), tuple(given.size))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        process, port = start(given.bundle, folder)
        until = time.monotonic() + given.seconds
        senders = [Sender(port, sorts, until, seed) for seed in range(given.senders)]
        slow = [SlowSender(port, until) for _ in range(given.slow)]
        for thread in (*senders, *slow):
            thread.start()
        memory = []
        while time.monotonic() < until:
            time.sleep(min(10, given.seconds / 10))
            memory.append(round(memory_mb(process.pid), 1))
        for thread in (*senders, *slow):
            thread.join()
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        kept = {file.stem.rpartition("-")[2] for file in folder.glob("r*/**/*.json")}
        tracebacks = (folder / "log").read_text().count('"traceback"')
    faults = [fault for thread in (*senders, *slow) for fault in thread.faults]
    ids = {identity for sender in senders for identity in sender.ids}
    latencies = np.array([seconds for sender in senders for seconds in sender.latencies] or [np.nan])
    told = sum((thread.told for thread in (*senders, *slow)), collections.Counter())
    found = {
        "seconds": given.seconds,
        "answers": dict(sorted(told.items())),
        "good_per_second": round(len(latencies) / given.seconds, 2),
        "p50_ms": round(1000 * float(np.quantile(latencies, 0.5)), 1),
        "p99_ms": round(1000 * float(np.quantile(latencies, 0.99)), 1),
        "lost_or_wrong": len(faults),
        "faults": faults[:10],
        "results_told": len(ids),
        "results_missing": len(ids - kept),
        "tracebacks": tracebacks,
        "memory_mb": memory,
    }
    print(json.dumps(found, indent=1))
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
