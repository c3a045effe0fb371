"""Rows that are read while they are written, and a file that two processes write in turn."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from roinspect.errors import UserError
from roinspect.production.journal import Journal, read_rows


def ignore(offset: int, row: object) -> None:
    pass


def test_rows_are_read_with_their_lines_while_the_file_is_written(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with Journal(path, ignore) as journal:
        for number in range(3):
            journal.add({"n": number})
            assert [row for _, row in read_rows(path)] == [{"n": one} for one in range(number + 1)]
    with path.open("ab") as file:
        file.write(b'{"n": 3')
    assert [line for line, _ in read_rows(path)] == [1, 2, 3]
    # Complete, but for its end: a Journal keeps it too.
    path.write_bytes(path.read_bytes() + b"}")
    assert list(read_rows(path))[-1] == (4, {"n": 3})


@pytest.mark.parametrize("content", [b"[1]\n", b"image_path,verdict\n", b'{"n": 1}\n\n{"n": 2}\n', b"7"])
def test_anything_but_rows_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"something other than rows .*; move it away, or name another file"):
        list(read_rows(path))
    with pytest.raises(UserError, match="something other than rows"):
        Journal(path, ignore)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"r\.jsonl: cannot be read \(No such file"):
        list(read_rows(tmp_path / "r.jsonl"))


@pytest.mark.skipif(os.name != "posix", reason="the file is not locked on Windows")
def test_one_writer_waits_for_another_as_long_as_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    first = Journal(path, ignore)
    began = time.monotonic()
    with pytest.raises(UserError, match="another run is writing it; wait for it, or name another file"):
        Journal(path, ignore, wait_s=0.2)
    assert time.monotonic() - began >= 0.2
    first.add({"n": 1})
    threading.Timer(0.2, first.close).start()
    with Journal(path, ignore, wait_s=20) as second:
        second.add({"n": 2})
    assert [row["n"] for _, row in read_rows(path)] == [1, 2]
