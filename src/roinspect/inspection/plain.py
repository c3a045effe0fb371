"""Read dataclasses back from JSON, checked against their annotations: a bundle may come from anywhere."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def parse_object(text: bytes) -> dict[str, Any]:
    """The object in a JSON text.

    Raises:
        ValueError: the text is not JSON, nested too deeply, or not an object.
    """
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError("is not a JSON object")
    return content


def from_plain(cls: type[T], values: object, name: str = "") -> T:
    """A dataclass from the plain values of JSON, in which its tuples are lists.

    Numbers must be finite, and true and false are no numbers. The contents of a Mapping are not checked, nor
    are limits in an `Annotated`: a settings class checks its own.

    Args:
        cls: the dataclass.
        values: by the names of its fields.
        name: of the object, in errors.

    Raises:
        ValueError: a value is missing, unknown or of another type; the text says which one.

    Example:
        >>> Limit = dataclasses.make_dataclass("Limit", [("range", tuple[float, float])])
        >>> from_plain(Limit, {"range": [0, 0.5]})
        Limit(range=(0, 0.5))
        >>> from_plain(Limit, {"range": [0, None]})
        Traceback (most recent call last):
        ValueError: range must be a finite number, not null
    """
    if not isinstance(values, dict):
        raise ValueError(f"{name} must be an object")
    fields, hints = dataclasses.fields(cls), get_type_hints(cls)  # type: ignore[arg-type]
    required = {f.name for f in fields if f.default is f.default_factory is dataclasses.MISSING}
    if wrong := required - values.keys() or values.keys() - hints.keys():
        raise ValueError(f"{name}: {min(wrong)} is missing or unknown".removeprefix(": "))
    prefix = f"{name}." if name else ""
    return cls(**{key: _typed(hints[key], value, prefix + key) for key, value in values.items()})


def _typed(hint: Any, value: Any, name: str) -> Any:
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        (inner,) = (part for part in parts if part is not NoneType)
        return None if value is None else _typed(inner, value, name)
    if dataclasses.is_dataclass(hint):
        return from_plain(hint, value, name)  # type: ignore[arg-type]
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{name} must be a list")
        if parts[-1] is Ellipsis:
            parts = parts[:1] * len(value)
        if len(value) != len(parts):
            raise ValueError(f"{name} must be a list of {len(parts)}")
        return tuple(_typed(part, one, name) for part, one in zip(parts, value, strict=True))
    expected, is_right = _WORDS.get(hint, ""), type(value) is hint
    if hint is float:
        is_right = type(value) in (int, float) and abs(value) <= sys.float_info.max
    elif origin is Mapping:
        expected, is_right = "an object", isinstance(value, dict)
    elif origin is Literal:
        expected, is_right = f"one of {', '.join(map(str, parts))}", value in parts
    if not is_right:
        raise ValueError(f"{name} must be {expected}, not {json.dumps(value)[:40]}")
    return value


_WORDS = {float: "a finite number", int: "an integer", str: "text", bool: "true or false"}
