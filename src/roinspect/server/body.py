"""Read a request's body into memory, within limits; nothing is written to the disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import NamedTuple

from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

_FIELDS = ("model", "part_id")


class Form(NamedTuple):
    """An image and its form fields."""

    image: bytes
    fields: Mapping[str, str]


class _InMemory(MultiPartParser):
    spool_max_size = 1 << 62
    """By default, Starlette writes files from one megabyte on to a temporary folder."""


async def read_body(request: Request, limit: int, deadline: float) -> bytes:
    """Read a body.

    Args:
        request: its body is not read yet.
        limit: in bytes.
        deadline: on the event loop's clock.

    Raises:
        HTTPException: 413 as soon as it is too large, 408 if it is late, 400 if the client disconnects, 415
            if it is compressed.
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise HTTPException(415, "compressed bodies are not accepted; send it uncompressed")
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared[:20]) > limit:
        raise HTTPException(413, _too_large(limit))
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout_at(deadline):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise HTTPException(413, _too_large(limit))
                chunks.append(chunk)
    except TimeoutError:
        raise HTTPException(408, "the body did not arrive in time") from None
    except ClientDisconnect:
        raise HTTPException(400, "the body is incomplete") from None
    return b"".join(chunks)


async def parse_form(request: Request, body: bytes) -> Form:
    """The image in a body: a multipart form's only file, or else the whole body.

    Raises:
        HTTPException: 422 if the form is malformed, has not exactly one file, or has an unknown field.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return Form(body, {})
    try:
        form = await _InMemory(request.headers, _once(body), max_files=1, max_fields=len(_FIELDS)).parse()
    except (MultiPartException, FormParserError, UnicodeError) as error:
        raise HTTPException(422, f"the multipart form is malformed: {error}") from None
    files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    if len(files) != 1:
        raise HTTPException(422, "the multipart form has no file; send the image as its file")
    texts = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    fields = dict(texts)
    if len(fields) < len(texts) or not fields.keys() <= set(_FIELDS):
        raise HTTPException(
            422, f"besides its file, the form may have the fields {' and '.join(_FIELDS)}, once each"
        )
    return Form(await files[0].read(), fields)


async def _once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


def _too_large(limit: int) -> str:
    return f"the body is larger than the {limit / 1e6:g} MB allowed"
