"""Results of benchmarks: a line of JSON for each run in results/BENCHMARK.jsonl, all with the same keys.

`settings` and `seed` identify a run, with the part of the benchmark as the setting `verb`; `measures` has its
results. A line is appended when its run is over, so a killed benchmark keeps what it has measured. A later
line replaces an earlier one with the same settings and seed.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "results"


class NotMeasuredError(Exception):
    """There are no runs for a table."""


@dataclass(frozen=True)
class Run:
    """One line.

    Attributes:
        benchmark: the script's name, and the file's.
        settings: identify the run, together with the seed.
        seed: of the run, if any.
        measures: the results.
        machine: processor, cores, versions of torch and Python.
        date: of the measurement, as YYYY-MM-DD.
        versions: of other relevant packages, by name.
    """

    benchmark: str
    settings: Mapping[str, Any]
    seed: int | None
    measures: Mapping[str, Any]
    machine: str
    date: str
    versions: Mapping[str, str]


class Results:
    """The runs of one benchmark."""

    def __init__(self, benchmark: str, folder: Path = FOLDER) -> None:
        self.benchmark, self.file = benchmark, folder / f"{benchmark}.jsonl"
        self._read: tuple[tuple[int, int], list[Run]] = (0, 0), []

    def read(self, **settings: Any) -> list[Run]:
        """The runs with these settings (and others), in the order in which they were first measured."""
        runs = {_key(run.settings, run.seed): run for run in self._lines(settings)}
        return list(runs.values())

    def latest(self, **settings: Any) -> Run:
        """The last run with these settings.

        Raises:
            NotMeasuredError: there is no such run.
        """
        if not (runs := self._lines(settings)):
            raise NotMeasuredError(f"{self.benchmark}: no run with {settings}")
        return runs[-1]

    def has(self, settings: Mapping[str, Any], seed: int | None = None) -> bool:
        """Whether there is a run with exactly these settings and this seed."""
        return any(_key(run.settings, run.seed) == _key(settings, seed) for run in self.read())

    def append(
        self,
        settings: Mapping[str, Any],
        measures: Mapping[str, Any],
        *,
        seed: int | None = None,
        packages: Sequence[str] = (),
    ) -> Run:
        """Add a run measured on this machine today, with the versions of `packages`.

        NaN and infinity become null, as JSON has no other value for them.
        """
        versions = {name: importlib.metadata.version(name) for name in packages}
        run = Run(
            self.benchmark, settings, seed, _plain(measures), machine(), date.today().isoformat(), versions
        )
        self.file.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered: the line is written in one call, so a kill leaves either all or nothing of it.
        with self.file.open("ab", buffering=0) as opened:
            opened.write((json.dumps(asdict(run), ensure_ascii=False, allow_nan=False) + "\n").encode())
        return run

    def _lines(self, settings: Mapping[str, Any]) -> list[Run]:
        if not self.file.exists():
            return []
        status = self.file.stat()
        # Tables ask hundreds of times.
        if self._read[0] != (state := (status.st_mtime_ns, status.st_size)):
            with self.file.open(encoding="utf-8") as lines:
                self._read = state, [Run(**json.loads(line)) for line in lines]
        return [run for run in self._read[1] if settings.items() <= run.settings.items()]


def where(runs: Iterable[Run]) -> str:
    """The machines and dates of these runs.

    Raises:
        NotMeasuredError: there are no runs.
    """
    if not (places := sorted({f"{run.machine}, {run.date}" for run in runs})):
        raise NotMeasuredError
    return "; ".join(places)


def machine() -> str:
    """Processor, cores, versions of torch and Python."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    processor = names[0].split(":")[1].strip() if names else platform.processor()
    torch = importlib.metadata.version("torch").split("+")[0]
    return f"{processor}, {os.cpu_count()} cores, torch {torch}, Python {platform.python_version()}"


def _key(settings: Mapping[str, Any], seed: int | None) -> str:
    return json.dumps([settings, seed], sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
