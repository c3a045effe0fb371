"""API-key authentication: compared in constant time, before the body is read."""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from roinspect.files import sha256

OPEN = frozenset({"/v2/health/live", "/v2/health/ready"})
"""Routes that need no key: what looks after the server asks them."""


class ApiKey:
    """Responds 401 to requests without the key (`X-API-Key` or `Authorization: Bearer`).

    Args:
        app: what answers all others.
        key: not empty.
    """

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app, self._digest = app, sha256(key.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["path"] in OPEN or self._is_known(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        refusal = JSONResponse(
            {"error": "the API key is missing or wrong; send it as the header X-API-Key"},
            401,
            {"WWW-Authenticate": "Bearer"},
        )
        await refusal(scope, receive, send)

    def _is_known(self, headers: Headers) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = headers.get("x-api-key") or (token.strip() if scheme.lower() == "bearer" else "")
        # Digests are of one length: a comparison of the keys themselves would tell theirs.
        return hmac.compare_digest(sha256(given.encode("latin-1", "replace")), self._digest)
