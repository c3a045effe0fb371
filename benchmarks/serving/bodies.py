"""Malformed requests: damaged images, broken forms, wrong tensors, and HTTP that breaks its own rules."""

from __future__ import annotations

import json
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

HEADER_LENGTH = "Inference-Header-Content-Length"
_NUMBERS = (0, 1, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)
_CHARSETS = (
    "utf-8",
    "utf-16",
    "utf-7",
    "raw_unicode_escape",
    "idna",
    "punycode",
    "rot13",
    "hex",
    "none",
    "\xfc",
)


@dataclass(frozen=True)
class Request:
    """A raw request.

    Attributes:
        head: request line and headers, with the empty line.
        body: the rest.
        is_http: whether it is valid HTTP, so that it must be answered.
    """

    head: bytes
    body: bytes
    is_http: bool = True


def post(route: str, body: bytes, headers: dict[str, str] | None = None) -> Request:
    """A request with correct headers."""
    lines = {"Host": "x", "Content-Length": str(len(body)), "Connection": "close"} | (headers or {})
    head = f"POST {route} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return Request(head.encode("latin-1") + b"\r\n", body)


class Bodies:
    """Endless requests, reproducible by seed.

    Args:
        size_hw: of the model.
        seed: of all random choices.
    """

    def __init__(self, size_hw: tuple[int, int], seed: int) -> None:
        self._chance, self._size_hw = random.Random(seed), size_hw
        self._images = _images(np.random.default_rng(seed))
        self.kinds: dict[str, Callable[[], Request]] = {
            "image": self._image,
            "form": self._form,
            "tensor": self._tensor,
            "wire": self._wire,
        }

    def _damaged(self, data: bytes) -> bytes:
        """Truncated, overwritten, repeated, or mixed with another file."""
        chance, content = self._chance, bytearray(data)
        for _ in range(chance.randint(1, 4)):
            # Headers decide what a decoder does, so half of the damage is there.
            place = chance.randrange(min(len(content), 100) if chance.random() < 0.5 else len(content))
            match chance.randrange(6):
                case 0:
                    del content[max(1, place) :]
                case 1:
                    content[place] ^= 1 << chance.randrange(8)
                case 2:
                    form = chance.choice("<>") + chance.choice("BHIQ")
                    size = struct.calcsize(form)
                    number = chance.choice(_NUMBERS) % 256**size
                    content[place : place + size] = struct.pack(form, number)
                case 3:
                    content[place:place] = content[place : place + chance.randint(1, 2000)] * chance.randint(
                        1, 3
                    )
                case 4:
                    content[place:] = chance.choice(self._images)[place:]
                case 5:
                    content[place : place + chance.randint(1, 50)] = chance.randbytes(chance.randint(0, 50))
            content = content or bytearray(b"\xff")
        damaged = bytes(content)
        # With correct checksums, the damage of a PNG reaches its decoder.
        return _with_checksums(damaged) if chance.random() < 0.7 else damaged

    def _image(self) -> Request:
        body = self._damaged(self._chance.choice(self._images))
        return post(self._chance.choice(("/inspect", "/inspect?overlay=true", "/inspect?model=part")), body)

    def _form(self) -> Request:
        chance, boundary = self._chance, self._chance.choice(("b", "-" * 60, "b b", "\xfc", ""))
        parts = []
        if chance.random() < 0.6:
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
            parts.append(head.encode("latin-1") + chance.choice(self._images) + b"\r\n")
        for _ in range(max(0, chance.randint(-2, 3))):
            name = chance.choice(("image", "model", "part_id", "", "x" * 300, "\xfc", '"'))
            file = chance.choice(
                ("", '; filename="a.png"', '; filename="../../etc/passwd"', "; filename*=x''%zz")
            )
            kind = chance.choice(("", "Content-Type: image/png\r\n", "Content-Type: \r\n", "A: b\r\n" * 50))
            content = chance.choice(
                (chance.choice(self._images), chance.randbytes(30), b"part", b"", b"\r\n--b")
            )
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n{kind}\r\n'
            parts.append(head.encode("latin-1") + content + b"\r\n")
        body = b"".join(parts) + f"--{boundary}--\r\n".encode("latin-1")
        if chance.random() < 0.4:
            body = self._damaged(body)
        kind = f"multipart/form-data; boundary={boundary}"
        if chance.random() < 0.3:
            kind += f"; charset={chance.choice(_CHARSETS)}"
        if chance.random() < 0.1:
            kind = chance.choice(
                ("multipart/form-data", 'multipart/form-data; boundary="', "multipart/form-data;;;")
            )
        return post("/inspect", body, {"Content-Type": kind})

    def _value(self) -> Any:
        chance = self._chance
        odd = (
            None,
            True,
            -1,
            0,
            1e308,
            2**70,
            "",
            "\ud800",
            "UINT8",
            [],
            {},
            [[]],
            [1, [2]],
            [{}],
            [None, 1],
        )
        return chance.choice(odd)

    def _tensor(self) -> Request:
        chance, (height, width) = self._chance, self._size_hw
        count = chance.choice((1, 1, 2))
        pixels = chance.randbytes(count * height * width * 3)
        tensor: dict[str, Any] = {"name": "image", "datatype": "UINT8", "shape": [count, height, width, 3]}
        behind = b""
        if chance.random() < 0.7:
            tensor["parameters"], behind = {"binary_data_size": len(pixels)}, pixels
        else:
            tensor["data"] = list(pixels)
        outputs = [{"name": name} for name in ("pred_score", "is_defect") if chance.random() < 0.7]
        content: dict[str, Any] = {"inputs": [tensor], "outputs": outputs, "id": "7"}
        for _ in range(chance.randint(0, 2)):
            target = chance.choice((tensor, content, *outputs))
            target[chance.choice([*target, "parameters"])] = self._value()
        if chance.random() < 0.1:
            tensor["shape"] = [chance.choice(_NUMBERS) for _ in range(chance.randint(0, 6))]
        head = json.dumps(content).encode()
        match chance.randrange(12):
            case 0:
                head = self._damaged(head)
            case 1:
                head = b"[" * chance.choice((10, 1000, 100_000)) + head
            case 2:
                head = head.replace(b"UINT8", b"9" * 5000)
            case 3:
                behind = behind[: len(behind) // 2]
        length = str(len(head))
        if chance.random() < 0.15:
            length = chance.choice(
                ("-1", "0", "1e3", "", "9" * 30, "9" * 5000, "0" * 19 + "1" + "9" * 5000, "\xb2")
            )
        return post("/v2/models/part/infer", head + behind, {HEADER_LENGTH: length})

    def _wire(self) -> Request:
        chance, image = self._chance, self._chance.choice(self._images)
        size = len(image)
        chunked = (
            b"POST /inspect HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        pieces = [image[place : place + 1000] for place in range(0, size, 1000)]
        whole = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        match chance.randrange(10):
            case 0:
                return post("/inspect", image, {"Content-Length": str(size - chance.randint(1, size))})
            case 1:
                # Less is sent than announced: the sender disconnects, or the server would have to wait.
                return Request(post("/inspect", image, {"Content-Length": str(size + 9)}).head, image, False)
            case 2:
                return Request(chunked, whole)
            case 3:
                return Request(chunked, self._damaged(whole), False)
            case 4:
                return Request(
                    chunked, chance.choice((b"f" * 40, b"-1\r\n", b"\r\n", b"0x5\r\nhello\r\n")), False
                )
            case 5:
                length = chance.choice(("-1", "1e3", "9" * 25, "", "abc", "5, 6"))
                return Request(post("/inspect", image, {"Content-Length": length}).head, image, False)
            case 6:
                return Request(chunked.replace(b"chunked", b"gzip, x"), whole, False)
            case 7:
                return Request(self._damaged(post("/inspect", image).head), image, False)
            case 8:
                return Request(
                    b"POST /inspect HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", image, False
                )
            case _:
                method, route = (
                    chance.choice(("GET", "PUT", "TRACE", "X")),
                    chance.choice(("/inspect", "/%zz", "/%ff", "//")),
                )
                right = post(route, image)
                return Request(right.head.replace(b"POST", method.encode(), 1), image)


def _images(rng: np.random.Generator) -> list[bytes]:
    """Every format at several depths, compressions and numbers of channels."""
    smooth = cv2.resize(rng.integers(0, 255, (6, 6, 3), np.uint8), (120, 90), interpolation=cv2.INTER_CUBIC)
    grey, alpha = smooth[..., 0], cv2.cvtColor(smooth, cv2.COLOR_BGR2BGRA)
    deep = smooth.astype(np.uint16) * 257
    made = [(".png", one, ()) for one in (smooth, grey, alpha, deep)]
    made += [
        (".jpg", one, options)
        for one in (smooth, grey)
        for options in ((), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1))
    ]
    made += [(".bmp", one, ()) for one in (smooth, grey, alpha)]
    made += [
        (".webp", one, (cv2.IMWRITE_WEBP_QUALITY, quality))
        for one in (smooth, alpha)
        for quality in (50, 101)
    ]
    made += [
        (".tif", one, (cv2.IMWRITE_TIFF_COMPRESSION, compression))
        for one in (smooth, grey, alpha, deep)
        for compression in (1, 5, 8)
    ]
    encoded = [cv2.imencode(suffix, one, options)[1].tobytes() for suffix, one, options in made]
    turned = b"\xff\xe1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    jpeg = next(data for data in encoded if data.startswith(b"\xff\xd8"))
    return [*encoded, jpeg[:2] + turned + jpeg[2:]]


def _with_checksums(data: bytes) -> bytes:
    """A PNG with corrected checksums, as far as its chunks can be parsed; other files unchanged."""
    if not data.startswith(b"\x89PNG"):
        return data
    content, position = bytearray(data), 8
    while position + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, position)
        end = position + 8 + length
        if end + 4 > len(content):
            break
        struct.pack_into(">I", content, end, zlib.crc32(content[position + 4 : end]))
        position = end + 4
    return bytes(content)
