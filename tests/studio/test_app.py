"""Who may come in, and what a request can reach: the folder's photographs, and nothing else."""

from __future__ import annotations

import csv
import io
import json
import os
import queue
import re
import socket
import zipfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("gradio")
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from roinspect.errors import UserError
from roinspect.images.pixels import read_image, write_image
from roinspect.studio.app import create_app, serve
from roinspect.studio.guard import COOKIE, Guard
from roinspect.studio.pages.camera import camera
from roinspect.studio.state.drawing import Drawing, Shape
from roinspect.studio.state.jobs import latest
from roinspect.studio.state.project import Project, Projects
from roinspect.studio.state.recipes import keep
from roinspect.studio.state.regions import save_drawing

MakeProject = Callable[..., Project]


def guarded(token: str = "") -> TestClient:
    """A guard before a page that says what it was asked."""

    def answer(request: Request) -> PlainTextResponse:
        return PlainTextResponse("inside")

    app = Starlette(routes=[Route("/{rest:path}", answer, methods=["GET", "POST"])])
    return TestClient(Guard(app, token), base_url="http://127.0.0.1:7860", follow_redirects=False)


def test_without_a_token_only_this_machine_is_served() -> None:
    client = guarded()
    assert client.get("/").text == "inside"
    for host in ("localhost:7860", "[::1]:7860"):
        assert client.get("/", headers={"Host": host}).status_code == 200
    for host in ("evil.example", "127.0.0.1.evil.example:7860", "", "[", "localhost.evil:7860"):
        assert client.get("/", headers={"Host": host}).status_code == 403


def test_another_site_changes_nothing() -> None:
    client = guarded()
    for origin in ("http://evil.example", "http://127.0.0.1:9999", "null"):
        assert client.post("/x", headers={"Origin": origin}).status_code == 403
    assert client.post("/x", headers={"Origin": "http://127.0.0.1:7860"}).status_code == 200


def test_a_token_is_asked_for_once_and_leaves_the_address() -> None:
    client = guarded("secret")
    assert client.get("/train").status_code == 401 and client.post("/x").status_code == 401
    assert client.get("/train?token=wrong").status_code == 401
    assert client.get("/train?token=").status_code == 401
    answer = client.get("/train?a=1&token=secret")
    assert answer.status_code == 303 and answer.headers["location"] == "?a=1"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    assert client.get("/train").text == "inside"
    assert guarded("secret").get("/", headers={"Cookie": f"{COOKIE}=wrong"}).status_code == 401
    assert guarded("secret").get("/", headers={"Cookie": "\x00;;=="}).status_code == 401


def test_the_browser_may_load_nothing_from_elsewhere() -> None:
    policy = guarded().get("/").headers["content-security-policy"]
    assert "http" not in policy and "*" not in policy and "default-src 'self'" in policy


def test_others_come_in_only_to_a_named_folder() -> None:
    with pytest.raises(UserError, match="FOLDER"):
        serve(None, host="0.0.0.0")


def test_whoever_opens_the_address_at_once_is_let_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    reached = []

    def while_the_pages_are_made(*_: object, **__: object) -> None:
        found = re.search(r"http://127\.0\.0\.1:(\d+)", capsys.readouterr().out)
        assert found is not None
        with socket.create_connection(("127.0.0.1", int(found[1])), timeout=10):
            reached.append(True)
        raise KeyboardInterrupt

    monkeypatch.setattr("roinspect.studio.app.create_app", while_the_pages_are_made)
    with pytest.raises(KeyboardInterrupt):
        serve(None, port=0)
    assert reached


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, Projects]]:
    """A studio without a folder, built once."""
    home = tmp_path_factory.mktemp("home")
    projects = Projects(None, confined_to=None, recent_file=home / "recent.json")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(home / "uploads"))
        yield (
            TestClient(create_app(projects), "http://127.0.0.1:7860", raise_server_exceptions=False),
            projects,
        )


@pytest.fixture
def client(served: tuple[TestClient, Projects], project: Project) -> TestClient:
    client, projects = served
    projects.open(str(project.folder))
    return client


def test_every_page_is_there_and_asks_nobody_else(client: TestClient) -> None:
    for path in ("/", "/region", "/train", "/judge", "/run"):
        page = client.get(path)
        assert page.status_code == 200 and '"enable_queue": true' in page.text.replace(":true", ": true")
        loaded = re.findall(r'(?:src|href)="(https?:[^"]+)"', page.text)
        # What stands there in spite of the settings is never loaded: the policy forbids it.
        assert all(page.headers["content-security-policy"].startswith("default-src 'self'") for _ in loaded)
        assert "analytics_enabled" not in page.text or '"analytics_enabled":false' in page.text.replace(
            " ", ""
        )
    for name in ("studio.css", "studio.js"):
        assert client.get(f"/studio/static/{name}").status_code == 200
    assert client.get("/studio/static/../app.py").status_code == 404


def test_the_address_of_every_page_names_its_folder(
    served: tuple[TestClient, Projects], make_project: MakeProject
) -> None:
    client, projects = served
    first, second = (projects.open(str(make_project(name=name).folder)) for name in ("nuts", "screws"))
    for path in ("/", "/region", "/train", "/judge", "/run"):
        answer = client.get(f"{path}?a=1", follow_redirects=False)
        assert answer.status_code == 303 and answer.headers["location"] == f"{path}?a=1&project={second.id}"
        for id in (first.id, "unknown"):
            assert client.get(f"{path}?project={id}", follow_redirects=False).status_code == 200


def test_a_thumbnail_is_dark_where_its_region_is_not(client: TestClient, project: Project) -> None:
    key = "train/good/a.png"
    box = Drawing((24, 32), (Shape("polygon", ((0, 0), (15.5, 0), (15.5, 23.5), (0, 23.5))),))
    asked = {"project": project.id, "key": key}
    bare = client.get("/studio/thumbnail", params=asked | {"region_of": "none"}).content
    assert bare == client.get("/studio/thumbnail", params=asked).content, "nothing is drawn yet"
    save_drawing(project, key, box)
    veiled = read_image(client.get("/studio/thumbnail", params=asked | {"region_of": "1"}).content)
    share = veiled.astype(float).mean(2) / np.maximum(read_image(bare).mean(2), 1)
    assert share[:, :14].mean() > 0.9 and share[:, 18:].mean() < 0.5
    # A region that cannot be shown costs the veil, not the picture.
    write_image(project.folder / "roi" / "train/good/b.png", np.full((9, 9), 255, np.uint8))
    asked["key"] = "train/good/b.png"
    answer = client.get("/studio/thumbnail", params=asked | {"region_of": "1"})
    assert answer.content == client.get("/studio/thumbnail", params=asked).content
    assert "jpeg" in answer.headers["content-type"]


def test_no_request_reads_another_file(client: TestClient, project: Project, tmp_path: Path) -> None:
    write_image(tmp_path / "secret.png", np.zeros((9, 9, 3), np.uint8))
    id = project.id
    keys = [
        "../secret.png",
        str(tmp_path / "secret.png"),
        "train/good/../../../secret.png",
        "",
        "train",
        "\0",
    ]
    for key in keys:
        for route in ("image", "drawing"):
            answer = client.get(f"/studio/{route}", params={"project": id, "key": key})
            assert answer.status_code == 422 and "error" in answer.json()
        assert (
            "svg"
            in client.get("/studio/thumbnail", params={"project": id, "key": key}).headers["content-type"]
        )
        for route, sent in (("outline", [[1, 1]]), ("accept", None)):
            asked = {"project": id, "key": key}
            if key:
                assert client.post(f"/studio/{route}", params=asked, json=sent).status_code == 422
        box = {"project": id, "key": key, "box": "0,0,9,9"}
        assert client.get("/studio/image", params=box).status_code == 422
        told = client.put("/studio/drawing", params={"project": id, "key": key}, json={"shapes": []})
        assert told.status_code == 422
    for model in ("../..", "..", "x/../..", ""):
        assert client.get("/studio/model.zip", params={"project": id, "model": model}).status_code == 422
    assert client.get("/studio/image", params={"project": "0" * 12, "key": keys[0]}).status_code == 422
    inside = project.folder / "train/good/a.png"
    for path in (
        "/etc/hostname",
        str(tmp_path / "secret.png"),
        str(inside),
        str(Path.cwd() / "pyproject.toml"),
    ):
        assert client.get(f"/gradio_api/file={path}").status_code in (403, 404)
    data = {"path": "/etc/hostname", "meta": {"_type": "gradio.FileData"}}
    for index in range(0, 48, 3):
        told = client.post("/gradio_api/run/predict", json={"data": [data] * 6, "fn_index": index})
        assert told.status_code != 200 or "hostname" not in told.text
    uploads = [path for path in tmp_path.parent.rglob("hostname") if path.is_file()]
    assert uploads == [] and not list(Path(os.environ["GRADIO_TEMP_DIR"]).rglob("hostname"))


def test_a_drawing_goes_to_the_disk_and_back(client: TestClient, project: Project) -> None:
    id = project.id
    where = {"project": id, "key": "train/good/a.png"}
    shape = {"kind": "polygon", "points": [[1, 1], [20, 1], [20, 20]], "radius": 0, "erase": False}
    sent = {"shapes": [shape], "begun": [[3, 3]]}
    for _ in range(2):
        assert client.put("/studio/drawing", params=where, json=sent).status_code == 200
    back = client.get("/studio/drawing", params=where).json()
    assert back["begun"] == [[3, 3]] and back["source"] == "own" and back["size_hw"] == [24, 32]
    assert client.post("/studio/share", params=where).json() == {"photographs": 4}
    listed = client.get("/studio/photographs", params={"project": id}).json()
    assert [one["source"] for one in listed["photographs"]].count("shared") == 3
    for nonsense in (b"", b"[]", b'{"shapes": 1}', b'{"shapes": [1]}'):
        answer = client.put("/studio/drawing", params=where, content=nonsense)
        assert answer.status_code in (200, 422)
    assert read_image(client.get("/studio/image", params=where).content).shape == (24, 32, 3)


def test_a_part_of_a_photograph_comes_at_its_own_resolution(client: TestClient, project: Project) -> None:
    where = {"project": project.id, "key": "train/good/a.png"}
    for box, expected in (("4,2,20,10", (8, 16)), ("30,20,99,99", (4, 2)), ("nonsense", (24, 32))):
        answer = client.get("/studio/image", params=where | {"box": box})
        assert read_image(answer.content).shape[:2] == expected
    assert client.get("/studio/image", params=where | {"box": "50,50,60,60"}).status_code == 422


def test_an_outline_comes_from_a_box_and_nonsense_is_refused(client: TestClient, project: Project) -> None:
    image = np.full((60, 80, 3), 40, np.uint8)
    image[20:40, 30:60] = 200
    write_image(project.folder / "train/good/a.png", image)
    where = {"project": project.id, "key": "train/good/a.png"}
    for points in ([[25, 15], [65, 45]], [[40, 30]]):
        (shape,) = client.post("/studio/outline", params=where, json=points).json()["shapes"]
        assert np.abs(np.subtract(np.min(shape["points"], 0), [30, 20])).max() <= 2
        assert np.abs(np.subtract(np.max(shape["points"], 0), [60, 40])).max() <= 2
    for nonsense in ([], {}, [["a", 1]], [[1e9, 1]], None, "x"):
        assert client.post("/studio/outline", params=where, json=nonsense).status_code == 422
    assert client.post("/studio/accept", params=where).json() == {"accepted": 0}


def test_pages_of_many_photographs_are_asked_for_one_by_one(
    served: tuple[TestClient, Projects], make_project: MakeProject
) -> None:
    client, projects = served
    many = make_project(*(f"good/{number:02d}.png" for number in range(30)), name="many")
    id = projects.open(str(many.folder)).id
    for page, expected in ((0, 24), (1, 6), (99, 6), (-5, 24)):
        told = client.get("/studio/photographs", params={"project": id, "page": page}).json()
        assert len(told["photographs"]) == expected and told["total"] == 30 and told["pages"] == 2


def test_an_empty_or_vanished_folder_answers_with_words(client: TestClient, project: Project) -> None:
    id = project.id
    os.replace(project.folder, project.folder.with_name("away"))
    answer = client.get("/studio/photographs", params={"project": id})
    assert answer.status_code == 422 and "bring the folder back" in answer.json()["error"]
    project.folder.mkdir()
    answer = client.get("/studio/photographs", params={"project": id})
    assert answer.status_code == 422 and "no photographs found" in answer.json()["error"]


def test_a_model_is_taken_along_whole(client: TestClient, project: Project) -> None:
    model = project.state / "models" / "m-1"
    (model / "onnx").mkdir(parents=True)
    (model / "bundle.json").write_text("{}")
    (model / "onnx" / "graph.onnx").write_bytes(b"graph")
    id = project.id
    answer = client.get("/studio/model.zip", params={"project": id, "model": "m-1"})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        names = sorted(name.removeprefix("m-1-line/") for name in archive.namelist())
        wheel = f"roinspect-{version('roinspect')}-py3-none-any.whl"
        scripts = ["README.txt", "start.bat", "start.sh"]
        assert names == sorted(["m-1/bundle.json", "m-1/onnx/graph.onnx", wheel, *scripts])
        assert json.loads(archive.read("m-1-line/m-1/bundle.json")) == {}


def test_the_report_names_product_and_operator(client: TestClient, project: Project) -> None:
    model = project.state / "models" / "m-1"
    asked = {"project": project.id, "model": "m-1"}
    assert client.get("/studio/report", params=asked).status_code == 422
    model.mkdir(parents=True)
    (model / "bundle.json").write_text("{}")
    assert "not judged yet" in client.get("/studio/report", params=asked).json()["error"]
    model.with_name("m-1.evaluation").mkdir()
    page = '<dl><dd data-about="product">parts</dd><dd data-about="operator"></dd></dl>'
    (model.with_name("m-1.evaluation") / "report.html").write_text(page)
    assert client.get("/studio/report", params=asked).text == page
    keep(project, "m-1", product="M5 & <nuts>", operator=r"J. Gr\1een")
    answer = client.get("/studio/report", params=asked | {"save": True})
    assert (
        '"product">M5 &amp; &lt;nuts&gt;</dd>' in answer.text and r'"operator">J. Gr\1een</dd>' in answer.text
    )
    assert 'filename="m-1-report-' in answer.headers["content-disposition"]


def test_the_verdicts_of_a_camera_are_a_table(client: TestClient, project: Project) -> None:
    asked = {"project": project.id}
    assert client.get("/studio/verdicts.csv", params=asked).text.count("\n") == 1
    folder, out = project.folder / "camera", project.state / "watch" / "m-1.jsonl"
    out.parent.mkdir(parents=True)
    rows = [
        {"image_path": str(folder / "a.png"), "verdict": "defective", "pred_score": 2.5, "threshold": 1.0},
        {"image_path": str(folder / "b,c.png"), "error": "b,c.png: cut off; copy it again"},
    ]
    out.write_text("".join(json.dumps(row | {"mtime_ns": 10**18}) + "\n" for row in rows) + '{"unfinished')
    job = {"kind": "watch", "subject": "m-1", "started": 1.0}
    job["commands"] = [["watch", "m-1", str(folder), "--out", str(out)]]
    (project.state / "jobs" / "1").mkdir(parents=True)
    (project.state / "jobs" / "1" / "job.json").write_text(json.dumps(job))
    first, second = csv.DictReader(io.StringIO(client.get("/studio/verdicts.csv", params=asked).text))
    assert (first["photograph"], first["verdict"], first["score"]) == ("a.png", "defective", "2.5")
    assert first["model"] == "m-1" and first["time"].startswith("2001-09-")
    assert (second["photograph"], second["verdict"], second["score"]) == ("b,c.png", "no verdict", "")
    shown = camera(latest(project, "watch"), project.id)
    assert "b,c.png" in shown and "cut off" in shown and "2001-09-" in shown and "· m-1" in shown
    assert "! No verdict" in shown.partition("tally")[0], "the newest photograph, large"


def test_the_browser_opens_once_the_address_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    opened = queue.Queue[str]()
    monkeypatch.setattr("webbrowser.open", opened.put)

    def pages(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("roinspect.studio.app.create_app", pages)
    for opens in (False, True):
        with pytest.raises(KeyboardInterrupt):
            serve(None, port=0, opens_browser=opens)
        if not opens:
            assert opened.empty()
    assert opened.get(timeout=30).startswith("http://127.0.0.1:")
