"""Watch a folder that a camera writes to: inspect each file once, when it is complete.

The folder is polled, which also works on network shares, where change notifications are not available. A
file is complete when two scans find it unchanged and it can be decoded.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from annotated_types import Ge, Gt, Lt

from roinspect.data.paths import kind
from roinspect.data.records import find_images
from roinspect.errors import UserError
from roinspect.files import open_regular
from roinspect.inspection.drift import DriftMonitor
from roinspect.inspection.inspector import Inspector, Verdict, drift_row
from roinspect.production.journal import Journal
from roinspect.production.tables import Rows
from roinspect.production.verdict_images import Pictures, real_folder
from roinspect.settings import check

REST_S = 5.0
"""Seconds for which a file that ends in zeros must stay unchanged, as its pixels may not be written yet."""

_TAIL = 64
State: TypeAlias = tuple[int, int]
"""Size in bytes and modification time in nanoseconds, which identify one version of a file."""

_Seconds = Annotated[float, Gt(0), Lt(math.inf)]


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """How a folder is watched.

    Args:
        interval: minimum seconds between two scans; a large folder is scanned less often, so that scanning
            takes at most half of the time.
        patience: seconds for which an unreadable file must stay unchanged before it is reported, once; also
            for a file with blocks that were never written.
        self_test_s: seconds after which the self-test is repeated; 0 for never.
    """

    interval: _Seconds = 0.5
    patience: _Seconds = 60.0
    self_test_s: Annotated[float, Ge(0), Lt(math.inf)] = 0.0

    def __post_init__(self) -> None:
        check(self, "--")


@dataclass(slots=True)
class _Waiting:
    """A file not yet inspected."""

    state: State
    since: float
    is_settled: bool = False


class Watch:
    """Inspects the files that arrive in a folder and its subfolders.

    Existing and overwritten files are inspected as well, unless `out` already has a row for them. Hidden
    files and folders and our own pictures are ignored.

    Args:
        folder: the folder.
        inspector: the model.
        out: results, `.jsonl`, one row per file with the values of `Verdict.to_dict` and `Pictures.write`,
            `time` (UTC), `model_version`, `scores_version`, and `bytes` and `mtime_ns` of the file. Existing
            rows are kept.
        pictures: where pictures are written.
        settings: how the folder is watched.
        report: called with a line when the folder becomes unreachable and when it is back.
        deliver: called with every row before it is written; after a kill, possibly again.
        model_version: result of `bundle_version`.
        scores_version: result of `scores_version`.
        test: called every `self_test_s` seconds, between two scans; an error ends the watch.
        drift: sees every inspectable part; what has moved is `drift` in the rows.

    Raises:
        UserError: the folder is missing, or `out` is not a .jsonl file or is in use by another process.
    """

    def __init__(
        self,
        folder: Path,
        inspector: Inspector,
        out: Path,
        pictures: Pictures,
        settings: WatchSettings,
        report: Callable[[str], object] = print,
        deliver: Callable[[Mapping[str, Any]], object] = lambda row: None,
        model_version: str = "",
        test: Callable[[], object] = lambda: None,
        drift: DriftMonitor | None = None,
        scores_version: str = "",
    ) -> None:
        check_watch(folder, out)
        self._folder, self._inspector, self._pictures = folder, inspector, pictures
        self._settings, self._report, self._deliver, self._out = settings, report, deliver, out
        self._model_version, self._scores_version = model_version, scores_version
        self._test, self._drift = test, drift
        self._inspected: dict[str, State] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._is_away = False
        self._journal = Journal(out, self._remember)

    def run(self, should_stop: Callable[[], bool]) -> Rows:
        """Watch until stopped.

        Args:
            should_stop: called after every image, and several times a second while there are none.

        Yields:
            Every row, after it is written.

        Raises:
            UserError: a row or a picture cannot be written, or the self-test failed.
        """
        tested_at = time.monotonic()
        with closing(self._journal):
            while not should_stop():
                start = time.monotonic()
                if 0 < self._settings.self_test_s <= start - tested_at:
                    self._test()
                    tested_at = start
                ready = self._scan(start)
                scan_s = time.monotonic() - start
                # Closing drops images inspected ahead; they have no row yet and are inspected next time.
                with closing(self._inspect(ready)) as rows:
                    for row in rows:
                        yield row
                        if should_stop():
                            return
                self._journal.sync()
                until = time.monotonic() + max(self._settings.interval, scan_s)
                while not should_stop() and (left := until - time.monotonic()) > 0:
                    time.sleep(min(left, 0.1))

    def _scan(self, now: float) -> list[str]:
        """Scan the folder; returns the files that have not changed since the last scan."""
        states: dict[str, State] = {}
        for path in find_images(self._folder):
            state = _state(path)
            if state and state != self._inspected.get(self._relative(path)) and not self._pictures.owns(path):
                states[str(path)] = state
        self._note_absence(is_away=not states and not self._folder.is_dir())
        waiting, self._waiting = self._waiting, {}
        for name, state in states.items():
            before = waiting.get(name)
            is_unchanged = before is not None and before.state == state
            self._waiting[name] = before if before and is_unchanged else _Waiting(state, now)
            self._waiting[name].is_settled = is_unchanged
        return [
            name
            for name, file in self._waiting.items()
            if file.is_settled and now - file.since >= self._rest_s(Path(name))
        ]

    def _rest_s(self, path: Path) -> float:
        """Seconds for which a file must stay unchanged.

        A BMP or an uncompressed TIFF can be decoded once its length is reserved. Then it has blocks that were
        never written, where the file system tells, or it ends in zeros, like a photograph with a black edge.
        """
        try:
            with open_regular(path) as file:
                size = file.seek(0, os.SEEK_END)
                if hasattr(os, "SEEK_HOLE") and size and os.lseek(file.fileno(), 0, os.SEEK_HOLE) < size:
                    return self._settings.patience
                file.seek(max(0, size - _TAIL))
                return 0.0 if any(file.read()) else min(REST_S, self._settings.patience)
        except (OSError, ValueError):
            return 0.0

    def _inspect(self, ready: list[str]) -> Rows:
        for verdict in self._inspector.inspect_many(ready):
            file = self._waiting[verdict.image_path]
            # Overwritten while it was read, it is a new photograph and waits again.
            if _state(Path(verdict.image_path)) != file.state or self._may_become_readable(verdict, file):
                continue
            row = self._row(verdict, file.state)
            self._deliver(row)
            self._journal.add(row)
            self._remember(0, row)
            yield row

    def _may_become_readable(self, verdict: Verdict, file: _Waiting) -> bool:
        if verdict.error is None or kind(verdict.image_path) == "other":
            return False
        return time.monotonic() - file.since < self._settings.patience

    def _row(self, verdict: Verdict, state: State) -> dict[str, Any]:
        # With its suffix: a.png and a.jpg may arrive on different days.
        pictures = self._pictures.write(verdict, self._relative(Path(verdict.image_path)))
        row = verdict.to_dict()
        return {
            "image_path": row.pop("image_path"),
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "model_version": self._model_version,
            "scores_version": self._scores_version,
            **row,
            **drift_row(self._drift, verdict),
            **pictures,
            "bytes": state[0],
            "mtime_ns": state[1],
        }

    def _remember(self, offset: int, row: dict[str, Any]) -> None:
        path = row.get("image_path")
        if not isinstance(path, str):
            raise UserError(
                "has a row without image_path",
                where=f"--out {self._out}",
                remedy="name another file",
            )
        self._inspected[self._relative(Path(path))] = row.get("bytes", -1), row.get("mtime_ns", -1)

    def _relative(self, path: Path) -> str:
        """Relative to the folder, which may have been spelled differently before a restart."""
        if not path.is_relative_to(self._folder):
            path, folder = real_folder(path.parent) / path.name, real_folder(self._folder)
            return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
        return path.relative_to(self._folder).as_posix()

    def _note_absence(self, *, is_away: bool) -> None:
        if is_away != self._is_away:
            self._report(
                f"{self._folder} cannot be reached; waiting" if is_away else f"{self._folder} is back"
            )
        self._is_away = is_away


def check_watch(folder: Path, out: Path) -> None:
    """Check the paths before any work is done.

    Raises:
        UserError: the folder is missing, or `out` is not a .jsonl file.
    """
    if not folder.is_dir():
        raise UserError("no such folder", where=folder, remedy="create it, or check the path")
    if out.suffix.lower() != ".jsonl":
        raise UserError(
            "is not a .jsonl file", where=f"--out {out}", remedy="name a file that ends in .jsonl"
        )


def _state(path: Path) -> State | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
