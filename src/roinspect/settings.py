"""Settings that check themselves against the limits in their annotations.

    @dataclass(frozen=True)
    class Lighting:
        contrast: Annotated[float, Ge(0), Le(1)] = 0.5
        lamp: Literal["ring", "bar"] = "ring"

        def __post_init__(self) -> None:
            check(self, "lighting.")

Rules between two fields belong in the class's `__post_init__`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, MultipleOf

from roinspect.errors import UserError

Share = Annotated[float, Ge(0), Le(1)]
Rate = Annotated[float, Ge(0), Lt(1)]
Count = Annotated[int, Ge(1)]
NotNegative = Annotated[float, Ge(0)]
Positive = Annotated[float, Gt(0)]


def check(settings: Any, prefix: str) -> None:
    """Check each field of a dataclass against its annotation: `Literal`, or `Annotated` with limits.

    A string among the limits is the remedy in the error message.

    Args:
        settings: the dataclass.
        prefix: of a setting's name in messages: "method.", or "--" for a command-line option.

    Raises:
        UserError: a value is not allowed.

    Example:
        >>> import dataclasses
        >>> Dial = dataclasses.make_dataclass("Dial", [("level", Share)])
        >>> check(Dial(1.5), "dial.")
        Traceback (most recent call last):
        roinspect.errors.UserError: dial.level: must be at least 0 and at most 1, not 1.5
    """
    for name, hint in _hints(settings.__class__).items():
        value = getattr(settings, name)
        if not _allows(hint, value):
            option = name.replace("_", "-") if prefix == "--" else name
            raise UserError(
                f"must be {allowed(hint)}, not {value}", where=f"{prefix}{option}", remedy=_remedy(hint)
            )


def allowed(hint: Any) -> str:
    """What an annotation allows, in words.

    Example:
        >>> allowed(Literal["ring", "bar"]), allowed(Count | None)
        ('one of ring, bar', 'at least 1')
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(allowed(part) for part in parts if part is not NoneType)
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}"
    return " and ".join(_limit(limit)[0] for limit in parts[1:] if not isinstance(limit, str))


@cache
def _hints(settings_class: type[Any]) -> dict[str, Any]:
    return get_type_hints(settings_class, include_extras=True)


def _allows(hint: Any, value: Any) -> bool:
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_allows(part, value) for part in parts)
    if hint is NoneType:
        return value is None
    if origin is Literal:
        return value in parts
    if origin is Annotated:
        try:
            # Any comparison with NaN is false, so NaN is never allowed.
            return all(_limit(limit)[1](value) for limit in parts[1:] if not isinstance(limit, str))
        except TypeError:
            return False
    return True


def _remedy(hint: Any) -> str:
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return "".join(map(_remedy, parts))
    return "".join(part for part in parts if isinstance(part, str)) if origin is Annotated else ""


def _limit(limit: object) -> tuple[str, Callable[[Any], bool]]:
    """A limit in words, and as a predicate."""
    match limit:
        case Ge(ge=bound):
            return f"at least {bound}", lambda value: value >= bound
        case Gt(gt=bound):
            return f"above {bound}", lambda value: value > bound
        case Le(le=bound):
            return f"at most {bound}", lambda value: value <= bound
        case Lt(lt=bound):
            return "finite" if bound == math.inf else f"below {bound}", lambda value: value < bound
        case MultipleOf(multiple_of=bound):
            return f"a multiple of {bound}", lambda value: value % bound == 0
    raise TypeError(f"unsupported limit: {limit}")
