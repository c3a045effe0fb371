"""kill -9 at random moments, under load, with an unreliable receiver: no answered result is lost."""

from __future__ import annotations

import collections
import http.client
import json
import random
import tempfile
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeAlias

from results import Results

from roinspect.inspection.inspector import Inspector

from .process import Photograph, Server, free_port, model, photographs

Scores: TypeAlias = dict[str, float]

SENDERS = 4
SIZE_HW = (256, 256)


class Receiver:
    """A webhook that alternately accepts, refuses connections, or answers 503.

    Attributes:
        taken: every body that it answered with 200, by id.
    """

    def __init__(self, port: int) -> None:
        self.taken: dict[str, list[bytes]] = collections.defaultdict(list)
        self.absences = 0
        self._port, self._stop = port, threading.Event()
        self._thread = threading.Thread(target=self._come_and_go)
        self._thread.start()

    def stay(self) -> None:
        """Stay up from now on."""
        self._stop.set()
        self._thread.join()
        self._server = self._open(lambda: 200)

    def close(self) -> None:
        self._shut(self._server)

    def _come_and_go(self) -> None:
        chance = random.Random(1)
        while not self._stop.is_set():
            server = self._open(lambda: 503 if chance.random() < 0.05 else 200)
            self._stop.wait(chance.uniform(0.5, 4))
            self._shut(server)
            self._stop.wait(chance.uniform(0.5, 4))
            self.absences += 1

    def _open(self, status: Callable[[], int]) -> ThreadingHTTPServer:
        taken = self.taken

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body, answer = self.rfile.read(int(self.headers["Content-Length"])), status()
                if answer == 200:
                    taken[self.headers["Idempotency-Key"]].append(body)
                # As in a real receiver, there is a delay between storing a result and confirming it.
                time.sleep(0.005)
                self.send_response(answer)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    def _shut(self, server: ThreadingHTTPServer) -> None:
        server.shutdown()
        server.server_close()


def send(
    port: int, wanted: list[Photograph], over: threading.Event, told: dict[str, float], wrong: list[str]
) -> None:
    """Send photographs one after the other, whether the server is up or not; record every verdict."""
    chance = random.Random()
    while not over.is_set():
        connection, one = http.client.HTTPConnection("127.0.0.1", port, timeout=30), chance.choice(wanted)
        try:
            connection.request("POST", "/inspect", one.body)
            answer = connection.getresponse()
            row = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError):
            time.sleep(0.02)
            continue
        finally:
            connection.close()
        if answer.status != 200 or not one.is_told(row["pred_score"]):
            wrong.append(f"{answer.status} {row}")
        else:
            told[row["id"]] = row["pred_score"]


def kill(bundle: Path, results: Results, *, kills: int) -> None:
    """Kill and restart a server repeatedly; compare its answers with what was delivered."""
    inspector = Inspector.load(bundle)
    wanted = photographs(inspector, SIZE_HW, 24, seed=0)
    chance = random.Random(0)
    port, hook = free_port(), free_port()
    receiver, over = Receiver(hook), threading.Event()
    told: Scores = {}
    wrong: list[str] = []
    senders = [threading.Thread(target=send, args=(port, wanted, over, told, wrong)) for _ in range(SENDERS)]
    options = ("--results", f"http://127.0.0.1:{hook}/in", "--queue", str(2 * SENDERS), "--deadline-s", "30")
    spooled: list[int] = []
    for sender in senders:
        sender.start()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for _ in range(kills):
            server = Server(bundle, folder, *options, port=port)
            time.sleep(chance.uniform(0.1, 6))
            server.kill()
            spooled.append(len(list(folder.glob("roinspect-spool/*/*.json"))))
        over.set()
        for sender in senders:
            sender.join()
        receiver.stay()
        server = Server(bundle, folder, *options, port=port)
        while server.metric("roinspect_results_spooled"):
            time.sleep(0.1)
        server.stop()
        receiver.close()
        left = len(list(folder.glob("roinspect-spool/*/*.json")))
        refused = len(list(folder.glob("roinspect-spool/*/refused/*.json")))
        tracebacks = server.tracebacks()
    changed = [
        key
        for key, bodies in receiver.taken.items()
        if len(set(bodies)) > 1
        or json.loads(bodies[0])["id"] != key
        or (key in told and json.loads(bodies[0])["pred_score"] != told[key])
    ]
    measures = {
        "receiver_absences": receiver.absences,
        "told": len(told),
        "wrong": wrong[:5],
        "spooled_at_a_kill": {"least": min(spooled), "most": max(spooled)},
        "delivered": len(receiver.taken),
        "lost": len(told.keys() - receiver.taken.keys()),
        "delivered_untold": len(receiver.taken.keys() - told.keys()),
        "delivered_twice": sum(len(bodies) > 1 for bodies in receiver.taken.values()),
        "changed": len(changed),
        "left_in_spool": left,
        "refused": refused,
        "tracebacks": tracebacks,
    }
    results.append({"verb": "kill", "model": model(inspector), "kills": kills}, measures)
    print(json.dumps(measures, indent=1))
