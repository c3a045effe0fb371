"""Access control and content security: pages load only the studio's own content."""

from __future__ import annotations

import hmac
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from roinspect.files import sha256

COOKIE = "roinspect_studio"
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

# Gradio compiles its components' templates in the browser, which needs unsafe-eval.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)

_ASK = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>roinspect studio</title>
<body style="font:1.1rem system-ui;max-width:32rem;margin:3rem auto;padding:0 1rem">
<h1>roinspect studio</h1><p>%s</p><form method="get">
<label>Token<br><input name="token" type="password" autofocus style="font:inherit;width:100%%;padding:.5rem">
</label><p><button style="font:inherit;padding:.5rem 1.2rem">Open</button></p></form>
<p>The studio printed the token in the window where it was started.</p></body></html>"""


class Guard:
    """Rejects requests without access, and forbids the browser to load anything from elsewhere.

    Without a token only this machine is served, under its own names: a website whose name resolves to this
    machine gets no answer. Requests that change something must come from the studio's page.

    Args:
        app: what answers.
        token: asked for once per browser, which then keeps a cookie; "" asks for none.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        if scope["type"] != "http":
            return
        if refusal := self._refusal(scope):
            await refusal(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = POLICY
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
            await send(message)

        await self._app(scope, receive, guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._token and _name(host) not in LOOPBACK:
            return PlainTextResponse(f"{host}: this studio serves its own machine only\n", 403)
        origin = headers.get("origin")
        if scope["method"] not in _SAFE and origin is not None and urlsplit(origin).netloc != host:
            return PlainTextResponse("the request comes from another site\n", 403)
        if not self._token or self._is_known(_cookie(headers)):
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        token = next((value for name, value in query if name == "token"), None)
        if token is not None and self._is_known(token):
            # Removed from the address: it would stay in the history and go along when the address is copied.
            rest = urlencode([pair for pair in query if pair[0] != "token"])
            answer = RedirectResponse("?" + rest if rest else scope["path"], 303)
            answer.set_cookie(COOKIE, self._token, httponly=True, samesite="strict")
            return answer
        words = "This studio requires a token." if token is None else "That token is wrong."
        return HTMLResponse(_ASK % words, 401, {"Cache-Control": "no-store"})

    def _is_known(self, token: str) -> bool:
        # Digests are of one length: a comparison of the tokens themselves would reveal theirs.
        return hmac.compare_digest(sha256(token), sha256(self._token))


def _name(host: str) -> str:
    """The name in a Host header, without port and brackets."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _cookie(headers: Headers) -> str:
    with suppress(CookieError, KeyError):
        return SimpleCookie(headers.get("cookie", ""))[COOKIE].value
    return ""
