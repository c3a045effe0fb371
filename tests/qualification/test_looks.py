"""Looks from a CSV: complete and unambiguous, or refused with the line or the missing looks."""

from __future__ import annotations

from pathlib import Path

import pytest

from roinspect.errors import UserError
from roinspect.qualification.looks import HumanLooks, photographs_of, read_looks

LOOKS = """\
part,inspector,look,verdict
a,Anna,1,accept
a,Anna,2,reject
a,Bela,1,Reject
a,Bela,2,reject
b,Anna,1,accept
b,Anna,2,accept
b,Bela,1,accept
b,Bela,2,accept
"""


def read(tmp_path: Path, text: str) -> HumanLooks:
    path = tmp_path / "looks.csv"
    path.write_text(text, encoding="utf-8")
    return read_looks(path)


def test_looks_are_in_the_order_of_parts_and_numbers(tmp_path: Path) -> None:
    found = read(tmp_path, LOOKS)
    assert found.parts == ("a", "b")
    assert found.rejected == {
        "Anna": ((False, True), (False, False)),
        "Bela": ((True, True), (False, False)),
    }


def test_other_separators_columns_and_line_ends_are_read(tmp_path: Path) -> None:
    lines = [line.split(",") for line in LOOKS.splitlines()]
    turned = "\ufeff" + "\r\n".join(";".join([*reversed(cells), "x"]) for cells in lines)
    assert read(tmp_path, turned) == read(tmp_path, LOOKS)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("b,Bela,2,accept\n", "", "1 looks are missing: look 2 of Bela at b;"),
        (
            "b,Bela,1,accept\nb,Bela,2,accept\n",
            "",
            "2 looks are missing: look 1 of Bela at b, look 2 of Bela at b",
        ),
        ("b,Anna,2,accept", "b,Anna,2,", "line 7: no verdict"),
        ("b,Anna,2,accept", "b,Anna,1,accept", "line 7: look 1 of Anna at b stands twice"),
        ("b,Anna,2,accept", "b,Anna,2,maybe", "unknown verdict 'maybe'; use accept or reject"),
        ("b,Anna,2,accept", "b,Anna,two,accept", "look 'two' is no number"),
        ("b,Anna,2,accept", "b,Machine,2,accept", "an inspector cannot be called 'machine'"),
        ("b,Anna,2,accept", "b,Anna,2", "the line has 3 fields, the header 4"),
        ("b,Anna,2,accept", 'b,"Anna,2,accept', "is not valid CSV"),
        ("part,", "teil,", "has no column 'part'"),
        (LOOKS.partition("\n")[2], "", "holds no look"),
    ],
)
def test_bad_looks_are_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in LOOKS
    with pytest.raises(UserError) as error:
        read(tmp_path, LOOKS.replace(old, new))
    assert words in str(error.value)


def test_many_missing_looks_are_counted(tmp_path: Path) -> None:
    # A third look by Anna at one part: the other part, and Bela at both, lack it.
    with pytest.raises(
        UserError, match="3 looks are missing: look 3 of Bela at a, look 3 of Anna at b, look 3 "
    ):
        read(tmp_path, LOOKS + "a,Anna,3,accept\n")
    with pytest.raises(UserError, match=r"15 looks are missing: .* and 12 more"):
        read(
            tmp_path,
            LOOKS + "".join(f"c,Carl,{number},accept\n" for number in (1, 2)) + "c,Anna,1,accept\n"
            "c,Bela,3,accept\n",
        )


NAMES = [
    ("", "test/good/001.png"),
    ("", "test/bad/001.png"),
    ("", "test/bad/002.png"),
    ("vial 7", "x/1.png"),
    ("vial 7", "x/2.png"),
]


def test_parts_are_found_by_group_key_and_unique_stem() -> None:
    parts = ["test/good/001.png", "test/bad/001", "002", "vial 7"]
    assert photographs_of(parts, NAMES, Path("looks.csv")) == [[0], [1], [2], [3, 4]]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (["003"], "003 is no part of the test sets"),
        (["001"], "001 could be test/good/001.png or test/bad/001.png"),
        (["002", "test/bad/002.png"], "test/bad/002.png and 002 are the same part"),
    ],
)
def test_parts_that_are_unknown_or_ambiguous_are_refused(parts: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        photographs_of(parts, NAMES, Path("looks.csv"))
