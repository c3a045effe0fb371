"""Thousands of malformed bodies: each gets an answer, never a 5xx, and the server keeps running."""

from __future__ import annotations

import collections
import json
import socket
import tempfile
import time
from pathlib import Path

from results import Results

from roinspect.inspection.inspector import Inspector

from .bodies import Bodies, Request, post
from .process import Server, model, photographs

HANGS_S = 30.0
CHECK_EVERY = 250


def exchange(port: int, request: Request) -> bytes:
    """The answer, up to the end of the connection.

    Raises:
        TimeoutError: no answer comes, and the connection stays open.
    """
    told = b""
    with socket.create_connection(("127.0.0.1", port), timeout=HANGS_S) as opened:
        try:
            opened.sendall(request.head + request.body)
            # A request that announced more than it sends ends here.
            if not request.is_http:
                opened.shutdown(socket.SHUT_WR)
            while part := opened.recv(65536):
                told += part
        except TimeoutError:
            raise
        except OSError:
            # An answer sent before the whole body was read closes the connection.
            pass
    return told


def fuzz(bundle: Path, results: Results, *, count: int, seed: int) -> None:
    """Send bodies of every kind in turn, and sometimes a photograph, whose verdict must be correct."""
    inspector = Inspector.load(bundle)
    bodies = Bodies(inspector.bundle.size_hw, seed)
    (known,) = photographs(inspector, (128, 128), 1, seed=0)
    statuses: dict[str, collections.Counter[str]] = {kind: collections.Counter() for kind in bodies.kinds}
    faults: list[str] = []
    slowest = (0.0, "")
    with tempfile.TemporaryDirectory() as scratch:
        server = Server(bundle, Path(scratch), "--deadline-s", "15")
        memory = {0: server.memory_mb()}
        for number in range(1, count + 1):
            kind = list(bodies.kinds)[number % len(bodies.kinds)]
            request, start = bodies.kinds[kind](), time.perf_counter()
            try:
                told = exchange(server.port, request)
            except TimeoutError:
                faults.append(f"{kind} {number}: hangs")
                told = b""
            slowest = max(slowest, (time.perf_counter() - start, f"{kind} {number}"))
            status = told[9:12].decode() or "closed"
            statuses[kind][status] += 1
            if status.startswith("5") or (status == "closed" and request.is_http):
                faults.append(f"{kind} {number}: {status} {request.head[:300]!r}")
            if number % CHECK_EVERY == 0:
                memory[number] = server.memory_mb()
                answer = exchange(server.port, post("/inspect", known.body)).partition(b"\r\n\r\n")[2]
                if not known.is_told(json.loads(answer)["pred_score"]):
                    faults.append(f"after {number}: another verdict")
        in_flight = server.metric("roinspect_requests_in_flight ")
        server.stop()
        tracebacks = server.tracebacks()
    settings = {"verb": "fuzz", "model": model(inspector), "bodies": count}
    measures = {
        "statuses": {kind: dict(sorted(told.items())) for kind, told in statuses.items()},
        "faults": len(faults),
        "first_faults": faults[:10],
        "slowest_s": round(slowest[0], 3),
        "slowest": slowest[1],
        "left_in_flight": in_flight,
        "tracebacks": tracebacks,
        "memory_mb": {str(number): value for number, value in memory.items() if number % (count // 4) == 0},
    }
    results.append(settings, measures, seed=seed)
    print(json.dumps(measures, indent=1))
