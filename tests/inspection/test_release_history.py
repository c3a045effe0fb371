"""Names are valid everywhere, notes survive, a copy is the original, and one process changes it at a time."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from roinspect.errors import UserError
from roinspect.inspection import release_files
from roinspect.inspection.release_files import copy_files, digest_of, files_of
from roinspect.inspection.release_history import History, account, refuse_unportable


@pytest.fixture
def history(tmp_path: Path) -> History:
    (tmp_path / "line.releases").mkdir()
    return History(tmp_path / "line")


def fill(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("name", ["a", "2026-11-28-3fa9c0d1e2b4", "Line_2.accepted", "x" * 64, "console"])
def test_a_portable_name_is_accepted(name: str) -> None:
    refuse_unportable(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", ".a", "a.", "a b", "a/b", "a\\b", "a:b", "a\n", "ü", "-a", "x" * 65, "a*", "a?"),
        *("CON", "nul.txt", "com1", "LPT9.a", "releases.jsonl", "Releases.Lock"),
    ],
)
def test_any_other_name_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"--name: .* is not a valid name"):
        refuse_unportable(name)


def test_a_default_name_is_not_taken(history: History) -> None:
    day = date(2026, 11, 28)
    for expected in ("2026-11-28-3fa9", "2026-11-28-3fa9-2", "2026-11-28-3fa9-3"):
        name = history.free_name(day, "3fa9")
        assert name == expected
        refuse_unportable(name)
        (history.path / name).mkdir()


def test_an_unknown_name_is_refused_with_the_nearest(history: History) -> None:
    (history.path / "accepted").mkdir()
    with pytest.raises(UserError, match="no release named acepted, did you mean accepted"):
        history.folder("acepted")


def test_notes_come_back_in_their_order(history: History) -> None:
    for did, name in (("kept", "b"), ("released", "b"), ("kept", "a")):
        history.note(did, name, f"digest of {name}")  # type: ignore[arg-type]
    notes = history.notes()
    assert [(note.did, note.name) for note in notes] == [("kept", "b"), ("released", "b"), ("kept", "a")]
    assert {note.account for note in notes} == {account()} != {""}
    assert history.digests() == {"a": "digest of a", "b": "digest of b"}


@pytest.mark.parametrize(
    "damage", [b"no JSON\n", b"[]\n", b"\xff\n", b'{"did": "kept"}\n', b'{"did": "kept", "na', b"{" * 5000]
)
def test_a_damaged_note_is_said_and_stays_and_harms_no_other(
    damage: bytes, history: History, caplog: pytest.LogCaptureFixture
) -> None:
    history.note("kept", "a", "1")
    file = history.path / "releases.jsonl"
    file.write_bytes(file.read_bytes() + damage)
    history.note("released", "a", "1")
    assert damage in file.read_bytes()
    assert [note.did for note in history.notes()] == ["kept", "released"]
    assert "line 2 is not a note" in caplog.text


@pytest.mark.parametrize("when", ["yesterday", "2026-11-28T12:00:00", ""])
def test_a_time_that_cannot_be_compared_is_no_note(when: str, history: History) -> None:
    history.note("kept", "a", "1")
    file = history.path / "releases.jsonl"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"when": when}))
    assert history.notes() == []


def test_a_state_is_found_by_what_it_is_not_by_what_was_noted(history: History) -> None:
    state = fill(history.path / "a", x="1")
    digest = digest_of(state)
    assert history.find(digest) == "a", "without notes"
    history.note("kept", "a", digest)
    assert history.find(digest) == "a"
    fill(state, x="2")
    assert history.find(digest) is None and history.find(digest_of(state)) is None


def test_names_and_contents_make_the_digest(tmp_path: Path) -> None:
    one = fill(tmp_path / "1", **{"a": "x", "b/c": "y"})
    assert digest_of(one) == digest_of(fill(tmp_path / "2", **{"b/c": "y", "a": "x"}))
    others = [fill(tmp_path / "3", a="x"), fill(tmp_path / "4", **{"a": "y", "b/c": "x"})]
    others += [fill(tmp_path / "5", **{"a": "x", "b/d": "y"}), fill(tmp_path / "6", a="x", c="y")]
    assert len({digest_of(folder) for folder in (one, *others)}) == 5
    before = digest_of(one)
    fill(one, **{".hidden": "z", "b/Thumbs.db": "z", ".folder/a": "z"})
    assert digest_of(one) == before
    assert files_of(one) == [Path("a"), Path("b/c")]


def test_a_link_to_a_folder_is_refused_one_to_a_file_is_copied(tmp_path: Path) -> None:
    bundle = fill(tmp_path / "1", a="x")
    (bundle / "b").symlink_to(bundle / "a")
    copy_files(bundle, tmp_path / "copy", digest_of(bundle))
    assert (tmp_path / "copy/b").read_text() == "x" and not (tmp_path / "copy/b").is_symlink()
    (bundle / "c").symlink_to(tmp_path / "copy")
    with pytest.raises(UserError, match="c: is a link to a folder"):
        digest_of(bundle)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(fill(tmp_path / "1", a="x") / "pipe")
    with pytest.raises(UserError, match="pipe: is not a regular file"):
        digest_of(tmp_path / "1")


def test_a_copy_that_is_another_is_refused(history: History, tmp_path: Path) -> None:
    bundle = fill(tmp_path / "1", a="x")
    with pytest.raises(UserError, match="was changed while it was copied"):
        history.keep(bundle, "a", "another digest")
    assert [path.name for path in history.path.iterdir()] == []


def test_a_state_is_never_overwritten(history: History, tmp_path: Path) -> None:
    fill(history.path / "a", x="1")
    bundle = fill(tmp_path / "1", x="2")
    with pytest.raises(UserError, match="a: exists already"):
        history.keep(bundle, "a", digest_of(bundle))
    assert (history.path / "a/x").read_text() == "1"


def test_a_full_disk_leaves_nothing_behind(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    bundle = fill(tmp_path / "1", a="x", b="y")
    monkeypatch.setattr(release_files.os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot be kept \(No space left on device\); free space"):
        history.keep(bundle, "a", digest_of(bundle))
    assert [path.name for path in history.path.iterdir()] == []


def test_two_releases_do_not_run_at_once(history: History) -> None:
    with history.locked():
        with pytest.raises(UserError, match="another release is running"), history.locked():
            pass
        words = f"from pathlib import Path\nfrom roinspect.inspection.release_history import History\n\
with History(Path({str(history.line)!r})).locked(): pass"
        done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=False)
        assert done.returncode and "another release is running" in done.stderr
    with history.locked():
        pass


def test_a_lock_removes_what_a_kill_left(history: History) -> None:
    left = fill(history.path / ".line.0123abcd.tmp", **{"a": "x", "b/c": "y"})
    with history.locked():
        assert not left.exists()
