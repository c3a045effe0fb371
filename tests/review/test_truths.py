"""Corrections from a CSV: every name that a part has, and one line for every fault."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from roinspect.errors import UserError
from roinspect.review.corrections import Corrections, disputed, latest, read_corrections, store_of
from roinspect.review.review import take
from roinspect.review.rows import read_results
from roinspect.review.truths import Parts, Truths, read_truths

from .fakes import row, write_rows

ROWS = [
    row("in/a/1.png", 0.9, mtime_ns=1),
    row("in/b/1.png", 0.1, mtime_ns=2),
    row("in/2.png", 0.1, mtime_ns=3, time="2026-11-20T06:00:00+00:00"),
    row("in/2.png", 0.2, mtime_ns=4, time="2026-11-20T08:00:00+00:00"),
]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "r.jsonl", ROWS)


def read(results: Path, text: str, by: str = "Anna", **columns: str) -> Truths:
    path = results.with_name("t.csv")
    path.write_text(text, encoding="utf-8")
    return read_truths(path, Parts(read_results(results)), by=by, columns=columns)


def test_a_part_has_several_names(results: Path) -> None:
    rows = read_results(results)
    for name, line in (
        ("in/a/1.png", 1),
        ("a/1.png", 1),
        ("a\\1.png", 1),
        ("./b/1.png", 2),
        ("2.png", 4),
        (rows[2].id, 3),
        (rows[3].id, 4),
    ):
        assert Parts(rows).find(name, None, "t.csv")[0].line == line, name


def test_of_an_overwritten_file_the_last_row_before_the_correction_is_meant(results: Path) -> None:
    parts = Parts(read_results(results))

    def line(hour: int) -> int:
        return parts.find("2.png", datetime(2026, 11, 20, hour, tzinfo=UTC), "t.csv, line 2")[0].line

    assert (line(7), line(8), line(9)) == (3, 4, 4)
    found, fault = parts.find("2.png", datetime(2026, 11, 20, 5, tzinfo=UTC), "t.csv, line 2")
    assert found.line == 4 and fault.startswith(
        "t.csv, line 2: its time is before that of the inspection (line 4)"
    )


def test_a_date_alone_means_the_row_of_that_day(results: Path) -> None:
    found = read(results, "part,truth,time\n2.png,good,2026-11-20\n")
    assert found.entries[0].state == (100, 4) and not found.remarks


def test_a_time_in_the_future_is_remarked(results: Path) -> None:
    today = datetime.now(UTC).date()
    for time, is_remarked in (
        (today.isoformat(), False),
        ((today + timedelta(days=2)).isoformat(), True),
        (f"{today + timedelta(days=2)}T06:00", True),
    ):
        remarks = read(results, f"part,truth,time\n2.png,good,{time}\n").remarks
        assert [one.partition("t.csv, ")[2] for one in remarks] == [
            "line 2: its time is in the future: a clock is wrong"
        ] * is_remarked


def test_lines_say_who_and_when_or_the_caller_does(results: Path) -> None:
    found = read(
        results,
        "truth;Part;by;kind;time;remark;drawn\n"
        "good;a/1.png;Bela;;2026-11-21T10:00;a reflection;seed 4\n"
        "DEFECTIVE;b/1.png;;dent;;;\n"
        ";2.png;;;;;\n",
    )
    first, second = found.entries
    assert found.empty == 1 and not found.remarks
    assert (first.part, first.truth, first.by, first.remark, first.drawn) == (
        "in/a/1.png",
        "good",
        "Bela",
        "a reflection",
        "seed 4",
    )
    assert first.time == "2026-11-21T10:00:00.000+00:00" and first.state == (100, 1)
    assert (second.part, second.truth, second.by, second.kind) == ("in/b/1.png", "defective", "Anna", "dent")


def test_columns_of_other_names_are_read(results: Path) -> None:
    found = read(results, "Teil,Urteil,part\n2.png,good,x\n", part="teil", truth="Urteil")
    assert [one.part for one in found.entries] == ["in/2.png"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("part,truth\n3.png,good\n", "line 2: no part is called 3.png"),
        ("part,truth\nin/c/1.png,good\n", "line 2: no part is called in/c/1.png"),
        ("part,truth\n1.png,good\n", "line 2: 1.png could be in/a/1.png or in/b/1.png; name its folder too"),
        ("part,truth\n2.png,good\n2.png,maybe\n", "line 3: unknown truth 'maybe'"),
        ("part,truth,time\n2.png,good,soon\n", "line 2: 'soon' is no time"),
        ("part,truth\n,good\n", "line 2: names no part"),
        ("part,truth,kind\n2.png,good,dent\n", "line 2: 'dent' is no kind of defect"),
        ("part,verdict\n2.png,good\n", "has no column 'truth'; it needs part, truth"),
        ("part,truth\n2.png\n", "line 2: the line has 1 fields, the header 2"),
        ('part,truth\n"2.png,good\n', "is not valid CSV"),
        ("part,truth,part\n2.png,good,x\n", "has two columns of one name"),
    ],
)
def test_a_line_that_cannot_be_taken_is_named(results: Path, text: str, words: str) -> None:
    with pytest.raises(UserError) as error:
        read(results, text)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_correction_without_a_name_is_refused(results: Path) -> None:
    with pytest.raises(UserError, match="line 2: who says so is missing"):
        read(results, "part,truth\n2.png,good\n", by="")


def test_unknown_column_names_are_refused(results: Path) -> None:
    with pytest.raises(UserError, match="--columns: unknown column 'teil'"):
        read(results, "part,truth\n2.png,good\n", teil="part")
    with pytest.raises(UserError, match="has no column 'serial'; it has part, truth"):
        read(results, "part,truth\n2.png,good\n", part="serial")


def test_one_bad_line_keeps_all_out(results: Path) -> None:
    csv = results.with_name("t.csv")
    csv.write_text("part,truth\n2.png,good\nx.png,good\n")
    with pytest.raises(UserError):
        take(results, csv, "Anna")
    assert not store_of(results).exists()


def test_the_same_csv_twice_adds_nothing(results: Path) -> None:
    csv = results.with_name("t.csv")
    # The last line about a part counts, so that the first must not come back.
    csv.write_text("part,truth\n2.png,unknown\na/1.png,good\n2.png,defective\n")
    first, second = take(results, csv, "Anna"), take(results, csv, "Anna")
    assert (first.added, first.known) == (3, 0) and (second.added, second.known) == (0, 3)
    # A longer list of the same words: only what is new.
    csv.write_text("part,truth\na/1.png,good\n2.png,defective\nb/1.png,good\n")
    third = take(results, csv, "Anna")
    assert (third.added, third.known) == (1, 2)
    # Somebody else's word is another one, and a changed mind as well.
    assert take(results, csv, "Bela").added == 3
    csv.write_text("part,truth\n2.png,good\n")
    assert take(results, csv, "Anna").added == 1
    with Corrections(store_of(results)) as store:
        assert len(store.entries) == 8


def test_a_repeat_after_somebody_elses_word_is_the_last_word_again(results: Path) -> None:
    csv = results.with_name("t.csv")
    for text, by, added in (
        ("part,truth\n2.png,good\n", "Anna", 1),
        ("part,truth\n2.png,defective\n", "Bela", 1),
        ("truth,part\ngood,2.png\n", "Anna", 1),
        ("part,truth,remark\n2.png,good,\n", "Anna", 0),
    ):
        csv.write_text(text)
        assert take(results, csv, by).added == added
    entries = read_corrections(store_of(results))
    (last,) = latest(entries).values()
    assert (last.truth, last.by) == ("good", "Anna")
    assert disputed(entries) == [last.photograph]
    # Bela's CSV again: its line was taken.
    csv.write_text("part,truth\n2.png,defective\n")
    assert take(results, csv, "Bela").added == 0


def test_lines_that_contradict_each_other_are_both_named(results: Path) -> None:
    text = "part,truth\n2.png,good\na/1.png,good\nin/2.png,defective\n"
    with pytest.raises(UserError) as error:
        read(results, text)
    words = "line 4: says that in/2.png is defective, and line 2 that it is good; keep one of the two lines"
    assert words in str(error.value)
    # One was withdrawn.
    assert len(read(results, text.replace("a/1.png,good", "2.png,unknown")).entries) == 3


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="no limit of a file's size")
def test_after_a_full_disk_the_same_csv_adds_the_rest(results: Path) -> None:
    import resource

    csv = results.with_name("t.csv")
    csv.write_text("part,truth\n2.png,good\na/1.png,good\nb/1.png,good\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (250, hard))
    try:
        with pytest.raises(UserError, match="cannot be written"):
            take(results, csv, "Anna")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    kept = read_corrections(store_of(results))
    assert [one.part for one in kept] == ["in/2.png"]
    again = take(results, csv, "Anna")
    assert (again.added, again.known) == (2, 1)
    assert [one.part for one in read_corrections(store_of(results))] == [
        "in/2.png",
        "in/a/1.png",
        "in/b/1.png",
    ]
