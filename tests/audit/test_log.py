"""Whatever is changed in an audit log is found, and nothing that was written is lost."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from roinspect import UserError
from roinspect.audit import log
from roinspect.audit.log import FIRST, append, begin, check, entries, last, verify
from roinspect.files import sha256

COUNT = 6


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log of six entries."""
    file = tmp_path / "audit.db"
    begin(file, "anna", "line-3")
    for number in range(2, COUNT + 1):
        append(file, "anna", "line-3", "loaded", f"model {number}", {"version": f"v{number}", "ok": True})
    return file


def tampered(path: Path, *statements: str) -> None:
    """Change the file as somebody does who knows SQLite."""
    with closing(sqlite3.connect(path)) as connection:
        for name in ("update", "delete", "replacement"):
            connection.execute(f"DROP TRIGGER no_{name}")
        for statement in statements:
            connection.execute(statement)
        for guard in log._GUARDS:
            connection.execute(guard)
        connection.commit()


def test_an_untouched_log_is_intact(path: Path) -> None:
    found = verify(path)
    assert found.faults == found.remarks == ()
    assert found.entries == COUNT
    assert found.last == last(path) == list(entries(path))[-1]


def test_entries_say_what_who_when_and_with_which_version(path: Path) -> None:
    from roinspect import __version__

    first, *_, newest = [entry.to_dict() for entry in entries(path)]
    assert first["action"] == "begun" and first["subject"] == str(path)
    assert newest["number"] == COUNT and newest["version"] == __version__
    assert (newest["account"], newest["computer"]) == ("anna", "line-3")
    assert (newest["action"], newest["subject"]) == ("loaded", "model 6")
    assert newest["facts"] == {"version": "v6", "ok": True}
    assert first["time"] <= newest["time"] and newest["time"].endswith("+00:00")


@pytest.mark.parametrize(
    "column", ["time", "account", "computer", "action", "subject", "facts", "version", "hash"]
)
@pytest.mark.parametrize("number", [1, 3, COUNT])
def test_every_changed_value_is_found(path: Path, column: str, number: int) -> None:
    tampered(path, f"UPDATE entries SET {column} = {column} || ' ' WHERE number = {number}")
    assert any(f"entry {number} " in fault for fault in verify(path).faults)


@pytest.mark.parametrize("value", ["7", "2.5", "x'00ff'", "'{}'"])
def test_a_value_of_another_type_is_found_too(path: Path, value: str) -> None:
    tampered(path, f"UPDATE entries SET facts = {value} WHERE number = 4")
    assert verify(path).faults


@pytest.mark.parametrize("number", range(1, COUNT))
def test_a_removed_entry_is_found(path: Path, number: int) -> None:
    tampered(path, f"DELETE FROM entries WHERE number = {number}")
    faults = verify(path).faults
    assert f"entry {number} is missing" in faults
    assert any(f"entry {number + 1} does not match" in fault for fault in faults)


def test_closing_the_gap_is_found(path: Path) -> None:
    tampered(
        path,
        "DELETE FROM entries WHERE number = 3",
        "UPDATE entries SET number = number - 1 WHERE number > 3",
    )
    assert any("entry 3 does not match" in fault for fault in verify(path).faults)


def test_exchanged_entries_are_found(path: Path) -> None:
    tampered(
        path,
        "UPDATE entries SET number = 99 WHERE number = 2",
        "UPDATE entries SET number = 2 WHERE number = 3",
        "UPDATE entries SET number = 3 WHERE number = 99",
    )
    assert verify(path).faults


def test_an_entry_put_in_by_hand_is_found(path: Path) -> None:
    tampered(
        path,
        "INSERT INTO entries SELECT 7, time, account, computer, action, 'another', facts, version, hash "
        "FROM entries WHERE number = 6",
    )
    assert [fault for fault in verify(path).faults if "entry 7" in fault]


def test_entries_removed_at_the_end_are_found_with_a_known_hash(path: Path) -> None:
    newest = last(path)
    assert newest is not None
    known = {newest.number: newest.hash[:12]}
    assert verify(path, known).faults == ()
    tampered(path, f"DELETE FROM entries WHERE number = {COUNT}")
    assert verify(path).faults == ()
    assert verify(path, known).faults == (f"entry {COUNT}, whose hash was kept, is missing",)


def test_a_log_that_was_written_anew_is_found_with_a_known_hash(path: Path, tmp_path: Path) -> None:
    newest = last(path)
    assert newest is not None
    other = tmp_path / "other.db"
    begin(other, "bela", "line-3")
    for _ in range(COUNT):
        append(other, "bela", "line-3", "loaded", "a better story", {})
    assert verify(other).faults == ()
    assert verify(other, {newest.number: newest.hash}).faults == (
        f"entry {COUNT} is not the one whose hash was kept",
    )


@pytest.mark.parametrize(
    "event",
    [
        "UPDATE entries SET subject = 'x'",
        "DELETE FROM entries",
        "INSERT OR REPLACE INTO entries SELECT 1, time, account, computer, action, 'x', facts, version, hash "
        "FROM entries WHERE number = 2",
    ],
)
def test_sql_alone_changes_nothing(path: Path, event: str) -> None:
    with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.Error, match="never changed"):
        connection.execute(event)
    assert verify(path).faults == ()


def test_a_removed_guard_is_found(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER no_delete")
        connection.commit()
    assert verify(path).faults == ("its table or the triggers that guard it were changed",)


def test_a_log_that_has_lost_all_is_no_intact_log(path: Path) -> None:
    tampered(path, "DELETE FROM entries")
    found = verify(path)
    assert found.entries == 0 and found.last is None
    assert found.faults == ("there is no entry, not even the one of its beginning",)


def test_a_clock_that_runs_backwards_is_said_and_the_order_stays(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import datetime

    class Early(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime(2001, 2, 3, tzinfo=tz)

    monkeypatch.setattr(log, "datetime", Early)
    assert append(path, "anna", "line-3", "loaded", "model", {}).number == COUNT + 1
    found = verify(path)
    assert found.faults == ()
    assert len(found.remarks) == 1 and f"between entries {COUNT} and {COUNT + 1}" in found.remarks[0]


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TRIGGER no_delete",
        f"UPDATE entries SET subject = 'x' WHERE number = {COUNT}",
        f"UPDATE entries SET hash = 'x' WHERE number = {COUNT - 1}",
        "DELETE FROM entries",
    ],
)
def test_a_log_whose_end_was_changed_is_not_continued(path: Path, statement: str) -> None:
    if statement.startswith("DROP"):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(statement)
            connection.commit()
    else:
        tampered(path, statement)
    for use in (check, lambda path: append(path, "anna", "pc", "loaded", "model", {})):
        with pytest.raises(UserError, match="was changed, and is not continued; run: roinspect audit verify"):
            use(path)


def test_a_log_without_its_beginning_is_not_intact(path: Path) -> None:
    tampered(path, "DELETE FROM entries")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        log._insert(connection, "anna", "pc", "loaded", "model", {})
    assert "the log does not begin with the entry of its beginning" in verify(path).faults


def test_reading_slowly_keeps_nobody_from_writing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_WAIT_S", 0.01)
    monkeypatch.setattr(log, "_PAGE", 2)
    reading = entries(path)
    assert next(reading).number == 1
    append(path, "anna", "pc", "loaded", "model", {})
    assert [entry.number for entry in reading] == list(range(2, COUNT + 2))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process is killed in a fork")
@pytest.mark.parametrize("use", [check, verify, last, lambda path: list(entries(path))])
def test_what_a_killed_process_left_is_rolled_back(path: Path, use: Callable[[Path], object]) -> None:
    code = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute('PRAGMA cache_size = 1'); c.execute('PRAGMA cache_spill = 1')\n"
        "c.execute('BEGIN IMMEDIATE')\n"
        "c.execute('CREATE TABLE other (x)')\n"
        "for _ in range(200): c.execute('INSERT INTO other VALUES (?)', ('x' * 3000,))\n"
        "os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == 9
    assert path.with_name("audit.db-journal").exists()
    use(path)
    assert verify(path).faults == () and verify(path).entries == COUNT


def test_the_chain_starts_from_nothing(path: Path) -> None:
    first = next(entries(path))
    assert first.hash == first.hash_after(FIRST)


# -- what a log cannot be


@pytest.mark.parametrize("use", [check, verify, last, lambda path: list(entries(path))])
def test_a_missing_log_is_not_begun_in_silence(tmp_path: Path, use: Callable[[Path], object]) -> None:
    missing = tmp_path / "audit.db"
    with pytest.raises(UserError, match=r"no such audit log; .* begin one: roinspect audit begin"):
        use(missing)
    with pytest.raises(UserError, match="no such audit log"):
        append(missing, "anna", "line-3", "loaded", "model", {})
    assert not missing.exists()


def test_a_log_is_not_begun_twice(path: Path) -> None:
    with pytest.raises(UserError, match="already exists"):
        begin(path, "anna", "line-3")
    assert verify(path).entries == COUNT


def test_another_database_is_no_log(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE entries (number INTEGER PRIMARY KEY)")
    with pytest.raises(UserError, match="is not an audit log"):
        verify(other)


@pytest.mark.parametrize("content", [b"not a database" * 100, b""])
def test_another_file_is_no_log(tmp_path: Path, content: bytes) -> None:
    other = tmp_path / "audit.db"
    other.write_bytes(content)
    with pytest.raises(UserError, match=r"not an audit log|is not a database"):
        check(other)
    assert other.read_bytes() == content


def test_damage_on_the_disk_is_found(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    path.write_bytes(content)
    try:
        assert verify(path).faults
    except UserError as error:
        assert "cannot be read" in str(error)


def test_a_log_of_a_later_version_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(UserError, match="has schema version 2"):
        check(path)


def test_on_a_full_disk_nothing_is_lost(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect

    def full(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    monkeypatch.setattr(log.sqlite3, "connect", full)
    with pytest.raises(UserError, match=r"cannot be written \(database or disk is full\); free space"):
        append(path, "anna", "line-3", "loaded", "model", {"long": "x" * 100_000})
    assert verify(path).entries == COUNT and verify(path).faults == ()
    append(path, "anna", "line-3", "loaded", "model", {})
    assert verify(path).faults == ()


def test_a_log_held_by_another_process_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_WAIT_S", 0.01)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UserError, match="another process holds it"):
            append(path, "anna", "line-3", "loaded", "model", {})


def test_many_processes_write_one_log(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from roinspect.audit.log import append\n"
        "for number in range(15): append(Path(sys.argv[1]), sys.argv[2], 'pc', 'loaded', str(number), {})"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, path, name]) for name in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    found = verify(path)
    assert found.faults == () and found.entries == COUNT + 45
    for name in "abc":
        assert [e.subject for e in entries(path) if e.account == name] == [str(n) for n in range(15)]


def test_the_schema_of_a_version_is_never_changed() -> None:
    """Else the logs that exist would look as if somebody had changed their table: raise `_SCHEMA` instead."""
    assert log._SCHEMA == 1
    assert sha256("".join([log._TABLE, *log._GUARDS]))[:12] == "e58d02969e2e"
