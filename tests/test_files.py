"""Files that are whole or not there, locks that end with their process, and digests that stay the same."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from roinspect.errors import UserError
from roinspect.files import (
    is_locked,
    lock,
    remove_unfinished,
    replace_folder,
    sha256,
    sha256_of,
    whole_file,
    whole_folder,
    write_whole,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("name", ["a.txt", "x" * 255])
def test_a_file_is_replaced_whole(tmp_path: Path, name: str, durable: bool) -> None:
    path = tmp_path / "deep" / name
    write_whole(path, b"before", durable=durable)
    with whole_file(path, durable=durable) as partial:
        partial.write_text("after")
        assert path.read_text() == "before"
    assert path.read_text() == "after" and names(tmp_path) == sorted(["deep", name])


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError()])
def test_a_fault_while_writing_changes_nothing(tmp_path: Path, fault: BaseException) -> None:
    write_whole(tmp_path / "a", "before")
    with whole_folder(tmp_path / "folder") as new:
        (new / "b").write_text("before")
    with pytest.raises(type(fault)), whole_file(tmp_path / "a") as partial:
        partial.write_text("after")
        raise fault
    with pytest.raises(type(fault)), whole_folder(tmp_path / "folder") as new:
        (new / "b").write_text("after")
        raise fault
    assert names(tmp_path) == ["a", "b", "folder"]
    assert (tmp_path / "a").read_text() == (tmp_path / "folder" / "b").read_text() == "before"


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written \(.+\); free space, or") as caught:
        write_whole(tmp_path / "file" / "a", "text")
    assert caught.value.where == str(tmp_path / "file" / "a")


@pytest.mark.parametrize("failing", [1, 2])
def test_a_folder_that_cannot_be_replaced_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    replace, calls = os.replace, list[Path]()

    def fail(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == failing:
            raise OSError(5, "input/output error")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="input/output"):
        replace_folder(tmp_path / "new", tmp_path / "old")
    assert names(tmp_path) == ["new", "new", "old", "old"]
    replace_folder(tmp_path / "new", tmp_path / "old")
    assert names(tmp_path) == ["new", "old"] and (tmp_path / "old" / "new").exists()


def test_what_a_kill_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    others = [".hidden.png", "notes.tmp", "a.csv", ".tmp"]
    for name in (*others, ".a[1].csv.0123abcd.tmp", ".b.csv.0123abcd.tmp"):
        (tmp_path / name).touch()
    remove_unfinished(tmp_path, "a[1].csv")
    assert names(tmp_path) == sorted([*others, ".b.csv.0123abcd.tmp"])
    (tmp_path / ".model.0123abcd.tmp/onnx").mkdir(parents=True)
    remove_unfinished(tmp_path)
    assert names(tmp_path) == sorted(others)


def test_the_temporary_folders_can_be_elsewhere(tmp_path: Path) -> None:
    room = tmp_path / "room"
    (tmp_path / "folder").mkdir()
    with whole_folder(tmp_path / "folder", room) as new:
        (new / "a").touch()
        assert new.parent == room
    assert names(tmp_path) == ["a", "folder", "room"]


HOLDER = """
import sys, time
from pathlib import Path
from roinspect.files import lock
held = Path(sys.argv[1]).open("ab")
print(lock(held), flush=True)
time.sleep(60)
"""


def test_a_lock_ends_with_its_process_however_that_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_locked(path), "there is none"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "True\n"
    with path.open("ab") as second:
        assert is_locked(path) and not lock(second)
    holder.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
    holder.communicate()
    assert not is_locked(path)


def test_a_lock_ends_when_its_file_is_closed(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("ab") as held:
        assert lock(held) and is_locked(tmp_path / "lock")
    assert not is_locked(tmp_path / "lock")


def test_a_share_without_locks_keeps_nobody_from_working(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", unsupported)
    with (tmp_path / "lock").open("ab") as held:
        assert lock(held) and not is_locked(tmp_path / "lock")


def test_digests_are_those_of_sha256(tmp_path: Path) -> None:
    expected = hashlib.sha256("é".encode()).hexdigest()
    (tmp_path / "a").write_text("é", encoding="utf-8")
    assert sha256("é") == sha256("é".encode()) == sha256([b"\xc3", b"\xa9"]) == sha256_of(tmp_path / "a")
    assert sha256("é") == expected
    assert len(sha256("\udce9")) == 64, "a name of an old disk has a digest, too"
