"""`roinspect audit`."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from roinspect.audit.recording import VARIABLE, record
from roinspect.cli import main


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    path = tmp_path / "audit.db"
    assert main(["audit", "begin", str(path)]) == 0
    assert f"{VARIABLE}={path}" in capsys.readouterr().out
    monkeypatch.setenv(VARIABLE, str(path))
    record("loaded", "model", {"version": "a"})
    return path


def test_what_verify_prints_proves_later_that_nothing_is_missing(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "verify"]) == 0
    said = capsys.readouterr().out
    assert "is intact: 2 entries" in said
    known = said.split()[-1]
    record("loaded", "model", {"version": "b"})
    assert main(["audit", "verify", str(log), "--known", known]) == 0
    capsys.readouterr()
    with closing(sqlite3.connect(log)) as connection:
        for statement in ("DROP TRIGGER no_delete", "DELETE FROM entries WHERE number > 1"):
            connection.execute(statement)
        connection.commit()
    assert main(["audit", "verify", "--known", known]) == 1
    said = capsys.readouterr().out
    assert "CHANGED: entry 2, whose hash was kept, is missing." in said and "is intact" not in said


def test_verify_as_json(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "verify", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["entries"] == 2 and found["faults"] == [] and found["last"].startswith("2:")


def test_show_prints_a_line_for_each_entry(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "show"]) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [entry["action"] for entry in shown] == ["begun", "loaded"]
    assert shown[1]["facts"] == {"version": "a"}


@pytest.mark.parametrize("value", ["'no JSON'", "x'ff'", "7"])
def test_what_was_changed_is_shown_as_it_is(
    log: Path, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(sqlite3.connect(log)) as connection:
        connection.execute("DROP TRIGGER no_update")
        connection.execute(f"UPDATE entries SET facts = {value} WHERE number = 2")
        connection.commit()
    assert main(["audit", "show"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["audit", "verify"]) == 1
    assert "entry 2 does not match its hash" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["2", "x:abc", "2:abc", "2:" + "g" * 12, "-1:" + "0" * 12])
def test_a_known_entry_that_is_none(log: Path, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "verify", "--known", word]) == 2
    assert "NUMBER:HASH" in capsys.readouterr().err or word.startswith("-")


def test_one_entry_named_with_two_hashes(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "verify", "--known", "2:" + "0" * 12, "2:" + "1" * 12]) == 2
    assert "entry 2 is named with two hashes" in capsys.readouterr().err


def test_no_log_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert main(["audit", "verify"]) == 2
    assert "LOG: is required" in capsys.readouterr().err


def test_doctor_names_the_log_and_misses_one_that_is_gone(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["doctor", "--json"])
    diagnosis = json.loads(capsys.readouterr().out)
    assert diagnosis["audit"] == str(log) and not any("audit" in fault for fault in diagnosis["faults"])
    log.unlink()
    assert main(["doctor", "--json"]) == 1
    assert any("no such audit log" in fault for fault in json.loads(capsys.readouterr().out)["faults"])
