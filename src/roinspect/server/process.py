"""The server process: starts with every model warm, stops when every request is answered."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import uvicorn

from roinspect.inspection.inspector import Inspector
from roinspect.production.delivery import Delivery
from roinspect.server.app import create_app
from roinspect.server.connections import IDLE_S, guarded
from roinspect.server.listening import bind, http_address, listen
from roinspect.server.logs import json_logs
from roinspect.server.served_models import ServedModel
from roinspect.server.service import Service
from roinspect.server.settings import ServeSettings

log = logging.getLogger(__name__)

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def serve(
    bundles: Mapping[str, Path],
    settings: ServeSettings,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    api_key: str = "",
    results: Sequence[str] = (),
    spool: Path = Path("roinspect-spool"),
    runtime: str = "auto",
    threads: int | None = None,
    providers: Sequence[str] = (),
) -> None:
    """Serve models until the process is told to stop.

    Args:
        bundles: by name.
        settings: the limits.
        host: address to listen on.
        port: 0 takes a free one, which the log tells.
        api_key: "" asks for none.
        results: receivers, as `open_sink` takes them.
        spool: folder for what is not delivered yet.
        runtime: as `Inspector.load`.
        threads: as `Inspector.load`.
        providers: as `Inspector.load`.

    Raises:
        UserError: the address, a bundle, a receiver or the spool is of no use.
    """
    with bind(host, port) as listening, json_logs():
        if not api_key and host not in LOOPBACK:
            log.warning(f"anybody who reaches {host} may ask: there is no API key")
        load = partial(Inspector.load, runtime=runtime, threads=threads, providers=providers)
        models = {name: ServedModel(name, path, load) for name, path in bundles.items()}
        delivery = Delivery(results, spool)
        for name, model in models.items():
            told = {"model": name, "runtime": model.loaded.inspector.runtime, "version": model.loaded.version}
            log.info("model loaded", extra={"fields": told})
        app = create_app(Service(models, settings, delivery), api_key=api_key)
        # Nothing accepted is dropped: each request ends within its deadline, in the body or in the queue.
        config = uvicorn.Config(
            app,
            http=guarded(settings),
            ws="none",
            timeout_keep_alive=round(IDLE_S),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=round(settings.deadline_s) + 5,
        )
        listen(listening)
        with suppress(KeyboardInterrupt):
            _Server(config, http_address(host, listening.getsockname()[1])).run(sockets=[listening])


class _Server(uvicorn.Server):
    """Tells where it runs once it answers and heeds signals; uvicorn is silent of a socket it was given."""

    def __init__(self, config: uvicorn.Config, address: str) -> None:
        super().__init__(config)
        self._address = address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        log.info(f"running on {self._address} (Ctrl-C or SIGTERM ends it)")
