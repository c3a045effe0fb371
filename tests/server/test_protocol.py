"""A tensor in JSON is the same as in bytes, and takes no more room than its numbers."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roinspect.errors import UserError
from roinspect.server.protocol import read_request

SIZE = (8, 12)
IMAGES = np.random.default_rng(0).integers(0, 256, (200, *SIZE, 3), np.uint8)


def request(data: str, count: int = 1, before: str = "", more: str = "") -> bytes:
    tensor = f'"name": "image", "datatype": "UINT8", "shape": [{count}, 8, 12, 3], {before}"data": {data}'
    return f'{{"id": "7", "inputs": [{{{tensor}}}]{more}}}'.encode()


def read(body: bytes) -> Any:
    return read_request(body, len(body), SIZE)


@pytest.mark.parametrize("nested", [IMAGES, IMAGES.reshape(200, -1), IMAGES.ravel()])
@pytest.mark.parametrize("style", [{}, {"separators": (",", ":")}, {"indent": 1}], ids=str)
def test_numbers_may_be_nested_and_spaced(nested: np.ndarray, style: dict[str, Any]) -> None:
    found = read(request(json.dumps(nested.tolist(), **style), 200))
    np.testing.assert_array_equal(found.images, IMAGES)
    assert found.id == "7"


@given(st.text(max_size=20), st.lists(st.integers(0, 300), max_size=3))
def test_what_looks_like_data_elsewhere_is_not_taken_for_it(text: str, numbers: list[int]) -> None:
    more = json.dumps({"parameters": {"data": numbers, f'{text}"data': numbers, "data" + text: text}})[1:-1]
    body = request(json.dumps(IMAGES[0].tolist()), before=f"{more}, ")
    with pytest.raises(UserError, match="integers"):
        read(body)
    np.testing.assert_array_equal(
        read(request(json.dumps(IMAGES[0].tolist()), more=f", {more}")).images, IMAGES[:1]
    )


ZEROS = ", ".join(["0"] * 287)


@pytest.mark.parametrize(
    "last", ["256", "-1", "0.5", "1e1", "true", "null", '"1"', "1 2", "", "01", "[]", "{}", "9" * 5000, "0,"]
)
def test_a_value_that_is_not_an_integer_is_refused(last: str) -> None:
    assert read(request(f"[{ZEROS}, 255]")).images.size == 288
    with pytest.raises(UserError, match=r"integers|JSON"):
        read(request(f"[{ZEROS}, {last}]"))


@pytest.mark.parametrize("part", ["[],", "{},", "[[[]]],", '"ab",', "1e9,", "999,", "[1],", "0,"])
@pytest.mark.parametrize("place", ["data", "parameters"])
def test_json_does_not_unpack_to_many_times_its_room(part: str, place: str) -> None:
    many = f"[{part * (4_000_000 // len(part))}0]"
    body = request(many) if place == "data" else request("[0]", more=f', "parameters": {many}')
    tracemalloc.start()
    with pytest.raises(UserError):
        read(body)
    room = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert room < 4 * len(body)
