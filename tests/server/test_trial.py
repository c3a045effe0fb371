"""A new bundle is run in a process of its own first: whatever it does there, the server goes on."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")

from fastapi.testclient import TestClient

from roinspect import UserError
from roinspect.inspection.inspector import Inspector
from roinspect.isolated import CancelledError
from roinspect.server.app import create_app
from roinspect.server.served_models import ServedModel
from roinspect.server.service import Service
from roinspect.server.settings import ServeSettings
from roinspect.server.trial import try_out

from ..graphs import constant_graph, endless_graph, forge

not_on_windows = pytest.mark.skipif(sys.platform == "win32", reason="no limit of memory, no pipes")
load = partial(Inspector.load, runtime="onnxruntime", threads=1)
trial = partial(try_out, runtime="onnxruntime", threads=1, providers=(), seconds=60, gigabytes=4)


def test_a_good_bundle_passes(tmp_path: Path) -> None:
    trial(forge(tmp_path / "b", constant_graph()), threading.Event())


def test_a_graph_without_end_is_stopped(tmp_path: Path) -> None:
    bundle = forge(tmp_path / "b", endless_graph())
    with pytest.raises(UserError, match=r"took longer than 2 s and was stopped; .*--load-s"):
        trial(bundle, threading.Event(), seconds=2)


def test_it_can_be_given_up(tmp_path: Path) -> None:
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    with pytest.raises(CancelledError):
        trial(forge(tmp_path / "b", endless_graph()), stop)


@not_on_windows
def test_memory_is_limited(tmp_path: Path) -> None:
    huge = constant_graph({"anomaly_map": (1, 1, 40_000, 40_000)})
    with pytest.raises(UserError, match="does not run"):
        trial(forge(tmp_path / "b", huge), threading.Event(), gigabytes=1)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return forge(tmp_path / "served/part", constant_graph())


def refreshed(model: ServedModel) -> bool:
    """Once to see the change, once to see that it has ended."""
    return model.refresh() or model.refresh()


@not_on_windows
def test_only_what_is_loaded_is_copied(place: Path) -> None:
    """No pipe blocks it, no device fills the disk, no link leads in circles."""
    os.mkfifo(place / "pipe")
    (place / "device").symlink_to("/dev/zero")
    for name in ("a", "b"):
        (place / name).symlink_to(place)
    copied: list[list[str]] = []

    def look(copy: Path, stop: threading.Event) -> None:
        copied.append(sorted(str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()))

    ServedModel("part", place, load, look)
    assert copied == [["bundle.json", "onnx/export.json", "onnx/graph.onnx", "weights.safetensors"]]


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@not_on_windows
@pytest.mark.parametrize("make", [pipe, device, Path.mkdir])
@pytest.mark.parametrize("name", ["bundle.json", "onnx/export.json", "onnx/graph.onnx"])
@pytest.mark.timeout(60)
def test_what_is_no_regular_file_is_refused(make: Callable[[Path], None], name: str, place: Path) -> None:
    model = ServedModel("part", place, load)
    (place / name).unlink()
    make(place / name)
    with pytest.raises(UserError, match="part"):
        refreshed(model)
    assert model.fault and model.loaded.inspector.inspect(np.zeros((9, 9, 3), np.uint8)).verdict == "good"


def test_an_endless_bundle_delays_no_other_and_no_stop(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The former model goes on, the other is loaded, health says so, and closing does not wait."""
    other = Path(shutil.copytree(place, place.with_name("other")))
    paths = {"part": place, "other": other}
    models = {name: ServedModel(name, path, load, trial) for name, path in paths.items()}
    service = Service(models, ServeSettings(workers=1, poll_s=0.05))
    client = TestClient(create_app(service))
    with client, caplog.at_level(logging.INFO, "roinspect"):
        assert client.get("/v2/health/ready").json() == {"ready": True, "stale": False}
        first = models["other"].loaded
        forge(place, endless_graph())
        forge(other, constant_graph(values={"pred_score": 0.125}))
        wait_for(lambda: models["other"].loaded is not first)
        forge(other, b"garbage")
        wait_for(lambda: bool(models["other"].fault))
        assert client.get("/v2/health/ready").json() == {"ready": True, "stale": True}
        described = client.get("/v2/models/other/ready").json()
        assert described["ready"] and "graph.onnx: cannot be loaded" in described["fault"]
        assert str(other) in described["fault"] and client.get("/v2/models/part/ready").json()["fault"] == ""
        body = {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 8, 12, 3], "data": [0] * 288}]}
        for name, score in (("part", 0.25), ("other", 0.125)):
            answer = client.post(f"/v2/models/{name}/infer", json=body).json()
            assert answer["outputs"][0]["data"] == [score]
        began = time.monotonic()
    assert time.monotonic() - began < 5
    failed = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(failed) == 1 and "the previous model stays loaded" in failed[0] and "\n" not in failed[0]


def wait_for(has_happened: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not has_happened() and time.monotonic() < until:
        time.sleep(0.02)
    assert has_happened()
