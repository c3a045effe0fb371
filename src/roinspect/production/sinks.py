"""Receivers of results: a folder, a webhook or an MQTT topic."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, TYPE_CHECKING, Protocol
from urllib.parse import SplitResult, unquote, urlsplit

from roinspect.errors import UserError
from roinspect.files import sha256, whole_file

if TYPE_CHECKING:
    from paho.mqtt.client import Client
    from paho.mqtt.reasoncodes import ReasonCode

WEBHOOK_TOKEN = "ROINSPECT_WEBHOOK_TOKEN"
"""Environment variable with the token that webhooks get as `Authorization: Bearer`."""

_TIMEOUT_S = 10.0


class ReceiverAwayError(Exception):
    """The receiver cannot be reached or asks to retry later."""


class ResultRefusedError(Exception):
    """The receiver rejects this result permanently."""


class Sink(Protocol):
    """A receiver of results, used from one thread."""

    def deliver(self, key: str, body: bytes) -> None:
        """Deliver one result; returns when the receiver has it.

        Args:
            key: the result's id, the same on every attempt.
            body: JSON.

        Raises:
            ReceiverAwayError: retry later.
            ResultRefusedError: do not retry.
        """

    def close(self) -> None:
        """Close connections."""


def open_sink(target: str) -> Sink:
    """A receiver: ``folder:PATH``, or ``SCHEME://[USER:PASSWORD@]HOST[:PORT]/PATH-OR-TOPIC``.

    The text before the first colon is a key of `SINKS`. Does not connect yet.

    Raises:
        UserError: the target is invalid, or needs paho-mqtt, which is not installed.
    """
    with suppress(KeyError, ValueError):
        return SINKS[target.partition(":")[0].lower()](target)
    raise UserError(
        "is not a receiver of results",
        where=sink_name(target),
        remedy="write folder:PATH, https://HOST/PATH or mqtt://HOST/TOPIC",
    )


def _folder(target: str) -> Sink:
    path = target.partition(":")[2]
    if not path:
        raise ValueError(target)
    return FolderSink(Path(path))


def _webhook(target: str) -> Sink:
    _address(target)
    return WebhookSink(target)


def _mqtt(target: str) -> Sink:
    address = _address(target)
    if not address.path.strip("/") or set("#+") & set(target):
        raise ValueError(target)
    return MqttSink(address)


def _address(target: str) -> SplitResult:
    """Parse; raises a ValueError if the host is missing or the port is invalid."""
    address = urlsplit(target)
    if not address.hostname:
        raise ValueError(target)
    _ = address.port  # raises a ValueError if it is not a number
    return address


SINKS: dict[str, Callable[[str], Sink]] = {
    "folder": _folder,
    "http": _webhook,
    "https": _webhook,
    "mqtt": _mqtt,
    "mqtts": _mqtt,
}
"""Opens a receiver, by scheme; raises a ValueError if the rest is invalid."""


def sink_name(target: str) -> str:
    """A name for logs, metrics and the spool: unique for a target, and without its password."""
    scheme = target.partition(":")[0] if ":" in target else "sink"
    scheme = scheme if scheme.isalnum() and len(scheme) < 10 else "sink"
    return f"{scheme}-{sha256(target)[:8]}"


class FolderSink:
    """Writes `ID.json` into a folder, atomically; a repeated result is the same file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def deliver(self, key: str, body: bytes) -> None:
        """Implement `Sink.deliver`."""
        try:
            # Durable, because the spool then deletes its own copy.
            with whole_file(self._folder / f"{key}.json", durable=True) as partial:
                partial.write_bytes(body)
        except OSError as error:
            raise ReceiverAwayError(f"{self._folder}: {error.strerror or error}") from None

    def close(self) -> None:
        """Implement `Sink.close`."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        """Do not follow: a redirected POST would become a GET without its body."""


class WebhookSink:
    """POSTs each result as JSON, with its id as `Idempotency-Key`.

    2xx and 409 (already received) mean delivered; 408, 425, 429 and 5xx are retried; any other status is a
    refusal.

    Args:
        address: user and password in it are sent as `Authorization: Basic`.

    Raises:
        UserError: the address or the token contains characters that HTTP cannot send, or both a user and a
            token are given.
    """

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        # Without user, password and query, which may be secret.
        self._where = f"{parts.scheme}://{parts.hostname}{parts.path}"
        if not _is_sendable(address):
            raise UserError(
                "contains a space or a non-ASCII character",
                where=self._where,
                remedy="percent-encode it, such as %20 for a space",
            )
        self._address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        self._opener = urllib.request.build_opener(_NoRedirect)
        self._headers = {"Content-Type": "application/json"} | self._authorization(parts)

    def deliver(self, key: str, body: bytes) -> None:
        """Implement `Sink.deliver`."""
        headers = self._headers | {"Idempotency-Key": key}
        try:
            request = urllib.request.Request(self._address, body, headers, method="POST")
            with self._opener.open(request, timeout=_TIMEOUT_S) as answer:
                answer.read(65536)
        except urllib.error.HTTPError as error:
            with error:
                reason = f"{self._where} answered {error.code}"
            if error.code == 409:
                return
            if error.code in (408, 425, 429) or error.code >= 500:
                raise ReceiverAwayError(reason) from None
            raise ResultRefusedError(reason) from None
        except (OSError, HTTPException) as error:
            raise ReceiverAwayError(f"{self._where}: {error}") from None

    def close(self) -> None:
        """Implement `Sink.close`."""

    def _authorization(self, parts: SplitResult) -> dict[str, str]:
        token = os.environ.get(WEBHOOK_TOKEN, "").strip()
        if not _is_sendable(token):
            raise UserError("contains a space or a non-ASCII character", where=WEBHOOK_TOKEN)
        if parts.username is None:
            return {"Authorization": f"Bearer {token}"} if token else {}
        if token:
            raise UserError(
                f"the address has a user, but {WEBHOOK_TOKEN} is set as well",
                where=self._where,
                remedy="remove one of them",
            )
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return {"Authorization": f"Basic {b64encode(user.encode()).decode()}"}


def _is_sendable(text: str) -> bool:
    return all("!" <= character <= "~" for character in text)


class MqttSink:
    """Publishes each result with QoS 1, and waits for the broker's acknowledgement.

    Args:
        address: the scheme mqtts uses TLS; the default ports are 1883 and 8883.

    Raises:
        UserError: paho-mqtt is not installed.
    """

    def __init__(self, address: SplitResult) -> None:
        try:
            import paho.mqtt.client  # noqa: F401
        except ImportError:
            raise UserError(
                "paho-mqtt is not installed", where="mqtt", remedy='pip install "roinspect[serve]"'
            ) from None
        self._address = address
        self._client: Client | None = None
        self._topic = unquote(address.path.strip("/"))

    def deliver(self, key: str, body: bytes) -> None:
        """Implement `Sink.deliver`; the id is in the body."""
        try:
            self._client = self._client or self._connect()
            message = self._client.publish(self._topic, body, qos=1)
            message.wait_for_publish(_TIMEOUT_S)
            if not message.is_published():
                raise ReceiverAwayError(f"{self._where}: no acknowledgement from the broker")
        except (OSError, ValueError, RuntimeError) as error:
            self.close()
            raise ReceiverAwayError(f"{self._where}: {error}") from None
        except ReceiverAwayError:
            # This session would send its queued message again; the next attempt opens a new one.
            self.close()
            raise

    def close(self) -> None:
        """Implement `Sink.close`."""
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            client.loop_stop()

    @property
    def _where(self) -> str:
        return f"mqtt://{self._address.hostname}/{self._topic}"

    def _connect(self) -> Client:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        uses_tls = self._address.scheme == "mqtts"
        client = Client(CallbackAPIVersion.VERSION2)
        if self._address.username:
            client.username_pw_set(unquote(self._address.username), unquote(self._address.password or ""))
        if uses_tls:
            client.tls_set()
        reasons: SimpleQueue[ReasonCode] = SimpleQueue()
        client.on_connect = lambda client, data, flags, reason, properties: reasons.put(reason)
        client.connect(self._address.hostname or "", self._address.port or (8883 if uses_tls else 1883))
        client.loop_start()
        try:
            reason = reasons.get(timeout=_TIMEOUT_S)
        except Empty:
            fault = "no answer from the broker"
        else:
            if not reason.is_failure:
                return client
            fault = f"the broker refused the connection: {reason}"
        client.disconnect()
        client.loop_stop()
        raise ReceiverAwayError(f"{self._where}: {fault}")
