"""The server answers every request with a verdict or with one line, within its limits."""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")
pytest.importorskip("httpx")

from fastapi.testclient import TestClient

from roinspect.errors import UserError
from roinspect.images.pixels import read_image
from roinspect.inspection.bundle import Bundle, Threshold
from roinspect.inspection.drift import FLOORS, Usual
from roinspect.inspection.inspector import Inspector
from roinspect.inspection.prediction import Prediction
from roinspect.inspection.references import OnFailure, Reference
from roinspect.inspection.tiles import Tiling
from roinspect.production.delivery import Delivery
from roinspect.server.app import create_app
from roinspect.server.logs import JsonFormatter
from roinspect.server.served_models import ServedModel
from roinspect.server.service import Service
from roinspect.server.settings import ServeSettings

SIZE = (8, 12)


def brightness(images: np.ndarray) -> Prediction:
    """A model whose score is the brightness."""
    maps = images.astype(np.float32).mean(axis=3) / 255
    return Prediction(
        maps.mean(axis=(1, 2)), maps, np.ones((len(maps), 1, 1), np.float32), np.zeros(len(maps), np.float32)
    )


def png(value: int, size_hw: tuple[int, int] = SIZE) -> bytes:
    return cv2.imencode(".png", np.full((*size_hw, 3), value, np.uint8))[1].tobytes()


@pytest.fixture
def make_client(tmp_path: Path) -> Iterator[Callable[..., TestClient]]:
    with ExitStack() as stack:

        def make(
            predict: Any = brightness,
            *,
            names: tuple[str, ...] = ("a",),
            api_key: str = "",
            results: Path | None = None,
            **limits: Any,
        ) -> TestClient:
            bundle = Bundle("fake", {}, SIZE, Threshold(0.5, "chosen"))
            models = {}
            for name in names:
                (tmp_path / name).mkdir()
                (tmp_path / name / "bundle.json").write_text(name)
                models[name] = ServedModel(name, tmp_path / name, lambda copy: Inspector(bundle, predict))
            targets = () if results is None else (f"folder:{results}",)
            delivery = Delivery(targets, tmp_path / "spool")
            service = Service(models, ServeSettings(**{"workers": 2} | limits), delivery)
            app = create_app(service, api_key=api_key)
            return stack.enter_context(TestClient(app, raise_server_exceptions=False))

        yield make


@pytest.fixture
def client(make_client: Callable[..., TestClient]) -> TestClient:
    return make_client()


def counted(client: TestClient, start: str) -> float:
    return sum(
        float(line.split()[-1]) for line in client.get("/metrics").text.splitlines() if line.startswith(start)
    )


@pytest.mark.parametrize(("value", "is_defect"), [(51, False), (204, True)])
def test_a_body_and_a_form_get_the_same_verdict(client: TestClient, value: int, is_defect: bool) -> None:
    raw = client.post("/inspect", content=png(value), headers={"X-Part-Id": "A-7"})
    form = client.post("/inspect", files={"image": ("../x.png", png(value))}, data={"part_id": "A-7"})
    assert raw.status_code == form.status_code == 200
    for row in (raw.json(), form.json()):
        assert row["pred_score"] == pytest.approx(value / 255)
        assert (row["is_defect"], row["threshold"], row["part_id"]) == (is_defect, 0.5, "A-7")
        assert bool(row["regions"]) == is_defect and row["image_path"] == ""
    assert raw.json()["id"] != form.json()["id"]


def test_an_overlay_is_a_picture_of_the_photograph(client: TestClient) -> None:
    row = client.post("/inspect?overlay=true", content=png(204, (20, 30))).json()
    assert read_image(base64.b64decode(row["overlay_png"])).shape == (20, 30, 3)
    assert "overlay_png" not in client.post("/inspect", content=png(204)).json()


def test_a_model_with_tiles_takes_photographs_as_they_are(tmp_path: Path) -> None:
    """Height and width of the tensor are free, and the map has the photograph's."""
    native = (120, 200)
    tiles = Tiling(32, 1.0, native, native, "")
    bundle = Bundle("fake", {}, SIZE, Threshold(0.5, "chosen"), tiles=tiles)

    def everywhere(images: np.ndarray) -> Prediction:
        return brightness(images)._replace(roi_map=np.ones((len(images), 4, 4), np.float32))

    (tmp_path / "bundle.json").write_text("a")
    model = ServedModel("a", tmp_path, lambda copy: Inspector(bundle, everywhere, close=brightness))
    service = Service({"a": model}, ServeSettings(workers=1))
    with TestClient(create_app(service)) as client:
        assert client.get("/v2/models/a").json()["inputs"][0]["shape"] == [-1, -1, -1, 3]
        pixels = np.full((1, *native, 3), 204, np.uint8)
        body = {"inputs": [{"name": "image", "datatype": "UINT8", "shape": list(pixels.shape),
                            "data": pixels.ravel().tolist()}]}  # fmt: skip
        answer = client.post("/v2/models/a/infer", json=body)
        outputs = {output["name"]: output for output in answer.json()["outputs"]}
        assert outputs["anomaly_map"]["shape"] == [1, 1, *native]
        assert outputs["pred_score"]["data"] == [pytest.approx(0.8)] and outputs["is_defect"]["data"] == [
            True
        ]
        body["inputs"][0] |= {"shape": [1, 10, 10, 3], "data": [0] * 300}
        refused = client.post("/v2/models/a/infer", json=body)
        assert refused.status_code == 422 and "is 10x10 pixels" in refused.json()["error"]
        assert client.post("/inspect", content=png(204, native)).json()["is_defect"] is True


def test_models_go_by_name(make_client: Callable[..., TestClient]) -> None:
    client = make_client(names=("a", "b"))
    assert client.post("/inspect?model=b", content=png(1)).json()["model"] == "b"
    form = client.post("/inspect", files={"image": png(1)}, data={"model": "a"})
    assert form.json()["model"] == "a"
    unnamed = client.post("/inspect", content=png(1))
    assert unnamed.status_code == 422 and "a, b" in unnamed.json()["error"]
    for name in ("c", "../a", "a/../b"):
        assert client.post("/inspect", params={"model": name}, content=png(1)).status_code == 404


def test_a_version_goes_by_name_as_well(client: TestClient) -> None:
    described = client.get("/v2/models/a").json()
    (version,) = described["versions"]
    route, body = f"/v2/models/a/versions/{version}", {"inputs": [tensor(1, [0] * 288)]}
    assert client.get(route).json() == described
    assert client.get(f"{route}/ready").json() == {"name": "a", "ready": True, "fault": ""}
    assert client.post(f"{route}/infer", json=body).json()["model_version"] == version
    for other in ("/v2/models/a/versions/1", f"/v2/models/b/versions/{version}"):
        for answer in (
            client.get(other),
            client.get(f"{other}/ready"),
            client.post(f"{other}/infer", json=body),
        ):
            assert answer.status_code == 404 and "available: " in answer.json()["error"]


def test_no_image_is_one_line_and_a_row(client: TestClient) -> None:
    for body in (b"", b"no image", png(1)[:-20]):
        answer = client.post("/inspect", content=body, headers={"X-Part-Id": "9"})
        row = answer.json()
        assert answer.status_code == 422 and row["part_id"] == "9"
        assert row["error"].startswith("image bytes: ") and "\n" not in row["error"]
    assert counted(client, 'roinspect_images_total{model="a",outcome="error"}') == 3


def test_a_bomb_is_refused_before_it_is_decoded(
    make_client: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = cv2.imencode(".png", np.zeros((4000, 4000), np.uint8))[1].tobytes()
    assert len(bomb) < 100_000
    client = make_client(max_megapixels=15)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("was decoded"))
    answer = client.post("/inspect", content=bomb)
    assert answer.status_code == 422 and "16 megapixels, more than the 15 allowed" in answer.json()["error"]


def test_large_compressed_and_odd_bodies_are_refused(make_client: Callable[..., TestClient]) -> None:
    client = make_client(max_body_mb=0.01)
    for content in (bytes(10_001), iter([bytes(6_000)] * 3)):
        assert client.post("/inspect", content=content).status_code == 413
        assert client.post("/v2/models/a/infer", content=bytes(10_001)).status_code == 413
    assert client.post("/inspect", content=png(1), headers={"Content-Encoding": "gzip"}).status_code == 415
    for headers in ({"Content-Type": "multipart/form-data"}, {"X-Part-Id": "x" * 201}):
        answer = client.post("/inspect", content=png(1), headers=headers)
        assert answer.status_code == 422 and set(answer.json()) == {"error"}


def test_a_form_holds_a_file_and_known_fields_once(client: TestClient) -> None:
    image = ("image", ("a.png", png(1)))
    for files in (
        [image, image],
        [("image", (None, "text"))],
        [image, ("part", (None, "7"))],
        [image, ("part_id", (None, "7")), ("part_id", (None, "8"))],
    ):
        answer = client.post("/inspect", files=files)
        assert answer.status_code == 422 and set(answer.json()) == {"error"}


def test_two_answers_to_one_question_are_refused(client: TestClient) -> None:
    name = client.post("/inspect", content=png(1)).json()["model"]
    image, part = ("image", ("a.png", png(1))), ("part_id", (None, "7"))
    for header, status in (("7", 200), ("", 200), ("8", 422), ("x" * 201, 422)):
        answer = client.post("/inspect", files=[image, part], headers={"X-Part-Id": header})
        assert answer.status_code == status and answer.json().get("part_id", "7") == "7"
    answer = client.post("/inspect", files=[image, part], headers={"X-Part-Id": "8"})
    assert "another part id" in answer.json()["error"]
    named = [image, ("model", (None, name))]
    for query, status in ((name, 200), ("other", 422), ("", 422)):
        assert client.post("/inspect", files=named, params={"model": query}).status_code == status


@pytest.mark.parametrize("part", ["A-1", "Teil-ü", "件号", 200 * "ß"])
@pytest.mark.parametrize("route", ["/inspect", "/v2/models/a/infer"])
def test_a_part_id_is_utf_8_or_latin_1(
    client: TestClient, caplog: pytest.LogCaptureFixture, part: str, route: str
) -> None:
    body = png(1) if route == "/inspect" else json.dumps({"inputs": [tensor(1, [0] * 288)]}).encode()
    encodings = ["utf-8"] if "件" in part else ["utf-8", "latin-1"]
    with caplog.at_level(logging.INFO, "roinspect"):
        for encoding in encodings:
            headers = {b"X-Part-Id": part.encode(encoding)}
            assert client.post(route, content=body, headers=headers).status_code == 200
    logged = [record.fields for record in caplog.records if record.getMessage() == "inspected"]
    assert [fields["part_id"] for fields in logged] == [part] * len(encodings)


@pytest.mark.parametrize("length", ["", "-1", "0", "1e3", "\xb2", "9" * 5000, "0" * 19 + "1" + "9" * 5000])
def test_an_invalid_length_is_reported(client: TestClient, length: str) -> None:
    headers = {b"Inference-Header-Content-Length": length.encode("latin-1")}
    answer = client.post("/v2/models/a/infer", content=b"{}", headers=headers)
    assert answer.status_code == 422 and "Content-Length" in answer.json()["error"]


@pytest.mark.parametrize(
    "outputs", [None, "", 0, False, {}, "pred_score", [None], [{"name": ["pred_score"]}]]
)
def test_outputs_are_a_list_of_names(client: TestClient, outputs: Any) -> None:
    sent = tensor(1, [0] * 288)
    answer = client.post("/v2/models/a/infer", json={"inputs": [sent], "outputs": outputs})
    assert answer.status_code == 422 and answer.json()["error"].startswith("outputs: ")
    assert client.post("/v2/models/a/infer", json={"inputs": [sent], "outputs": []}).status_code == 200


class Held:
    """A model that answers when it is let go."""

    def __init__(self) -> None:
        self.go, self.entered = threading.Event(), threading.Semaphore(0)
        self.batches: list[int] = []
        self.go.set()

    def __call__(self, images: np.ndarray) -> Prediction:
        self.entered.release()
        assert self.go.wait(20)
        self.batches.append(len(images))
        return brightness(images)

    def hold(self) -> None:
        """From now on; the server's own try with an empty image has been let through."""
        assert self.entered.acquire(timeout=5)
        self.go.clear()


def test_one_request_too_many_is_told_to_come_again(make_client: Callable[..., TestClient]) -> None:
    held = Held()
    client = make_client(held, queue=3, workers=1, poll_s=60)
    held.hold()
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(client.post, "/inspect", content=png(40 * n)) for n in range(3)]
        while counted(client, "roinspect_requests_in_flight ") < 3:
            pass
        late = client.post("/inspect", content=png(1))
        assert late.status_code == 429 and int(late.headers["Retry-After"]) >= 1
        held.go.set()
        answers = [future.result() for future in waiting]
    # Those that were accepted are answered, each with its own verdict.
    assert [answer.json()["pred_score"] for answer in answers] == pytest.approx([0, 40 / 255, 80 / 255])
    assert client.post("/inspect", content=png(1)).status_code == 200
    assert counted(client, "roinspect_requests_in_flight ") == 0


def test_a_deadline_ends_the_wait_and_spares_the_network(make_client: Callable[..., TestClient]) -> None:
    held = Held()
    client = make_client(held, deadline_s=0.3, workers=1)
    held.hold()
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: client.post("/inspect", content=png(1)), range(2)))
    assert [answer.status_code for answer in answers] == [504, 504]
    # Neither keeps a place, or its body.
    assert (
        counted(client, "roinspect_requests_waiting") == counted(client, "roinspect_requests_in_flight ") == 0
    )
    held.go.set()
    assert client.post("/inspect", content=png(1)).status_code == 200
    # The empty image at the start, the one in the network when time was up, and the last: one waited in vain.
    assert held.batches == [1, 1, 1]


def tensor(count: int, data: Any, **more: Any) -> dict[str, Any]:
    return {"name": "image", "datatype": "UINT8", "shape": [count, *SIZE, 3], "data": data} | more


def test_many_images_are_left_at_their_deadline(make_client: Callable[..., TestClient]) -> None:
    def slow(images: np.ndarray) -> Prediction:
        time.sleep(0.05)
        return brightness(images)

    client = make_client(slow, deadline_s=0.6, workers=1)
    many = tensor(100, np.zeros((100, *SIZE, 3), int).tolist())
    assert client.post("/v2/models/a/infer", json={"inputs": [many]}).status_code == 504
    # 100 images would keep the only thread for 5 s.
    assert client.post("/inspect", content=png(1)).status_code == 200


def test_long_requests_are_read_one_by_one_until_their_deadline(
    make_client: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, inside, most = make_client(deadline_s=0.4), [], []

    def slow(*_: object) -> None:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.5)
        inside.pop()
        raise UserError("is read")

    monkeypatch.setattr("roinspect.server.service.read_request", slow)
    with ThreadPoolExecutor(3) as pool:
        bodies = [bytes(100_000)] * 3
        answers = list(pool.map(lambda body: client.post("/v2/models/a/infer", content=body), bodies))
    assert sorted(answer.status_code for answer in answers) == [422, 504, 504] and most == [1]


def test_what_waits_goes_in_batches(make_client: Callable[..., TestClient]) -> None:
    held = Held()
    client = make_client(held, batch=4, batch_wait_ms=0.1, workers=1)
    held.hold()
    values = [10 * n for n in range(9)]
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(client.post, "/inspect", content=png(0))
        assert held.entered.acquire(timeout=5)
        waiting = [pool.submit(client.post, "/inspect", content=png(value)) for value in values[1:]]
        while counted(client, "roinspect_requests_waiting") < 8:
            pass
        held.go.set()
        answers = [first.result(), *(future.result() for future in waiting)]
    assert [answer.json()["pred_score"] * 255 for answer in answers] == pytest.approx(values)
    assert held.batches == [1, 1, 4, 4]


def test_a_bad_image_does_not_spoil_its_batch(make_client: Callable[..., TestClient]) -> None:
    client = make_client(batch=8, batch_wait_ms=200, workers=1)
    bodies = [png(51), b"none", png(102), png(9, (6000, 10000)), png(153)]
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda body: client.post("/inspect", content=body), bodies))
    assert [answer.status_code for answer in answers] == [200, 422, 200, 422, 200]
    assert [answers[n].json()["pred_score"] for n in (0, 2, 4)] == pytest.approx([0.2, 0.4, 0.6])


def test_a_look_that_fails_is_not_the_last(
    make_client: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks = iter([OSError("gone"), UserError("half")])

    def refresh(model: ServedModel, stop: threading.Event) -> bool:
        for error in looks:
            raise error
        return True

    client = make_client(poll_s=0.01)
    monkeypatch.setattr(ServedModel, "refresh", refresh)
    until = time.monotonic() + 10
    while not counted(client, 'roinspect_model_reloads_total{model="a",result="loaded"}'):
        assert time.monotonic() < until
    assert counted(client, 'roinspect_model_reloads_total{model="a",result="failed"}') == 2
    failed = [record for record in caplog.records if "the previous model stays loaded" in record.getMessage()]
    # A fault that the user can mend needs no traceback; any other is ours to find.
    assert [bool(record.exc_info) for record in failed] == [True, False]


def test_a_model_that_fails_is_a_500_and_the_next_is_answered(make_client: Callable[..., TestClient]) -> None:
    calls = []

    def sometimes(images: np.ndarray) -> Prediction:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("secret")
        return brightness(images)

    client = make_client(sometimes)
    failed = client.post("/inspect", content=png(1))
    assert failed.status_code == 500 and "secret" not in failed.text and set(failed.json()) == {"error"}
    assert client.post("/inspect", content=png(1)).status_code == 200


def test_only_health_is_open_without_the_key(make_client: Callable[..., TestClient]) -> None:
    client = make_client(api_key="geheim-ü")
    for route in ("/v2/health/live", "/v2/health/ready"):
        assert client.get(route).status_code == 200
    for route in ("/metrics", "/v2", "/openapi.json", "/nothing"):
        assert client.get(route).status_code == 401
    for headers in ({"X-Api-Key": "geheim"}, {"Authorization": "Basic geheim"}, {}):
        answer = client.post("/inspect", content=png(1), headers=headers)
        assert answer.status_code == 401 and "X-API-Key" in answer.json()["error"]
    key = "geheim-ü".encode()
    for headers in ({b"X-Api-Key": key}, {b"Authorization": b"Bearer " + key}):
        assert client.post("/inspect", content=png(1), headers=headers).status_code == 200


def test_logs_are_json_with_the_part(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "roinspect"):
        client.post("/inspect", content=png(204), headers={"X-Part-Id": 'a"b'})
    (record,) = (record for record in caplog.records if record.getMessage() == "inspected")
    line = json.loads(JsonFormatter().format(record))
    assert (line["part_id"], line["outcome"], line["level"]) == ('a"b', "defective", "info")


def test_results_reach_their_receiver(make_client: Callable[..., TestClient], tmp_path: Path) -> None:
    client = make_client(results=tmp_path / "results")
    rows = [client.post("/inspect", content=body).json() for body in (png(1), png(250), b"none")]
    until = time.monotonic() + 10
    while counted(client, "roinspect_results_spooled") and time.monotonic() < until:
        time.sleep(0.01)
    found = {file.stem: json.loads(file.read_text()) for file in (tmp_path / "results").glob("*.json")}
    assert found == {row["id"]: row for row in rows}


def test_a_full_disk_is_told_before_a_verdict_is(
    make_client: Callable[..., TestClient], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_client(results=tmp_path / "results")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("roinspect.files.os.fsync", full)
        answer = client.post("/inspect", content=png(1))
    assert answer.status_code == 503 and "pred_score" not in answer.json()
    assert not list(tmp_path.glob("spool/*/.*.tmp")), "fills the disk further"
    assert client.post("/inspect", content=png(1)).status_code == 200


def test_every_fault_is_json(client: TestClient) -> None:
    for answer, status in (
        (client.get("/nothing"), 404),
        (client.get("/inspect"), 405),
        (client.post("/inspect?overlay=maybe", content=png(1)), 422),
        (client.get("/v2/models/none"), 404),
    ):
        assert answer.status_code == status and isinstance(answer.json()["error"], str)


PLAIN = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
NAMES = ("inputs", "outputs", "name", "image", "shape", "data", "datatype", "parameters", "id")
STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"BM", b"II*\0", b"MM\0+", b"RIFF\0\0\0\0WEBPVP8 ", b"--b\r\n")
BODIES = st.one_of(
    st.binary(max_size=300),
    st.builds(bytes.__add__, st.sampled_from(STARTS), st.binary(max_size=200)),
    st.builds(
        lambda start, stop, byte: png(7)[:start] + byte + png(7)[stop:],
        st.integers(0, 90),
        st.integers(0, 90),
        st.binary(max_size=4),
    ),
    st.recursive(
        PLAIN,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
        ),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode()),
)
TYPES = (
    "image/png",
    "application/json",
    "multipart/form-data; boundary=b",
    'multipart/form-data; boundary="',
)
ROUTES = ("/inspect", "/v2/models/a/infer")


def test_no_body_breaks_it(client: TestClient) -> None:
    @settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(BODIES, st.sampled_from(TYPES), st.sampled_from(ROUTES), st.none() | st.integers(-5, 400))
    def fuzz(body: bytes, kind: str, route: str, length: int | None) -> None:
        headers = {"Content-Type": kind}
        if length is not None:
            headers["Inference-Header-Content-Length"] = str(length)
        answer = client.post(route, content=body, headers=headers)
        assert answer.status_code < 500 and (answer.status_code == 200 or answer.json()["error"])

    fuzz()


@pytest.mark.parametrize(("on_failure", "status"), [("stop", 503), ("warn", 200)])
def test_a_model_that_fails_a_later_self_test_answers_no_longer_or_is_told(
    on_failure: OnFailure, status: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A driver is updated, or a processor fails, while the server runs."""
    factor = 1.0

    def drifting(images: np.ndarray) -> Prediction:
        seen = brightness(images)
        return seen._replace(
            pred_score=np.float32(factor) * seen.pred_score, anomaly_map=np.float32(factor) * seen.anomaly_map
        )

    references = (Reference("0-good.png", 0, 51 / 255),)
    bundle = Bundle("fake", {}, SIZE, Threshold(0.5, "chosen"), references=references)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "bundle.json").write_text("a")
    model = ServedModel("a", tmp_path / "a", lambda copy: Inspector(bundle, drifting, photographs=[png(51)]))
    service = Service({"a": model}, ServeSettings(poll_s=0.01, self_test_s=0.05), None, on_failure)
    with TestClient(create_app(service)) as client:
        assert client.post("/inspect", content=png(51)).status_code == 200
        until = time.monotonic() + 20
        while not counted(client, 'roinspect_self_test_passed{model="a"} 1') and time.monotonic() < until:
            time.sleep(0.01)
        assert client.get("/v2/health/ready").status_code == 200
        factor = 0.9
        while not model.unfit and time.monotonic() < until:
            time.sleep(0.01)
        assert client.get("/v2/health/ready").status_code == status
        answer = client.post("/inspect", content=png(51))
        assert answer.status_code == status
        if status == 503:
            assert "self-test failed: 1 of 1" in answer.text
        assert 'roinspect_self_test_passed{model="a"} 0.0' in client.get("/metrics").text
        assert "self-test failed" in caplog.text
        # Once it sees again what it should, it goes on.
        factor = 1.0
        while model.unfit and time.monotonic() < until:
            time.sleep(0.01)
        assert client.post("/inspect", content=png(51)).status_code == 200


def test_drift_is_in_the_row_and_in_the_metrics(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A lamp goes dark: verdicts stay good, and the line hears of it."""
    bundle = Bundle("fake", {}, SIZE, Threshold(0.5, "chosen"))
    seen = Inspector(bundle, brightness).inspect(png(100)).signals
    assert seen is not None
    usual = Usual(
        30, **{name: (getattr(seen, name), 1.0) for name in FLOORS} | {"brightness": (100 / 255, 0.01)}
    )
    bundle = replace(bundle, usual=usual)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "bundle.json").write_text("a")
    rows = []
    for parts in (100_000, 0):
        model = ServedModel(
            "a", tmp_path / "a", lambda copy: Inspector(bundle, brightness), parts_between=parts
        )
        with TestClient(create_app(Service({"a": model}, ServeSettings()))) as client:
            rows = [client.post("/inspect", content=png(value)).json() for value in [100] * 5 + [60] * 10]
            assert all(row["verdict"] == "good" for row in rows)
            moved = 'roinspect_drift_warning{model="a",signal="brightness"} 1.0'
            assert (moved in client.get("/metrics").text) == bool(parts)
        assert not any("drift" in row for row in rows[:6])
        assert ("drift" in rows[-1]) == bool(parts)
        if parts:
            assert "the brightness is" in rows[-1]["drift"][0] and "drift: the brightness" in caplog.text
