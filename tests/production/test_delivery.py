"""`predict` and `watch` hand results to receivers as `serve` does: each at least once, whatever happens."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from functools import partialmethod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roinspect import Inspector, UserError
from roinspect.cli import main
from roinspect.images.pixels import write_image
from roinspect.inspection.bundle import Threshold, bundle_version, replace_threshold
from roinspect.production.delivery import Delivery, identified
from roinspect.production.verdict_images import Pictures
from roinspect.production.watch import Watch, WatchSettings

from .test_sinks import free_port, receiver, wait_for

pytest.importorskip("torch")


def run(*words: object) -> int:
    return main([str(word) for word in words])


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Two photographs and a file that is none."""
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        write_image(tmp_path / "parts" / name, rng.integers(0, 255, (70, 60, 3), np.uint8))
    (tmp_path / "parts" / "none.png").write_bytes(b"no image")
    return tmp_path / "parts"


def delivered(folder: Path) -> dict[str, dict[str, Any]]:
    """What a folder received, by image."""
    rows = [json.loads(file.read_bytes()) for file in folder.glob("*.json")]
    assert {file.stem for file in folder.glob("*.json")} == {row["id"] for row in rows}
    return {Path(row["image_path"]).name: row for row in rows}


def without_ids(rows: dict[str, dict[str, Any]], version: str) -> list[dict[str, Any]]:
    for row in rows.values():
        assert row.pop("id").isalnum() and row.pop("model_version") == version
    return [rows[name] for name in sorted(rows)]


@pytest.mark.parametrize("out", [None, "table.jsonl"])
def test_predict_delivers_each_row_to_every_receiver(
    out: str | None, bundle: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    targets = (f"folder:{tmp_path / 'results'}", f"http://127.0.0.1:{port}/in")
    words = [] if out is None else ["--out", tmp_path / out]
    with receiver(port, lambda key: 200) as taken:
        assert run("predict", bundle, parts, *words, "--results", *targets, "--spool", tmp_path / "s") == 0
    lines = capsys.readouterr().out if out is None else (tmp_path / out).read_text()
    rows = delivered(tmp_path / "results")
    assert {key: body for key, body in taken} == {row["id"]: row for row in rows.values()}
    expected = [json.loads(line) for line in lines.splitlines() if line.startswith("{")]
    assert without_ids(rows, bundle_version(bundle)) == expected
    assert not list((tmp_path / "s").glob("*/*.json"))


def test_what_a_receiver_missed_comes_later_and_is_known_by_its_id(
    bundle: Path,
    parts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Delivery, "drain", partialmethod(Delivery.drain, patience_s=0.2))
    monkeypatch.chdir(tmp_path)
    port = free_port()
    words = ("predict", bundle, parts, "--results", f"http://127.0.0.1:{port}")
    assert run(*words) == 0
    assert "3 results are not delivered yet; they are stored in roinspect-spool" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    with receiver(port, lambda key: 200) as taken:
        assert run(*words) == 0
    # Each was inspected twice, and has one id.
    assert len(taken) == 6 and len(dict(taken)) == 3
    assert not list(tmp_path.glob("roinspect-spool/*/*.json"))


def test_watch_delivers_before_it_writes(bundle: Path, parts: Path, tmp_path: Path) -> None:
    out, results = tmp_path / "results.jsonl", tmp_path / "results"
    words = ["watch", bundle, parts, "--out", out, "--interval", "0.05", "--patience", "0.2"]
    words += ["--results", f"folder:{results}", "--spool", tmp_path / "spool"]
    process = subprocess.Popen([sys.executable, "-m", "roinspect", *map(str, words)])
    try:
        wait_for(lambda: out.exists() and out.read_bytes().count(b"\n") == 3, 60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
    written = {Path(row["image_path"]).name: row for row in map(json.loads, out.read_text().splitlines())}
    version = bundle_version(bundle)
    assert {row.pop("model_version") for row in written.values()} == {version}
    assert without_ids(delivered(results), version) == [written[name] for name in sorted(written)]


def test_a_result_that_cannot_be_kept_gets_no_row(bundle: Path, parts: Path, tmp_path: Path) -> None:
    def full(row: object) -> None:
        raise UserError("No space left on device")

    inspector, settings = Inspector.load(bundle), WatchSettings(interval=0.01)
    watch = Watch(parts, inspector, tmp_path / "out.jsonl", Pictures(), settings, str, full)
    with pytest.raises(UserError, match="No space left"):
        next(watch.run(lambda: False))
    assert (tmp_path / "out.jsonl").read_bytes() == b""


def test_an_id_is_that_of_a_file_in_a_state_under_a_model(bundle: Path, parts: Path) -> None:
    def ids() -> list[str]:
        version = bundle_version(bundle)
        return [identified({"image_path": str(file)}, version)["id"] for file in sorted(parts.iterdir())]

    first = ids()
    assert first == ids() and len(set(first)) == 3
    (parts / "a.png").write_bytes((parts / "b.png").read_bytes() + b"\0")
    second = ids()
    assert second[0] != first[0] and second[1:] == first[1:]
    replace_threshold(bundle, Threshold(0.25, "chosen again"))
    assert not set(ids()) & {*first, *second}


@pytest.mark.parametrize("verb", ["predict", "watch", "serve"])
def test_what_is_no_receiver_is_said_by_every_verb(
    verb: str, bundle: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("fastapi")
    words: dict[str, tuple[object, ...]] = {
        "predict": (bundle, parts),
        "watch": (bundle, parts, "--out", tmp_path / "a.jsonl"),
        "serve": (bundle, "--port", "0"),
    }
    assert run(verb, *words[verb], "--results", "ftp://host/x", "--spool", tmp_path / "s") == 2
    assert "is not a receiver of results" in capsys.readouterr().err
