"""A server as its own process: foreign clients, slow and huge requests, a stop that drops no request."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")

from roinspect.exports.export import export
from roinspect.inspection.inspector import Inspector

PIXELS = np.random.default_rng(0).integers(0, 255, (3, 64, 96, 3), np.uint8)
PNG = cv2.imencode(".png", np.ascontiguousarray(PIXELS[0, ..., ::-1]))[1].tobytes()

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")


class Server:
    """`roinspect serve` on a free port."""

    def __init__(self, bundle: Path, folder: Path, *options: str) -> None:
        words = [
            sys.executable,
            "-m",
            "roinspect",
            "serve",
            f"part={bundle}",
            "--port",
            "0",
            "--threads",
            "1",
        ]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [*words, *options], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
        )
        self.lines: list[str] = []
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if "running on" in line:
                self.port = int(line.split("127.0.0.1:")[1].split()[0])
                break
        else:
            raise AssertionError("".join(self.lines))
        self._reader = threading.Thread(target=self.lines.extend, args=(self.process.stderr,), daemon=True)
        self._reader.start()

    def post(self, body: bytes, route: str = "/inspect") -> tuple[int, dict[str, object]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", route, body)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        self._reader.join(10)


@pytest.fixture(scope="module")
def bundle(make_bundle: Callable[..., Path]) -> Path:
    made = make_bundle()
    export(made, "onnx", tell=lambda line: None)
    return made


@pytest.fixture(scope="module")
def server(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = ("--deadline-s", "2", "--max-body-mb", "5", "--queue", "4", "--workers", "1")
    started = Server(bundle, tmp_path_factory.mktemp("server"), *options)
    yield started
    started.stop()


@pytest.mark.parametrize("is_binary", [True, False])
def test_triton_s_client_works_unchanged(server: Server, bundle: Path, is_binary: bool) -> None:
    triton = pytest.importorskip("tritonclient.http")
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("part")
    assert client.get_server_metadata()["name"] == "roinspect"
    described = client.get_model_metadata("part")
    (version,) = described["versions"]
    assert client.is_model_ready("part", version) and not client.is_model_ready("part", "1")
    assert described["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 64, 96, 3]}]
    tensor = triton.InferInput("image", [3, 64, 96, 3], "UINT8")
    tensor.set_data_from_numpy(PIXELS, binary_data=is_binary)
    requested = [
        triton.InferRequestedOutput(one["name"], binary_data=is_binary) for one in described["outputs"]
    ]
    inspector = Inspector.load(bundle, threads=1)
    verdicts = [inspector.inspect(pixels) for pixels in PIXELS]
    for outputs in (requested, None):
        found = client.infer("part", [tensor], version, outputs=outputs, request_id="7")
        assert found.get_response()["id"] == "7"
        scores = found.as_numpy("pred_score")
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, [verdict.pred_score for verdict in verdicts], rtol=1e-5)
        maps = found.as_numpy("anomaly_map")
        np.testing.assert_allclose(maps[:, 0], [verdict.anomaly_map for verdict in verdicts], atol=1e-5)
        assert found.as_numpy("is_defect").tolist() == [verdict.is_defect for verdict in verdicts]


def test_triton_s_client_is_told_what_is_wrong(server: Server) -> None:
    triton = pytest.importorskip("tritonclient.http")
    utils = pytest.importorskip("tritonclient.utils")
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    tensor = triton.InferInput("image", [1, 10, 10, 3], "UINT8")
    tensor.set_data_from_numpy(np.zeros((1, 10, 10, 3), np.uint8))
    with pytest.raises(utils.InferenceServerException, match=r"shape \[N, 64, 96, 3\]"):
        client.infer("part", [tensor])
    with pytest.raises(utils.InferenceServerException, match="no such model; available: part"):
        client.infer("other", [tensor])
    assert not client.is_model_ready("other")


def test_a_huge_body_is_answered_and_not_read(server: Server) -> None:
    status, answer = server.post(bytes(30_000_000))
    assert status == 413 and "larger than the 5 MB" in str(answer["error"])
    assert server.post(PNG)[0] == 200


def test_slow_senders_are_disconnected_and_delay_no_others(server: Server) -> None:
    slow = []
    for _ in range(3):
        opened = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        opened.sendall(b"POST /inspect HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        slow.append(opened)
    assert server.post(PNG)[0] == 200
    for opened in slow:
        assert opened.recv(1000).startswith(b"HTTP/1.1 408")
        opened.close()


def test_a_request_that_broke_off_leaves_nothing_behind(server: Server) -> None:
    for _ in range(10):
        with socket.create_connection(("127.0.0.1", server.port)) as opened:
            opened.sendall(b"POST /inspect HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
    until = time.monotonic() + 5
    while (status := server.post(PNG)[0]) == 429 and time.monotonic() < until:
        time.sleep(0.05)
    assert status == 200
    assert not [line for line in server.lines if "traceback" in line]


def test_a_stop_answers_all_that_was_accepted(bundle: Path, tmp_path: Path) -> None:
    large = cv2.imencode(".png", np.random.default_rng(0).integers(0, 255, (700, 700, 3), np.uint8))[
        1
    ].tobytes()
    server = Server(bundle, tmp_path, "--workers", "1", "--results", "folder:results")
    with ThreadPoolExecutor(12) as pool:
        answers = [pool.submit(server.post, large) for _ in range(12)]
        while accepted(server) < 12:
            time.sleep(0.005)
        server.stop()
        rows = [answer.result() for answer in answers]
    assert [status for status, _ in rows] == [200] * 12
    kept = [*(tmp_path / "results").glob("*.json"), *(tmp_path / "roinspect-spool").glob("*/*.json")]
    assert {file.stem.rpartition("-")[2] for file in kept} == {row["id"] for _, row in rows}
    for line in server.lines:
        json.loads(line)


def accepted(server: Server) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    names = ("roinspect_requests_in_flight ", 'roinspect_requests_total{route="/inspect"')
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(names))


def test_a_kill_loses_no_result_that_was_told(bundle: Path, tmp_path: Path) -> None:
    # The receiver is away: a file stands where its folder should be.
    (tmp_path / "results").touch()
    server = Server(bundle, tmp_path, "--results", "folder:results")
    received: list[object] = []

    def send() -> None:
        while True:
            try:
                received.append(server.post(PNG)[1]["id"])
            except (OSError, http.client.HTTPException):
                return

    threads = [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    while len(received) < 20:
        time.sleep(0.01)
    server.process.kill()
    for thread in threads:
        thread.join()
    server.process.wait()
    (tmp_path / "results").unlink()
    again = Server(bundle, tmp_path, "--results", "folder:results")
    again.stop()
    found = {file.stem for file in (tmp_path / "results").glob("*.json")}
    # Each sender may have one more: stored, but killed before the response.
    assert set(received) <= found and len(found) <= len(received) + 3


def test_bad_options_are_one_line_before_a_model_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from roinspect.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(["serve", "none", "--port", "0"]) == 2 and "none" in capsys.readouterr().err
    for option, value in (
        ("--queue", "0"),
        ("--max-megapixels", "nan"),
        ("--deadline-s", "inf"),
        ("--results", "word"),
        ("--api-key-file", str(tmp_path / "none")),
    ):
        assert main(["serve", "none", "--port", "0", option, value]) == 2
        line = capsys.readouterr().err
        assert (option if option != "--results" else "receiver") in line and line.count("\n") == 1


def test_an_unavailable_address_is_one_line(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from roinspect.cli import main

    monkeypatch.chdir(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for words in (
            ["--port", "99999"],
            ["--port", str(taken.getsockname()[1])],
            ["--port", "0", "--host", "no.such.host.invalid"],
            ["--port", "0", "--host", ".."],
        ):
            assert main(["serve", str(bundle), *words]) == 2
            line = capsys.readouterr().err
            assert "cannot listen on this address (" in line and line.count("\n") == 1


@pytest.mark.skipif(not SCHEMATHESIS.exists(), reason="needs schemathesis")
def test_schemathesis_finds_nothing(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROINSPECT_API_KEY", "key")
    server = Server(bundle, tmp_path)
    words = [str(SCHEMATHESIS), "--config-file", str(Path(__file__).with_name("schemathesis.toml")), "run"]
    words += [f"http://127.0.0.1:{server.port}/openapi.json", "--header", "X-API-Key: key"]
    # Few examples find little by chance: benchmarks/server.py has the long run.
    words += ["--checks", "all", "--phases", "fuzzing", "--max-examples", "8", "--seed", "1"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    server.stop()
    assert done.returncode == 0, done.stdout[-4000:]
