"""The Open Inference Protocol v2, as KServe and Triton speak it: tensors in JSON, or binary after it.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roinspect.errors import UserError
from roinspect.inspection.bundle import Bundle

HEADER_LENGTH = "Inference-Header-Content-Length"
"""The HTTP header that gives the JSON's length where bytes follow it."""

OUTPUTS = {"pred_score": "FP32", "anomaly_map": "FP32", "is_defect": "BOOL", "is_good": "BOOL"}
"""A picture that is neither defective nor good is not inspectable: what lets a part pass is `is_good`."""
LONGEST_HEAD = 65536
"""Bytes of JSON beside the numbers of `data`. Read by Python, JSON takes up to 35 times its room, and until
all of it is read no other thread runs."""

_PIECE = 16384
# Whole numbers in a list, nested or not.
_DATA = re.compile(rb'"data"\s*:\s*(\[[\s\d,[\]]*\])')
_NO_DATA = "data must be whole numbers from 0 to 255"
_WITHOUT_NESTING = bytes.maketrans(b"[]", b"  ")
_TYPES = {"FP32": np.dtype("<f4"), "BOOL": np.dtype(np.bool_)}


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What a client asks for.

    Attributes:
        images: (N, H, W, 3) uint8 RGB, of the bundle's size.
        outputs: names in the order wanted, and whether each is wanted as bytes.
        id: the client's own, given back; "" for none.
    """

    images: NDArray[np.uint8]
    outputs: Mapping[str, bool]
    id: str


def metadata(name: str, version: str, bundle: Bundle) -> dict[str, Any]:
    """A model's inputs and outputs; -1 is the number of images."""
    height, width = bundle.size_hw
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


def json_length(body: bytes, header: str | None) -> int:
    """Length of a body's JSON part in bytes.

    Args:
        body: of an infer request.
        header: `HEADER_LENGTH`; None where all is JSON.

    Raises:
        UserError: the header is no length of this body's JSON.
    """
    if header is None:
        return len(body)
    # Python reads no number of thousands of digits.
    length = int(header) if header.isdecimal() and len(header) < 20 else 0
    if not 0 < length <= len(body):
        raise UserError("is no length of this body's JSON", where=HEADER_LENGTH)
    return length


def read_request(body: bytes, length: int, size_hw: tuple[int, int]) -> InferRequest:
    """Read the body of an infer request.

    Args:
        body: JSON, and the bytes of binary tensors behind it.
        length: of the JSON.
        size_hw: of the model.

    Raises:
        UserError: it is no such request, or its tensor is not one of images of this size.
    """
    data = _DATA.search(body, 0, length)
    head = body[:length] if data is None else body[: data.start(1)] + b"null" + body[data.end(1) : length]
    if len(head) > LONGEST_HEAD:
        raise UserError(
            f"is longer than {LONGEST_HEAD} bytes beside the whole numbers of data",
            where="request",
            remedy=f"bytes behind the JSON need the header {HEADER_LENGTH}",
        )
    try:
        content = json.loads(head)
    except (ValueError, RecursionError):
        raise UserError(
            "is not JSON", where="request", remedy=f"bytes behind the JSON need the header {HEADER_LENGTH}"
        ) from None
    content = _mapping(content, "request")
    inputs = content.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1:
        raise UserError("must be one tensor, image", where="inputs")
    tensor = _mapping(inputs[0], "inputs")
    if tensor.get("name") != "image":
        raise UserError("must be one tensor, image", where="inputs")
    identity = content.get("id", "")
    if not isinstance(identity, str) or len(identity) > 200:
        raise UserError("must be text of at most 200 characters", where="id")
    numbers = None if data is None else data[1]
    images = _images(tensor, numbers, memoryview(body)[length:], size_hw)
    return InferRequest(images, _wanted(content), identity)


def write_response(
    request: InferRequest, name: str, version: str, tensors: Mapping[str, NDArray[Any]]
) -> tuple[bytes, dict[str, str]]:
    """The body of the answer, and its headers.

    Args:
        request: what was asked.
        name: of the model.
        version: of the model.
        tensors: every one of `OUTPUTS`.
    """
    outputs: list[str] = []
    behind: list[bytes] = []
    for output, is_binary in request.outputs.items():
        values = np.ascontiguousarray(tensors[output], _TYPES[OUTPUTS[output]])
        told: dict[str, Any] = {"name": output, "datatype": OUTPUTS[output], "shape": list(values.shape)}
        if is_binary:
            behind.append(values.tobytes())
            told["parameters"] = {"binary_data_size": len(behind[-1])}
            outputs.append(json.dumps(told))
        else:
            outputs.append(f'{json.dumps(told)[:-1]}, "data": {_numbers(values.ravel())}}}')
    content = {"model_name": name, "model_version": version} | ({"id": request.id} if request.id else {})
    head = f'{json.dumps(content)[:-1]}, "outputs": [{", ".join(outputs)}]}}'.encode()
    if not behind:
        return head, {"Content-Type": "application/json"}
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
    return b"".join([head, *behind]), headers


def _numbers(values: NDArray[Any]) -> str:
    # In pieces: while the encoder writes, no other thread runs, and maps are millions of numbers.
    starts = range(0, values.size, _PIECE)
    return f"[{', '.join(json.dumps(values[start : start + _PIECE].tolist())[1:-1] for start in starts)}]"


def _images(
    tensor: Mapping[str, Any], numbers: bytes | None, behind: memoryview, size_hw: tuple[int, int]
) -> NDArray[np.uint8]:
    where, (height, width) = "image", size_hw
    if tensor.get("datatype") != "UINT8":
        raise UserError("must be of datatype UINT8", where=where)
    shape = tensor.get("shape")
    # JSON's true is an int in Python, and equals 1.
    if (
        not isinstance(shape, list)
        or [type(side) for side in shape] != [int] * 4
        or shape[1:] != [height, width, 3]
        or shape[0] < 1
    ):
        raise UserError(
            f"must be of shape [N, {height}, {width}, 3], N at least 1",
            where=where,
            remedy="resize as the training does, or send the photograph to /inspect",
        )
    count = shape[0] * height * width * 3
    size = _mapping(tensor.get("parameters", {}), "parameters").get("binary_data_size")
    if size is None:
        # What stood in place of the null may have been another object's data.
        if numbers is None or tensor.get("data", "") is not None:
            raise UserError(_NO_DATA, where=where)
        values = _from_json(numbers, where)
    else:
        if type(size) is not int or size != len(behind):
            raise UserError(f"binary_data_size is not the {len(behind)} bytes sent", where=where)
        values = np.frombuffer(behind, np.uint8)
    if values.size != count:
        raise UserError(f"holds {values.size} values, not {count}", where=where)
    return values.reshape(shape)


def _from_json(numbers: bytes, where: str) -> NDArray[np.uint8]:
    """Whole numbers in [0, 255], nested in any way."""
    flat, pieces, start = numbers.translate(_WITHOUT_NESTING), [], 0
    while start <= len(flat):
        # In pieces, as the answer's: a byte is kept of each number, and other threads run in between.
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


def _wanted(content: Mapping[str, Any]) -> dict[str, bool]:
    """Requested outputs, and whether each is requested as bytes."""
    as_bytes = _mapping(content.get("parameters", {}), "parameters").get("binary_data_output") is True
    asked = content.get("outputs", [])
    if not isinstance(asked, list):
        raise UserError("must be a list", where="outputs")
    wanted = {}
    for output in (_mapping(one, "outputs") for one in asked or [{"name": name} for name in OUTPUTS]):
        name = output.get("name")
        if not isinstance(name, str) or name not in OUTPUTS:
            raise UserError(f"must be of {', '.join(OUTPUTS)}", where="outputs")
        wanted[name] = (
            _mapping(output.get("parameters", {}), "parameters").get("binary_data", as_bytes) is True
        )
    return wanted


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UserError("must be a JSON object", where=where)
    return value
