"""Watch a folder that a camera writes to: inspect each file once, when it is complete.

The folder is looked through again and again, which works on every system and on network shares, where nobody
is told of a change. A file is whole when two looks find it unchanged and it can be decoded.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from annotated_types import Gt, Lt

from roinspect.data.paths import kind
from roinspect.data.records import find_images
from roinspect.errors import UserError
from roinspect.inspection.inspector import Inspector, Verdict, verdict_row
from roinspect.production.journal import Journal
from roinspect.production.tables import Rows
from roinspect.production.verdict_images import Pictures, real_folder
from roinspect.settings import check

State: TypeAlias = tuple[int, int]
"""Bytes, and the time of the last change in nanoseconds: what tells two photographs of one name apart."""


_Seconds = Annotated[float, Gt(0), Lt(math.inf)]


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """How a folder is watched.

    Args:
        interval: seconds from one look to the next, at least; a large folder is looked through less often, so
            that this takes half of the time at most.
        patience: seconds that a file which cannot be read may stay unchanged before it is reported, once.
    """

    interval: _Seconds = 0.5
    patience: _Seconds = 60.0

    def __post_init__(self) -> None:
        check(self, "--")


@dataclass(slots=True)
class _Waiting:
    """A file that is not inspected yet."""

    state: State
    since: float
    is_settled: bool = False


class Watch:
    """Inspects what comes into a folder and the folders below it.

    Files that are there already and files that are overwritten are inspected as well; a file that `out` has a
    row for is not. Hidden files and folders are passed over, as are our own pictures.

    Args:
        folder: the folder.
        inspector: the model.
        out: results, `.jsonl`, one row for each file: as `verdict_row` and `Pictures.write` make them, with
            `bytes` and `mtime_ns` of the file. Rows that are there stay.
        pictures: which ones are written.
        settings: how it is watched.
        tell: is given a line where the folder cannot be reached, and where it is back.
        deliver: is given every row before it is written: after a kill, perhaps once more.

    Raises:
        UserError: the folder is missing, or `out` is of another kind or in another's hands.
    """

    def __init__(
        self,
        folder: Path,
        inspector: Inspector,
        out: Path,
        pictures: Pictures,
        settings: WatchSettings,
        tell: Callable[[str], object] = print,
        deliver: Callable[[Mapping[str, Any]], object] = lambda row: None,
    ) -> None:
        if not folder.is_dir():
            raise UserError("no such folder", where=folder, remedy="make it, or check the path")
        if out.suffix.lower() != ".jsonl":
            raise UserError("is no .jsonl file", where=f"--out {out}", remedy="let it end in .jsonl")
        self._folder, self._inspector, self._pictures = folder, inspector, pictures
        self._settings, self._tell, self._deliver, self._out = settings, tell, deliver, out
        self._inspected: dict[str, State] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._is_away = False
        self._journal = Journal(out, self._remember)

    def run(self, should_stop: Callable[[], bool]) -> Rows:
        """Watch.

        Args:
            should_stop: asked after every image, and several times a second while there is none.

        Yields:
            Every row, once it is written.

        Raises:
            UserError: a row or a picture cannot be written.
        """
        with closing(self._journal):
            while not should_stop():
                began = time.monotonic()
                ready = self._look(began)
                took = time.monotonic() - began
                # Closed, what the model is ahead is dropped: it has no row, so it is inspected next time.
                with closing(self._inspect(ready)) as rows:
                    for row in rows:
                        yield row
                        if should_stop():
                            return
                self._journal.sync()
                until = time.monotonic() + max(self._settings.interval, took)
                while not should_stop() and (left := until - time.monotonic()) > 0:
                    time.sleep(min(left, 0.1))

    def _look(self, now: float) -> list[str]:
        """Look through the folder; returns the files that have not changed since the last look."""
        found: dict[str, State] = {}
        for path in find_images(self._folder):
            state = _state(path)
            if state and state != self._inspected.get(self._place(path)) and not self._pictures.owns(path):
                found[str(path)] = state
        self._note_absence(is_away=not found and not self._folder.is_dir())
        waiting, self._waiting = self._waiting, {}
        for name, state in found.items():
            before = waiting.get(name)
            is_unchanged = before is not None and before.state == state
            self._waiting[name] = before if before and is_unchanged else _Waiting(state, now)
            self._waiting[name].is_settled = is_unchanged
        return [name for name, file in self._waiting.items() if file.is_settled]

    def _inspect(self, ready: list[str]) -> Rows:
        for verdict in self._inspector.inspect_many(ready):
            file = self._waiting[verdict.image_path]
            # Overwritten while it was read, it is another photograph, and waits again.
            if _state(Path(verdict.image_path)) != file.state or self._may_become_whole(verdict, file):
                continue
            row = self._row(verdict, file.state)
            self._deliver(row)
            self._journal.add(row)
            self._remember(0, row)
            yield row

    def _may_become_whole(self, verdict: Verdict, file: _Waiting) -> bool:
        if verdict.error is None or kind(verdict.image_path) == "other":
            return False
        return time.monotonic() - file.since < self._settings.patience

    def _row(self, verdict: Verdict, state: State) -> dict[str, Any]:
        # With its suffix: a.png and a.jpg may come on different days.
        pictures = self._pictures.write(verdict, self._place(Path(verdict.image_path)))
        return verdict_row(verdict) | pictures | {"bytes": state[0], "mtime_ns": state[1]}

    def _remember(self, place: int, row: dict[str, Any]) -> None:
        path = row.get("image_path")
        if not isinstance(path, str):
            raise UserError(
                "has a row without a photograph",
                where=f"--out {self._out}",
                remedy="name another file",
            )
        self._inspected[self._place(Path(path))] = row.get("bytes", -1), row.get("mtime_ns", -1)

    def _place(self, path: Path) -> str:
        """Below the folder, which may have been written otherwise before a restart."""
        if not path.is_relative_to(self._folder):
            path, folder = real_folder(path.parent) / path.name, real_folder(self._folder)
            return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
        return path.relative_to(self._folder).as_posix()

    def _note_absence(self, *, is_away: bool) -> None:
        if is_away != self._is_away:
            self._tell(f"{self._folder} cannot be reached; waiting" if is_away else f"{self._folder} is back")
        self._is_away = is_away


def _state(path: Path) -> State | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
