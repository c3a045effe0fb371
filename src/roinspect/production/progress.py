"""Progress of a batch: a live line on a terminal, a plain line every ten seconds in a log."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from rich.console import Console
from rich.progress import Progress as Display
from rich.progress import ProgressColumn, Task
from rich.text import Text

_LOG_INTERVAL_S = 10.0


class Progress:
    """Counts images while its block runs.

    Args:
        total: images in all.
        done: images that an earlier run inspected.
        stream: standard error by default.
    """

    def __init__(self, total: int, done: int = 0, stream: TextIO | None = None) -> None:
        self._console = Console(file=sys.stderr if stream is None else stream)
        self._display = Display(
            _Line(),
            console=self._console,
            refresh_per_second=2,
            redirect_stdout=False,
            disable=not self._console.is_terminal,
        )
        self._id = self._display.add_task("", total=total, completed=done, errors=0)
        self._done, self._errors, self._logged = done, 0, time.monotonic()

    def __enter__(self) -> Progress:
        self._display.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._display.stop()
        if kind is None and self._display.tasks[0].completed > self._done:
            self._log(interval_s=0)

    def step(self, *, is_error: bool) -> None:
        """Count one more image."""
        self._errors += is_error
        self._display.update(self._id, errors=self._errors)
        self._display.advance(self._id)
        self._log(_LOG_INTERVAL_S)

    def _log(self, interval_s: float) -> None:
        if self._display.disable and time.monotonic() - self._logged >= interval_s:
            self._logged = time.monotonic()
            self._console.print(_line(self._display.tasks[0]), soft_wrap=True)


class _Line(ProgressColumn):
    def render(self, task: Task) -> Text:
        return _line(task)


def _line(task: Task) -> Text:
    """Such as "1,200 of 230,000 images, 38.2 images/s, 99 min left, 3 not inspected"."""
    speed = task.finished_speed or task.speed or 0
    line = f"{task.completed:,.0f} of {task.total:,.0f} images, {speed:.1f} images/s"
    if task.time_remaining:
        line += f", {task.time_remaining / 60:.0f} min left"
    errors = task.fields["errors"]
    return Text(line + (f", {errors:,} not inspected" if errors else ""))
