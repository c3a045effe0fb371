"""The types of requests and responses, from which FastAPI writes the OpenAPI schema.

Routes read their bodies themselves and check them more closely than a schema can.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

from annotated_types import Len
from pydantic import BaseModel, Field, JsonValue, NonNegativeInt, PositiveInt
from pydantic.json_schema import models_json_schema

from roinspect.inspection.regions import Region

_Name: TypeAlias = Literal["pred_score", "anomaly_map", "is_defect", "is_good"]
_Parameters: TypeAlias = dict[str, JsonValue]


class ErrorBody(BaseModel):
    """The body of every error."""

    error: str


class InspectResponse(BaseModel):
    """A verdict."""

    id: str
    part_id: str
    model: str
    model_version: str
    image_path: str
    verdict: Literal["good", "defective", "not inspectable"]
    pred_score: float
    is_defect: bool | None
    reason: str = ""
    threshold: float
    regions: list[Region]
    latency_ms: float
    overlay_png: str = ""


class _InputParameters(BaseModel):
    binary_data_size: NonNegativeInt = 0


class _Input(BaseModel):
    name: Literal["image"]
    datatype: Literal["UINT8"]
    shape: Annotated[
        list[PositiveInt], Len(4, 4), Field(description="images, height and width of the model, 3")
    ]
    data: Annotated[list[JsonValue], Field(description="whole numbers from 0 to 255, nested or flat")] = []
    parameters: _InputParameters = _InputParameters()


class _RequestedOutput(BaseModel):
    name: _Name
    parameters: _Parameters = {}


class InferenceRequest(BaseModel):
    """A request of the Open Inference Protocol."""

    id: Annotated[str, Len(0, 200)] = ""
    inputs: Annotated[list[_Input], Len(1, 1)]
    outputs: list[_RequestedOutput] = []
    parameters: _Parameters = {}


class _Output(BaseModel):
    name: _Name
    datatype: Literal["FP32", "BOOL"]
    shape: list[NonNegativeInt]
    data: list[float | bool] = []
    parameters: _Parameters = {}


class InferenceResponse(BaseModel):
    """A response of the Open Inference Protocol."""

    model_name: str
    model_version: str
    id: str = ""
    outputs: list[_Output]


_ERRORS = {
    400: "the body is incomplete",
    401: "the API key is missing or wrong",
    404: "unknown model or version",
    408: "the body arrived too late",
    413: "the body is too large",
    415: "the body is compressed",
    422: "invalid request or unreadable image",
    429: "too many requests; Retry-After says when to try again",
    500: "internal error",
    503: "the result cannot be stored, or the model has failed its self-test",
    504: "no verdict within the deadline",
}
_RETRY_AFTER = {"required": True, "description": "seconds", "schema": {"type": "integer", "minimum": 1}}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The responses of a route that answers with these errors."""
    described: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorBody, "description": _ERRORS[status]} for status in statuses
    }
    if 429 in described:
        described[429]["headers"] = {"Retry-After": _RETRY_AFTER}
    return described


INSPECTION_ERRORS = errors(*(status for status in _ERRORS if status != 401))
_BINARY = {"type": "string", "format": "binary"}


def inspect_body(models: Sequence[str]) -> dict[str, Any]:
    """The body and the header of `/inspect`, with the names of the served models."""
    form = {
        "type": "object",
        "properties": {
            "image": _BINARY,
            "model": {"type": "string", "enum": list(models)},
            "part_id": {"type": "string", "maxLength": 200},
        },
        "required": ["image"],
        "additionalProperties": False,
    }
    images = [
        "application/octet-stream",
        *(f"image/{kind}" for kind in ("png", "jpeg", "tiff", "bmp", "webp")),
    ]
    content = {kind: {"schema": _BINARY} for kind in images} | {"multipart/form-data": {"schema": form}}
    part_id = {"name": "X-Part-Id", "in": "header", "schema": {"type": "string", "maxLength": 200}}
    return {"parameters": [part_id], "requestBody": {"required": True, "content": content}}


def infer_body() -> dict[str, Any]:
    """The body of `/infer`; the schemas that it refers to come from `add_request_schemas`."""
    content = {
        "application/json": {"schema": {"$ref": "#/components/schemas/InferenceRequest"}},
        "application/octet-stream": {"schema": _BINARY},
    }
    return {"requestBody": {"required": True, "content": content}}


def add_request_schemas(document: dict[str, Any]) -> None:
    """Add the schemas of bodies that routes read themselves to an OpenAPI document, in place."""
    _, schemas = models_json_schema(
        [(InferenceRequest, "validation")], ref_template="#/components/schemas/{model}"
    )
    document["components"]["schemas"] |= schemas["$defs"]
