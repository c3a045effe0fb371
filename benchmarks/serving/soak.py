"""A server at saturation with good, corrupt, huge and slow requests: lost and wrong answers, latency, memory.

Every answer is known in advance: the score of each photograph, 422 for a corrupt file and one with too many
pixels, 413 for a body that is too large, 408 for a slow one. 429 and 504 are allowed too: the sender tries
again, sooner than requested. Each request has a unique part id, which the answer must contain.
"""

from __future__ import annotations

import collections
import http.client
import json
import random
import socket
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from results import Results

from roinspect.inspection.inspector import Inspector

from .process import Photograph, Server, model, photographs

QUEUE = 16
DEADLINE_S = 30
SHARES = {"good": 88, "corrupt": 5, "large": 1, "bomb": 3, "huge": 3}
"""Requests of each kind per hundred."""
PRINTED = ("seconds", "good_per_second", "lost", "wrong", "memory_peak_mb")
SHOWN = {"p50_ms": 0.5, "p99_ms": 0.99, "slowest_ms": 1.0}


@dataclass(frozen=True)
class Kind:
    """A body and its expected answer."""

    body: bytes
    status: int
    photograph: Photograph | None = None


@dataclass
class Told:
    """The answers to a sender."""

    answers: collections.Counter[str] = field(default_factory=collections.Counter)
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    waits: collections.Counter[str] = field(default_factory=collections.Counter)


def kinds(inspector: Inspector) -> dict[str, list[Kind]]:
    """Bodies of every kind."""
    rng = np.random.default_rng(0)
    good = [Kind(one.body, 200, one) for one in photographs(inspector, (1024, 1024), 24, seed=0)]
    large = [Kind(one.body, 200, one) for one in photographs(inspector, (4000, 6000), 2, seed=1)]
    corrupt = [Kind(kind.body[: len(kind.body) * n // 5], 422) for kind in good[:4] for n in range(1, 5)]
    corrupt += [Kind(rng.bytes(5000), 422), Kind(b"", 422)]
    bomb = cv2.imencode(".png", np.zeros((12000, 12000), np.uint8))[1].tobytes()
    huge = [Kind(bytes(40_000_000), 413)]
    return {"good": good, "corrupt": corrupt, "large": large, "bomb": [Kind(bomb, 422)], "huge": huge}


def send(port: int, sorts: dict[str, list[Kind]], until: float, seed: int, told: Told) -> None:
    """Send one request after the other over one connection, as a client that waits for each answer."""
    chance = random.Random(seed)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    number = 0
    while time.monotonic() < until:
        (name,) = chance.choices(list(SHARES), list(SHARES.values()))
        kind, number = chance.choice(sorts[name]), number + 1
        start, part = time.perf_counter(), f"{seed}-{number}"
        try:
            connection.request("POST", "/inspect", kind.body, {"X-Part-Id": part})
            answer = connection.getresponse()
            row = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            told.lost.append(f"{name}: {error!r}")
            connection.close()
            continue
        told.answers[f"{name} {answer.status}"] += 1
        if answer.status == 429:
            told.waits[answer.headers["Retry-After"]] += 1
            time.sleep(chance.uniform(0.05, 0.2))
            continue
        if answer.status == 504:
            continue
        if "id" in row:
            told.ids.append(row["id"])
        if answer.status != kind.status or row.get("part_id", part) != part:
            told.wrong.append(f"{name}: {answer.status} {row}")
        elif kind.photograph:
            told.latencies.append(time.perf_counter() - start)
            if not kind.photograph.is_told(row["pred_score"]):
                told.wrong.append(f"{name}: {row['pred_score']} for {kind.photograph.score}")
    connection.close()


def dribble(port: int, head: bytes, right: set[str], until: float, told: Told) -> None:
    """Send an endless request at a byte a second until the server gives up on it."""
    sort = "slow body" if head.endswith(b"\r\n\r\n") else "slow headers"
    while time.monotonic() < until:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as opened:
            opened.sendall(head)
            said = None
            for _ in range(DEADLINE_S + 30):
                try:
                    said = opened.recv(4096)[9:12].decode() or "closed"
                    break
                except TimeoutError:
                    pass
                except OSError:
                    said = "closed"
                    break
                with suppress(OSError):
                    opened.sendall(b"x")
        told.answers[f"{sort} {said}"] += 1
        if said is None:
            told.lost.append(f"{sort}: held for ever")
        elif said not in right | {"429"}:
            told.wrong.append(f"{sort}: {said}")
        time.sleep(0.1)


def soak(bundle: Path, results: Results, verb: str, *, seconds: float, senders: int, slow: int) -> None:
    """Saturate a server; the figures so far are printed every ten seconds."""
    inspector = Inspector.load(bundle)
    sorts = kinds(inspector)
    options = ("--queue", str(QUEUE), "--deadline-s", str(DEADLINE_S), "--results", "folder:results")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        server = Server(bundle, folder, *options)
        start = time.monotonic()
        until = start + seconds
        all_told = [Told() for _ in range(senders + 2 * slow)]
        threads = [
            threading.Thread(target=send, args=(server.port, sorts, until, seed, all_told[seed]))
            for seed in range(senders)
        ]
        body = b"POST /inspect HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n"
        for _ in range(slow):
            for head, right in ((body, {"408"}), (body[:-2] + b"X: ", {"closed"})):
                told = all_told[len(threads)]
                threads.append(threading.Thread(target=dribble, args=(server.port, head, right, until, told)))
        for thread in threads:
            thread.start()
        memory = {0.0: server.memory_mb()}
        while time.monotonic() < until:
            time.sleep(10)
            memory[time.monotonic() - start] = server.memory_mb()
            so_far = figures(all_told, time.monotonic() - start, memory)
            print(*(f"{so_far[name]} {name}" for name in PRINTED), sep=", ", flush=True)
        for thread in threads:
            thread.join()
        took = time.monotonic() - start
        status = server.stop()
        kept = {file.stem for file in (folder / "results").glob("*.json")}
        kept |= {file.stem.rpartition("-")[2] for file in folder.glob("roinspect-spool/*/*.json")}
        told_ids = {identity for told in all_told for identity in told.ids}
        measures = figures(all_told, took, memory) | {
            "results_told": len(told_ids),
            "results_missing": len(told_ids - kept),
            "exit_status": status,
            "tracebacks": server.tracebacks(),
        }
    settings = {
        "verb": verb,
        "model": model(inspector),
        "senders": senders,
        "slow_senders": 2 * slow,
        "queue": QUEUE,
        "deadline_s": DEADLINE_S,
    }
    results.append(settings, measures)
    print(json.dumps(measures, indent=1))


def milliseconds(latencies: list[float], share: float) -> int | None:
    """Time within which this share of requests is answered; None without requests."""
    return round(1000 * float(np.quantile(latencies, share))) if latencies else None


def figures(all_told: list[Told], seconds: float, memory: dict[float, float]) -> dict[str, Any]:
    """The figures so far; of the memory samples, by second, one every five minutes."""
    latencies = [second for told in all_told for second in list(told.latencies)]
    answers = sum((told.answers for told in all_told), collections.Counter())
    waits = sum((told.waits for told in all_told), collections.Counter())
    wrong = [line for told in all_told for line in list(told.wrong)]
    lost = [line for told in all_told for line in list(told.lost)]
    return {
        "seconds": round(seconds),
        "answers": dict(sorted(answers.items())),
        "good_per_second": round(len(latencies) / seconds, 2),
        **{name: milliseconds(latencies, share) for name, share in SHOWN.items()},
        "lost": len(lost),
        "wrong": len(wrong),
        "faults": [*lost[:5], *wrong[:5]],
        "retry_after_s": dict(sorted(waits.items(), key=lambda one: int(one[0]))),
        "memory_mb": {
            f"{minute} min": next(memory[second] for second in memory if second >= 60 * minute)
            for minute in range(0, int(max(memory) // 60) + 1, 5)
        },
        "memory_peak_mb": max(memory.values()),
    }
