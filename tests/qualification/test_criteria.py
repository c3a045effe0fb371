"""Limits are met or not by their bounds, and what is too few is said with how many would do."""

from __future__ import annotations

import math

import pytest

from roinspect.evaluation.intervals import UNKNOWN
from roinspect.evaluation.rates import rate_of
from roinspect.qualification.agreement import Agreement, Appraiser, Estimate
from roinspect.qualification.criteria import judge, too_few
from roinspect.qualification.examination import Foreign
from roinspect.qualification.knapp import Knapp
from roinspect.qualification.outcomes import Counts
from roinspect.qualification.plan import Limits, Plan, RobustTo, TestSet
from roinspect.qualification.pod import PodCurve
from roinspect.qualification.repeatability import Repeated
from roinspect.qualification.results import Criterion, Findings
from roinspect.qualification.robustness import Disturbance, Level


def plan(limits: Limits) -> Plan:
    return Plan("a", "b", "c", "2026-11-28", "model", (TestSet("x"),), limits, looks="looks.csv")


def counts(found: int = 60, defective: int = 60, rejected: int = 0, good: int = 60) -> Counts:
    return Counts(
        photographs=defective + good,
        parts=defective + good,
        unlabelled=0,
        without_verdict=2,
        not_inspectable_good=0,
        not_inspectable_defective=0,
        detection=rate_of(found, defective, 0.95),
        escape=rate_of(defective - found, defective, 0.95),
        false_reject=rate_of(rejected, good, 0.95),
    )


def one(limits: Limits, findings: Findings | None = None) -> Criterion:
    (found,) = judge(plan(limits), findings or Findings(counts()))
    return found


def test_a_rate_is_met_by_its_bound_not_by_its_share() -> None:
    # 60 of 60 show 95 %, 50 of 50 do not.
    assert one(Limits(detection_rate=0.95)).is_met
    short = one(Limits(detection_rate=0.95), Findings(counts(50, 50)))
    assert not short.is_met
    assert short.note == "50 defective parts are too few, even without an error: 59 would do"


def test_errors_need_more_parts() -> None:
    found = one(Limits(false_reject_rate=0.05), Findings(counts(rejected=1)))
    assert not found.is_met
    assert found.note == "60 good parts are too few for 1 errors: 93 would do with 1 error"


def test_more_errors_than_the_limit_are_not_a_matter_of_numbers() -> None:
    found = one(Limits(escape_rate=0.1), Findings(counts(found=40)))
    assert not found.is_met and found.note == ""


def test_no_parts_meet_no_limit() -> None:
    found = one(Limits(detection_rate=0.5), Findings(counts(0, 0)))
    assert not found.is_met and "no defective parts" in found.found


def test_too_few_parts_are_known_in_advance() -> None:
    limits = Limits(detection_rate=0.9, false_reject_rate=0.05, escape_rate=0.5)
    assert dict(too_few(limits, good=30, defective=28, confidence=0.95)) == {
        "detection_rate": "28 defective parts are too few, even without an error; 29 would do",
        "false_reject_rate": "30 good parts are too few, even without an error; 59 would do",
    }
    assert not list(too_few(limits, good=59, defective=29, confidence=0.95))


CURVE = PodCurve(-4, 3, 3.8, 5.0, 6.5, 0.95, 60, 40, 1.0, 12.0)


@pytest.mark.parametrize(
    ("curve", "why", "is_met", "words"),
    [
        (CURVE, "", True, "6.5 px (a90 5 px)"),
        (PodCurve(-4, 3, 3.8, 5.0, 7.1, 0.95, 60, 40, 1.0, 12.0), "", False, "7.1 px"),
        (PodCurve(-4, 3, 3.8, 5.0, math.inf, 0.95, 8, 4, 1.0, 12.0), "", False, "no bound"),
        (None, "all were found", False, "no curve"),
    ],
)
def test_a90_95_must_exist_and_be_small(curve: PodCurve | None, why: str, is_met: bool, words: str) -> None:
    found = one(Limits(a90_95=7.0), Findings(counts(), curve=curve, no_curve=why))
    assert found.is_met is is_met
    assert words in found.found
    assert why in found.note


def test_photographs_without_a_verdict_are_counted() -> None:
    assert not one(Limits(without_verdict=1)).is_met
    assert one(Limits(without_verdict=2)).is_met


def test_every_way_of_looking_again_must_agree() -> None:
    same, other = Repeated("again", 9, 0, "", 0.0), Repeated("onnxruntime", 9, 1, "a.png", 2e-4)
    assert one(Limits(equal_verdicts=True), Findings(counts(), repeated=(same,))).is_met
    found = one(Limits(equal_verdicts=True), Findings(counts(), repeated=(same, other)))
    assert not found.is_met and "onnxruntime: 1, such as a.png" in found.found
    assert not one(Limits(score_difference=1e-4), Findings(counts(), repeated=(same, other))).is_met
    assert one(Limits(score_difference=3e-4), Findings(counts(), repeated=(same, other))).is_met


@pytest.mark.parametrize("limits", [Limits(equal_verdicts=True), Limits(score_difference=1.0)])
def test_nothing_looked_at_again_shows_nothing(limits: Limits) -> None:
    assert not one(limits, Findings(counts(), repeated=(Repeated("again", 0, 0, "", 0.0),))).is_met


def machine(value: float) -> Agreement:
    estimate = Estimate(value, UNKNOWN)
    appraiser = Appraiser("machine", 9, estimate, estimate, estimate, estimate, None)
    return Agreement(9, 4, (appraiser,), estimate, estimate, ())


def test_agreement_is_judged_by_the_machine() -> None:
    findings = Findings(counts(), agreement=machine(0.8))
    assert one(Limits(kappa=0.8), findings).is_met
    assert not one(Limits(effectiveness=0.81), findings).is_met
    assert one(Limits(miss_rate=0.8), findings).is_met
    assert not one(Limits(false_alarm_rate=0.79), findings).is_met
    unknown = one(Limits(kappa=0.8), Findings(counts(), agreement=machine(math.nan)))
    assert not unknown.is_met and unknown.found == "not determined"


def test_the_knapp_test_needs_a_reject_zone() -> None:
    def with_zone(manual: float, by_machine: float) -> Criterion:
        test = Knapp(9, 3, 1, 5, manual, by_machine, 0.1, 0.1, 10, 1)
        return one(Limits(knapp=True), Findings(counts(), agreement=machine(1), knapp=test))

    assert with_zone(0.8, 0.8).is_met
    assert not with_zone(0.8, 0.79).is_met
    assert with_zone(math.nan, math.nan).found == "not determined"
    assert not with_zone(math.nan, math.nan).is_met


def test_foreign_pictures_that_pass_are_named() -> None:
    pictures = (
        Foreign("black", "not inspectable", "x"),
        Foreign("hand.png", "good", ""),
        Foreign("z", "", "y"),
    )
    found = one(Limits(foreign_passed=0), Findings(counts(), foreign=pictures))
    assert not found.is_met and found.note == "passed: hand.png"
    assert one(Limits(foreign_passed=1), Findings(counts(), foreign=pictures)).is_met


@pytest.mark.parametrize(
    ("holds_to", "good", "defective", "is_met"),
    [(1.0, 9, 9, True), (2.0, 9, 9, True), (0.5, 9, 9, False), (None, 9, 9, False), (1.0, 9, 0, False)],
)
def test_robustness_must_reach_the_strength_on_both_kinds(
    holds_to: float | None, good: int, defective: int, is_met: bool
) -> None:
    found = Disturbance("blur", (Level(0.0, good, 0, defective, 0),), holds_to, 4.0)
    criterion = one(Limits(robust_to=RobustTo(blur=1.0)), Findings(counts(), disturbances=(found,)))
    assert criterion.is_met is is_met
    assert criterion.name == "robust_to.blur"
