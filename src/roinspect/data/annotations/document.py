"""Typed access to values in a parsed file; a value of the wrong type raises an error that names its path."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from roinspect.data.annotations.polygons import DECIMALS, ImageShapes, Ring, to_ring
from roinspect.errors import UserError

MAX_SIDE = 65_535
MAX_PIXELS = 1 << 28
MAX_COORDINATE = 1e6
# Control characters and lone surrogates: no tool writes them, and XML or UTF-8 cannot represent them.
_UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Node:
    """A value of unknown type.

    Attributes:
        value: the parsed value.
        file: its file, for errors.
        way: its path in the document, such as "shapes[3].points".
    """

    value: Any
    file: str
    way: str = ""

    def fault(self, what: str, remedy: str = "mend it, or export the file again") -> UserError:
        """An error about this value."""
        return UserError(f"{self.way or 'the file'} {what}", where=self.file, remedy=remedy)

    def at(self, name: str) -> Node:
        """A required field."""
        field = self.maybe(name)
        if field is None:
            raise self.fault(f"has no {name!r}")
        return field

    def maybe(self, name: str) -> Node | None:
        """A field, or None if it is missing or null."""
        if not isinstance(self.value, dict):
            raise self.fault("is no object with fields")
        field = self.value.get(name)
        return None if field is None else Node(field, self.file, f"{self.way}.{name}".lstrip("."))

    def entries(self) -> list[Node]:
        """The entries of a list."""
        return [Node(value, self.file, f"{self.way}[{index}]") for index, value in enumerate(self._list())]

    def text(self) -> str:
        """A string or integer as text, stripped of surrounding whitespace."""
        if isinstance(self.value, bool) or not isinstance(self.value, str | int):
            raise self.fault("is no text")
        text = str(self.value).strip()
        if _UNWRITABLE.search(text):
            raise self.fault("holds a control character")
        return text

    def number(self, limit: float = MAX_COORDINATE) -> float:
        """A finite number of magnitude up to `limit`; may be given as text, as in XML."""
        return self._number(self.value, limit)

    def whole(self, low: int, high: int) -> int:
        """A whole number in [low, high]."""
        value = self.number(math.inf)
        if not (low <= value <= high and value == int(value)):
            raise self.fault(f"is {value:g}, not a whole number from {low} to {high}")
        return int(value)

    def size_hw(self, height: str = "height", width: str = "width") -> tuple[int, int]:
        """The image size (height, width) in two fields."""
        size_hw = self.at(height).whole(1, MAX_SIDE), self.at(width).whole(1, MAX_SIDE)
        if size_hw[0] * size_hw[1] > MAX_PIXELS:
            raise self.fault(
                f"claims an image of {size_hw[0]}x{size_hw[1]} pixels, more than any camera takes"
            )
        return size_hw

    def maybe_size_hw(self, height: str = "height", width: str = "width") -> tuple[int, int] | None:
        """Like `size_hw`, but None if both fields are missing."""
        if self.maybe(height) is None and self.maybe(width) is None:
            return None
        return self.size_hw(height, width)

    def counts(self) -> list[int]:
        """A list of run lengths."""
        values = self._list()
        for value in values:
            if type(value) is not int or not 0 <= value <= MAX_PIXELS:
                raise self.fault("holds a run length that is no whole number of pixels")
        return values

    def points(self) -> list[tuple[float, float]]:
        """A list of pairs [x, y]."""
        pairs = []
        for index, pair in enumerate(self._list()):
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise Node(pair, self.file, f"{self.way}[{index}]").fault("is no pair [x, y]")
            pairs.append((self._number(pair[0]), self._number(pair[1])))
        return pairs

    def flat_points(self) -> list[tuple[float, float]]:
        """A list [x, y, x, y, ...]."""
        values = [self._number(value) for value in self._list()]
        if len(values) % 2:
            raise self.fault("has an x without a y")
        return list(zip(values[::2], values[1::2], strict=True))

    def image_name(self, folder: str = "") -> str:
        """An image's path, normalised: forward slashes, no drive, no `..`.

        Args:
            folder: base of a relative path.
        """
        text = self.text().replace("\\", "/")
        drive = re.match("[A-Za-z]:", text)
        text = text[2:] if drive else text if text.startswith("/") else f"{folder}/{text}"
        parts: list[str] = []
        for part in text.split("/"):
            if part == "..":
                del parts[-1:]
            elif part not in ("", "."):
                parts.append(part)
        if not parts:
            raise self.fault("names no image")
        return "/".join(parts)

    def ring(self, points: Sequence[tuple[float, float]], decimals: int = DECIMALS) -> Ring:
        """An outline from this node's points; a repeated first point at the end is dropped."""
        ring = to_ring(points, decimals)
        if len(ring) > 3 and ring[0] == ring[-1]:
            ring = ring[:-1]
        if len(ring) < 3:
            raise self.fault(f"is a polygon of {len(ring)} points", "draw at least three, or remove it")
        return ring

    def _list(self) -> list[Any]:
        if not isinstance(self.value, list):
            raise self.fault("is no list")
        return self.value

    def _number(self, value: Any, limit: float = MAX_COORDINATE) -> float:
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise self.fault("holds something that is no finite number")
        if abs(number) > limit:
            raise self.fault(f"holds {number:g}, far beyond any image")
        return number


def read_json(data: bytes, file: str) -> Node:
    """A JSON document, in UTF-8 with or without a byte order mark.

    Raises:
        UserError: it is not valid JSON, or is nested too deeply.
    """
    try:
        return Node(json.loads(data), file)
    except RecursionError:
        fault = "is nested too deeply"
    except ValueError as error:
        fault = f"is no JSON ({error})"
    raise UserError(fault, where=file, remedy="export it again") from None


def to_json(document: object) -> str:
    """The text of a JSON document."""
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


def known_size(drawing: ImageShapes) -> tuple[int, int]:
    """Height and width of a drawing's image.

    Raises:
        UserError: its file does not contain the size.
    """
    if drawing.size_hw is None:
        raise UserError(
            "the annotation does not tell the size of this image",
            where=drawing.name,
            remedy="pass the photographs with --images",
        )
    return drawing.size_hw
