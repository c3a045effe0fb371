"""What is decoded at once is bounded over all models; an overlay takes little more than its photograph."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")

from fastapi.testclient import TestClient

from roinspect.images.overlay import overlay
from roinspect.inspection.bundle import Bundle, Threshold
from roinspect.inspection.inspector import Inspector
from roinspect.inspection.prediction import Prediction
from roinspect.server.app import create_app
from roinspect.server.line import Budget
from roinspect.server.memory import give_back
from roinspect.server.served_models import ServedModel
from roinspect.server.service import Service
from roinspect.server.settings import ServeSettings

SIZE = (8, 12)


class Counter:
    """The highest sum of what is inside at once."""

    def __init__(self) -> None:
        self.inside = self.most = 0
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self, amount: int) -> Iterator[None]:
        with self._lock:
            self.inside += amount
            self.most = max(self.most, self.inside)
        time.sleep(0.01)
        yield
        with self._lock:
            self.inside -= amount


def test_a_budget_is_never_exceeded_and_is_used() -> None:
    budget, counter = Budget(10), Counter()

    def take(amount: int) -> None:
        with budget.take(amount), counter(amount):
            pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(take, [3, 1, 7, 0, 10, 2] * 8))
    assert 7 < counter.most <= 10


def test_more_than_the_budget_is_taken_alone() -> None:
    budget, order = Budget(10), []

    def take(amount: int) -> None:
        with budget.take(amount):
            order.append(amount)

    with budget.take(1):
        threads = [threading.Thread(target=take, args=(amount,)) for amount in (99, 2)]
        for thread in threads:
            thread.start()
            time.sleep(0.05)
        # The small one does not overtake the large one, or that might wait for ever.
        assert order == []
    for thread in threads:
        thread.join(5)
    assert order == [99, 2]


def test_photographs_of_all_models_share_one_budget(tmp_path: Path) -> None:
    counter = Counter()

    def predict(images: np.ndarray) -> Prediction:
        with counter(len(images)):
            maps = np.zeros((len(images), *SIZE), np.float32)
            return Prediction(maps[:, 0, 0], maps, maps + 1, maps[:, 0, 0])

    bundle, models = Bundle("fake", {}, SIZE, Threshold(0.5, "chosen")), {}
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "bundle.json").write_text(name)
        models[name] = ServedModel(name, tmp_path / name, lambda copy: Inspector(bundle, predict))
    counter.most = 0
    photograph = cv2.imencode(".png", np.zeros((100, 100), np.uint8))[1].tobytes()
    service = Service(models, ServeSettings(workers=4, decoded_megapixels=0.03))
    with TestClient(create_app(service)) as client, ThreadPoolExecutor(8) as pool:
        names = ["a", "b"] * 8
        answers = pool.map(lambda name: client.post(f"/inspect?model={name}", content=photograph), names)
        assert [answer.status_code for answer in answers] == [200] * 16
    assert 1 < counter.most <= 3


def test_an_overlay_takes_little_memory() -> None:
    image = np.zeros((2000, 2000, 3), np.uint8)
    anomaly_map = np.zeros((2000, 2000), np.float32)
    anomaly_map[50:90, 60:99] = 1
    tracemalloc.start()
    try:
        overlay(image, anomaly_map, level=0.5)
        assert tracemalloc.get_traced_memory()[1] < 4 * image.nbytes
    finally:
        tracemalloc.stop()


def test_memory_can_be_given_back() -> None:
    give_back()
