"""A review: which rows and which words count, and what is said of those that do not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from roinspect.errors import UserError
from roinspect.inspection.bundle import Threshold, bundle_version, replace_threshold
from roinspect.inspection.exported import scores_version
from roinspect.review.corrections import add_corrections, correction, store_of
from roinspect.review.draw import draw, name_of, write_drawn
from roinspect.review.rates import Stratum
from roinspect.review.review import Reviewed, by_version, looked_at, proposal, read_review, take
from roinspect.review.times import period_of
from roinspect.review.words import as_values, proposed, summary

from .fakes import row, write_rows

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def bundle(make_bundle: Make) -> Path:
    return make_bundle()


@pytest.fixture
def results(tmp_path: Path, bundle: Path) -> Path:
    """Five rejected, five passed, one not inspectable and one unreadable part of the bundle."""
    own: dict[str, Any] = {"model_version": bundle_version(bundle), "scores_version": scores_version(bundle)}
    rows = [row(f"r{n}.png", 0.6 + n / 100, **own) for n in range(5)]
    rows += [row(f"p{n}.png", 0.1 + n / 100, **own) for n in range(5)]
    rows += [row("n.png", 0.2, **own) | {"verdict": "not inspectable", "is_defect": None, "reason": "dark"}]
    return write_rows(tmp_path / "r.jsonl", [*rows, row("e.png", None, **own)])


def say(results: Path, *words: str, by: str = "Anna", drawn: str = "") -> None:
    """Corrections in the form r0.png=good."""
    pairs = [word.split("=") for word in words]
    entries = [correction(part, truth, by, drawn=drawn, state=(100, 1)) for part, truth in pairs]
    add_corrections(store_of(results), *entries)


def text(reviewed: Reviewed, results: Path) -> str:
    return "\n".join(summary(reviewed, results))


def test_parts_are_counted_by_verdict_and_by_what_people_found(bundle: Path, results: Path) -> None:
    say(results, "r0.png=good", "r1.png=defective", "p0.png=defective", "n.png=good", "e.png=defective")
    say(results, "p1.png=good", "r1.png=good", by="Bela")
    reviewed = read_review(bundle, results)
    (one,) = by_version(reviewed)
    assert one.is_present and one.rejected == Stratum(5, sample=2, sample_odd=2)
    assert one.passed == Stratum(5, sample=2, sample_odd=1)
    assert (one.not_inspectable, one.not_inspectable_good, one.without_verdict) == (1, 1, 1)
    # The last word on r1.png is Bela's.
    assert looked_at(reviewed) == {"Anna": 4, "Bela": 2}
    words = text(reviewed, results)
    assert "5 rejected, 5 passed, 1 not inspectable, 1 could not be inspected" in words
    assert "Of 5 rejected parts, 2 looked at, 2 were good: 100%, between 40% and 100%" in words
    assert "hold only if the rejected and the passed parts that were looked at were drawn by chance" in words


def test_nothing_looked_at_is_said_to_be_unknown(bundle: Path, results: Path) -> None:
    words = text(read_review(bundle, results), results)
    assert "Of 5 passed parts, none was looked at; defective ones: unknown" in words
    assert words.count("unknown") == 4 and "0%" not in words and "by chance" not in words
    values = as_values(read_review(bundle, results), None)
    assert values["versions"][0]["rates"]["detection"]["value"] is None
    json.dumps(values, allow_nan=False)


def test_all_looked_at_is_exact(bundle: Path, results: Path) -> None:
    say(results, *(f"r{n}.png={'good' if n < 2 else 'defective'}" for n in range(5)))
    words = text(read_review(bundle, results), results)
    assert "Of 5 rejected parts, 5 looked at, 2 were good: 40%, exact, as all were looked at" in words
    assert "by chance" not in words


def test_where_nothing_was_rejected_or_nothing_passed_the_rates_are_exact(
    bundle: Path, results: Path
) -> None:
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    write_rows(results, [one for one in rows if one["image_path"].startswith("p")])
    words = text(read_review(bundle, results), results)
    assert "  No part was rejected.\n" in words
    say(results, "p0.png=good", "p1.png=defective", "r0.png=good", "r1.png=defective")
    words = text(read_review(bundle, results), results)
    assert "Of all good parts, rejected: 0%, exact, as none was rejected." in words
    assert "Of all defective parts, found: 0%, exact, as none was rejected." in words
    write_rows(results, [one for one in rows if one["image_path"].startswith("r")])
    words = text(read_review(bundle, results), results)
    assert "  No part passed.\n" in words
    assert "Of all good parts, rejected: 100%, exact, as none passed." in words
    assert "Of all defective parts, found: 100%, exact, as none passed." in words
    assert "unknown" not in words


def test_a_word_that_was_withdrawn_counts_no_more(bundle: Path, results: Path) -> None:
    say(results, "r0.png=good", "r0.png=unknown")
    assert looked_at(read_review(bundle, results)).total() == 0


def test_parts_on_which_people_disagree_are_named(bundle: Path, results: Path) -> None:
    say(results, "r0.png=good", "r1.png=good", "x.png=good", "r2.png=good", "r2.png=defective")
    assert "disagree" not in text(read_review(bundle, results), results)
    say(results, "r0.png=defective", "r1.png=defective", "x.png=defective", by="Bela")
    say(results, "r1.png=unknown", "r1.png=good")
    words = text(read_review(bundle, results), results)
    assert "1 part on which people disagree: r0.png; the last word counts." in words
    assert as_values(read_review(bundle, results), None)["disputed"] == ["r0.png"]


def test_parts_drawn_by_chance_stand_for_others_and_the_rest_for_itself(bundle: Path, results: Path) -> None:
    say(results, "p0.png=defective")
    say(results, "p1.png=good", "p2.png=good", drawn="seed 1")
    (one,) = by_version(read_review(bundle, results))
    assert one.passed == Stratum(5, known=1, known_odd=1, sample=2, sample_odd=0, is_drawn=True)
    assert one.rates.defective_of_passed.value == pytest.approx(1 / 5)
    words = text(read_review(bundle, results), results)
    assert "Of 5 passed parts, 3 looked at (2 drawn by chance), 1 was defective" in words
    assert "hold only" not in words


def test_a_drawn_part_stays_in_the_sample_whatever_is_said_later(bundle: Path, results: Path) -> None:
    say(results, *(f"p{n}.png=good" for n in range(4)), drawn="seed 1")
    say(results, "p0.png=defective", by="Bela")
    say(results, "p0.png=defective", "p4.png=defective", by="Anna")
    (one,) = by_version(read_review(bundle, results))
    assert one.passed == Stratum(5, known=1, known_odd=1, sample=4, sample_odd=1, is_drawn=True)
    # What was withdrawn was not looked at, and the next word on it is not by chance.
    say(results, "p0.png=unknown", "p0.png=defective")
    (one,) = by_version(read_review(bundle, results))
    assert one.passed == Stratum(5, known=2, known_odd=2, sample=3, sample_odd=0, is_drawn=True)


def test_words_on_photographs_of_elsewhere_are_counted(bundle: Path, results: Path) -> None:
    say(results, "x.png=good")
    reviewed = read_review(bundle, results)
    assert reviewed.strays == 1 and looked_at(reviewed).total() == 0
    assert "Corrections of photographs that are not in these results: 1." in text(reviewed, results)


def test_each_version_has_its_own_figures_and_the_present_one_comes_first(
    bundle: Path, results: Path
) -> None:
    other = row("o.png", 0.9, model_version="ffffffffffff", scores_version="eeeeeeeeeeee")
    unstated = [
        {k: v for k, v in row(f"u{n}.png", 0.9, threshold=t).items() if "version" not in k}
        for n, t in ((1, 0.5), (2, 0.7))
    ]
    results.write_text("".join(json.dumps(one) + "\n" for one in [other, *unstated]) + results.read_text())
    reviewed = read_review(bundle, results)
    found = by_version(reviewed)
    assert [(one.version, one.is_present, one.rows, one.unstated) for one in found] == [
        (bundle_version(bundle), True, 13, 1),
        ("ffffffffffff", False, 1, 0),
        ("not stated, threshold 0.7", False, 1, 1),
    ]
    assert "They are of 3 versions" in text(reviewed, results)
    suggested = proposal(reviewed)
    assert suggested is not None and suggested.other_scores == 2
    assert "Not used: 2 rows of models with other scores" in "\n".join(proposed(suggested, bundle))


def test_a_threshold_that_was_changed_leaves_the_scores_comparable(
    make_bundle: Make, results: Path, bundle: Path
) -> None:
    calibrated = make_bundle()
    replace_threshold(calibrated, Threshold(0.65, "by hand"))
    assert bundle_version(calibrated) != bundle_version(bundle)
    assert scores_version(calibrated) == scores_version(bundle)
    reviewed = read_review(calibrated, results)
    assert [one.is_present for one in by_version(reviewed)] == [False]
    suggested = proposal(reviewed)
    assert suggested is not None and suggested.good == 5 and suggested.other_scores == 0
    assert scores_version(make_bundle(seed=1)) != scores_version(bundle)


def test_a_period_counts_only_its_rows(bundle: Path, results: Path) -> None:
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    for number, one in enumerate(rows):
        one["time"] = f"2026-11-{number + 1:02}T12:00:00+00:00"
    del rows[0]["time"]
    write_rows(results, rows)
    reviewed = read_review(bundle, results, period_of("2026-11-03", "2026-11-04"))
    assert [one.part for one in reviewed.rows] == ["r2.png", "r3.png"] and reviewed.outside == 10
    assert "10 rows of another time, or without one, are left out" in text(reviewed, results)
    with pytest.raises(UserError, match="no row is of this period"):
        read_review(bundle, results, period_of("2027-01-01", None))
    for one in rows:
        one.pop("time", None)
    write_rows(results, rows)
    with pytest.raises(UserError, match="do not say when they were made"):
        read_review(bundle, results, period_of("2026-11-03", None))
    assert len(read_review(bundle, results).rows) == 12


def test_a_clock_that_ran_backwards_is_said_and_the_order_of_lines_counts(
    bundle: Path, results: Path
) -> None:
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    rows[3]["time"] = "2026-11-19T00:00:00+00:00"
    write_rows(results, rows)
    early = correction("r0.png", "good", "Anna", time="2026-11-21T00:00", state=(100, 1))
    late = correction("r0.png", "defective", "Anna", time="2026-11-20T12:00", state=(100, 1))
    # A date alone is the end of its day, and no clock.
    day = correction("r1.png", "good", "Anna", time="2026-11-20", state=(100, 1))
    last = correction("r1.png", "good", "Anna", time="2026-11-20T13:00", state=(100, 1))
    add_corrections(store_of(results), early, late, day, last)
    reviewed = read_review(bundle, results)
    assert [remark.partition(": ")[2] for remark in reviewed.remarks] == [
        "the clock ran backwards once, first at line 4; what counts is the order of the lines",
        "the clock ran backwards once, first at line 2; what counts is the order of the lines",
    ]
    assert len(reviewed.rows) == 12 and reviewed.truth(reviewed.rows[0]) == "defective"


def test_a_photograph_that_was_inspected_again_counts_once(bundle: Path, results: Path) -> None:
    own: dict[str, Any] = {"model_version": bundle_version(bundle), "scores_version": scores_version(bundle)}
    again = [row("p0.png", 0.1, **own), row("r0.png", 0.2, **own), row("p1.png", 0.1, mtime_ns=2, **own)]
    again += [row("p2.png", 0.9, model_version="ffffffffffff", scores_version="eeeeeeeeeeee")]
    with results.open("a") as file:
        file.writelines(json.dumps(one) + "\n" for one in again)
    say(results, "r0.png=good")
    reviewed = read_review(bundle, results)
    present, other = by_version(reviewed)
    # r0.png passed the second time; p1.png was overwritten, and is another one.
    assert (present.rows, present.repeated) == (13, 2) and (other.rows, other.repeated) == (1, 0)
    assert (present.rejected.parts, present.passed) == (4, Stratum(7, sample=1))
    words = text(reviewed, results)
    assert (
        words.count(
            "Left out: 2 repeated rows of photographs that were inspected again; the last row of each counts."
        )
        == 1
    )
    assert words.count("repeated") == 1
    drawn = [one.part for one in draw(reviewed.not_looked_at("passed"), 99, 0)]
    assert sorted(drawn) == ["p0.png", "p1.png", "p1.png", "p2.png", "p3.png", "p4.png"]
    found = proposal(reviewed)
    assert found is not None and (found.good, found.not_used, found.other_scores) == (7, 4, 1)


# -- the threshold


def test_a_threshold_rests_on_parts_that_are_good_or_taken_to_be(bundle: Path, results: Path) -> None:
    say(results, "r0.png=good", "r4.png=defective", "p4.png=defective")
    found = proposal(read_review(bundle, results), 0.4)
    assert found is not None
    assert (found.good_seen, found.good_taken, found.defective, found.not_used) == (1, 4, 2, 3)
    # One of five good ones may be rejected: it lies above the second highest, p3.png.
    assert 0.13 < found.threshold.value < 0.1301
    assert (found.now.good_rejected, found.then.good_rejected) == (1, 1)
    assert (found.now.defective_passed, found.then.defective_passed) == (1, 0)
    words = "\n".join(proposed(found, bundle))
    assert "NOTE" not in words
    assert f"roinspect calibrate {bundle} --threshold {found.threshold.value!r}" in words
    assert "Not used: 3 rejected parts that nobody looked at" in words
    assert "1 looked at, 4 passed and not contradicted" in words


def test_a_threshold_that_lets_a_caught_defect_pass_says_so_first(bundle: Path, results: Path) -> None:
    say(results, "r0.png=defective", "r1.png=good")
    found = proposal(read_review(bundle, results), 0.01)
    assert found is not None and found.lost == ("r0.png",)
    words = list(proposed(found, bundle))
    assert words[0].startswith(
        "NOTE: the proposed threshold lets 1 known defective part pass that is rejected now"
    )
    assert "r0.png" in words[0] and any("cannot support" in line for line in words)


def test_the_rate_is_that_of_the_training_unless_another_is_asked_for(bundle: Path, results: Path) -> None:
    found, other = (proposal(read_review(bundle, results), rate) for rate in (None, 0.3))
    assert found is not None and found.false_reject == 0.01
    assert other is not None and other.false_reject == 0.3


def test_without_good_parts_there_is_no_threshold(bundle: Path, tmp_path: Path) -> None:
    results = write_rows(tmp_path / "r.jsonl", [row("a.png", 0.9), row("b.png", None)])
    found = proposal(read_review(bundle, results))
    assert found is None and list(proposed(found, bundle)) == [
        "No threshold is proposed: no part is known or taken to be good."
    ]


# -- the draw


def test_a_draw_is_of_parts_that_nobody_has_looked_at_and_comes_back_as_drawn(
    bundle: Path, results: Path, tmp_path: Path
) -> None:
    say(results, "p0.png=good")
    reviewed = read_review(bundle, results)
    rows = draw(reviewed.not_looked_at("passed"), 3, seed=5)
    assert len(rows) == 3 and all(one.verdict == "good" and one.part != "p0.png" for one in rows)
    assert len(draw(reviewed.not_looked_at("rejected"), 99, seed=5)) == 5
    csv = tmp_path / "d.csv"
    write_drawn(csv, [name_of(one, reviewed.parts) for one in rows], 5)
    with pytest.raises(UserError, match="exists already"):
        write_drawn(csv, [], 5)
    with pytest.raises(UserError, match=r"e.csv: cannot be written: the file name '.udcff.png' is not UTF-8"):
        write_drawn(tmp_path / "e.csv", ["a.png", "\udcff.png"], 5)
    assert take(results, csv, "Anna").empty == 3
    lines = csv.read_text().splitlines()
    assert lines[0].startswith("part,truth,") and lines[1].endswith(",seed 5")
    csv.write_text("\n".join([lines[0], *(line.replace(",,", ",good,", 1) for line in lines[1:])]))
    assert take(results, csv, "Anna").added == 3
    (one,) = by_version(read_review(bundle, results))
    assert one.passed == Stratum(5, known=1, sample=3, is_drawn=True)


def test_every_part_is_drawn_equally_often(bundle: Path, results: Path) -> None:
    rows = read_review(bundle, results).not_looked_at("passed")
    drawn = [one.line for seed in range(1000) for one in draw(rows, 2, seed)]
    # 400 each are expected; five standard deviations are 77.
    assert all(323 < drawn.count(one.line) < 477 for one in rows)


def test_a_row_of_a_file_that_was_overwritten_since_is_named_by_its_id(bundle: Path, results: Path) -> None:
    with results.open("a") as file:
        file.write(json.dumps(row("p0.png", 0.3, mtime_ns=2)) + "\n")
    reviewed = read_review(bundle, results)
    former, *_, latter = (one for one in reviewed.rows if one.part == "p0.png")
    assert name_of(former, reviewed.parts) == former.id and len(former.id) == 32
    assert name_of(latter, reviewed.parts) == "p0.png"
    assert reviewed.parts.find(former.id, None, "")[0] is former
