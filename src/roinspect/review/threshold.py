"""Another threshold, proposed from the scores of the parts that the line decided on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from roinspect.inspection.bundle import Threshold
from roinspect.inspection.calibration import false_reject_threshold
from roinspect.review.corrections import Truth
from roinspect.review.rows import Row


@dataclass(frozen=True, slots=True)
class Effect:
    """What a threshold does to the parts of a proposal.

    Attributes:
        threshold: the score from which a part is rejected.
        good_rejected: of the good parts.
        defective_passed: of the parts known to be defective.
    """

    threshold: float
    good_rejected: int
    defective_passed: int


@dataclass(frozen=True, slots=True)
class Proposal:
    """A threshold and what it rests on.

    Attributes:
        threshold: the proposed one.
        false_reject: the share of good parts that it may reject.
        good_seen: parts that a person found good.
        good_taken: parts that passed, and of which nobody says otherwise: they are taken to be good.
        defective: parts that a person found defective.
        not_used: rejected parts that nobody looked at; their kind is unknown.
        now: the effect of the present threshold.
        then: that of the proposed one.
        lost: defective parts that are rejected at the present threshold and would pass at the proposed one.
        other_scores: rows of models with other scores, which are not used.
    """

    threshold: Threshold
    false_reject: float
    good_seen: int
    good_taken: int
    defective: int
    not_used: int
    now: Effect
    then: Effect
    lost: tuple[str, ...]
    other_scores: int = 0

    @property
    def good(self) -> int:
        """Parts known or taken to be good."""
        return self.good_seen + self.good_taken


def propose(
    rows: Iterable[Row], truths: Mapping[tuple[str, object], Truth], present: float, false_reject: float
) -> Proposal | None:
    """Propose a threshold for a false-reject rate.

    Args:
        rows: results with comparable scores; those that are not inspectable, or have no verdict, are not
            used.
        truths: what people say, by `Row.photograph`.
        present: the threshold of the bundle.
        false_reject: the largest share of all good parts to reject, in [0, 1).

    Returns:
        None if no part is known or taken to be good.
    """
    good, defective, seen, not_used = list[Row](), list[Row](), 0, 0
    for row in rows:
        truth = truths.get(row.photograph)
        if row.verdict not in ("good", "defective"):
            continue
        if truth == "defective":
            defective.append(row)
        elif truth == "good" or row.verdict == "good":
            good.append(row)
            seen += truth == "good"
        else:
            not_used += 1
    if not good:
        return None
    kind = f"good parts of the line ({seen:,} looked at, {len(good) - seen:,} passed and not contradicted)"
    chosen = false_reject_threshold([row.score for row in good], false_reject, kind=kind)

    def effect(value: float) -> Effect:
        rejected = sum(row.score >= value for row in good)
        return Effect(value, rejected, sum(row.score < value for row in defective))

    return Proposal(
        threshold=chosen,
        false_reject=false_reject,
        good_seen=seen,
        good_taken=len(good) - seen,
        defective=len(defective),
        not_used=not_used,
        now=effect(present),
        then=effect(chosen.value),
        lost=tuple(row.part for row in defective if present <= row.score < chosen.value),
    )
