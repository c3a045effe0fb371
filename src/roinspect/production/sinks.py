"""Sinks for results: a folder, a webhook or an MQTT topic, each named by one word."""

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
"""Environment variable: sent to webhooks as `Authorization: Bearer`."""

_SECONDS = 10.0


class ReceiverAwayError(Exception):
    """The receiver cannot be reached, or asks to try again later."""


class ResultRefusedError(Exception):
    """The receiver rejects this result for good."""


class Sink(Protocol):
    """Where results go. Used from one thread."""

    def deliver(self, key: str, body: bytes) -> None:
        """Hand over one result, and return when the receiver has it.

        Args:
            key: the result's id: the same when it is handed over once more.
            body: JSON.

        Raises:
            ReceiverAwayError: try again.
            ResultRefusedError: do not.
        """

    def close(self) -> None:
        """Close connections."""


def open_sink(target: str) -> Sink:
    """A receiver from a word: ``folder:PATH``, or ``SCHEME://[USER:PASSWORD@]HOST[:PORT]/PATH-OR-TOPIC``.

    What stands before the first colon is one of `SINKS`. Connects to nothing yet: a receiver may be away.

    Raises:
        UserError: it is no such word, cannot be sent to, or needs paho-mqtt, which is not installed.
    """
    with suppress(KeyError, ValueError):
        return SINKS[target.partition(":")[0].lower()](target)
    raise UserError(
        "is no receiver of results",
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
    """Raises a ValueError where it names no host, or a port that is none."""
    address = urlsplit(target)
    if not address.hostname:
        raise ValueError(target)
    _ = address.port  # a number, or a ValueError
    return address


SINKS: dict[str, Callable[[str], Sink]] = {
    "folder": _folder,
    "http": _webhook,
    "https": _webhook,
    "mqtt": _mqtt,
    "mqtts": _mqtt,
}
"""What opens a receiver, by the word before its first colon; raises a ValueError where the rest is wrong."""


def sink_name(target: str) -> str:
    """A name for logs, metrics and the spool: it tells no password, and two targets have two names."""
    scheme = target.partition(":")[0] if ":" in target else "sink"
    scheme = scheme if scheme.isalnum() and len(scheme) < 10 else "sink"
    return f"{scheme}-{sha256(target)[:8]}"


class FolderSink:
    """Writes `ID.json` into a folder, whole or not at all; the same result twice is one file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def deliver(self, key: str, body: bytes) -> None:
        """As `Sink.deliver`."""
        try:
            # Durable, as the spool drops its own copy next.
            with whole_file(self._folder / f"{key}.json", durable=True) as partial:
                partial.write_bytes(body)
        except OSError as error:
            raise ReceiverAwayError(f"{self._folder}: {error.strerror or error}") from None

    def close(self) -> None:
        """As `Sink.close`."""


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
        """A redirected POST becomes a GET without its body: that delivers nothing."""


class WebhookSink:
    """POSTs each result as JSON, with its id as `Idempotency-Key`.

    Delivered is what is answered 2xx, or 409: the receiver has it already. 408, 425, 429 and 5xx are tried
    again; any other answer is a refusal.

    Args:
        address: a user and a password in it are sent as `Authorization: Basic`.

    Raises:
        UserError: the address or the token holds what HTTP cannot send, or there are a user and a token.
    """

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        # Without user, password and query: these may be secret.
        self._where = f"{parts.scheme}://{parts.hostname}{parts.path}"
        if not _is_sendable(address):
            raise UserError(
                "holds a space or a letter outside ASCII",
                where=self._where,
                remedy="write %20 for a space, and others percent-encoded too",
            )
        self._address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        self._opener = urllib.request.build_opener(_NoRedirect)
        self._headers = {"Content-Type": "application/json"} | self._authorization(parts)

    def deliver(self, key: str, body: bytes) -> None:
        """As `Sink.deliver`."""
        headers = self._headers | {"Idempotency-Key": key}
        try:
            request = urllib.request.Request(self._address, body, headers, method="POST")
            with self._opener.open(request, timeout=_SECONDS) as answer:
                answer.read(65536)
        except urllib.error.HTTPError as error:
            with error:
                reason = f"{self._where} answers {error.code}"
            if error.code == 409:
                return
            if error.code in (408, 425, 429) or error.code >= 500:
                raise ReceiverAwayError(reason) from None
            raise ResultRefusedError(reason) from None
        except (OSError, HTTPException) as error:
            raise ReceiverAwayError(f"{self._where}: {error}") from None

    def close(self) -> None:
        """As `Sink.close`."""

    def _authorization(self, parts: SplitResult) -> dict[str, str]:
        token = os.environ.get(WEBHOOK_TOKEN, "").strip()
        if not _is_sendable(token):
            raise UserError("holds a space or a letter outside ASCII", where=WEBHOOK_TOKEN)
        if parts.username is None:
            return {"Authorization": f"Bearer {token}"} if token else {}
        if token:
            raise UserError(
                f"the address names a user, and {WEBHOOK_TOKEN} is set as well",
                where=self._where,
                remedy="keep one of them",
            )
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return {"Authorization": f"Basic {b64encode(user.encode()).decode()}"}


def _is_sendable(text: str) -> bool:
    return all("!" <= letter <= "~" for letter in text)


class MqttSink:
    """Publishes each result with QoS 1, and waits until the broker has it.

    Args:
        address: scheme mqtts stands for TLS; the ports are 1883 and 8883 unless it names one.

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
        """As `Sink.deliver`; the id is in the body."""
        try:
            self._client = self._client or self._connect()
            message = self._client.publish(self._topic, body, qos=1)
            message.wait_for_publish(_SECONDS)
            if not message.is_published():
                raise ReceiverAwayError(f"{self._where}: the broker does not acknowledge")
        except (OSError, ValueError, RuntimeError) as error:
            self.close()
            raise ReceiverAwayError(f"{self._where}: {error}") from None
        except ReceiverAwayError:
            # A new session: this one would send what it still holds a second time.
            self.close()
            raise

    def close(self) -> None:
        """As `Sink.close`."""
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

        is_secret = self._address.scheme == "mqtts"
        client = Client(CallbackAPIVersion.VERSION2)
        if self._address.username:
            client.username_pw_set(unquote(self._address.username), unquote(self._address.password or ""))
        if is_secret:
            client.tls_set()
        answers: SimpleQueue[ReasonCode] = SimpleQueue()
        client.on_connect = lambda client, data, flags, reason, properties: answers.put(reason)
        client.connect(self._address.hostname or "", self._address.port or (8883 if is_secret else 1883))
        client.loop_start()
        try:
            reason = answers.get(timeout=_SECONDS)
        except Empty:
            refusal = "the broker does not answer"
        else:
            if not reason.is_failure:
                return client
            refusal = f"the broker refuses: {reason}"
        client.disconnect()
        client.loop_stop()
        raise ReceiverAwayError(f"{self._where}: {refusal}")
