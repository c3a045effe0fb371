"""A review: what the line decided in a period, what people found, and what follows from both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from roinspect.errors import UserError
from roinspect.inspection.bundle import Bundle, bundle_version, read_bundle
from roinspect.inspection.exported import scores_version
from roinspect.review.corrections import (
    Correction,
    Corrections,
    Truth,
    disputed,
    latest,
    read_corrections,
    store_of,
)
from roinspect.review.rates import Rates, Stratum, rates_of
from roinspect.review.rows import Row, read_results
from roinspect.review.threshold import Proposal, propose
from roinspect.review.times import Period, backward, is_day, parse_time, said_backward
from roinspect.review.truths import Parts, not_known, read_truths
from roinspect.training.recalibration import FALSE_REJECT


@dataclass(frozen=True, slots=True)
class Taken:
    """What a CSV of corrections added.

    Attributes:
        added: corrections.
        known: lines that said nothing new.
        empty: lines without a truth.
        remarks: what is wrong with clocks, in words.
    """

    added: int
    known: int
    empty: int
    remarks: Sequence[str]


@dataclass(frozen=True, slots=True)
class Reviewed:
    """Everything that a review reads.

    Attributes:
        bundle: the model.
        version: of the bundle.
        rows: of the period, in the order of their lines.
        outside: rows that are not of the period, or do not say when they were made.
        corrections: what counts for each photograph of the results.
        strays: corrections of photographs that are not in the results.
        disputed: photographs of the period on which people disagree; the last word counts.
        parts: all rows by name.
        remarks: what is wrong with clocks, in words.
        scores_version: of the bundle.
    """

    bundle: Bundle
    version: str
    scores_version: str
    rows: Sequence[Row]
    outside: int
    corrections: Mapping[tuple[str, tuple[int, int] | None], Correction]
    strays: int
    disputed: Sequence[str]
    parts: Parts
    remarks: Sequence[str]

    def truth(self, row: Row) -> Truth | None:
        """What a person says of a part; None if nobody does."""
        entry = self.corrections.get(row.photograph)
        return None if entry is None else entry.truth

    def version_of(self, row: Row) -> str:
        """The model's version; without one in the row, the bundle's if the threshold is."""
        if row.version or row.verdict is None or row.threshold == self.bundle.threshold.value:
            return row.version or self.version
        return f"not stated, threshold {row.threshold:.4g}"

    def is_comparable(self, row: Row) -> bool:
        """Whether the bundle gives the same scores as the model of the row."""
        return self.version_of(row) == self.version or row.scores_version == self.scores_version

    def not_looked_at(self, which: Literal["passed", "rejected"]) -> list[Row]:
        """The passed or the rejected parts that nobody has looked at."""
        verdict = {"passed": "good", "rejected": "defective"}[which]
        return [row for row in self.counted() if row.verdict == verdict and self.truth(row) is None]

    def counted(self) -> list[Row]:
        """The last row of every photograph of every version, in the order of the lines.

        A photograph that was inspected again by the same version is still one part.
        """
        last = {(self.version_of(row), row.photograph): row for row in self.rows}
        return sorted(last.values(), key=lambda row: row.line)

    def photographs(self) -> list[tuple[Row, Correction]]:
        """The last row of every photograph of which a person says what it is."""
        last = {row.photograph: row for row in self.rows}
        return [
            (row, self.corrections[photograph])
            for photograph, row in last.items()
            if photograph in self.corrections
        ]


@dataclass(frozen=True, slots=True)
class OfVersion:
    """What one version of the model decided, and what people found.

    Attributes:
        version: of the model.
        is_present: whether it is the bundle's.
        rows: all of its rows that count.
        repeated: earlier rows of the same photographs, which do not count.
        unstated: rows that do not say which version they are of.
        rejected: parts with the verdict defective; odd ones are good.
        passed: parts with the verdict good; odd ones are defective.
        not_inspectable: parts, neither passed nor rejected.
        not_inspectable_good: of these, found good by a person.
        not_inspectable_defective: of these, found defective.
        without_verdict: photographs that could not be inspected.
        rates: of the rejected and the passed parts.
    """

    version: str
    is_present: bool
    rows: int
    repeated: int
    unstated: int
    rejected: Stratum
    passed: Stratum
    not_inspectable: int
    not_inspectable_good: int
    not_inspectable_defective: int
    without_verdict: int
    rates: Rates


def take(results: Path, csv: Path, by: str, columns: Mapping[str, str] | None = None) -> Taken:
    """Add the corrections of a CSV to those beside the results.

    Raises:
        UserError: see `read_truths` and `Corrections`.
    """
    found = read_truths(csv, Parts(read_results(results)), by=by, columns=columns)
    with Corrections(store_of(results)) as store:
        new = not_known(found.entries, store.entries)
        store.add(new)
    return Taken(len(new), len(found.entries) - len(new), found.empty, found.remarks)


def read_review(bundle: Path, results: Path, period: Period | None = None) -> Reviewed:
    """Read the bundle, the results of a period, and what people said of them.

    Raises:
        UserError: one of them cannot be read; or a period is asked for and no row says when it was made, or
            none is of the period.
    """
    manifest, period = read_bundle(bundle), period or Period()
    all_rows, store = read_results(results), store_of(results)
    entries = read_corrections(store)
    if period.is_limited and all(row.time is None for row in all_rows):
        raise UserError(
            "its rows do not say when they were made",
            where=results,
            remedy="leave out --since and --until; the results of `watch` have times",
        )
    rows = [row for row in all_rows if period.holds(row.time)]
    if not rows:
        raise UserError("no row is of this period", where=results, remedy="choose other dates")
    counting, known = latest(entries), {row.photograph for row in all_rows}
    of_period = {row.photograph for row in rows}
    clocks = said_backward(backward((row.line, row.time) for row in all_rows), results)
    clocks += said_backward(
        # A date alone is no clock.
        backward(
            (line, None if is_day(moment) else moment)
            for line, moment in enumerate((parse_time(entry.time) for entry in entries), 1)
        ),
        store,
    )
    return Reviewed(
        bundle=manifest,
        version=bundle_version(bundle),
        scores_version=scores_version(bundle),
        rows=rows,
        outside=len(all_rows) - len(rows),
        corrections={photograph: entry for photograph, entry in counting.items() if photograph in known},
        strays=sum(photograph not in known for photograph in counting),
        disputed=[photograph[0] for photograph in disputed(entries) if photograph in of_period],
        parts=Parts(all_rows),
        remarks=clocks,
    )


def by_version(reviewed: Reviewed) -> list[OfVersion]:
    """The figures of each version: the bundle's first, then in the order of their first rows."""
    rows: dict[str, list[Row]] = {}
    for row in reviewed.counted():
        rows.setdefault(reviewed.version_of(row), []).append(row)
    of_all = Counter(map(reviewed.version_of, reviewed.rows))
    found = [_of_version(reviewed, version, rows[version], count) for version, count in of_all.items()]
    return sorted(found, key=lambda one: not one.is_present)


def _of_version(reviewed: Reviewed, version: str, rows: Sequence[Row], of_all: int) -> OfVersion:
    unseen = [reviewed.truth(row) for row in rows if row.verdict == "not inspectable"]
    rejected, passed = (
        _stratum(reviewed, [row for row in rows if row.verdict == verdict], odd)
        for verdict, odd in (("defective", "good"), ("good", "defective"))
    )
    return OfVersion(
        version=version,
        is_present=version == reviewed.version,
        rows=len(rows),
        repeated=of_all - len(rows),
        unstated=sum(not row.version for row in rows),
        rejected=rejected,
        passed=passed,
        not_inspectable=len(unseen),
        not_inspectable_good=unseen.count("good"),
        not_inspectable_defective=unseen.count("defective"),
        without_verdict=sum(row.verdict is None for row in rows),
        rates=rates_of(rejected, passed),
    )


def _stratum(reviewed: Reviewed, rows: Sequence[Row], odd: str) -> Stratum:
    """Where some parts were drawn by chance, only these stand for others, whatever was said of them later."""
    looked_at = [entry for row in rows if (entry := reviewed.corrections.get(row.photograph)) is not None]
    drawn = [entry for entry in looked_at if entry.drawn]
    known = [entry for entry in looked_at if not entry.drawn] if drawn else []
    sample = drawn or looked_at
    return Stratum(
        len(rows),
        len(known),
        sum(entry.truth == odd for entry in known),
        len(sample),
        sum(entry.truth == odd for entry in sample),
        is_drawn=bool(drawn),
    )


def looked_at(reviewed: Reviewed) -> Counter[str]:
    """How many parts of the period each person has looked at; the last one counts."""
    seen = {row.photograph for row in reviewed.rows}
    return Counter(entry.by for photograph, entry in reviewed.corrections.items() if photograph in seen)


def proposal(reviewed: Reviewed, false_reject: float | None = None) -> Proposal | None:
    """A threshold, from the rows whose scores are comparable.

    Args:
        reviewed: the review.
        false_reject: the share of good parts that may be rejected; None for that of the training.

    Returns:
        None if no part is known or taken to be good.
    """
    rate = (
        float(reviewed.bundle.training.get("false_reject", FALSE_REJECT))
        if false_reject is None
        else false_reject
    )
    truths: dict[tuple[str, object], Truth] = {
        photograph: entry.truth for photograph, entry in reviewed.corrections.items()
    }
    counted = reviewed.counted()
    rows = [row for row in counted if reviewed.is_comparable(row)]
    found = propose(rows, truths, reviewed.bundle.threshold.value, rate)
    return found and replace(found, other_scores=len(counted) - len(rows))
