"""A result is delivered once its receiver is there: through absences, refusals and restarts."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from roinspect.errors import UserError
from roinspect.files import write_whole
from roinspect.production.sinks import (
    WEBHOOK_TOKEN,
    FolderSink,
    MqttSink,
    ReceiverAwayError,
    WebhookSink,
    open_sink,
    sink_name,
)
from roinspect.production.spool import Spool

MOSQUITTO = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"id": f"id{number:04}", "pred_score": number / 7} for number in range(start, start + count)]


def wait_for(is_so: Callable[[], bool], seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until, "in vain"
        time.sleep(0.01)


@contextmanager
def receiver(
    port: int, answer: Callable[[str], int], sent: list[Message] | None = None
) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """A web server that takes what `answer` says 200 to, by id, and notes the headers that were sent."""
    taken: list[tuple[str, dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status = answer(body["id"])
            if sent is not None:
                sent.append(self.headers)
            if status == 200:
                taken.append((self.headers["Idempotency-Key"], body))
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_webhook_that_was_away_gets_everything_in_order(tmp_path: Path) -> None:
    port = free_port()
    spool = Spool(tmp_path, WebhookSink(f"http://127.0.0.1:{port}/in"), first_wait_s=0.05)
    sent = rows(20)
    for row in sent[:15]:
        spool.put(row)
    assert spool.pending == 15 == len(list(tmp_path.glob("*.json")))
    with receiver(port, lambda key: 200) as taken:
        for row in sent[15:]:
            spool.put(row)
        wait_for(lambda: spool.pending == 0)
    assert taken == [(row["id"], row) for row in sent]
    spool.close()
    assert not list(tmp_path.glob("*.json"))


def test_what_a_former_process_left_is_delivered(tmp_path: Path) -> None:
    port = free_port()
    target = f"http://127.0.0.1:{port}"
    former = Spool(tmp_path, WebhookSink(target))
    for row in rows(5):
        former.put(row)
    former.close(wait_s=0)
    (tmp_path / ".cut-short.json.0123abcd.tmp").write_text("{")
    with receiver(port, lambda key: 200) as taken:
        spool = Spool(tmp_path, WebhookSink(target), first_wait_s=0.05)
        spool.put(rows(1, start=5)[0])
        wait_for(lambda: spool.pending == 0)
        spool.close()
    assert [body for _, body in taken] == rows(6)
    assert not list(tmp_path.glob(".*.tmp"))


def test_one_server_to_a_spool(tmp_path: Path) -> None:
    former = Spool(tmp_path, FolderSink(tmp_path / "out"))
    with pytest.raises(UserError, match="another --spool"):
        Spool(tmp_path, FolderSink(tmp_path / "out"))
    former.close()
    Spool(tmp_path, FolderSink(tmp_path / "out")).close()


def test_a_receiver_s_answers_are_heeded(tmp_path: Path) -> None:
    asked: dict[str, int] = {}
    # Busy twice, refused, redirected, had already, too many, taken.
    answers = {0: [503, 500, 200], 1: [400], 2: [302], 3: [409], 4: [429, 200], 5: [200]}

    def answer(key: str) -> int:
        asked[key] = asked.get(key, 0) + 1
        return answers[int(key[2:])][asked[key] - 1]

    port = free_port()
    with receiver(port, answer) as taken:
        spool = Spool(tmp_path, WebhookSink(f"http://127.0.0.1:{port}"), first_wait_s=0.02)
        for row in rows(6):
            spool.put(row)
        wait_for(lambda: spool.pending == 0)
        spool.close()
    assert [key for key, _ in taken] == ["id0000", "id0004", "id0005"]
    assert [json.loads(file.read_text())["id"] for file in sorted((tmp_path / "refused").iterdir())] == [
        "id0001",
        "id0002",
    ]
    assert spool.refused == 2 == Spool(tmp_path, FolderSink(tmp_path / "x")).refused


def test_a_result_twice_is_one_file(tmp_path: Path) -> None:
    sink = FolderSink(tmp_path / "out")
    for _ in range(2):
        sink.deliver("a", b"{}")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["a.json"]
    (tmp_path / "file").touch()
    with pytest.raises(ReceiverAwayError):
        FolderSink(tmp_path / "file").deliver("a", b"{}")


KILLED = """
import sys
from pathlib import Path
from roinspect.production.sinks import FolderSink
from roinspect.production.spool import Spool
spool = Spool(Path(sys.argv[1]), FolderSink(Path(sys.argv[2])), first_wait_s=0.001)
for number in range(100_000):
    spool.put({"id": f"id{number:06}"})
    print(number, flush=True)
"""


def test_a_kill_loses_nothing_that_was_put(tmp_path: Path) -> None:
    words = [sys.executable, "-c", KILLED, str(tmp_path / "spool"), str(tmp_path / "out")]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) == 50:
            process.kill()
            break
    confirmed = [50, *map(int, process.stdout.read().split())][-1]
    process.wait()
    spool = Spool(tmp_path / "spool", FolderSink(tmp_path / "out"))
    wait_for(lambda: spool.pending == 0)
    spool.close()
    found = sorted(file.stem for file in (tmp_path / "out").glob("*.json"))
    # The last one may have been stored but not yet confirmed.
    assert found in ([f"id{number:06}" for number in range(confirmed + extra)] for extra in (1, 2))


@contextmanager
def broker(port: int, folder: Path, *, anonymous: str = "true") -> Iterator[None]:
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous {anonymous}\n")
    assert MOSQUITTO is not None
    process = subprocess.Popen([MOSQUITTO, "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: answers(port))
        yield
    finally:
        process.terminate()
        process.wait()


def answers(port: int) -> bool:
    with socket.socket() as opened:
        return opened.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.skipif(MOSQUITTO is None, reason="needs mosquitto, Debian's package of that name")
def test_a_real_broker_gets_each_once_it_is_there(tmp_path: Path) -> None:
    mqtt = pytest.importorskip("paho.mqtt.client")
    enums = pytest.importorskip("paho.mqtt.enums")
    port, taken = free_port(), []
    spool = Spool(tmp_path / "spool", open_sink(f"mqtt://127.0.0.1:{port}/line/1"), first_wait_s=0.05)
    sent = rows(12)
    for row in sent[:5]:
        spool.put(row)
    for part in (sent[5:8], sent[8:]):
        # The broker comes, goes, and comes again.
        with broker(port, tmp_path):
            listener = mqtt.Client(enums.CallbackAPIVersion.VERSION2)
            ready = threading.Event()
            listener.on_subscribe = lambda *_, ready=ready: ready.set()
            listener.on_message = lambda _, __, message: taken.append(json.loads(message.payload))
            listener.connect("127.0.0.1", port)
            listener.subscribe("line/#", qos=1)
            listener.loop_start()
            assert ready.wait(5)
            for row in part:
                spool.put(row)
            wait_for(lambda: spool.pending == 0, 20)
            # In no promised order: the last one sent may come before the first.
            wait_for(lambda part=part: all(row in taken for row in part))
            listener.disconnect()
            listener.loop_stop()
    spool.close()
    once = {row["id"]: row for row in taken}
    assert list(once.values()) == sorted(sent, key=lambda row: list(once).index(row["id"]))
    assert len(once) == len(sent)


@pytest.mark.skipif(MOSQUITTO is None, reason="needs mosquitto, Debian's package of that name")
def test_a_broker_s_refusal_is_reported(tmp_path: Path) -> None:
    pytest.importorskip("paho.mqtt.client")
    port = free_port()
    sink = open_sink(f"mqtt://user:secret@127.0.0.1:{port}/line")
    with broker(port, tmp_path, anonymous="false"), pytest.raises(ReceiverAwayError) as caught:
        sink.deliver("a", b"{}")
    assert "refused the connection: Not authorized" in str(caught.value) and "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("user", "token", "header"),
    [
        ("", None, None),
        ("", "t0ken", "Bearer t0ken"),
        ("", "t0ken\n", "Bearer t0ken"),
        ("me:s%40cr%C3%BC@", None, "Basic bWU6c0BjcsO8"),
        ("me@", None, "Basic bWU6"),
    ],
)
def test_a_webhook_gets_credentials(
    monkeypatch: pytest.MonkeyPatch, user: str, token: str | None, header: str | None
) -> None:
    if token is not None:
        monkeypatch.setenv(WEBHOOK_TOKEN, token)
    port, sent = free_port(), []
    with receiver(port, lambda key: 200, sent) as taken:
        open_sink(f"http://{user}127.0.0.1:{port}/in").deliver("a", b'{"id": "a"}')
    assert taken and [headers["Authorization"] for headers in sent] == [header]
    with pytest.raises(ReceiverAwayError) as caught:
        open_sink(f"http://{user}127.0.0.1:{port}/in").deliver("a", b"{}")
    assert "me" not in str(caught.value) and "t0ken" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "token"),
    [
        ("http://host/prüf", None),
        ("http://host/x y", None),
        ("http://host/x\n", None),
        ("http://me:s3cret@host/", "s3cret"),
        ("http://host/", "s3cret s3cret"),
        ("http://host/", "s3cretü"),
    ],
)
def test_what_http_cannot_send_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, address: str, token: str | None
) -> None:
    if token is not None:
        monkeypatch.setenv(WEBHOOK_TOKEN, token)
    with pytest.raises(UserError) as caught:
        open_sink(address)
    assert "s3cret" not in str(caught.value)


def test_a_full_disk_leaves_nothing_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("roinspect.files.os.fsync", full)
    with pytest.raises(UserError, match="No space"):
        write_whole(tmp_path / "a.json", b"{}", durable=True)
    assert not list(tmp_path.iterdir())


def test_a_spool_that_is_removed_is_created_again(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    folder, sink = tmp_path / "spool", FolderSink(tmp_path / "out")
    spool = Spool(folder, sink, first_wait_s=0.02)
    lost, *kept = rows(9)
    spool.put(lost)
    shutil.rmtree(folder)
    assert spool.pending == 0
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(spool.put, kept))
    assert spool.pending == 8
    with pytest.raises(UserError, match="another --spool"):
        Spool(folder, sink)
    (tmp_path / "out").unlink()
    wait_for(lambda: spool.pending == 0)
    spool.close()
    assert {file.stem for file in (tmp_path / "out").iterdir()} == {row["id"] for row in kept}


def test_receivers_go_by_word(tmp_path: Path) -> None:
    pytest.importorskip("paho.mqtt.client")
    kinds = {
        f"folder:{tmp_path}": FolderSink,
        "https://host/path?token=secret": WebhookSink,
        "mqtts://user:secret@host/a/b": MqttSink,
    }
    for word, kind in kinds.items():
        assert isinstance(open_sink(word), kind) and "secret" not in sink_name(word)
    for word in (
        "",
        "folder:",
        "ftp://host/x",
        "mqtt://host",
        "http://",
        "http://host:port/",
        "mqtt://host/a/#",
    ):
        with pytest.raises(UserError):
            open_sink(word)
