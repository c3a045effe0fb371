"""Progress of a batch in one line."""

from __future__ import annotations

import sys
import time
from typing import TextIO


class Progress:
    """Prints to a terminal twice a second, and to a log every ten seconds.

    Args:
        total: images in all.
        done: images that an earlier run inspected.
        stream: standard error by default.
    """

    def __init__(self, total: int, done: int = 0, stream: TextIO | None = None) -> None:
        self._total, self._before, self._done, self._errors = total, done, done, 0
        self._stream = sys.stderr if stream is None else stream
        self._is_terminal = self._stream.isatty()
        self._begun = self._printed = time.monotonic()

    def step(self, *, is_error: bool) -> None:
        """Count one more image."""
        self._done += 1
        self._errors += is_error
        if time.monotonic() - self._printed >= (0.5 if self._is_terminal else 10):
            self._print("" if self._is_terminal else "\n")

    def end(self) -> None:
        """Print for the last time."""
        self._print("\n")

    def line(self) -> str:
        """As "1,200 of 230,000 images, 38.2 images/s, 99 min left, 3 not inspected"."""
        seconds = time.monotonic() - self._begun
        rate = (self._done - self._before) / seconds if seconds else 0.0
        line = f"{self._done:,} of {self._total:,} images, {rate:.1f} images/s"
        if rate and self._done < self._total:
            line += f", {(self._total - self._done) / rate / 60:.0f} min left"
        return line + (f", {self._errors:,} not inspected" if self._errors else "")

    def _print(self, end: str) -> None:
        self._printed = time.monotonic()
        # Clear what the terminal still shows of a longer line.
        start = "\r\033[K" if self._is_terminal else ""
        print(start + self.line(), end=end, file=self._stream, flush=True)
