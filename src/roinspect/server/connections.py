"""Close connections that make no progress: the web server's own limit starts with the first response."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from roinspect.server.settings import ServeSettings

IDLE_S = 30.0
"""So long a connection may be without a request, whether nothing comes or headers without end. Not shorter:
the next request of a client whose machine is busy must not meet a closed connection."""
TAKING_S = 60.0
"""So long a client may take to fetch its answer, and to send the rest of a body that is refused already,
beyond the deadline."""
MOST = 512
"""Open connections; the usual limit on a process's files is 1024, and results have to be written."""


def guarded(
    settings: ServeSettings, *, idle_s: float = IDLE_S, taking_s: float = TAKING_S, most: int = MOST
) -> type[H11Protocol]:
    """HTTP/1.1 for uvicorn, with limits on the time and the number of connections."""
    limits = {
        "idle_s": idle_s,
        "request_s": settings.deadline_s + taking_s,
        "most": max(most, 2 * settings.queue),
    }
    return type("Guarded", (_Guarded,), limits)


class _Guarded(H11Protocol):
    idle_s: float
    request_s: float
    most: int
    _timer: asyncio.TimerHandle | None = None
    _watched: object = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most:
            transport.abort()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _request(self) -> object:
        """What is worked on, or answered but not read to its end; None between requests."""
        is_over = self.cycle is None or (
            self.cycle.response_complete and self.conn.their_state is not h11.SEND_BODY
        )
        return None if is_over else self.cycle

    def _watch(self) -> None:
        # More bytes of the same win no time: a sender of one byte a second would have it forever.
        request = self._request()
        if self._timer is None or request is not self._watched:
            if self._timer is not None:
                self._timer.cancel()
            self._watched = request
            limit = self.idle_s if request is None else self.request_s
            self._timer = self.loop.call_later(limit, self._late)

    def _late(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self._request() is not self._watched:
            self._watch()
        else:
            self.transport.abort()
