"""A bundle's settings are read back as they were written; damaged ones are one line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from roinspect.errors import UserError
from roinspect.methods.loading import settings_of
from roinspect.methods.method import method_class
from roinspect.methods.registry import BUILT_IN

METHODS = sorted(BUILT_IN)
WRONG = {int: "many", float: "1.5", bool: 1, str: 3}


def written(method: str) -> dict[str, Any]:
    settings = dataclasses.asdict(method_class(method).settings_class())
    return json.loads(json.dumps(settings))  # type: ignore[no-any-return]


@pytest.mark.parametrize("method", METHODS)
def test_what_was_written_is_read(method: str) -> None:
    cls = method_class(method)
    for settings in (cls.settings_class(), *map(cls.settings_class.preset, ("compact", "paper"))):
        values = json.loads(json.dumps(dataclasses.asdict(settings)))
        assert settings_of(cls, values, Path("bundle")) == settings


@pytest.mark.parametrize("method", METHODS)
def test_every_setting_of_another_type_is_one_line(method: str) -> None:
    cls, good = method_class(method), written(method)
    assert len(good) > 5
    for name, value in good.items():
        wrong = {"deep": []} if isinstance(value, list) or value is None else WRONG[type(value)]
        with pytest.raises(UserError, match=r"^bundle: its settings are damaged \(.*; train again$"):
            settings_of(cls, good | {name: wrong}, Path("bundle"))


def test_a_value_out_of_its_range_is_one_line() -> None:
    with pytest.raises(UserError, match=r"damaged .*memory_size"):
        settings_of(method_class("roibank"), written("roibank") | {"memory_size": 0}, Path("bundle"))
