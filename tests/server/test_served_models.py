"""A changed bundle is loaded as a whole; a faulty one leaves the previous model in place, and is reported."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")

from fastapi.testclient import TestClient

from roinspect import UserError
from roinspect.exports.export import export
from roinspect.files import open_regular
from roinspect.inspection.bundle import Threshold, bundle_version, replace_threshold
from roinspect.inspection.exported import graph_file
from roinspect.inspection.inspector import Inspector
from roinspect.inspection.releases import release, roll_back
from roinspect.server import served_models
from roinspect.server.app import create_app
from roinspect.server.served_models import ServedModel, fingerprint, named
from roinspect.server.service import Service
from roinspect.server.settings import ServeSettings

PIXELS = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)


@pytest.fixture(scope="module")
def pair(make_bundle: Callable[..., Path]) -> tuple[Path, Path]:
    bundles = make_bundle(seed=0), make_bundle(seed=1)
    for bundle in bundles:
        export(bundle, "onnx", tell=lambda line: None)
    return bundles


@pytest.fixture
def place(pair: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(pair[0], tmp_path / "part.model"))


def score(model: ServedModel) -> float:
    return model.loaded.inspector.inspect(PIXELS).pred_score


def test_a_new_threshold_and_a_new_network_take_over(place: Path, pair: tuple[Path, Path]) -> None:
    model = ServedModel("part", place)
    first, version = score(model), model.loaded.version
    assert not model.refresh()
    replace_threshold(place, Threshold(first / 2, "chosen"))
    # One look to see that it changed, one to see that it rests.
    assert not model.refresh() and model.refresh() and not model.refresh()
    assert model.loaded.inspector.threshold == first / 2 and model.loaded.version != version
    shutil.rmtree(place)
    shutil.copytree(pair[1], place)
    assert not model.refresh() and model.refresh()
    assert score(model) == Inspector.load(pair[1]).inspect(PIXELS).pred_score != first


@pytest.mark.parametrize("harm", ["half", "mixed", "gone"])
def test_a_broken_bundle_leaves_the_former(harm: str, place: Path, pair: tuple[Path, Path]) -> None:
    model = ServedModel("part", place)
    first, graph = score(model), graph_file(place, "onnx")
    if harm == "half":
        # In place, as a careless copy writes: an engine may have mapped this very file.
        os.truncate(graph, graph.stat().st_size // 2)
    elif harm == "mixed":
        shutil.copy(pair[1] / "bundle.json", place)
    else:
        shutil.rmtree(place)
    # Weights that torch can still run must not answer in the export's place.
    model._load = lambda copy: Inspector.load(copy, "onnxruntime")
    assert not model.refresh()
    with pytest.raises(UserError) as caught:
        model.refresh()
    assert str(place) in str(caught.value) and "/tmp/roinspect-" not in str(caught.value)
    assert model.fault and score(model) == first
    assert not model.refresh(), "is not tried again as it is"
    shutil.copytree(pair[1], place, dirs_exist_ok=True)
    assert not model.refresh() and model.refresh()
    assert not model.fault and score(model) != first


def test_a_bundle_that_is_being_written_is_left_to_rest(place: Path, pair: tuple[Path, Path]) -> None:
    model = ServedModel("part", place)
    for file in sorted(pair[1].rglob("*")):
        if file.is_file():
            shutil.copy(file, place / file.relative_to(pair[1]))
            assert not model.refresh() and not model.fault
    assert model.refresh()


def test_answers_go_on_while_the_bundle_changes(place: Path, pair: tuple[Path, Path]) -> None:
    model = ServedModel("part", place)
    expected = {Inspector.load(bundle).inspect(PIXELS).pred_score for bundle in pair}
    service = Service({"part": model}, ServeSettings(workers=1, poll_s=0.05))
    found, height_width = set(), {"name": "image", "datatype": "UINT8", "shape": [1, 64, 96, 3]}
    body = {"inputs": [height_width | {"data": PIXELS.ravel().tolist()}], "outputs": [{"name": "pred_score"}]}
    with TestClient(create_app(service)) as client:
        until, is_copied = time.monotonic() + 20, False
        while len(found) < 2 and time.monotonic() < until:
            answer = client.post("/v2/models/part/infer", json=body)
            assert answer.status_code == 200
            found.add(answer.json()["outputs"][0]["data"][0])
            if not is_copied:
                shutil.copytree(pair[1], place, dirs_exist_ok=True)
                is_copied = True
        text = client.get("/metrics").text
    assert found == {np.float32(score) for score in expected}
    assert 'roinspect_model_reloads_total{model="part",result="loaded"} 1.0' in text
    assert 'roinspect_model_stale{model="part"} 0.0' in text


def test_a_release_and_a_rollback_swap_the_version_and_never_mix_two(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    line = tmp_path / "line.model"
    release(pair[0], line, name="first", runtime="onnxruntime")
    expected = {
        bundle_version(bundle): np.float32(Inspector.load(bundle).inspect(PIXELS).pred_score)
        for bundle in pair
    }
    assert len(set(expected.values())) == 2
    model = ServedModel("part", line)
    service = Service({"part": model}, ServeSettings(workers=1, poll_s=0.05))
    body = {
        "inputs": [
            {"name": "image", "datatype": "UINT8", "shape": [1, 64, 96, 3], "data": PIXELS.ravel().tolist()}
        ],
        "outputs": [{"name": "pred_score"}],
    }
    found = list[tuple[str, np.float32]]()
    with TestClient(create_app(service)) as client:

        def ask_until(version: str) -> None:
            until = time.monotonic() + 20
            while time.monotonic() < until:
                answer = client.post("/v2/models/part/infer", json=body)
                assert answer.status_code == 200
                content = answer.json()
                found.append((content["model_version"], np.float32(content["outputs"][0]["data"][0])))
                if found[-1][0] == version:
                    return
            pytest.fail(f"{version} was not loaded")

        first, second = expected
        ask_until(first)
        release(pair[1], line, name="second", runtime="onnxruntime")
        ask_until(second)
        roll_back(line, "first", runtime="onnxruntime")
        ask_until(first)
    assert set(found) == set(expected.items())
    assert [version for version, _ in found][-1] == first and not model.fault


def test_a_copy_made_while_a_release_swaps_the_folders_is_no_mixture(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = tmp_path / "line.model"
    release(pair[0], line, name="first", self_test="off")
    model = ServedModel("part", line)
    first = score(model)
    release(pair[1], line, name="second", self_test="off")
    assert not model.refresh()
    opened = list[Path]()

    def open_and_roll_back(path: Path) -> IO[bytes]:
        opened.append(path)
        if len(opened) == 2:
            roll_back(line, "first", self_test="off")
        return open_regular(path)

    monkeypatch.setattr(served_models, "open_regular", open_and_roll_back)
    with pytest.raises(UserError, match="was changed or damaged"):
        model.refresh()
    assert score(model) == first
    assert not model.refresh() and model.refresh()
    assert score(model) == first and not model.fault


def test_a_look_at_a_bundle_that_is_gone_sees_nothing(place: Path) -> None:
    assert fingerprint(place)
    shutil.rmtree(place)
    assert not fingerprint(place)


def test_without_room_for_a_copy_the_former_goes_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ServedModel("part", place)
    first = score(model)
    replace_threshold(place, Threshold(first / 2, "chosen"))
    assert not model.refresh()
    monkeypatch.setattr(tempfile, "tempdir", str(place / "none"))
    with pytest.raises(UserError, match="temporary folder"):
        model.refresh()
    assert model.fault and score(model) == first


def test_names_come_from_folders_or_are_given() -> None:
    found = named(["models/zipper.model", "left=b/zipper.model", "x=/a=b/m"])
    assert found == {
        "zipper.model": Path("models/zipper.model"),
        "left": Path("b/zipper.model"),
        "x": Path("/a=b/m"),
    }
    for words in (["a/m", "b/m"], ["a/b c"], ["ü=m"], [f"{'n' * 65}=m"]):
        with pytest.raises(UserError, match="NAME=BUNDLE"):
            named(words)
