"""The routes: images to verdicts, the Open Inference Protocol, health and metrics."""

from __future__ import annotations

import asyncio
import base64
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request, Response, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException

from roinspect.errors import UserError
from roinspect.images.pixels import encode_image
from roinspect.inspection.inspector import Verdict, drift_row
from roinspect.server import openapi
from roinspect.server.access import API_KEY, BEARER, ApiKey
from roinspect.server.body import parse_form, read_body
from roinspect.server.counted import Counted
from roinspect.server.protocol import HEADER_LENGTH, input_hw, json_length, metadata, write_response
from roinspect.server.served_models import LoadedModel, ServedModel
from roinspect.server.service import Service
from roinspect.version import __version__

log = logging.getLogger(__name__)

_LONGEST_PART_ID = 200


def create_app(service: Service, *, api_key: str = "") -> FastAPI:
    """The web application of a service, which it opens and closes.

    Args:
        service: not opened yet.
        api_key: required of every request but the health checks; "" requires none.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.open()
        yield
        await run_in_threadpool(service.close)

    app = FastAPI(title="roinspect", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    # The middleware checks the key; the dependencies only describe it in the OpenAPI schema.
    routes = APIRouter()
    if api_key:
        app.add_middleware(ApiKey, key=api_key)
        routes = APIRouter(dependencies=[Security(API_KEY), Security(BEARER)], responses=openapi.errors(401))
    app.add_middleware(Counted, metrics=service.metrics)
    _add_errors(app)
    _add_health(app, service)
    _add_inspection(routes, service)
    _add_protocol(routes, service)

    @routes.get("/metrics", response_class=PlainTextResponse)
    def metrics() -> Response:
        """Metrics in Prometheus's text format."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    app.include_router(routes)
    openapi.add_request_schemas(app.openapi())  # FastAPI caches the document
    return app


def _add_inspection(routes: APIRouter, service: Service) -> None:
    names = list(service.models)

    @routes.post(
        "/inspect",
        response_model=openapi.InspectResponse,
        responses=openapi.INSPECTION_ERRORS,
        openapi_extra=openapi.inspect_body(names),
    )
    async def inspect(
        request: Request,
        model: str | None = Query(
            None, description="name; required if several are served", json_schema_extra={"enum": names}
        ),
        overlay: bool = Query(False, description="add `overlay_png`, base64"),
    ) -> Response:
        """Inspect one photograph: the whole body, or the file of a multipart form.

        A form may name them in its fields `model` and `part_id` instead of in the query and in the header
        `X-Part-Id`. If it names both, they must agree.
        """
        deadline = asyncio.get_running_loop().time() + service.settings.deadline_s
        with service.slot():
            body = await read_body(request, service.settings.max_body, deadline)
            form = await parse_form(request, body)
            served = service.model(_agreed("model", form.fields.get("model"), model))
            stated = (form.fields.get("part_id"), _part_id_header(request) or None)
            part_id = _part_id(_agreed("part id", *stated) or "")

            def finish(loaded: LoadedModel, verdicts: list[Verdict]) -> Response:
                row = _record(service, served, loaded, verdicts[0], part_id)
                return _response(row, _overlay(verdicts[0]) if overlay else b"")

            return await service.inspect(served, [form.image], deadline, finish)


def _agreed(name: str, in_form: str | None, elsewhere: str | None) -> str | None:
    """What a request says in one of two places. Of two answers one would be ignored without a word."""
    if in_form is not None and elsewhere is not None and in_form != elsewhere:
        raise HTTPException(422, f"the form names another {name} than the rest of the request; send one")
    return elsewhere if in_form is None else in_form


def _part_id_header(request: Request) -> str:
    """The header X-Part-Id: UTF-8 or Latin-1, as headers do not declare their encoding."""
    encoded = request.headers.get("x-part-id", "").encode("latin-1")
    try:
        return encoded.decode()
    except UnicodeDecodeError:
        return encoded.decode("latin-1")


def _part_id(part_id: str) -> str:
    if len(part_id) > _LONGEST_PART_ID or not part_id.isprintable():
        raise HTTPException(422, f"a part id has at most {_LONGEST_PART_ID} printable characters")
    return part_id


def _record(
    service: Service,
    model: ServedModel,
    loaded: LoadedModel,
    verdict: Verdict,
    part_id: str,
) -> dict[str, Any]:
    """The row of a verdict; it is spooled for the receivers, counted and logged before it is returned."""
    row = {
        "id": uuid.uuid4().hex,
        "part_id": part_id,
        "model": model.name,
        "model_version": loaded.version,
        **verdict.to_dict(),
        **drift_row(loaded.drift, verdict),
        "latency_ms": round(verdict.latency_ms, 3),
    }
    try:
        service.delivery.put(row)
    except UserError as error:
        log.error(str(error))
        raise HTTPException(503, "the result cannot be stored; try again") from None
    outcome = verdict.verdict or "error"
    service.metrics.images.labels(model.name, outcome).inc()
    fields = {name: value for name, value in row.items() if name not in ("image_path", "regions")}
    log.info("inspected", extra={"fields": fields | {"outcome": outcome}})
    return row


def _overlay(verdict: Verdict) -> bytes:
    """A PNG; empty for an image that could not be read."""
    if verdict.image is None:
        return b""
    return encode_image(verdict.overlay(), ".png", "overlay")


def _response(row: dict[str, Any], overlay: bytes) -> Response:
    """A row as JSON, with an overlay as its `overlay_png`."""
    response: Response = JSONResponse(row, 422 if "error" in row else 200)
    if overlay:
        # Not through JSON's encoder, which would copy a hundred megabytes several times.
        parts = [bytes(response.body)[:-1], b',"overlay_png":"', base64.b64encode(overlay), b'"}']
        response = Response(b"".join(parts), media_type="application/json")
    return response


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/v2/health/live")
    async def live() -> dict[str, bool]:
        """Whether the process responds."""
        return {"live": True}

    @app.get("/v2/health/ready", responses={503: {"description": "not ready"}})
    async def ready() -> Response:
        """Whether every model is ready, and whether a changed bundle could not be loaded."""
        content = {"ready": service.is_ready, "stale": service.is_stale}
        return JSONResponse(content, 200 if service.is_ready else 503)


def _add_protocol(routes: APIRouter, service: Service) -> None:
    @routes.get("/v2")
    async def server() -> dict[str, Any]:
        """The server's name and version."""
        return {"name": "roinspect", "version": __version__, "extensions": ["binary_tensor_data"]}

    name_path = Path(json_schema_extra={"enum": list(service.models)})

    async def by_name(name: str = name_path) -> ServedModel:
        return service.model(name)

    async def by_version(version: str, name: str = name_path) -> ServedModel:
        return service.model(name, version)

    _add_model(routes, service, "/v2/models/{name}", Depends(by_name))
    _add_model(routes, service, "/v2/models/{name}/versions/{version}", Depends(by_version))


def _add_model(routes: APIRouter, service: Service, route: str, model: Any) -> None:
    """The routes of a model, which the dependency `model` looks up."""

    @routes.get(route, responses=openapi.errors(404, 422))
    async def describe(served: ServedModel = model) -> dict[str, Any]:
        """A model's inputs and outputs."""
        loaded = served.loaded
        return metadata(served.name, loaded.version, loaded.inspector.bundle)

    @routes.get(f"{route}/ready", responses=openapi.errors(404, 422))
    async def ready(served: ServedModel = model) -> dict[str, Any]:
        """Whether a model is ready, and why its changed bundle could not be loaded: "" if it was."""
        return {"name": served.name, "ready": service.is_ready, "fault": served.fault}

    @routes.post(
        f"{route}/infer",
        response_model=openapi.InferenceResponse,
        responses={**openapi.INSPECTION_ERRORS, 200: {"content": {"application/octet-stream": {}}}},
        openapi_extra=openapi.infer_body(),
    )
    async def infer(request: Request, served: ServedModel = model) -> Response:
        """Inspect images that were already resized, as tensors in JSON or in binary form after it."""
        deadline = asyncio.get_running_loop().time() + service.settings.deadline_s
        with service.slot():
            body = await read_body(request, service.settings.max_body, deadline)
            length = json_length(body, request.headers.get(HEADER_LENGTH))
            part_id = _part_id(_part_id_header(request))
            bundle = served.loaded.inspector.bundle
            inputs = await service.read(body, length, input_hw(bundle), deadline)
            if bundle.tiles is not None:
                bundle.tiles.refuse_other_size((inputs.images.shape[1], inputs.images.shape[2]), "image")

            def finish(loaded: LoadedModel, verdicts: list[Verdict]) -> Response:
                for verdict in verdicts:
                    _record(service, served, loaded, verdict, part_id)
                    if verdict.error is not None:
                        # Decoded pixels are always valid, so the model is at fault.
                        raise RuntimeError(verdict.error)
                maps = [verdict.anomaly_map for verdict in verdicts]
                tensors = {
                    "pred_score": np.array([verdict.pred_score for verdict in verdicts], np.float32),
                    "anomaly_map": np.stack(maps)[:, None],  # type: ignore[arg-type]
                    "is_defect": np.array([verdict.verdict == "defective" for verdict in verdicts]),
                    "is_good": np.array([verdict.verdict == "good" for verdict in verdicts]),
                }
                content, headers = write_response(inputs, served.name, loaded.version, tensors)
                return Response(content, headers=headers)

            return await service.inspect(served, list(inputs.images), deadline, finish)


def _add_errors(app: FastAPI) -> None:
    """Answer every error with a JSON object whose `error` is one line."""

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
        return JSONResponse({"error": "internal error; see the server's log"}, 500)
