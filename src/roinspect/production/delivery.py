"""Hands every result to all receivers, each by way of a spool: the same for every verb that inspects."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from roinspect.files import sha256
from roinspect.production.sinks import open_sink, sink_name
from roinspect.production.sources import one_spelling
from roinspect.production.spool import Spool
from roinspect.production.tables import Rows


class Delivery:
    """Receivers of results.

    Args:
        targets: as `open_sink` takes them; none is fine.
        folder: for results not yet delivered; each receiver has a folder in it.

    Attributes:
        spools: by `sink_name`.

    Raises:
        UserError: a receiver is invalid, or the folder cannot be used or is another process's.
    """

    def __init__(self, targets: Sequence[str], folder: Path) -> None:
        self.folder = folder
        self.spools: dict[str, Spool] = {}
        sinks = {sink_name(target): open_sink(target) for target in dict.fromkeys(targets)}
        try:
            for name, sink in sinks.items():
                self.spools[name] = Spool(folder / name, sink)
        except BaseException:
            self.close(wait_s=0)
            raise

    def __enter__(self) -> Delivery:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pending(self) -> int:
        """Results that no receiver, or not every one, has."""
        return sum(spool.pending for spool in self.spools.values())

    def put(self, row: Mapping[str, Any]) -> None:
        """Keep a result for all receivers; it is on the disk when this returns.

        Raises:
            UserError: as `Spool.put`.
        """
        for spool in self.spools.values():
            spool.put(row)

    def put_file(self, row: Mapping[str, Any], version: str) -> None:
        """`put` the row of a file; arguments as of `identified`."""
        if self.spools:
            self.put(identified(row, version))

    def passing(self, rows: Rows, version: str) -> Rows:
        """Pass the rows of files on, each after `put_file`."""
        with closing(rows):
            for row in rows:
                self.put_file(row, version)
                yield row

    def drain(self, *, patience_s: float = 10.0) -> int:
        """Wait until all results are delivered, or none was for so long; returns how many are left."""
        left, since = self.pending, time.monotonic()
        while left and time.monotonic() - since < patience_s:
            time.sleep(0.05)
            if (pending := self.pending) < left:
                left, since = pending, time.monotonic()
        return left

    def close(self, *, wait_s: float = 2.0) -> None:
        """Deliver for so long what waits, then stop; the rest stays for the next process."""
        for spool in self.spools.values():
            spool.close(wait_s=wait_s)


def identified(row: Mapping[str, Any], version: str) -> dict[str, Any]:
    """The row of a file as receivers get it.

    Args:
        row: as `verdict_row` makes it, perhaps with `bytes` and `mtime_ns` of the file.
        version: of `bundle_version`.

    Returns:
        The row, with `model_version` and an `id`, which is the same whenever the same model inspects the same
        file in the same state: what is handed over once more after a kill is known by it.
    """
    path = row["image_path"]
    state = row.get("bytes"), row.get("mtime_ns")
    if None in state:
        with suppress(OSError, ValueError):
            status = Path(path).stat()
            state = status.st_size, status.st_mtime_ns
    terms = json.dumps([one_spelling(path), *state, version])
    return {"id": sha256(terms)[:32], "model_version": version, **row}
