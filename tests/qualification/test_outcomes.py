"""What counts as found, as passed and as a false reject."""

from __future__ import annotations

import csv
import io

import pytest

from roinspect.qualification.outcomes import Row, counts_of, parts_of, table


def row(label: int, verdict: str, *, key: str = "", group: str = "", width: float = 0.0) -> Row:
    error = "" if verdict else "a.png: the file is empty"
    return Row(key or f"{label}{verdict}", group, label, width=width, verdict=verdict, error=error)


@pytest.mark.parametrize(
    ("label", "verdict", "is_right", "is_rejected"),
    [
        (0, "good", True, False),
        (0, "defective", False, True),
        (0, "not inspectable", False, True),
        (0, "", False, True),
        (1, "good", False, False),
        (1, "defective", True, True),
        (1, "not inspectable", False, False),
        (1, "", False, False),
        (-1, "good", False, True),
    ],
)
def test_only_good_and_defective_are_answers_and_the_rest_is_wrong(
    label: int, verdict: str, is_right: bool, is_rejected: bool
) -> None:
    assert row(label, verdict).is_right is is_right
    if label >= 0:
        assert row(label, verdict).is_rejected is is_rejected


def test_a_photograph_without_a_verdict_is_neither_found_nor_passed_nor_good() -> None:
    rows = [
        row(label, verdict) for label in (0, 1) for verdict in ("good", "defective", "not inspectable", "")
    ]
    counts = counts_of(rows, parts_of(rows), 0.95)
    assert (counts.detection.found, counts.detection.parts) == (1, 4)
    assert (counts.escape.found, counts.escape.parts) == (1, 4)
    assert (counts.false_reject.found, counts.false_reject.parts) == (3, 4)
    assert (counts.without_verdict, counts.not_inspectable_good, counts.not_inspectable_defective) == (
        2,
        1,
        1,
    )


def test_a_part_is_right_if_all_its_photographs_are() -> None:
    rows = [
        row(1, "defective", key="a1", group="a", width=4.0),
        row(1, "good", key="a2", group="a", width=6.0),
        row(1, "defective", key="b1", group="b", width=3.0),
        row(1, "defective", key="b2", group="b"),
        row(0, "good", key="a3", group="a"),
    ]
    parts = parts_of(rows)
    assert [(part.name, part.label, part.is_right, part.is_passed, part.width) for part in parts] == [
        ("a", 1, False, True, 6.0),
        ("b", 1, True, False, 3.0),
        ("a", 0, True, True, 0.0),
    ]


def test_photographs_without_a_label_are_in_no_rate() -> None:
    rows = [row(-1, "good"), row(0, "good")]
    counts = counts_of(rows, parts_of(rows), 0.95)
    assert (counts.photographs, counts.parts, counts.unlabelled) == (2, 1, 1)


def test_the_table_has_one_row_a_photograph_with_the_reason() -> None:
    rows = [row(1, "defective", width=3.456), row(0, ""), row(-1, "good")]
    first, second, third = csv.DictReader(io.StringIO(table(rows)))
    assert (first["verdict"], first["right"], first["defect_width_px"]) == ("defective", "yes", "3.46")
    assert (second["verdict"], second["right"], second["error"]) == ("", "no", "a.png: the file is empty")
    assert second["pred_score"] == ""
    assert (third["label"], third["right"]) == ("", "")
