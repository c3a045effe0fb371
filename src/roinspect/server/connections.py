"""Close connections that make no progress; uvicorn's own timeout only starts after the first response."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from roinspect.server.access import HAS_KEY
from roinspect.server.settings import ServeSettings

IDLE_S = 30.0
"""How long a connection may stay without a complete request head. A shorter limit would close keep-alive
connections of clients on busy machines."""
TAKING_S = 60.0
"""How long after the deadline a client may take to read its response, or to finish sending a refused body."""
REFUSED_S = 5.0
"""How long a client without the key may stay, whatever it does."""
MOST = 512
"""Open connections; a process may usually open 1024 files, and results need some of them."""


def guarded(
    settings: ServeSettings,
    *,
    idle_s: float = IDLE_S,
    taking_s: float = TAKING_S,
    refused_s: float = REFUSED_S,
    most: int = MOST,
) -> type[H11Protocol]:
    """The HTTP/1.1 protocol of uvicorn with limits on the duration and the number of connections."""
    limits = {
        "idle_s": idle_s,
        "request_s": settings.deadline_s + taking_s,
        "refused_s": refused_s,
        "most": max(most, 2 * settings.queue),
    }
    return type("Guarded", (_Guarded,), limits)


class _Guarded(H11Protocol):
    idle_s: float
    request_s: float
    refused_s: float
    most: int
    _timer: asyncio.TimerHandle | None = None
    _watched: object = None
    _is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Each request gets a copy in its scope.
        self.app_state = {**self.app_state, HAS_KEY: self._set_key}
        if len(self.connections) > self.most:
            transport.abort()
        else:
            self._start_timer()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _set_key(self, has_key: bool) -> None:
        """Called by the application when it knows whether the request has the key."""
        if self._is_refused == has_key:
            self._is_refused = not has_key
            self._start_timer(is_new=True)

    def _request(self) -> object:
        """The request in progress, or answered while its body is still arriving; None between requests."""
        is_done = self.cycle is None or (
            self.cycle.response_complete and self.conn.their_state is not h11.SEND_BODY
        )
        return None if is_done else self.cycle

    def _start_timer(self, *, is_new: bool = False) -> None:
        # More bytes of the same request do not extend its time, or a byte a second would hold it forever.
        if self._is_refused and not is_new:
            return
        request = self._request()
        if is_new or self._timer is None or request is not self._watched:
            if self._timer is not None:
                self._timer.cancel()
            self._watched = request
            limit = self.idle_s if request is None else self.request_s
            limit = min(limit, self.refused_s) if self._is_refused else limit
            self._timer = self.loop.call_later(limit, self._timed_out)

    def _timed_out(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self._is_refused or self._request() is self._watched:
            self.transport.abort()
        else:
            self._start_timer()
