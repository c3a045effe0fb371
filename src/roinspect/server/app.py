"""The routes: images to verdicts, the Open Inference Protocol, health and metrics."""

from __future__ import annotations

import asyncio
import base64
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import cv2
import numpy as np
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from roinspect.errors import UserError
from roinspect.images.overlay import overlay as draw_overlay
from roinspect.inspection.inspector import Verdict, verdict_row
from roinspect.server import openapi
from roinspect.server.access import OPEN, ApiKey
from roinspect.server.body import parse_form, read_body
from roinspect.server.counted import Counted
from roinspect.server.protocol import HEADER_LENGTH, json_length, metadata, write_response
from roinspect.server.served_models import LoadedModel, ServedModel
from roinspect.server.service import Service
from roinspect.version import __version__

log = logging.getLogger(__name__)

_LONGEST_PART_ID = 200


def create_app(service: Service, *, api_key: str = "") -> FastAPI:
    """The web application over a service, which is opened and closed with it.

    Args:
        service: not opened yet.
        api_key: what every request but those for health must bring; "" asks for none.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.open()
        yield
        await run_in_threadpool(service.close)

    app = FastAPI(title="roinspect", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    if api_key:
        app.add_middleware(ApiKey, key=api_key)
    app.add_middleware(Counted, metrics=service.metrics)
    _add_errors(app)
    _add_inspection(app, service)
    _add_protocol(app, service)

    @app.get("/metrics", response_class=Response, responses=openapi.METRICS)
    def metrics() -> Response:
        """Counters in Prometheus's text format."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    # FastAPI describes the routes once, and keeps it.
    openapi.complete(app.openapi(), list(service.models), OPEN if api_key else None)
    return app


def _add_inspection(app: FastAPI, service: Service) -> None:
    @app.post("/inspect", responses=openapi.VERDICT, openapi_extra=openapi.IMAGE_BODY)
    async def inspect(
        request: Request,
        model: Annotated[str | None, Query(description="its name; needed where several are served")] = None,
        overlay: Annotated[bool, Query(description="send `overlay_png` too, base64")] = False,
    ) -> Response:
        """Inspect one photograph: the whole body, or the file of a multipart form.

        The form's fields `model` and `part_id` stand for the query and the header `X-Part-Id`.
        """
        until = asyncio.get_running_loop().time() + service.settings.deadline_s
        with service.slot():
            body = await read_body(request, service.settings.max_body, until)
            form = await parse_form(request, body)
            asked = service.model(form.fields.get("model", model))
            part_id = _part_id(_sent_part_id(request))
            part_id = _part_id(form.fields.get("part_id", part_id))

            def finish(loaded: LoadedModel, verdicts: list[Verdict]) -> dict[str, Any]:
                return _conclude(service, asked, loaded, verdicts[0], part_id, overlay)

            row = await service.inspect(asked, [form.image], until, finish)
        return JSONResponse(row, 422 if "error" in row else 200)


def _sent_part_id(request: Request) -> str:
    """The header's: senders write UTF-8 or Latin-1, and a header does not say which."""
    sent = request.headers.get("x-part-id", "").encode("latin-1")
    try:
        return sent.decode()
    except UnicodeDecodeError:
        return sent.decode("latin-1")


def _part_id(given: str) -> str:
    if len(given) > _LONGEST_PART_ID or not given.isprintable():
        raise HTTPException(422, f"a part id has at most {_LONGEST_PART_ID} printable characters")
    return given


def _conclude(
    service: Service,
    model: ServedModel,
    loaded: LoadedModel,
    verdict: Verdict,
    part_id: str,
    with_overlay: bool,
) -> dict[str, Any]:
    """The row of a verdict: logged, counted, and kept for the receivers before anybody is told of it."""
    row = {
        "id": uuid.uuid4().hex,
        "part_id": part_id,
        "model": model.name,
        "model_version": loaded.version,
        **verdict_row(verdict),
        "latency_ms": round(verdict.latency_ms, 3),
    }
    try:
        service.delivery.put(row)
    except UserError as error:
        log.error(str(error))
        raise HTTPException(503, "the result cannot be kept; try again") from None
    outcome = verdict.verdict or "error"
    service.metrics.images.labels(model.name, outcome).inc()
    told = {name: value for name, value in row.items() if name not in ("image_path", "regions")}
    log.info("inspected", extra={"fields": told | {"outcome": outcome}})
    if with_overlay and verdict.image is not None:
        picture = draw_overlay(verdict.image, verdict.anomaly_map, level=verdict.map_level)
        encoded = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))[1]
        row["overlay_png"] = base64.b64encode(encoded.tobytes()).decode()
    return row


def _add_protocol(app: FastAPI, service: Service) -> None:
    @app.get("/v2/health/live")
    async def live() -> dict[str, bool]:
        """Whether the process answers."""
        return {"live": True}

    @app.get("/v2/health/ready", responses={503: {"description": "not ready"}})
    async def ready() -> Response:
        """Whether every model can answer."""
        return JSONResponse({"ready": service.is_ready}, 200 if service.is_ready else 503)

    @app.get("/v2")
    async def server() -> dict[str, Any]:
        """The server's name and version."""
        return {"name": "roinspect", "version": __version__, "extensions": ["binary_tensor_data"]}

    async def named(name: str) -> ServedModel:
        return service.model(name)

    async def versioned(name: str, version: str) -> ServedModel:
        return service.model(name, version)

    _add_model(app, service, "/v2/models/{name}", Depends(named))
    _add_model(app, service, "/v2/models/{name}/versions/{version}", Depends(versioned))


def _add_model(app: FastAPI, service: Service, route: str, found: Any) -> None:
    """The routes of a model that FastAPI finds by what the route names."""

    @app.get(route, responses=openapi.NO_MODEL)
    async def model(asked: ServedModel = found) -> dict[str, Any]:
        """A model's inputs and outputs."""
        loaded = asked.loaded
        return metadata(asked.name, loaded.version, loaded.inspector.bundle)

    @app.get(f"{route}/ready", responses=openapi.NO_MODEL)
    async def model_ready(asked: ServedModel = found) -> dict[str, Any]:
        """Whether a model can answer."""
        return {"name": asked.name, "ready": service.is_ready}

    @app.post(f"{route}/infer", responses=openapi.INFERRED, openapi_extra=openapi.INFER_BODY)
    async def infer(request: Request, asked: ServedModel = found) -> Response:
        """Inspect images that were resized already, as tensors in JSON or in bytes behind it."""
        until = asyncio.get_running_loop().time() + service.settings.deadline_s
        with service.slot():
            body = await read_body(request, service.settings.max_body, until)
            length = json_length(body, request.headers.get(HEADER_LENGTH))
            part_id = _part_id(_sent_part_id(request))
            wanted = await service.read(body, length, asked.loaded.inspector.bundle.size_hw, until)

            def finish(loaded: LoadedModel, verdicts: list[Verdict]) -> Response:
                for verdict in verdicts:
                    _conclude(service, asked, loaded, verdict, part_id, False)
                    if verdict.error is not None:
                        # Pixels cannot be at fault: the model is.
                        raise RuntimeError(verdict.error)
                maps = [verdict.anomaly_map for verdict in verdicts]
                tensors = {
                    "pred_score": np.array([verdict.pred_score for verdict in verdicts], np.float32),
                    "anomaly_map": np.stack(maps)[:, None],  # type: ignore[arg-type]
                    "is_defect": np.array([verdict.verdict == "defective" for verdict in verdicts]),
                    "is_good": np.array([verdict.verdict == "good" for verdict in verdicts]),
                }
                content, headers = write_response(wanted, asked.name, loaded.version, tensors)
                return Response(content, headers=headers)

            return await service.inspect(asked, list(wanted.images), until, finish)


def _add_errors(app: FastAPI) -> None:
    """Every error is an object with one line, `error`."""

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return JSONResponse({"error": f"{'.'.join(map(str, first['loc']))}: {first['msg']}"}, 422)

    @app.exception_handler(UserError)
    async def faulty(request: Request, error: UserError) -> Response:
        return JSONResponse({"error": str(error)}, 422)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        log.error("failed", exc_info=error, extra={"fields": {"path": request.url.path[:200]}})
        return JSONResponse({"error": "the server failed; its log says why"}, 500)
