"""API-key authentication: every path but the health checks, before the body is read."""

from __future__ import annotations

import hmac

from fastapi import Request
from fastapi.responses import JSONResponse
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.types import ASGIApp, Receive, Scope, Send

from roinspect.files import sha256

OPEN = frozenset({"/v2/health/live", "/v2/health/ready"})
"""Routes that need no key."""

HAS_KEY = "has_key"
"""Name, in a request's state, of the connection's function that is called with whether it has the key."""
API_KEY = APIKeyHeader(name="X-API-Key", auto_error=False)
BEARER = HTTPBearer(auto_error=False)


class ApiKey:
    """Middleware that answers 401 to requests without the key.

    It also guards unknown paths and the OpenAPI schema, which a dependency of the routes would not.

    Args:
        app: the application.
        key: not empty.
    """

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app, self._digest = app, sha256(key.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        has_key = await self._has_key(Request(scope))
        if HAS_KEY in scope.get("state", {}):
            scope["state"][HAS_KEY](has_key)
        if has_key:
            await self._app(scope, receive, send)
            return
        refusal = JSONResponse(
            {"error": "the API key is missing or wrong; send it as the header X-API-Key"},
            401,
            {"WWW-Authenticate": "Bearer"},
        )
        await refusal(scope, receive, send)

    async def _has_key(self, request: Request) -> bool:
        key = await API_KEY(request)
        if not key:
            bearer = await BEARER(request)
            key = bearer.credentials if bearer else ""
        # Digests have equal lengths; comparing the keys themselves would reveal the length of the right one.
        return hmac.compare_digest(sha256(key.encode("latin-1", "replace")), self._digest)
