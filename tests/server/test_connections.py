"""A connection that makes no headway is ended, whatever it waits with; one that is used is left alone."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

pytest.importorskip("uvicorn")

import uvicorn

from roinspect.server.access import ApiKey
from roinspect.server.connections import guarded
from roinspect.server.settings import ServeSettings

IDLE_S = 0.4
LARGE = bytes(30_000_000)


async def app(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    """Answers at once, without reading: on /large with more than a socket's buffers hold."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": LARGE if scope["path"] == "/large" else b"ok"})


@contextmanager
def serving(app: Any = app, **limits: Any) -> Iterator[int]:
    protocol = guarded(ServeSettings(deadline_s=0.2, queue=1), **{"idle_s": IDLE_S, "taking_s": 0.6} | limits)
    config = uvicorn.Config(app, port=0, http=protocol, ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving() as port:
        yield port


def seconds_until_closed(port: int, start: bytes, more: bytes) -> float:
    """How long a sender of a byte now and then is borne."""
    with socket.create_connection(("127.0.0.1", port), timeout=0.05) as opened:
        opened.sendall(start)
        began = time.monotonic()
        while time.monotonic() - began < 20 * IDLE_S:
            try:
                if not opened.recv(65536):
                    break
            except TimeoutError:
                pass
            except OSError:
                break
            with suppress(OSError):
                opened.sendall(more)
        return time.monotonic() - began


BODY = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n"


@pytest.mark.parametrize(
    ("start", "more"),
    [(b"", b""), (b"GET / HT", b"T"), (b"GET / HTTP/1.1\r\nHost: x\r\nA: ", b"a"), (BODY, b"x")],
    ids=["nothing", "half a line", "headers without end", "a body that is answered already"],
)
def test_an_incomplete_request_is_disconnected(port: int, start: bytes, more: bytes) -> None:
    assert IDLE_S / 2 < seconds_until_closed(port, start, more) < 10 * IDLE_S


def test_headers_that_drip_behind_an_answer_win_no_time(port: int) -> None:
    start = b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nA: "
    assert seconds_until_closed(port, start, b"a") < 10 * IDLE_S


def test_who_does_not_fetch_the_answer_is_let_go(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as opened:
        opened.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(1.5)
        received = 0
        with suppress(ConnectionResetError):
            while part := opened.recv(1 << 20):
                received += len(part)
        assert received < len(LARGE)


def test_a_connection_in_use_is_left_alone(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for _ in range(8):
        connection.request("GET", "/")
        opened = connection.sock
        assert connection.getresponse().read() == b"ok" and connection.sock is opened
        time.sleep(IDLE_S / 4)
    connection.close()


def test_one_connection_too_many_is_refused() -> None:
    with serving(most=3) as port:
        for _ in range(2):
            opened = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(3)]
            time.sleep(0.1)
            late = socket.create_connection(("127.0.0.1", port), timeout=5)
            opened.append(late)
            with suppress(ConnectionResetError):
                assert late.recv(1) == b""
            for one in opened:
                one.close()
            time.sleep(0.1)


def until_closed_without_reading(port: int, headers: bytes, path: bytes) -> float:
    """Seconds for which a client that asks, and never reads, is kept."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        began = time.monotonic()
        request = b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n"
        with suppress(OSError):
            while time.monotonic() - began < 10:
                opened.send(request)
                time.sleep(0.005)
        return time.monotonic() - began


def test_who_has_no_key_and_never_reads_is_let_go_in_seconds() -> None:
    patient = {"idle_s": 30.0, "taking_s": 30.0, "refused_s": 0.3}
    with serving(ApiKey(app, "key"), **patient) as port:
        assert until_closed_without_reading(port, b"", b"/large") < 5
        # Silent after its refusal, or sending a body by and by, it does not stay either.
        for start in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", BODY):
            assert seconds_until_closed(port, start, b"x") < 5
        assert until_closed_without_reading(port, b"X-API-Key: key\r\n", b"/large") > 5


def test_a_client_that_then_sends_the_key_is_kept() -> None:
    with serving(ApiKey(app, "key"), idle_s=30.0, refused_s=0.6) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        for headers, status in (({}, 401), ({"X-API-Key": "key"}, 200)):
            connection.request("GET", "/", headers=headers)
            opened, answer = connection.sock, connection.getresponse()
            assert (answer.status, bool(answer.read())) == (status, True) and connection.sock is opened
        time.sleep(1.0)
        connection.request("GET", "/", headers={"X-API-Key": "key"})
        assert connection.getresponse().read() == b"ok" and connection.sock is opened
        connection.close()
