"""Logs as JSON, one object per line."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

_LOGGERS = ("roinspect", "uvicorn")


class JsonFormatter(logging.Formatter):
    """`time`, `level`, `event`, the caller's ``extra={"fields": {...}}``, and `traceback` if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


@contextmanager
def json_logs() -> Iterator[None]:
    """Write the logs of roinspect and uvicorn as JSON to stderr, and nowhere else."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    former = {
        name: (logging.getLogger(name).handlers[:], logging.getLogger(name).propagate) for name in _LOGGERS
    }
    for name in _LOGGERS:
        logging.getLogger(name).handlers[:] = [handler]
        # The root may have a handler of some runtime, which would repeat every line as text.
        logging.getLogger(name).propagate = False
    logging.getLogger("uvicorn").setLevel(logging.INFO)
    try:
        yield
    finally:
        for name, (handlers, propagate) in former.items():
            logging.getLogger(name).handlers[:] = handlers
            logging.getLogger(name).propagate = propagate
