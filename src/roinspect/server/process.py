"""The server process: loads every model before it listens, answers every request before it stops."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import uvicorn

from roinspect.inspection.drift import UNKNOWN
from roinspect.inspection.inspector import Inspector
from roinspect.inspection.references import OnFailure
from roinspect.production.delivery import Delivery
from roinspect.server.app import create_app
from roinspect.server.connections import IDLE_S, guarded
from roinspect.server.listening import bind, http_address, listen
from roinspect.server.logs import json_logs
from roinspect.server.served_models import ServedModel
from roinspect.server.service import Service
from roinspect.server.settings import ServeSettings
from roinspect.server.trial import try_out

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
    self_test: OnFailure = "off",
) -> None:
    """Serve models until the process is told to stop.

    Args:
        bundles: by name.
        settings: the limits.
        host: address to listen on.
        port: 0 takes a free one; the log says which.
        api_key: "" requires none.
        results: receivers, see `open_sink`.
        spool: folder for results not yet delivered.
        runtime: see `Inspector.load`.
        threads: see `Inspector.load`.
        providers: see `Inspector.load`.
        self_test: of every model that is loaded, see `Inspector.load`, and later as the settings say.

    Raises:
        UserError: the address, a bundle, a receiver or the spool cannot be used.
    """
    with bind(host, port) as listening, json_logs(), Delivery(results, spool) as delivery:
        if not api_key and host not in LOOPBACK:
            log.warning(f"no API key is set: anyone who can reach {host} can use this server")
        load = partial(
            Inspector.load,
            runtime=runtime,
            threads=threads,
            providers=providers,
            self_test=self_test,
            is_recorded=False,
        )
        trial = partial(
            try_out,
            runtime=runtime,
            threads=threads,
            providers=providers,
            seconds=settings.load_s,
            gigabytes=settings.load_gb,
            self_test=self_test,
        )
        models = {
            name: ServedModel(name, path, load, trial, settings.drift_parts) for name, path in bundles.items()
        }
        for name, model in models.items():
            fields = {
                "model": name,
                "runtime": model.loaded.inspector.runtime,
                "version": model.loaded.version,
            }
            log.info("model loaded", extra={"fields": fields})
            if settings.drift_parts and model.loaded.drift is None:
                log.info(f"{name}: {UNKNOWN}")
        app = create_app(Service(models, settings, delivery, self_test), api_key=api_key)
        # Longer than any request may take, so that no accepted one is dropped.
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
    """Logs its address once it is ready; uvicorn does not when it is given a socket."""

    def __init__(self, config: uvicorn.Config, address: str) -> None:
        super().__init__(config)
        self._address = address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        log.info(f"running on {self._address} (Ctrl-C or SIGTERM stops it)")
