"""Read a plan, strictly, from YAML.

    title: Vials, station 3
    intended_use: Rejects vials with damage at the meniscus before labelling.
    written_by: A. Example, quality
    written_on: 2026-11-28
    bundle: model
    tests:
      - data: challenge
    limits:
      detection_rate: 0.9
      false_reject_rate: 0.05

Paths are relative to the plan's folder.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from roinspect.errors import UserError, nearest
from roinspect.files import read_file, sha256
from roinspect.inspection.plain import from_plain
from roinspect.qualification.plan import Plan

_REQUIRED = "a plan needs " + ", ".join(
    entry.name
    for entry in dataclasses.fields(Plan)
    if entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
)


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """A plan and where it was read from.

    Attributes:
        plan: its content.
        path: its file.
        text: the file as it was written.
        digest: SHA-256 of the file.
    """

    plan: Plan
    path: Path
    text: str
    digest: str

    def at(self, name: str) -> Path:
        """A path in the plan, from where the command runs."""
        return self.path.parent / name


def read_plan(path: Path, today: datetime.date | None = None) -> ReadPlan:
    """Read and check a plan.

    Args:
        path: the YAML file.
        today: the date of the test; None takes the clock's.

    Raises:
        UserError: the file cannot be read, a key is unknown, missing or of the wrong type or range, no limit
            is set, a limit needs a test that the plan omits, or the plan was written after the test.
    """
    content = read_file(path)
    try:
        text = content.decode("utf-8-sig")
        values = yaml.load(text, _Loader)
    except UnicodeDecodeError:
        raise UserError("is not UTF-8 text", where=path, remedy="save it as UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or "is not YAML"
        raise UserError(
            f"is not valid YAML ({what})", where=f"{path}{line}", remedy="mend the line"
        ) from None
    except RecursionError:
        raise UserError("is nested too deeply", where=path, remedy="mend it") from None
    if not isinstance(values, dict):
        raise UserError("holds no plan", where=path, remedy=_REQUIRED)
    _refuse_unknown(Plan, values, path, "")
    try:
        plan = from_plain(Plan, values)
    except ValueError as error:
        # Unknown keys were refused above.
        what = str(error).replace("is missing or unknown", "is missing")
        remedy = _REQUIRED if what.endswith("is missing") else "correct it; numbers are written as 0.0001"
        raise UserError(what, where=path, remedy=remedy) from None
    except UserError as error:
        raise UserError(error.what, where=f"{path}: {error.where}", remedy=error.remedy) from None
    _refuse_later(plan.written_on, today or datetime.date.today(), path)
    return ReadPlan(plan, path, text, sha256(content))


def _refuse_later(written_on: str, today: datetime.date, path: Path) -> None:
    where = f"{path}: written_on"
    try:
        written = datetime.date.fromisoformat(written_on)
    except ValueError:
        raise UserError(f"{written_on!r} is no date", where=where, remedy="write it as 2026-11-28") from None
    if written > today:
        raise UserError(
            f"{written_on} is after today, {today}; a plan is written before the test",
            where=where,
            remedy="correct the date, or the clock of this PC",
        )


def _refuse_unknown(cls: type[Any], values: Mapping[Any, Any], path: Path, prefix: str) -> None:
    hints = get_type_hints(cls, include_extras=False)
    for key, value in values.items():
        if key not in hints:
            raise UserError(
                f"no such key{nearest(str(key), hints)}",
                where=f"{path}: {prefix}{key}",
                remedy=f"use one of {', '.join(hints)}",
            )
        for inner in _dataclasses(hints[key]):
            listed = value if isinstance(value, list) else [value]
            for one in listed:
                if isinstance(one, dict):
                    _refuse_unknown(inner, one, path, f"{prefix}{key}.")


def _dataclasses(hint: Any) -> list[type[Any]]:
    if dataclasses.is_dataclass(hint):
        return [hint] if isinstance(hint, type) else []
    return [found for part in get_args(hint) for found in _dataclasses(part)] if get_origin(hint) else []


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    """Refuses a key that stands twice, and reads a date as its text."""


def _mapping(loader: Any, node: Any) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    seen = set[Any]()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(None, None, f"{key} is no key", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"{key} stands twice", key_node.start_mark)
        seen.add(key)
    mapping: dict[Any, Any] = yaml.SafeLoader.construct_mapping(loader, node, deep=True)
    return mapping


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", lambda loader, node: loader.construct_scalar(node))
