"""The report of a qualification: one HTML file to read, print and sign."""

from __future__ import annotations

import math

from roinspect.evaluation.intervals import Interval
from roinspect.evaluation.rates import Rate
from roinspect.qualification.agreement import Estimate
from roinspect.qualification.document import Document
from roinspect.qualification.figures import pod_svg, robustness_svg
from roinspect.qualification.outcomes import Part
from roinspect.qualification.plan import HIGHEST
from roinspect.qualification.results import Qualification

LISTED = 20
"""Wrong parts, and photographs without a verdict, that are listed; photographs.csv has all."""

ROLES = ("Tested by", "Reviewed by", "Approved by")


def render(result: Qualification) -> str:
    """The report as HTML."""
    page = Document(result.read.plan.title, "Qualification report")
    for section in (_summary, _plan, _rates, _pod, _agreement, _knapp, _repeatability, _robustness, _foreign):
        section(page, result)
    page.section("Conditions of the test")
    page.table("What was tested, where and when", ("", ""), list(result.about.items()))
    page.signatures(
        "The signatories confirm that the test was run by the plan, and accept its result.", ROLES
    )
    page.section("The plan as it was written", new_page=True)
    page.listing(result.read.text)
    return page.html()


def _summary(page: Document, result: Qualification) -> None:
    missed = [criterion for criterion in result.criteria if not criterion.is_met]
    page.section("Result")
    if missed:
        page.paragraph(
            f"The plan is not met: {len(missed)} of {len(result.criteria)} limits are missed.",
            "verdict missed",
        )
    else:
        count = len(result.criteria)
        page.paragraph(
            "The plan is met: its one limit holds."
            if count == 1
            else f"The plan is met: all {count} limits hold.",
            "verdict met",
        )
    page.table(
        "Acceptance limits of the plan",
        ("limit", "required", "found", ""),
        [(one.name, one.limit, one.found, "met" if one.is_met else "not met") for one in result.criteria],
        marks={index: "met" if one.is_met else "missed" for index, one in enumerate(result.criteria)},
    )
    notes = [f"{one.name}: {one.note}." for one in result.criteria if one.note]
    if notes or result.remarks:
        page.points([*notes, *(f"{remark[:1].upper()}{remark[1:]}." for remark in result.remarks)])


def _plan(page: Document, result: Qualification) -> None:
    plan = result.read.plan
    page.section("Plan")
    page.table(
        "The plan",
        ("", ""),
        [
            ("Intended use", plan.intended_use),
            ("Written by", plan.written_by),
            ("Written on", plan.written_on),
            ("Model", plan.bundle),
            *(("Test set", f"{test.data}, split {test.split}, regions: {test.roi}") for test in plan.tests),
            ("Inspectors' looks", plan.looks or "none"),
            ("Pictures of other things", plan.foreign or "generated ones only"),
            ("Confidence of each bound", f"{plan.confidence:.0%}, one-sided"),
        ],
    )


def _rates(page: Document, result: Qualification) -> None:
    counts, sure = result.findings.counts, f"{result.read.plan.confidence:.0%}"
    page.section("Detection and false rejects")
    page.paragraph(
        f"{counts.photographs:,} photographs show {counts.parts:,} parts of known truth. A verdict is right "
        'if it is "defective" on a defective part and "good" on a good one. "Not inspectable" is never '
        "right, nor is a photograph without a verdict. A part with several photographs is right if all of "
        "them are. Bounds are exact (Clopper and Pearson)."
    )
    rows = [
        _rate_row("Defective parts found", counts.detection),
        _rate_row("Defective parts passed as good", counts.escape),
        _rate_row("Good parts not passed", counts.false_reject),
    ]
    page.table(
        "Rates",
        ("", "parts", "of", "share", f"at least ({sure})", f"at most ({sure})"),
        rows,
        numbers=(1, 2, 3, 4, 5),
    )
    page.table(
        "Photographs with another verdict, or none",
        ("", "photographs"),
        [
            ("Not inspectable, good", counts.not_inspectable_good),
            ("Not inspectable, defective", counts.not_inspectable_defective),
            ("Without a verdict", counts.without_verdict),
            ("Without a label, in no rate", counts.unlabelled),
        ],
        numbers=(1,),
    )
    wrong = sorted((part for part in result.parts if not part.is_right), key=lambda part: -part.label)
    if wrong:
        verdicts = {row.group or row.key: row for row in result.rows if not row.is_right}
        page.table(
            f"Parts with a wrong answer{_first(len(wrong))}",
            ("part", "truth", "defect, px", "verdict"),
            [
                (
                    part.name,
                    "defective" if part.label else "good",
                    f"{part.width:.1f}" if part.width else "",
                    verdicts[part.name].verdict or "none",
                )
                for part in wrong[:LISTED]
            ],
            numbers=(2,),
        )
    failed = [row for row in result.rows if row.error]
    if failed:
        page.table(
            f"Photographs without a verdict{_first(len(failed))}",
            ("photograph", "reason"),
            [(row.key, row.error) for row in failed[:LISTED]],
        )


def _rate_row(name: str, rate: Rate) -> tuple[object, ...]:
    if not rate.parts:
        return name, "–", 0, "–", "–", "–"
    return name, rate.found, rate.parts, _percent(rate.share), _percent(rate.low), _percent(rate.high)


def _first(count: int) -> str:
    return f", the first {LISTED} of {count:,}" if count > LISTED else ""


def _pod(page: Document, result: Qualification) -> None:
    page.section("Probability of detection against size")
    curve = result.findings.curve
    if curve is None:
        page.paragraph(f"No curve was fitted: {result.findings.no_curve}.")
        return
    parts: list[Part] = [part for part in result.parts if part.label == 1 and part.width > 0]
    page.paragraph(
        "The size of a defect is the diameter, in pixels of the photograph, of the largest disc inside its "
        "mask. The curve is logistic in the logarithm of the size, by maximum likelihood; its bound is "
        "from the likelihood ratio. Beyond the sizes tested it is an extrapolation."
    )
    confidence = f"{curve.confidence:.0%}"
    page.legend(
        [
            ("first", "fitted curve"),
            ("second", f"lower bound ({confidence})"),
            ("mark", "a90/95" if curve.confidence == 0.95 else f"bound of a90 ({confidence})"),
            ("hit", "defect found"),
            ("miss", "defect missed"),
        ]
    )
    page.figure("Probability of detection", [("", pod_svg(curve, parts))])
    page.table(
        "The curve",
        ("", "value"),
        [
            ("Defects, found", f"{curve.parts}, {curve.hits}"),
            ("Sizes tested", f"{curve.smallest:.1f} to {curve.largest:.1f} px"),
            ("a50", f"{curve.a50:.2f} px"),
            ("a90", f"{curve.a90:.2f} px"),
            (
                f"a90/{100 * curve.confidence:.0f}",
                f"{curve.a90_bound:.2f} px" if math.isfinite(curve.a90_bound) else "none: too few defects",
            ),
            ("Intercept b0, slope b1", f"{curve.intercept:.4g}, {curve.slope:.4g}"),
        ],
        numbers=(1,),
    )


def _agreement(page: Document, result: Qualification) -> None:
    study = result.findings.agreement
    page.section("Attribute agreement")
    if study is None:
        page.paragraph("The plan names no inspectors' looks.")
        return
    page.paragraph(
        f"{study.parts} parts, {study.defective} of them defective by the reference. Effectiveness is the "
        "share of looks with the right answer, the miss rate that of accepted looks at defective parts, "
        "the false-alarm rate that of rejected looks at good parts; kappa is Cohen's, against the "
        "reference. Intervals are 95 %, over parts."
    )
    page.table(
        "Inspectors and machine against the reference",
        ("", "looks", "effectiveness", "miss rate", "false-alarm rate", "kappa", "parts judged alike"),
        [
            (
                one.name,
                one.looks,
                _with_interval(one.effectiveness, percent=True),
                _with_interval(one.miss_rate, percent=True),
                _with_interval(one.false_alarm_rate, percent=True),
                _with_interval(one.kappa),
                "" if one.consistent is None else f"{one.consistent} of {study.parts}",
            )
            for one in study.appraisers
        ],
        numbers=(1,),
    )
    between = [
        ("All inspectors (Fleiss)", _with_interval(study.between_inspectors)),
        ("All inspectors and the machine (Fleiss)", _with_interval(study.between_all)),
        *((f"{one} and {other} (Cohen)", _with_interval(kappa)) for one, other, kappa in study.pairs),
    ]
    page.table("Agreement with each other, first looks", ("", "kappa"), between)


def _knapp(page: Document, result: Qualification) -> None:
    test = result.findings.knapp
    page.section("Knapp test")
    if test is None:
        page.paragraph("The plan names no inspectors' looks.")
        return
    page.paragraph(
        "A part's share of rejections by all inspectors is its probability of rejection. Parts with 0.7 or "
        "more form the reject zone, those with 0.3 or less the accept zone. The machine passes if its mean "
        "share of rejections in the reject zone is at least the inspectors' (Knapp and Kushner, 1980)."
    )
    page.table(
        "Zones",
        ("zone", "parts", "inspectors reject", "machine rejects"),
        [
            ("reject", test.in_reject_zone, _percent(test.manual), _percent(test.machine)),
            ("grey", test.in_grey_zone, "", ""),
            ("accept", test.in_accept_zone, _percent(test.manual_false), _percent(test.machine_false)),
        ],
        numbers=(1, 2, 3),
    )
    page.paragraph(
        "There is no reject zone, so nothing is shown."
        if math.isnan(test.manual)
        else f"The machine {'passes' if test.is_passed else 'fails'}: its reject-zone efficiency is "
        f"{_percent(test.machine)}, the inspectors' {_percent(test.manual)}. Each part had at least "
        f"{test.fewest_manual_looks} manual looks and {test.fewest_machine_looks} by the machine."
    )


def _repeatability(page: Document, result: Qualification) -> None:
    page.section("Repeatability")
    findings = result.findings
    if not findings.repeated:
        page.paragraph("The plan omits it.")
        return
    page.paragraph(
        "The same photographs were inspected again. The difference is the largest of any score, as a share "
        "of the score."
    )
    page.table(
        "Looks again",
        ("", "photographs", "other verdict", "such as", "largest difference"),
        [
            (one.name, one.photographs, one.differing, one.such_as, f"{one.difference:.2g}")
            for one in findings.repeated
        ],
        numbers=(1, 2, 4),
    )
    if findings.runtimes_missing:
        page.points([f"Not compared: {name} ({why})." for name, why in findings.runtimes_missing.items()])


def _robustness(page: Document, result: Qualification) -> None:
    page.section("Robustness")
    plan, disturbances = result.read.plan.robustness, result.findings.disturbances
    if plan is None or not disturbances:
        page.paragraph("The plan omits it.")
        return
    first = disturbances[0].levels[0]
    page.paragraph(
        f"{first.good} good and {first.defective} defective photographs were disturbed. A strength is too "
        f"much if more than {_percent(plan.false_reject_rate)} of the good ones are not passed, or more "
        f"than {_percent(plan.escape_rate)} of the defective ones are passed as good. These are observed "
        "shares, without bounds. Of a disturbance with two directions the worse counts."
    )
    page.legend(
        [
            ("first", "good, not passed"),
            ("second", "defective, passed as good"),
            ("mark", "first strength that is too much"),
        ]
    )
    page.figure(
        "Wrong verdicts against the strength of each disturbance",
        [(one.kind, robustness_svg(one)) for one in disturbances],
    )
    page.table(
        "Strengths",
        ("disturbance", "unit", "tested", "holds to", "fails at"),
        [
            (
                one.kind,
                HIGHEST[one.kind][1],
                ", ".join(f"{level.strength:g}" for level in one.levels[1:]),
                "not even undisturbed" if one.holds_to is None else f"{one.holds_to:g}",
                "–" if one.fails_at is None else f"{one.fails_at:g}",
            )
            for one in disturbances
        ],
        numbers=(3, 4),
    )


def _foreign(page: Document, result: Qualification) -> None:
    pictures = result.findings.foreign
    passed = [picture for picture in pictures if picture.verdict == "good"]
    page.section("Pictures that do not show the part")
    page.paragraph(
        f"{len(pictures)} pictures were inspected that do not show the part; "
        + (f"{len(passed)} of them were passed as good." if passed else "none was passed as good.")
    )
    shown = [*passed, *(picture for picture in pictures if picture.verdict != "good")]
    page.table(
        f"Verdicts{_first(len(shown))}",
        ("picture", "verdict", "reason"),
        [(one.name, one.verdict or "none", one.reason) for one in shown[:LISTED]],
        marks={index: "missed" for index in range(min(len(passed), LISTED))},
    )


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.1f} %"


def _with_interval(estimate: Estimate, *, percent: bool = False) -> str:
    value, interval = estimate.value, estimate.interval
    if math.isnan(value):
        return "–"
    scale, digits = (100, 1) if percent else (1, 3)
    unit = " %" if percent else ""
    return f"{scale * value:.{digits}f}{unit}{_between(interval, scale, digits)}"


def _between(interval: Interval, scale: int, digits: int) -> str:
    if math.isnan(interval.low):
        return ""
    # On a line of its own: the style keeps line breaks.
    return f"\n{scale * interval.low:.{digits}f} to {scale * interval.high:.{digits}f}"
