"""What FastAPI cannot tell of routes that read their bodies themselves."""

from __future__ import annotations

from typing import Any

_ERROR = {
    "content": {
        "application/json": {
            "schema": {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
        }
    }
}


def _refusals(**reasons: str) -> dict[int | str, dict[str, Any]]:
    return {int(status[1:]): {"description": reason, **_ERROR} for status, reason in reasons.items()}


NO_MODEL = _refusals(_404="no such model")
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
                            "pred_score": _NUMBER,
                            "is_defect": {"type": "boolean"},
                            "threshold": _NUMBER,
                            "regions": {"type": "array", "items": {"type": "object"}},
                            "latency_ms": _NUMBER,
                            "overlay_png": {"type": "string"},
                        },
                        "required": ["id", "pred_score", "is_defect", "threshold", "regions"],
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
            "image/*": _BINARY,
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "image": {"type": "string", "format": "binary"},
                        "model": {"type": "string"},
                        "part_id": {"type": "string", "maxLength": 200},
                    },
                    "required": ["image"],
                }
            },
        },
    },
}
INFER_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "id": {"type": "string"},
                        "inputs": {
                            "type": "array",
                            "items": {"type": "object"},
                            "minItems": 1,
                            "maxItems": 1,
                        },
                        "outputs": {"type": "array", "items": {"type": "object"}},
                        "parameters": {"type": "object"},
                    },
                    "required": ["inputs"],
                }
            },
            "application/octet-stream": _BINARY,
        },
    }
}
