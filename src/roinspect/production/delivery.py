"""Deliver results to receivers, each through its own spool; used by every verb that inspects."""

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
    """Receivers of results and their spools.

    Args:
        targets: arguments of `open_sink`; may be empty.
        folder: for results not yet delivered; each receiver has a subfolder.

    Attributes:
        spools: by `sink_name`.

    Raises:
        UserError: a receiver is invalid, or the folder cannot be used or belongs to another process.
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
        """Deliveries still to be made."""
        return sum(spool.pending for spool in self.spools.values())

    def put(self, row: Mapping[str, Any]) -> None:
        """Store a result for all receivers; it is on the disk when this returns.

        Raises:
            UserError: a spool cannot be written.
        """
        for spool in self.spools.values():
            spool.put(row)

    def put_file(self, row: Mapping[str, Any], version: str) -> None:
        """`put` the row of a file; for the arguments see `identified`."""
        if self.spools:
            self.put(identified(row, version))

    def passing(self, rows: Rows, version: str) -> Rows:
        """Pass rows of files on, each after `put_file`."""
        with closing(rows):
            for row in rows:
                self.put_file(row, version)
                yield row

    def drain(self, *, patience_s: float = 10.0) -> int:
        """Wait until all is delivered, or nothing was for `patience_s` seconds; returns how many are left."""
        left, last_delivery = self.pending, time.monotonic()
        while left and time.monotonic() - last_delivery < patience_s:
            time.sleep(0.05)
            if (pending := self.pending) < left:
                left, last_delivery = pending, time.monotonic()
        return left

    def close(self, *, wait_s: float = 2.0) -> None:
        """Deliver for up to `wait_s` seconds, then stop; the rest is left to the next process."""
        for spool in self.spools.values():
            spool.close(wait_s=wait_s)


def identified(row: Mapping[str, Any], version: str) -> dict[str, Any]:
    """The row of a file as receivers get it.

    Args:
        row: result of `Verdict.to_dict`, optionally with `bytes` and `mtime_ns` of the file.
        version: result of `bundle_version`.

    Returns:
        The row with `model_version` and `id`. The id depends on path, size and modification time of the file
        and on the model alone, so receivers recognise a result that is delivered again after a kill.
    """
    path = row["image_path"]
    state = row.get("bytes"), row.get("mtime_ns")
    if None in state:
        with suppress(OSError, ValueError):
            status = Path(path).stat()
            state = status.st_size, status.st_mtime_ns
    return {"id": delivery_id(path, state, version), "model_version": version, **row}


def delivery_id(path: str, state: tuple[object, object], version: str) -> str:
    """The id of a result, from the file's path, size and modification time, and the model."""
    return sha256(json.dumps([one_spelling(path), *state, version]))[:32]
