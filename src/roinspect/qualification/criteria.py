"""The plan's limits beside what was found: is each met?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import fields

from roinspect.evaluation.rates import Rate, parts_needed, rate_of
from roinspect.qualification.agreement import Appraiser
from roinspect.qualification.plan import Limits, Plan
from roinspect.qualification.pod import FEW_PARTS
from roinspect.qualification.repeatability import Repeated
from roinspect.qualification.results import Criterion, Findings
from roinspect.qualification.robustness import Disturbance


def judge(plan: Plan, found: Findings) -> tuple[Criterion, ...]:
    """Compare every limit of the plan with what was found."""
    return tuple(_criteria(plan, found))


def too_few(limits: Limits, good: int, defective: int, confidence: float) -> Iterator[tuple[str, str]]:
    """The limits that so many parts cannot show, whatever the verdicts: name and remedy.

    Args:
        limits: of the plan.
        good: parts at most.
        defective: parts at most.
        confidence: of the bounds.
    """
    for name, kind, parts, limit in _wrong_limits(limits, good, defective):
        if limit is not None and (not parts or rate_of(0, parts, confidence).high > limit):
            yield (
                name,
                f"{parts} {kind} parts are too few, even without an error; {_enough(limit, 0, confidence)}",
            )


def _wrong_limits(
    limits: Limits, good: int, defective: int
) -> tuple[tuple[str, str, int, float | None], ...]:
    detection = None if limits.detection_rate is None else 1 - limits.detection_rate
    return (
        ("detection_rate", "defective", defective, detection),
        ("escape_rate", "defective", defective, limits.escape_rate),
        ("false_reject_rate", "good", good, limits.false_reject_rate),
    )


def _enough(limit: float, wrong: int, confidence: float) -> str:
    needed = parts_needed(limit, wrong, confidence)
    with_errors = f" with {wrong} error{'s' * (wrong > 1)}" if wrong else ""
    return (
        f"{needed:,} would do{with_errors}" if needed else f"more than a million would be needed{with_errors}"
    )


def _criteria(plan: Plan, found: Findings) -> Iterator[Criterion]:
    limits, counts, sure = plan.limits, found.counts, f"{plan.confidence:.0%} sure"
    if limits.detection_rate is not None:
        rate, limit = counts.detection, limits.detection_rate
        yield Criterion(
            "detection_rate",
            f"at least {limit:.4g} ({sure})",
            f"{_share(rate)}; at least {rate.low:.4g}" if rate.parts else "no defective parts",
            rate.parts > 0 and rate.low >= limit,
            _parts_note(rate.parts, rate.parts - rate.found, 1 - limit, plan.confidence, "defective"),
        )
    rates = (
        ("escape_rate", limits.escape_rate, counts.escape, "defective"),
        ("false_reject_rate", limits.false_reject_rate, counts.false_reject, "good"),
    )
    for name, highest, rate, kind in rates:
        if highest is not None:
            yield Criterion(
                name,
                f"at most {highest:.4g} ({sure})",
                f"{_share(rate)}; at most {rate.high:.4g}" if rate.parts else f"no {kind} parts",
                rate.parts > 0 and rate.high <= highest,
                _parts_note(rate.parts, rate.found, highest, plan.confidence, kind),
            )
    if limits.a90_95 is not None:
        yield _pod(limits.a90_95, found)
    if limits.without_verdict is not None:
        yield Criterion(
            "without_verdict",
            f"at most {limits.without_verdict}",
            f"{counts.without_verdict} of {counts.photographs} photographs",
            counts.without_verdict <= limits.without_verdict,
        )
    yield from _repeated(limits, found.repeated)
    yield from _agreement(limits, found)
    if limits.foreign_passed is not None:
        passed = [picture.name for picture in found.foreign if picture.verdict == "good"]
        yield Criterion(
            "foreign_passed",
            f"at most {limits.foreign_passed}",
            f"{len(passed)} of {len(found.foreign)} pictures",
            len(passed) <= limits.foreign_passed,
            f"passed: {', '.join(passed[:3])}" if passed else "",
        )
    yield from _robust(limits, found.disturbances)


def _share(rate: Rate) -> str:
    return f"{rate.found} of {rate.parts} parts ({rate.share:.4g})"


def _parts_note(parts: int, wrong: int, limit: float, confidence: float, kind: str) -> str:
    if rate_of(wrong, parts, confidence).high <= limit:
        return ""
    if not parts or rate_of(0, parts, confidence).high > limit:
        return f"{parts} {kind} parts are too few, even without an error: {_enough(limit, 0, confidence)}"
    if wrong / parts < limit:
        return f"{parts} {kind} parts are too few for {wrong} errors: {_enough(limit, wrong, confidence)}"
    return ""


def _pod(limit: float, found: Findings) -> Criterion:
    text = f"at most {limit:.4g} px"
    curve = found.curve
    if curve is None:
        return Criterion("a90_95", text, "no curve", False, found.no_curve)
    if math.isinf(curve.a90_bound):
        note = f"a90 is {curve.a90:.3g} px, but {curve.parts} defects are too few for a bound"
        return Criterion("a90_95", text, "no bound", False, f"{note}; {FEW_PARTS} or more are usual")
    beyond = f"a90 lies beyond the largest defect tested, {curve.largest:.3g} px"
    return Criterion(
        "a90_95",
        text,
        f"{curve.a90_bound:.4g} px (a90 {curve.a90:.4g} px)",
        curve.a90_bound <= limit,
        beyond if curve.a90 > curve.largest else "",
    )


def _repeated(limits: Limits, repeated: Sequence[Repeated]) -> Iterator[Criterion]:
    looked = [one for one in repeated if one.photographs]
    ways = ", ".join(one.name for one in looked) or "nothing was looked at again"
    if limits.equal_verdicts is not None:
        differing = [f"{one.name}: {one.differing}, such as {one.such_as}" for one in looked if one.differing]
        yield Criterion(
            "equal_verdicts",
            "all equal",
            "; ".join(differing) or f"all equal ({ways})",
            bool(looked) and not differing,
        )
    if limits.score_difference is not None:
        largest = max((one.difference for one in looked), default=math.inf)
        yield Criterion(
            "score_difference",
            f"at most {limits.score_difference:.3g} of a score",
            f"{largest:.3g} ({ways})",
            largest <= limits.score_difference,
        )


def _agreement(limits: Limits, found: Findings) -> Iterator[Criterion]:
    if found.agreement is not None:
        machine = found.agreement.appraisers[-1]
        yield from _of_machine(limits, machine)
    if limits.knapp is not None and found.knapp is not None:
        test = found.knapp
        if math.isnan(test.manual):
            note = "the inspectors reject no part with a probability of 0.7 or more: there is no reject zone"
            yield Criterion("knapp", "machine at least as inspectors", "not determined", False, note)
        else:
            yield Criterion(
                "knapp",
                "machine at least as inspectors",
                f"machine {test.machine:.4g}, inspectors {test.manual:.4g} ({test.in_reject_zone} parts)",
                test.is_passed,
            )


def _of_machine(limits: Limits, machine: Appraiser) -> Iterator[Criterion]:
    for name, sign in (("effectiveness", 1), ("miss_rate", -1), ("false_alarm_rate", -1), ("kappa", 1)):
        limit, estimate = getattr(limits, name), getattr(machine, name)
        if limit is None:
            continue
        value = estimate.value
        is_known = not math.isnan(value)
        yield Criterion(
            name,
            f"at {'least' if sign > 0 else 'most'} {limit:.4g}",
            f"{value:.4g}" if is_known else "not determined",
            is_known and sign * value >= sign * limit,
            "" if is_known else "the looks are all of one kind",
        )


def _robust(limits: Limits, disturbances: Sequence[Disturbance]) -> Iterator[Criterion]:
    if limits.robust_to is None:
        return
    by_kind = {one.kind: one for one in disturbances}
    for kind in (one.name for one in fields(limits.robust_to)):
        limit = getattr(limits.robust_to, kind)
        if limit is None:
            continue
        one = by_kind[kind]
        holds = "not even undisturbed" if one.holds_to is None else f"holds to {one.holds_to:g}"
        fails = "" if one.fails_at is None or one.holds_to is None else f", fails at {one.fails_at:g}"
        first = one.levels[0]
        missing = [
            name for name, count in (("good", first.good), ("defective", first.defective)) if not count
        ]
        yield Criterion(
            f"robust_to.{kind}",
            f"to {limit:g}",
            holds + fails,
            one.holds_to is not None and one.holds_to >= limit and not missing,
            f"no {missing[0]} photograph was disturbed" if missing else "",
        )
