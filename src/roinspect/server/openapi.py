"""OpenAPI details of routes that read their bodies themselves."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

from roinspect.server.protocol import OUTPUTS

_ERROR = {
    "content": {
        "application/json": {
            "schema": {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
        }
    }
}
_KEY = {
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "bearer": {"type": "http", "scheme": "bearer"},
}


def complete(described: dict[str, Any], names: Sequence[str], open_routes: Container[str] | None) -> None:
    """Add to an OpenAPI document what is known once the server starts.

    Args:
        described: FastAPI's account of the routes; changed in place.
        names: of the models.
        open_routes: those that need no API key; None where none does.
    """
    known = {"type": "string", "enum": list(names)}
    for path, operations in described["paths"].items():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                if parameter["name"] in ("name", "model"):
                    parameter["schema"] = known
            for content in operation.get("requestBody", {}).get("content", {}).values():
                if "model" in content["schema"].get("properties", {}):
                    content["schema"]["properties"]["model"] = known
            if open_routes is not None and path not in open_routes:
                operation["security"] = [{name: []} for name in _KEY]
                operation["responses"]["401"] = {"description": "no or a wrong API key", **_ERROR}
    if open_routes is not None:
        described["components"] = {"securitySchemes": _KEY}


def _refusals(**reasons: str) -> dict[int | str, dict[str, Any]]:
    return {int(status[1:]): {"description": reason, **_ERROR} for status, reason in reasons.items()}


NO_MODEL = _refusals(_404="no such model or version", _422="no such request")
_BUSY = _refusals(
    _400="the body broke off",
    _408="the body is late",
    _413="the body is too large",
    _415="the body is compressed",
    _422="no readable image; the row says why",
    _429="too many requests; Retry-After says when",
    _500="the server failed",
    _503="the result cannot be kept",
    _504="no verdict in time",
)
_BUSY[429]["headers"] = {
    "Retry-After": {"required": True, "description": "seconds", "schema": {"type": "integer", "minimum": 1}}
}
_NUMBER = {"type": "number"}
VERDICT: dict[int | str, dict[str, Any]] = (
    NO_MODEL
    | _BUSY
    | {
        200: {
            "description": "a verdict",
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "properties": {
                            "id": {"type": "string"},
                            "part_id": {"type": "string"},
                            "model": {"type": "string"},
                            "model_version": {"type": "string"},
                            "verdict": {"enum": ["good", "defective", "not inspectable"]},
                            "pred_score": _NUMBER,
                            "is_defect": {"type": ["boolean", "null"]},
                            "reason": {"type": "string"},
                            "threshold": _NUMBER,
                            "regions": {"type": "array", "items": {"type": "object"}},
                            "latency_ms": _NUMBER,
                            "overlay_png": {"type": "string"},
                        },
                        "required": ["id", "verdict", "pred_score", "is_defect", "threshold", "regions"],
                    }
                }
            },
        }
    }
)
INFERRED: dict[int | str, dict[str, Any]] = (
    NO_MODEL
    | _BUSY
    | {
        200: {
            "description": "tensors",
            "content": {"application/json": {"schema": {"type": "object"}}, "application/octet-stream": {}},
        }
    }
)
METRICS: dict[int | str, dict[str, Any]] = {
    200: {"description": "counters", "content": {"text/plain": {"schema": {"type": "string"}}}}
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
IMAGE_BODY: dict[str, Any] = {
    "parameters": [{"name": "X-Part-Id", "in": "header", "schema": {"type": "string", "maxLength": 200}}],
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": _BINARY,
            **{f"image/{kind}": _BINARY for kind in ("png", "jpeg", "tiff", "bmp", "webp")},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "image": {"type": "string", "format": "binary"},
                        "model": {"type": "string"},
                        "part_id": {"type": "string", "maxLength": 200},
                    },
                    "required": ["image"],
                    "additionalProperties": False,
                }
            },
        },
    },
}
_PARAMETERS = {"type": "object"}
_TENSOR = {
    "type": "object",
    "properties": {
        "name": {"const": "image"},
        "datatype": {"const": "UINT8"},
        "shape": {
            "type": "array",
            "items": {"type": "integer", "minimum": 1},
            "minItems": 4,
            "maxItems": 4,
            "description": "images, height and width of the model, 3",
        },
        "data": {"type": "array", "description": "whole numbers from 0 to 255, nested or not"},
        "parameters": {
            "type": "object",
            "properties": {"binary_data_size": {"type": "integer", "minimum": 0}},
        },
    },
    "required": ["name", "datatype", "shape"],
}
_OUTPUT = {
    "type": "object",
    "properties": {"name": {"enum": list(OUTPUTS)}, "parameters": _PARAMETERS},
    "required": ["name"],
}
INFER_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "id": {"type": "string", "maxLength": 200},
                        "inputs": {"type": "array", "items": _TENSOR, "minItems": 1, "maxItems": 1},
                        "outputs": {"type": "array", "items": _OUTPUT},
                        "parameters": _PARAMETERS,
                    },
                    "required": ["inputs"],
                }
            },
            "application/octet-stream": _BINARY,
        },
    }
}
