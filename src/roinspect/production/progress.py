"""Progress of a batch: a live line on a terminal, a plain line every ten seconds in a log."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from rich import progress
from rich.console import Console
from rich.text import Text

_LOG_INTERVAL_S = 10.0


class Progress(progress.Progress):
    """Counts images while its block runs.

    Args:
        total: images in all.
        done: images that an earlier run inspected.
        stream: standard error by default.
    """

    def __init__(self, total: int, done: int = 0, stream: TextIO | None = None) -> None:
        console = Console(file=sys.stderr if stream is None else stream)
        super().__init__(_Line(), console=console, refresh_per_second=2, redirect_stdout=False)
        self._images = self.add_task("", total=total, completed=done, errors=0)
        self._errors, self._logged = 0, time.monotonic()

    def step(self, *, is_error: bool) -> None:
        """Count one more image."""
        self._errors += is_error
        self.update(self._images, errors=self._errors)
        self.advance(self._images)
        if not self.console.is_terminal and time.monotonic() - self._logged >= _LOG_INTERVAL_S:
            self._logged = time.monotonic()
            self.print(self)


class _Line(progress.ProgressColumn):
    """Such as "1,200 of 230,000 images, 38.2 images/s, 99 min left, 3 not inspected"."""

    def render(self, task: progress.Task) -> Text:
        speed = task.finished_speed or task.speed or 0
        line = f"{task.completed:,.0f} of {task.total:,.0f} images, {speed:.1f} images/s"
        if task.time_remaining:
            line += f", {task.time_remaining / 60:.0f} min left"
        errors = task.fields["errors"]
        return Text(line + (f", {errors:,} not inspected" if errors else ""))
