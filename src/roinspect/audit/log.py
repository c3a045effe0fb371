"""The audit log: a SQLite table of entries, each with a hash that depends on all entries before it.

Triggers keep SQL from changing or deleting an entry by mistake. Whoever may write the file can remove them,
and can compute every hash again: that is found only by comparing with a hash that was kept elsewhere.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from roinspect.errors import UserError
from roinspect.files import sha256, whole_file, writing
from roinspect.version import __version__

BEGUN = "begun"
"""The action of the first entry."""
FIRST = "0" * 64
"""What the first entry has instead of its predecessor's hash."""
LEAST_DIGITS = 12
"""Of a hash that a log is compared with."""

_APPLICATION, _SCHEMA = 0x726F6175, 1
_WAIT_S, _PAGE = 30.0, 1000
_TABLE = """\
CREATE TABLE entries (
    number INTEGER PRIMARY KEY, time TEXT NOT NULL, account TEXT NOT NULL, computer TEXT NOT NULL,
    action TEXT NOT NULL, subject TEXT NOT NULL, facts TEXT NOT NULL, version TEXT NOT NULL,
    hash TEXT NOT NULL
)"""
_GUARDS = [
    f"CREATE TRIGGER no_{name} BEFORE {event} "
    "BEGIN SELECT RAISE(ABORT, 'entries of an audit log are never changed'); END"
    for name, event in (
        ("update", "UPDATE ON entries"),
        ("delete", "DELETE ON entries"),
        # Such as by INSERT OR REPLACE, which fires no trigger of DELETE.
        ("replacement", "INSERT ON entries WHEN EXISTS (SELECT 1 FROM entries WHERE number >= NEW.number)"),
    )
]
_COLUMNS = "number, time, account, computer, action, subject, facts, version, hash"


class Entry(NamedTuple):
    """One line of the log.

    Attributes:
        number: 1 for the first entry, without gaps.
        time: ISO 8601, in UTC. The order is that of the numbers, as clocks may be set back.
        account: of the operating system.
        computer: its name.
        action: such as "trained" or "loaded".
        subject: what it was done to, usually an absolute path.
        facts: a JSON object: digests, settings, names.
        version: of roinspect.
        hash: SHA-256 of the previous entry's hash and of all values above.
    """

    number: int
    time: str
    account: str
    computer: str
    action: str
    subject: str
    facts: str
    version: str
    hash: str

    def to_dict(self) -> dict[str, Any]:
        """All values, the facts as an object; as they are if somebody changed them to something else."""
        try:
            facts = json.loads(self.facts)
        except (ValueError, TypeError):
            facts = self.facts
        return {**self._asdict(), "facts": facts}

    def hash_after(self, previous: str) -> str:
        """The hash that this entry must have."""
        # In a changed row a value may be of any type.
        return sha256(json.dumps([previous, *self[:-1]], default=str))


@dataclass(frozen=True, slots=True)
class Verification:
    """What checking a log has found.

    Attributes:
        entries: how many there are.
        last: the last one; None in a log that has lost all.
        faults: what was changed, one sentence each; none in an intact log.
        remarks: what is unusual and no fault, such as a clock that was set back.
    """

    entries: int
    last: Entry | None
    faults: tuple[str, ...]
    remarks: tuple[str, ...]


def begin(path: Path, account: str, computer: str) -> Entry:
    """Create a log, with an entry that says so.

    Raises:
        UserError: the file exists or cannot be written.
    """
    if path.exists():
        raise UserError("already exists", where=path, remedy="name a new file; a log is never overwritten")
    with (
        writing(path),
        whole_file(path, durable=True) as partial,
        _connected(partial, "rwc") as connection,
    ):
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        connection.execute(f"PRAGMA user_version = {_SCHEMA}")
        for statement in (_TABLE, *_GUARDS):
            connection.execute(statement)
        entry = _insert(connection, account, computer, BEGUN, str(path.absolute()), {})
        connection.execute("COMMIT")
    return entry


def check(path: Path) -> None:
    """Raise a UserError unless the file is an audit log, its end is intact, and it can be written."""
    with _opened(path, "rw") as connection:
        connection.execute("BEGIN IMMEDIATE")
        _require_intact_end(connection, path)


def append(
    path: Path, account: str, computer: str, action: str, subject: str, facts: Mapping[str, Any]
) -> Entry:
    """Append an entry; it is on the disk when this returns. Several processes may do so at once.

    Args:
        path: the log.
        account: of the operating system.
        computer: its name.
        action: see `Entry`.
        subject: see `Entry`.
        facts: values for JSON.

    Raises:
        UserError: the log is missing, damaged or cannot be written; it is then as before.
    """
    with _opened(path, "rw") as connection:
        connection.execute("BEGIN IMMEDIATE")
        _require_intact_end(connection, path)
        entry = _insert(connection, account, computer, action, subject, facts)
        connection.execute("COMMIT")
    return entry


def entries(path: Path) -> Iterator[Entry]:
    """All entries, in order; not checked.

    Raises:
        UserError: the log is missing or cannot be read.
    """
    with _opened(path, "ro") as connection:
        yield from _paged(connection)


def last(path: Path) -> Entry | None:
    """The last entry; None in a log that has lost all.

    Raises:
        UserError: the log is missing or cannot be read.
    """
    with _opened(path, "ro") as connection:
        return _newest(connection)


def verify(path: Path, known: Mapping[int, str] | None = None) -> Verification:
    """Find any change of a log.

    Args:
        path: the log.
        known: hashes that were kept elsewhere, or their first `LEAST_DIGITS` digits, by number of the entry.
            Only these show that entries were removed at the end, or that the whole log was written again.

    Raises:
        UserError: the log is missing, cannot be read or is not an audit log.
    """
    faults, remarks, missing = list[str](), list[str](), dict(known or {})
    previous, count, first, newest = FIRST, 0, None, None
    with _opened(path, "ro") as connection:
        try:
            faults += [f"the file is damaged: {line}" for line in _damages(connection)]
            faults += _guard_faults(connection)
            for entry in _paged(connection):
                expected = 1 if newest is None else newest.number + 1
                if entry.number != expected:
                    faults.append(f"{_numbers(expected, entry.number - 1)} missing")
                if entry.hash != entry.hash_after(previous):
                    faults.append(
                        f"entry {entry.number} does not match its hash: it was changed, or the one before it"
                    )
                if newest is not None and str(entry.time) < str(newest.time):
                    remarks.append(
                        f"the clock went back between entries {newest.number} and {entry.number}, "
                        f"from {newest.time} to {entry.time}; their order is certain"
                    )
                if not str(entry.hash).startswith(missing.pop(entry.number, "")):
                    faults.append(f"entry {entry.number} is not the one whose hash was kept")
                previous, count, newest = str(entry.hash), count + 1, entry
                first = first or entry
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            faults.append(f"the file is damaged after entry {newest.number if newest else 0} ({error})")
    if first is not None and (first.number, first.action) != (1, BEGUN):
        faults.append("the log does not begin with the entry of its beginning")
    if not count:
        faults.append("there is no entry, not even the one of its beginning")
    faults += [f"entry {number}, whose hash was kept, is missing" for number in sorted(missing)]
    return Verification(count, newest, tuple(faults), tuple(remarks))


def _paged(connection: sqlite3.Connection) -> Iterator[Entry]:
    """All entries, in order. Nobody who reads them slowly keeps others from writing."""
    after = -(2**63)
    while rows := connection.execute(
        f"SELECT {_COLUMNS} FROM entries WHERE number > ? ORDER BY number LIMIT {_PAGE}", (after,)
    ).fetchall():
        yield from map(Entry._make, rows)
        after = rows[-1][0]


def _newest(connection: sqlite3.Connection) -> Entry | None:
    row = connection.execute(f"SELECT {_COLUMNS} FROM entries ORDER BY number DESC LIMIT 1").fetchone()
    return row and Entry._make(row)


def _require_intact_end(connection: sqlite3.Connection, path: Path) -> None:
    """Raise a UserError unless the guards are there, and the last entry follows the one before it."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM entries ORDER BY number DESC LIMIT 2").fetchall()
    end = [*map(Entry._make, rows)]
    previous = str(end[1].hash) if len(end) > 1 else FIRST
    if not end or _guard_faults(connection) or end[0].hash != end[0].hash_after(previous):
        raise UserError(
            "the audit log was changed, and is not continued",
            where=path,
            remedy=f"run: roinspect audit verify {path}; keep the file, and begin another",
        )


def _damages(connection: sqlite3.Connection) -> list[str]:
    found = [str(line) for (line,) in connection.execute("PRAGMA integrity_check(5)")]
    return [] if found == ["ok"] else [" ".join(line.split()) for line in found]


def _guard_faults(connection: sqlite3.Connection) -> list[str]:
    present = {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    return [] if present == {_TABLE, *_GUARDS} else ["its table or the triggers that guard it were changed"]


def _numbers(first: int, last: int) -> str:
    return f"entry {first} is" if first == last else f"entries {first} to {last} are"


def _insert(
    connection: sqlite3.Connection,
    account: str,
    computer: str,
    action: str,
    subject: str,
    facts: Mapping[str, Any],
) -> Entry:
    newest = _newest(connection)
    entry = Entry(
        1 if newest is None else newest.number + 1,
        datetime.now(UTC).isoformat(timespec="milliseconds"),
        account,
        computer,
        action,
        # A path need not be text.
        subject.encode("utf-8", "backslashreplace").decode(),
        json.dumps(facts, sort_keys=True),
        __version__,
        "",
    )
    entry = entry._replace(hash=entry.hash_after(FIRST if newest is None else newest.hash))
    connection.execute(f"INSERT INTO entries ({_COLUMNS}) VALUES ({', '.join('?' * len(entry))})", entry)
    return entry


@contextmanager
def _opened(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    """An existing log."""
    if not path.is_file():
        what = "is not a file" if path.exists() else "there is no such audit log"
        raise UserError(
            what, where=path, remedy="name another file, or begin one: roinspect audit begin FILE"
        )
    # What a process that was killed left unfinished is rolled back, which takes a connection that may write.
    mode = "rw" if path.with_name(f"{path.name}-journal").exists() else mode
    with _connected(path, mode) as connection:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (schema,) = connection.execute("PRAGMA user_version").fetchone()
        if application != _APPLICATION:
            raise UserError(
                "is not an audit log", where=path, remedy="name the file that `audit begin` wrote"
            )
        if schema != _SCHEMA:
            raise UserError(
                f"has schema version {schema}, this roinspect reads {_SCHEMA}",
                where=path,
                remedy="use the roinspect that wrote it",
            )
        yield connection


@contextmanager
def _connected(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    connection = None
    try:
        address = f"{path.absolute().as_uri()}?mode={mode}"
        connection = sqlite3.connect(address, uri=True, timeout=_WAIT_S, isolation_level=None)
        if mode != "ro":
            # The folder's entry of the removed journal too reaches the disk before a commit returns.
            connection.execute("PRAGMA synchronous = EXTRA")
        yield connection
    except sqlite3.Error as error:
        raise UserError(
            f"the audit log cannot be {'read' if mode == 'ro' else 'written'} ({error})",
            where=path,
            remedy=_remedy(error),
        ) from None
    finally:
        if connection is not None:
            # Rolls back what was not committed.
            connection.close()


def _remedy(error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", "")
    if _is_damage(error):
        return "keep the file, and continue with a copy that `roinspect audit verify` accepts"
    if name.startswith("SQLITE_FULL"):
        return "free space"
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return "another process holds it; close it there"
    return "check the path and its permissions"


def _is_damage(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))
