"""A pipe, a socket, a device or a folder that is named like a photograph is told at once; nothing waits."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from roinspect.cli import main
from roinspect.data.annotations import read_file
from roinspect.data.records import read_records
from roinspect.errors import UserError
from roinspect.files import read_regular
from roinspect.images.pixels import image_size, read_image, read_mask, write_image
from roinspect.inspection.bundle import photograph_digest
from roinspect.training.runs import fingerprint

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files"),
    pytest.mark.timeout(60),
]
SAID = "is not a regular file"


def pipe(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def listening(path: Path) -> None:
    # A socket's path may have few letters.
    home = Path.cwd()
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path.name)
    os.chdir(home)


def folder(path: Path) -> None:
    path.mkdir()


KINDS = [pipe, endless, listening, folder]
every_kind = pytest.mark.parametrize("make", KINDS)


@every_kind
@pytest.mark.parametrize("read", [read_image, read_mask, image_size])
def test_it_is_named_wherever_pixels_are_read(
    read: Callable[[Path], object], make: Callable[[Path], None], tmp_path: Path
) -> None:
    make(tmp_path / "x.png")
    with pytest.raises(UserError, match=SAID) as caught:
        read(tmp_path / "x.png")
    assert caught.value.where == str(tmp_path / "x.png")


@every_kind
def test_it_is_named_wherever_bytes_are_read(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "x.json")
    with pytest.raises(OSError, match=SAID):
        photograph_digest(tmp_path / "x.json")
    with pytest.raises(UserError, match=SAID):
        fingerprint([tmp_path / "x.json"])
    with pytest.raises(UserError, match=SAID):
        read_file(tmp_path / "x.json")


def test_a_link_to_a_regular_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_regular(tmp_path / "link") == b"content"


def test_a_file_of_many_gigabytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "x.png").open("wb") as file:
        file.truncate(5 << 30)
    with pytest.raises(UserError, match=r"cannot be read \(is larger than 4 GiB\)"):
        read_image(tmp_path / "x.png")


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(3):
        write_image(tmp_path / f"parts/good/{number}.png", rng.integers(0, 255, (40, 40, 3), np.uint8))
    return tmp_path / "parts"


@pytest.mark.parametrize("make", [pipe, endless, listening])
def test_check_tells_it_as_a_problem(
    make: Callable[[Path], None], parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(parts / "good/x.png")
    main(["check", str(parts), "--roi", "none"])
    told = "".join(capsys.readouterr())
    assert f"{parts}/good/x.png: {SAID}" in told.replace("\n", "")


@pytest.mark.parametrize("make", [pipe, endless])
def test_a_manifest_that_names_it_is_refused(make: Callable[[Path], None], parts: Path) -> None:
    make(parts / "x.png")
    (parts / "manifest.csv").write_text("image_path,label\ngood/0.png,good\nx.png,good\n")
    with pytest.raises(UserError, match=SAID):
        read_records(parts)


@pytest.mark.parametrize("make", [pipe, endless])
@pytest.mark.parametrize("where", ["roi", "ground_truth"])
def test_a_mask_may_be_none_either(
    make: Callable[[Path], None], where: str, parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(parts / "bad/0.png", np.full((40, 40, 3), 80, np.uint8))
    place = parts / where / "bad/0.png"
    place.parent.mkdir(parents=True)
    make(place)
    for number in range(3):
        write_image(parts / where / f"good/{number}.png", np.full((40, 40), 255, np.uint8))
    main(["check", str(parts), "--roi", "auto" if where == "roi" else "none"])
    assert SAID in "".join(capsys.readouterr()).replace("\n", "")


def test_predict_gives_it_a_row_and_goes_on(model: Path, parts: Path, tmp_path: Path) -> None:
    for number, make in enumerate((pipe, endless, listening)):
        make(parts / f"good/{number}x.png")
    out = tmp_path / "rows.jsonl"
    main(["predict", str(model), str(parts), "--out", str(out)])
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert sum(SAID in row.get("error", "") for row in rows) == 3 and len(rows) == 6


def test_watch_reports_it_at_once_and_ends_on_sigterm(model: Path, parts: Path, tmp_path: Path) -> None:
    os.mkfifo(parts / "good/x.png")
    out = tmp_path / "rows.jsonl"
    words = [sys.executable, "-m", "roinspect", "watch", str(model), str(parts), "--out", str(out)]
    process = subprocess.Popen([*words, "--interval", "0.05"], stderr=subprocess.PIPE, text=True)
    try:
        until = time.monotonic() + 40
        while time.monotonic() < until and (not out.exists() or out.read_text().count("\n") < 4):
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [SAID in row.get("error", "") for row in rows].count(True) == 1 and len(rows) == 4
