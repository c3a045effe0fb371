"""Files that a camera writes into a folder are inspected once, when they are complete."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from roinspect import Inspector, UserError
from roinspect.cli import main
from roinspect.images.pixels import write_image
from roinspect.inspection.bundle import Bundle, Threshold
from roinspect.inspection.drift import FLOORS, DriftMonitor, Usual
from roinspect.inspection.prediction import Prediction
from roinspect.production.verdict_images import Pictures
from roinspect.production.watch import Watch, WatchSettings

SIZE = (8, 12)
FAST = WatchSettings(interval=0.02, patience=0.3)


def brightness(images: Any) -> Any:
    maps = images.mean(axis=3, dtype=np.float32) / np.float32(255)
    return Prediction(
        maps.max(axis=(1, 2)), maps, np.ones((len(maps), 1, 1), np.float32), np.zeros(len(maps), np.float32)
    )


def encoded(value: int, scratch: Path) -> bytes:
    write_image(scratch / "encoded.png", np.full((16, 24, 3), value, np.uint8))
    return (scratch / "encoded.png").read_bytes()


class Camera:
    """A folder under watch in a thread of its own."""

    def __init__(self, place: Path, pictures: Pictures, settings: WatchSettings) -> None:
        self.folder, self.out = place / "in", place / "results.jsonl"
        self.folder.mkdir(exist_ok=True)
        self.reports: list[str] = []
        self.stopping = False
        self.inspector = Inspector(Bundle("test", {}, SIZE, Threshold(0.5, "chosen")), brightness)
        self._watch = Watch(
            self.folder,
            self.inspector,
            self.out,
            pictures,
            settings,
            self.reports.append,
            model_version="0123456789ab",
            scores_version="ba9876543210",
        )
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for _ in self._watch.run(lambda: self.stopping):
            pass

    def stop(self) -> None:
        self.stopping = True
        self._thread.join(20)
        assert not self._thread.is_alive()

    def rows(self) -> list[dict[str, Any]]:
        # What follows the last line's end is still being written.
        return [json.loads(line) for line in self.out.read_bytes().split(b"\n")[:-1]]

    def wait_for(self, count: int) -> list[dict[str, Any]]:
        until = time.monotonic() + 20
        while len(self.rows()) < count and time.monotonic() < until:
            time.sleep(0.01)
        # A few looks more: none must come twice.
        time.sleep(0.15)
        assert len(self.rows()) == count
        return self.rows()


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[..., Camera]]:
    begun: list[Camera] = []

    def begin(pictures: Pictures | None = None, settings: WatchSettings = FAST) -> Camera:
        begun.append(Camera(tmp_path, pictures or Pictures(), settings))
        return begun[-1]

    yield begin
    for camera in begun:
        camera.stop()


def test_what_is_there_and_what_comes_is_inspected_once(watch: Callable[..., Camera], tmp_path: Path) -> None:
    dark, bright = encoded(10, tmp_path), encoded(250, tmp_path)
    (tmp_path / "in/sub").mkdir(parents=True)
    (tmp_path / "in/first.png").write_bytes(dark)
    (tmp_path / "in/sub/second.png").write_bytes(bright)
    camera = watch()
    camera.wait_for(2)
    (camera.folder / "new/deeper").mkdir(parents=True)
    (camera.folder / "new/deeper/third.png").write_bytes(bright)
    (camera.folder / "notes.txt").write_text("no image")
    (camera.folder / ".hidden.png").write_bytes(bright)
    rows = camera.wait_for(3)
    assert [(row["image_path"], row["is_defect"]) for row in rows] == [
        (str(camera.folder / "first.png"), False),
        (str(camera.folder / "sub/second.png"), True),
        (str(camera.folder / "new/deeper/third.png"), True),
    ]
    assert rows[0]["bytes"] == len(dark)


def test_the_folder_may_be_written_otherwise(
    watch: Callable[..., Camera], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pictures = Pictures(Path("in/pictures"), Path("in/../in/maps"))
    camera = watch(pictures)
    (camera.folder / "first.png").write_bytes(encoded(250, tmp_path))
    camera.wait_for(1)
    assert len(list(camera.folder.rglob("*.png"))) == 3, "its own pictures are not inspected"
    camera.stop()
    (tmp_path / "link").symlink_to(camera.folder)
    for folder in (Path("in"), Path("link"), Path("in/../in")):
        again = Watch(folder, camera.inspector, camera.out, pictures, FAST)
        assert list(again.run(partial(next, iter([False] * 20), True))) == []


def test_a_name_of_any_length_gets_its_pictures(watch: Callable[..., Camera], tmp_path: Path) -> None:
    camera = watch(Pictures(tmp_path / "overlays", tmp_path / "maps"))
    names = [letter * 60 + end + ".png" for letter in "ü件" for end in ("", "a", "b")]
    names = [name for name in ("ü" * 120 + "a.png", "ü" * 120 + "b.png", "x" * 251 + ".png", *names)]
    for name in names:
        (camera.folder / name).write_bytes(encoded(250, tmp_path))
    rows = camera.wait_for(len(names))
    written = {row[kind] for row in rows for kind in ("overlay", "map")}
    assert len(written) == 2 * len(names) and all(Path(path).is_file() for path in written)
    assert not any(row.get("error") for row in rows)


def test_results_of_something_else_are_refused(watch: Callable[..., Camera], tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text('{"image_path": ["a"]}\n')
    with pytest.raises(UserError, match=r"results\.jsonl: has a row without image_path"):
        watch()


def test_a_half_written_file_waits(watch: Callable[..., Camera], tmp_path: Path) -> None:
    content = encoded(250, tmp_path)
    camera = watch(settings=WatchSettings(interval=0.02, patience=30))
    with (camera.folder / "slow.png").open("wb") as file:
        # Longer pauses than a look takes: it is the decoding that finds out.
        for start in range(0, len(content), 40):
            file.write(content[start : start + 40])
            file.flush()
            time.sleep(0.08)
    (row,) = camera.wait_for(1)
    assert row["is_defect"] and row["bytes"] == len(content)


@pytest.mark.parametrize("kind", [".bmp", ".tif"])
@pytest.mark.parametrize("is_sparse", [True, False])
def test_a_file_whose_length_is_reserved_waits(
    watch: Callable[..., Camera], kind: str, is_sparse: bool, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(1, 255, (120, 160, 3), np.uint8)
    if kind == ".bmp":
        write_image(tmp_path / "whole.bmp", pixels)
    else:
        cv2.imwrite(str(tmp_path / "whole.tif"), pixels, [cv2.IMWRITE_TIFF_COMPRESSION, 1])
    content = (tmp_path / f"whole{kind}").read_bytes()
    camera = watch(settings=WatchSettings(interval=0.02, patience=30))
    with (camera.folder / f"slow{kind}").open("wb") as file:
        if is_sparse:
            file.truncate(len(content))
        else:
            file.write(bytes(len(content)))
            file.seek(0)
        for start in range(0, len(content), 6000):
            file.write(content[start : start + 6000])
            file.flush()
            time.sleep(0.15)
            assert start + 6000 >= len(content) or not camera.rows()
    (row,) = camera.wait_for(1)
    assert "error" not in row and row["bytes"] == len(content)


def test_a_dark_photograph_rests_for_a_moment_only(watch: Callable[..., Camera], tmp_path: Path) -> None:
    camera = watch()
    write_image(camera.folder / "dark.bmp", np.zeros((30, 40, 3), np.uint8))
    (row,) = camera.wait_for(1)
    assert row["verdict"] == "good"


def test_a_row_says_when_and_by_which_model(watch: Callable[..., Camera], tmp_path: Path) -> None:
    began = datetime.now(UTC)
    camera = watch()
    (camera.folder / "a.png").write_bytes(encoded(9, tmp_path))
    (row,) = camera.wait_for(1)
    assert (row["model_version"], row["scores_version"]) == ("0123456789ab", "ba9876543210")
    assert began - timedelta(seconds=1) <= datetime.fromisoformat(row["time"]) <= datetime.now(UTC)


def test_a_file_renamed_into_place_is_inspected(watch: Callable[..., Camera], tmp_path: Path) -> None:
    camera = watch()
    for name in (".part.tmp", "part.png.part"):
        (camera.folder / name).write_bytes(encoded(250, tmp_path))
    camera.wait_for(0)
    (camera.folder / "part.png.part").rename(camera.folder / "part.png")
    assert [row["image_path"] for row in camera.wait_for(1)] == [str(camera.folder / "part.png")]


def test_what_never_becomes_readable_is_reported_once(watch: Callable[..., Camera], tmp_path: Path) -> None:
    camera = watch()
    began = time.monotonic()
    (camera.folder / "bad.png").write_bytes(encoded(9, tmp_path)[:50])
    (camera.folder / "good.png").write_bytes(encoded(9, tmp_path))
    assert "error" not in camera.wait_for(1)[0]
    row = camera.wait_for(2)[1]
    assert time.monotonic() - began >= FAST.patience
    assert "bad.png" in row["error"] and "cut off" in row["error"]
    # Whole at last, it is another photograph.
    (camera.folder / "bad.png").write_bytes(encoded(9, tmp_path))
    assert "error" not in camera.wait_for(3)[2]


def test_a_overwritten_file_is_another_photograph(watch: Callable[..., Camera], tmp_path: Path) -> None:
    camera = watch()
    for count, value in enumerate((10, 250, 10), 1):
        (camera.folder / "latest.png").write_bytes(encoded(value, tmp_path))
        assert camera.wait_for(count)[-1]["is_defect"] == (value == 250)


def test_a_restart_inspects_nothing_twice_and_loses_nothing(
    watch: Callable[..., Camera], tmp_path: Path
) -> None:
    content = encoded(10, tmp_path)
    camera = watch()
    for number in range(40):
        (camera.folder / f"{number:02}.png").write_bytes(content)
    while len(camera.rows()) < 5:
        time.sleep(0.005)
    camera.stop()
    done = camera.rows()
    (camera.folder / "late.png").write_bytes(content)
    # What a kill may leave of the last row.
    with camera.out.open("ab") as file:
        file.write(b'{"image_path": "')
    rows = watch().wait_for(41)
    assert rows[: len(done)] == done
    assert len({row["image_path"] for row in rows}) == 41


def test_thousands_of_files(watch: Callable[..., Camera], tmp_path: Path) -> None:
    content = encoded(10, tmp_path)
    folder = tmp_path / "in"
    for number in range(2000):
        path = folder / f"{number % 7}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    rows = watch().wait_for(2000)
    assert len({row["image_path"] for row in rows}) == 2000


def test_pictures_in_the_folder_are_not_inspected(watch: Callable[..., Camera], tmp_path: Path) -> None:
    folder = tmp_path / "in"
    camera = watch(Pictures(overlays=folder, maps=folder / "maps"))
    for name in ("a.png", "a.jpg", "sub/a.png"):
        write_image(folder / name, np.full((16, 24, 3), 250, np.uint8))
    rows = camera.wait_for(3)
    pictures = {row[name] for row in rows for name in ("overlay", "map")}
    assert len(pictures) == 6 and all(Path(path).is_file() for path in pictures)


def test_a_folder_that_goes_and_comes_back(watch: Callable[..., Camera], tmp_path: Path) -> None:
    camera = watch()
    (camera.folder / "a.png").write_bytes(encoded(10, tmp_path))
    camera.wait_for(1)
    camera.folder.rename(tmp_path / "away")
    camera.wait_for(1)
    (tmp_path / "away/b.png").write_bytes(encoded(10, tmp_path))
    (tmp_path / "away").rename(camera.folder)
    camera.wait_for(2)
    assert [line.split(" ", 1)[1] for line in camera.reports] == ["cannot be reached; waiting", "is back"]


def test_bad_settings(watch: Callable[..., Camera], tmp_path: Path) -> None:
    for name in ("interval", "patience"):
        for value in (0.0, -1.0, float("nan"), float("inf")):
            with pytest.raises(UserError, match=f"--{name}: must be above 0"):
                WatchSettings(**{name: value})
    inspector = Inspector(Bundle("test", {}, SIZE, Threshold(0.5, "chosen")), brightness)
    with pytest.raises(UserError, match="no such folder"):
        Watch(tmp_path / "nowhere", inspector, tmp_path / "a.jsonl", Pictures(), FAST)
    with pytest.raises(UserError, match=r"\.jsonl"):
        Watch(tmp_path, inspector, tmp_path / "a.csv", Pictures(), FAST)
    watch()
    with pytest.raises(UserError, match="another run"):
        Watch(tmp_path, inspector, tmp_path / "results.jsonl", Pictures(), FAST)


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_ends_cleanly(number: int, model: Path, zipper: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(zipper / "test/good", tmp_path / "in")
    out = tmp_path / "out/results.jsonl"
    words = ["watch", str(model), str(folder), "--out", str(out), "--overlays", str(tmp_path / "seen")]
    words = [sys.executable, "-m", "roinspect", *words, "--interval", "0.05"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env={**os.environ})
    until = time.monotonic() + 120
    while (not out.exists() or len(out.read_bytes().splitlines()) < 2) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(number)
    _, output = process.communicate(timeout=30)
    assert process.returncode == 0 and "Traceback" not in output
    assert output.startswith(f"{folder} is watched") and output.endswith("Inspected 2 images.\n")
    for line in out.read_text().splitlines():
        assert Path(json.loads(line)["overlay"]).is_file()


def test_the_command_refuses_what_cannot_be(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["watch", str(model), str(tmp_path), "--out"]
    for words, expected in (
        ([*given, str(tmp_path / "a.parquet")], "a.parquet"),
        ([*given, str(tmp_path / "a.jsonl"), "--interval", "0"], "--interval"),
    ):
        capsys.readouterr()
        assert main(words) == 2
        output = capsys.readouterr().err
        assert expected in output and len(output.splitlines()) == 1


def test_a_failed_self_test_ends_the_watch(tmp_path: Path) -> None:
    tests = 0

    def test() -> None:
        nonlocal tests
        tests += 1
        if tests == 3:
            raise UserError("the self-test failed", where="model")

    (tmp_path / "in").mkdir()
    inspector = Inspector(Bundle("test", {}, SIZE, Threshold(0.5, "chosen")), brightness)
    settings = WatchSettings(interval=0.01, self_test_s=0.02)
    watch = Watch(tmp_path / "in", inspector, tmp_path / "out.jsonl", Pictures(), settings, test=test)
    until = time.monotonic() + 20
    with pytest.raises(UserError, match="self-test failed"):
        list(watch.run(lambda: time.monotonic() > until))
    assert tests == 3


def test_drift_is_in_the_rows(tmp_path: Path) -> None:
    bundle = Bundle("test", {}, SIZE, Threshold(0.9, "chosen"))
    inspector = Inspector(bundle, brightness)
    (tmp_path / "in").mkdir()
    seen = inspector.inspect(encoded(100, tmp_path)).signals
    assert seen is not None
    others = {name: (getattr(seen, name), 1.0) for name in FLOORS}
    monitor = DriftMonitor(Usual(30, **others | {"brightness": (seen.brightness, 0.01)}))
    for place in range(12):
        (tmp_path / f"in/{place:02}.png").write_bytes(encoded(100 if place < 5 else 60, tmp_path))
    watch = Watch(tmp_path / "in", inspector, tmp_path / "out.jsonl", Pictures(), FAST, drift=monitor)
    rows = [row for _, row in zip(range(12), watch.run(lambda: False), strict=False)]
    assert not any("drift" in row for row in rows[:6]) and "the brightness is" in rows[-1]["drift"][0]
