"""The Open Inference Protocol v2 of KServe and Triton: tensors in JSON, or in binary form after it.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roinspect.errors import UserError
from roinspect.inspection.bundle import Bundle

HEADER_LENGTH = "Inference-Header-Content-Length"
"""The HTTP header with the length of the JSON part if binary data follows it."""

OUTPUTS = {"pred_score": "FP32", "anomaly_map": "FP32", "is_defect": "BOOL", "is_good": "BOOL"}
"""Neither `is_defect` nor `is_good` is set for an image that is not inspectable."""

LONGEST_HEAD = 65536
"""Bytes of JSON besides the numbers of `data`. Parsed JSON takes up to 35 times its size in memory, and no
other thread runs during parsing."""

_PIECE = 16384
# Integers in a list, nested or flat.
_DATA = re.compile(rb'"data"\s*:\s*(\[[\s\d,[\]]*\])')
_NO_DATA = "data must be integers from 0 to 255"
_NEEDS_HEADER = f"binary data after the JSON needs the header {HEADER_LENGTH}"
_WITHOUT_NESTING = bytes.maketrans(b"[]", b"  ")
_TYPES = {"FP32": np.dtype("<f4"), "BOOL": np.dtype(np.bool_)}


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A parsed request.

    Attributes:
        images: (N, H, W, 3) uint8 RGB, at the bundle's size, or at the photographs' own for one with tiles.
        outputs: names of the requested outputs in order, and whether each is requested in binary form.
        id: chosen by the client and returned to it; "" for none.
    """

    images: NDArray[np.uint8]
    outputs: Mapping[str, bool]
    id: str


def metadata(name: str, version: str, bundle: Bundle) -> dict[str, Any]:
    """A model's inputs and outputs; -1 stands for the number of images."""
    height, width = input_hw(bundle) or (-1, -1)
    shapes = {"pred_score": [-1], "anomaly_map": [-1, 1, height, width], "is_defect": [-1], "is_good": [-1]}
    return {
        "name": name,
        "versions": [version],
        "platform": "roinspect",
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, height, width, 3]}],
        "outputs": [
            {"name": output, "datatype": datatype, "shape": shapes[output]}
            for output, datatype in OUTPUTS.items()
        ],
    }


def input_hw(bundle: Bundle) -> tuple[int, int] | None:
    """Height and width of a model's tensor; None for one with tiles, which takes photographs as they are."""
    return bundle.size_hw if bundle.tiles is None else None


def json_length(body: bytes, header: str | None) -> int:
    """Length of a body's JSON part in bytes.

    Args:
        body: of an infer request.
        header: value of `HEADER_LENGTH`; None if the whole body is JSON.

    Raises:
        UserError: the header is not a number, or larger than the body.
    """
    if header is None:
        return len(body)
    # int() raises an error for thousands of digits.
    length = int(header) if header.isdecimal() and len(header) < 20 else 0
    if not 0 < length <= len(body):
        raise UserError("is not a valid length for this body", where=HEADER_LENGTH)
    return length


def read_request(body: bytes, length: int, size_hw: tuple[int, int] | None) -> InferRequest:
    """Parse the body of an infer request.

    Args:
        body: JSON, followed by the bytes of binary tensors.
        length: of the JSON.
        size_hw: of the model; None accepts images of any size.

    Raises:
        UserError: the request is malformed, or its tensor does not hold images of this size.
    """
    data = _DATA.search(body, 0, length)
    head = body[:length] if data is None else body[: data.start(1)] + b"null" + body[data.end(1) : length]
    if len(head) > LONGEST_HEAD:
        raise UserError(
            f"has more than {LONGEST_HEAD} bytes besides the integers of data",
            where="request",
            remedy=_NEEDS_HEADER,
        )
    try:
        content = json.loads(head)
    except (ValueError, RecursionError):
        raise UserError("is not JSON", where="request", remedy=_NEEDS_HEADER) from None
    content = _mapping(content, "request")
    inputs = content.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1:
        raise UserError("must be one tensor named image", where="inputs")
    tensor = _mapping(inputs[0], "inputs")
    if tensor.get("name") != "image":
        raise UserError("must be one tensor named image", where="inputs")
    identity = content.get("id", "")
    if not isinstance(identity, str) or len(identity) > 200:
        raise UserError("must be text of at most 200 characters", where="id")
    numbers = None if data is None else data[1]
    images = _images(tensor, numbers, memoryview(body)[length:], size_hw)
    return InferRequest(images, _requested(content), identity)


def write_response(
    request: InferRequest, name: str, version: str, tensors: Mapping[str, NDArray[Any]]
) -> tuple[bytes, dict[str, str]]:
    """The body of the response, and its headers.

    Args:
        request: the request.
        name: of the model.
        version: of the model.
        tensors: all of `OUTPUTS`.
    """
    outputs: list[str] = []
    binary: list[bytes] = []
    for output, is_binary in request.outputs.items():
        values = np.ascontiguousarray(tensors[output], _TYPES[OUTPUTS[output]])
        described: dict[str, Any] = {"name": output, "datatype": OUTPUTS[output], "shape": list(values.shape)}
        if is_binary:
            binary.append(values.tobytes())
            described["parameters"] = {"binary_data_size": len(binary[-1])}
            outputs.append(json.dumps(described))
        else:
            outputs.append(f'{json.dumps(described)[:-1]}, "data": {_numbers(values.ravel())}}}')
    content = {"model_name": name, "model_version": version} | ({"id": request.id} if request.id else {})
    head = f'{json.dumps(content)[:-1]}, "outputs": [{", ".join(outputs)}]}}'.encode()
    if not binary:
        return head, {"Content-Type": "application/json"}
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
    return b"".join([head, *binary]), headers


def _numbers(values: NDArray[Any]) -> str:
    # In pieces: no other thread runs while the encoder does, and maps have millions of numbers.
    starts = range(0, values.size, _PIECE)
    return f"[{', '.join(json.dumps(values[start : start + _PIECE].tolist())[1:-1] for start in starts)}]"


def _images(
    tensor: Mapping[str, Any], numbers: bytes | None, binary: memoryview, size_hw: tuple[int, int] | None
) -> NDArray[np.uint8]:
    where = "image"
    if tensor.get("datatype") != "UINT8":
        raise UserError("must be of datatype UINT8", where=where)
    shape = tensor.get("shape")
    # In Python, True is an int that equals 1.
    if (
        not isinstance(shape, list)
        or [type(side) for side in shape] != [int] * 4
        or (size_hw is not None and shape[1:3] != list(size_hw))
        or shape[3] != 3
        or min(shape) < 1
    ):
        height, width = size_hw or ("H", "W")
        remedy = (
            "" if size_hw is None else "resize the image as in training, or send the photograph to /inspect"
        )
        raise UserError(
            f"must be of shape [N, {height}, {width}, 3], N at least 1", where=where, remedy=remedy
        )
    count = math.prod(shape)
    size = _mapping(tensor.get("parameters", {}), "parameters").get("binary_data_size")
    if size is None:
        # The replaced data may have belonged to another object.
        if numbers is None or tensor.get("data", "") is not None:
            raise UserError(_NO_DATA, where=where)
        values = _from_json(numbers, where)
    else:
        if type(size) is not int or size != len(binary):
            raise UserError(f"binary_data_size must be {len(binary)}, the number of bytes sent", where=where)
        values = np.frombuffer(binary, np.uint8)
    if values.size != count:
        raise UserError(f"has {values.size} values, not {count}", where=where)
    return values.reshape(shape)


def _from_json(numbers: bytes, where: str) -> NDArray[np.uint8]:
    """Integers in [0, 255], nested in any way."""
    flat, pieces, start = numbers.translate(_WITHOUT_NESTING), [], 0
    while start <= len(flat):
        # In pieces, so that other threads run in between and little memory is used.
        end = flat.find(b",", start + 4 * _PIECE)
        end = len(flat) if end < 0 else end
        try:
            values = np.array(json.loads(b"[%b]" % flat[start:end]))
        except ValueError:
            values = np.array(None)
        if values.dtype.kind not in "iu" or values.max() > 255:
            raise UserError(_NO_DATA, where=where)
        pieces.append(values.astype(np.uint8))
        start = end + 1
    return np.concatenate(pieces)


def _requested(content: Mapping[str, Any]) -> dict[str, bool]:
    """Requested outputs, and whether each is requested in binary form."""
    is_binary = _mapping(content.get("parameters", {}), "parameters").get("binary_data_output") is True
    outputs = content.get("outputs", [])
    if not isinstance(outputs, list):
        raise UserError("must be a list", where="outputs")
    requested = {}
    for output in (_mapping(item, "outputs") for item in outputs or [{"name": name} for name in OUTPUTS]):
        name = output.get("name")
        if not isinstance(name, str) or name not in OUTPUTS:
            raise UserError(f"must be among {', '.join(OUTPUTS)}", where="outputs")
        parameters = _mapping(output.get("parameters", {}), "parameters")
        requested[name] = parameters.get("binary_data", is_binary) is True
    return requested


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UserError("must be a JSON object", where=where)
    return value
