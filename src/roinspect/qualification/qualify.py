"""From a plan to a report: run every test of it, and compare with its limits."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from roinspect.audit.recording import head, recorded
from roinspect.data.records import Record
from roinspect.errors import UserError
from roinspect.files import sha256, whole_folder, writing
from roinspect.inspection.bundle import bundle_version
from roinspect.inspection.inspector import Inspector
from roinspect.inspection.threads import cores
from roinspect.production.progress import Progress
from roinspect.qualification.agreement import Agreement, study
from roinspect.qualification.criteria import judge, too_few
from roinspect.qualification.examination import (
    Examined,
    Foreign,
    Observer,
    examine,
    examine_foreign,
    foreign_files,
    loading,
    test_records,
)
from roinspect.qualification.independence import refuse_dependent
from roinspect.qualification.knapp import Knapp, knapp
from roinspect.qualification.looks import MACHINE, HumanLooks, photographs_of, read_looks
from roinspect.qualification.outcomes import Part, Row, counts_of, parts_of, table
from roinspect.qualification.plan_file import ReadPlan, read_plan
from roinspect.qualification.pod import FEW_PARTS, NoCurveError, PodCurve, fit_pod
from roinspect.qualification.repeatability import Repeat, evenly, other_runtimes, with_threads
from roinspect.qualification.report import render
from roinspect.qualification.results import Findings, Qualification, as_json
from roinspect.qualification.robustness import Disturbance, Robust
from roinspect.version import __version__

log = logging.getLogger(__name__)

REPORT, FIGURES, PHOTOGRAPHS, PLAN = (
    "qualification.html",
    "qualification.json",
    "photographs.csv",
    "plan.yaml",
)
"""The files of the folder that is written."""


def default_out(plan: Path) -> Path:
    """The default folder of the results, beside the plan."""
    return plan.with_name(f"{plan.stem}.qualification")


def refuse_existing(out: Path) -> None:
    """Raise a UserError if `out` exists: a signed qualification is never overwritten."""
    if out.exists():
        raise UserError(
            "already exists; a qualification is not overwritten", where=out, remedy="choose another --out"
        )


def qualify(path: Path) -> Qualification:
    """Run a plan.

    What is wrong in the plan, in the looks and in the choice of photographs is refused before the first of
    them is inspected.

    Raises:
        UserError: see `read_plan`, `read_looks` and `refuse_dependent`; or the bundle, a test set or the
            folder of foreign pictures cannot be used, or no photograph has a label and can be read.
    """
    read = read_plan(path)
    plan, bundle_path = read.plan, read.at(read.plan.bundle)
    inspector = Inspector.load(bundle_path, plan.runtime)
    records = test_records(read, inspector.bundle)
    trained_on = refuse_dependent([record for _, record in records], bundle_path)
    looks, looked_at = None, list[list[int]]()
    if plan.looks:
        looks = read_looks(read.at(plan.looks))
        names = [(record.group, name) for name, record in records]
        looked_at = photographs_of(looks.parts, names, read.at(plan.looks))
    foreign_folder = read.at(plan.foreign) if plan.foreign else None
    foreign_paths = [] if foreign_folder is None else foreign_files(foreign_folder)
    _warn_of_few(read, records)

    start = time.perf_counter()
    log.info(f"inspecting {len(records):,} photographs with {inspector.runtime}")
    repeats, runtimes_missing = _repeats(read, bundle_path, inspector)
    again = [] if plan.repeatability is None else evenly(len(records), plan.repeatability.photographs)
    examined = examine(records, inspector, {index: [repeat.add for repeat in repeats] for index in again})
    if not any(row.label >= 0 and row.verdict for row in examined.rows) or examined.size_hw is None:
        first = next((row.error for row in examined.rows if row.error), "none is labelled")
        raise UserError(
            f"none of {len(records)} photographs is labelled and can be inspected ({first})",
            where=path,
            remedy="see `roinspect check`",
        )
    repeated = [repeat.result() for repeat in repeats]
    for threads in () if plan.repeatability is None else plan.repeatability.threads:
        # A pass for each, as torch has one number of threads for the process.
        with with_threads(bundle_path, inspector.runtime, threads) as repeat:
            _show(records, again, inspector, examined, repeat.add)
        repeated.append(repeat.result())
    disturbances: tuple[Disturbance, ...] = ()
    if plan.robustness is not None:
        robust = Robust(inspector, plan.robustness)
        chosen = _of_both_labels(examined, plan.robustness.photographs)
        log.info(f"disturbing {len(chosen):,} photographs")
        _show(records, chosen, inspector, examined, robust.add)
        disturbances = robust.result()
    foreign = examine_foreign(inspector, foreign_folder, foreign_paths, examined.size_hw)

    parts = tuple(parts_of(examined.rows))
    curve, no_curve = _curve(parts, plan.confidence)
    agreement, knapp_test = _compared(looks, looked_at, examined.rows, read)
    findings = Findings(
        counts=counts_of(examined.rows, parts, plan.confidence),
        curve=curve,
        no_curve=no_curve,
        agreement=agreement,
        knapp=knapp_test,
        repeated=tuple(repeated),
        runtimes_missing=runtimes_missing,
        disturbances=disturbances,
        foreign=foreign,
    )
    return Qualification(
        read=read,
        criteria=judge(plan, findings),
        findings=findings,
        rows=examined.rows,
        parts=parts,
        remarks=(*examined.remarks, *_remarks(findings, parts, foreign)),
        about=_about(read, inspector, trained_on, time.perf_counter() - start),
    )


def write(result: Qualification, out: Path) -> None:
    """Write the report, every figure, a row for each photograph and a copy of the plan: all or nothing.

    Raises:
        UserError: `out` exists, or cannot be written.
    """
    refuse_existing(out)
    contents = {
        REPORT: render(result),
        FIGURES: as_json(result),
        PHOTOGRAPHS: table(result.rows),
        PLAN: result.read.text,
    }
    remedy = "free space, or choose another --out; the results above are not saved"
    # A file's name need not be text.
    files = {name: content.encode("utf-8", "backslashreplace") for name, content in contents.items()}
    facts = {"is_met": result.is_met, "files_sha256": {name: sha256(file) for name, file in files.items()}}
    with (
        writing(out, fault="the report cannot be written", remedy=remedy),
        recorded("qualified", out, facts),
        whole_folder(out) as partial,
    ):
        for name, file in files.items():
            (partial / name).write_bytes(file)


# -- the tests -----------------------------------------------------------------------------------------------


def _warn_of_few(read: ReadPlan, records: Sequence[tuple[str, Record]]) -> None:
    """Say in advance which limits the parts cannot show.

    By the ROI rule, photographs labelled defective may turn out to be good, but none the other way round.
    """
    names = {(record.label, record.group or name) for name, record in records}
    defective = sum(label != 0 for label, _ in names)
    for name, why in too_few(read.plan.limits, len(names), defective, read.plan.confidence):
        log.warning(f"{read.path}: limits.{name}: {why}")


def _repeats(read: ReadPlan, bundle: Path, inspector: Inspector) -> tuple[list[Repeat], dict[str, str]]:
    """The ways of looking again that need no pass of their own."""
    plan = read.plan.repeatability
    if plan is None:
        return [], {}
    others, missing = other_runtimes(bundle, inspector.runtime, plan)
    return [Repeat("again", inspector, plan.repetitions - 1), *others], missing


def _show(
    records: Sequence[tuple[str, Record]],
    indices: Sequence[int],
    inspector: Inspector,
    examined: Examined,
    observer: Observer,
) -> None:
    """Decode some photographs again, for an observer; those without a verdict are left out."""
    chosen = [index for index in indices if examined.rows[index].verdict]
    with Progress(len(chosen)) as progress:
        loaded = loading([records[index] for index in chosen], inspector)
        for index, result in zip(chosen, loaded, strict=True):
            if result.sample is not None:
                observer(examined.rows[index], result.sample.image)
            progress.step(is_error=result.sample is None)


def _of_both_labels(examined: Examined, most: int) -> list[int]:
    """At most `most` photographs with a verdict, half of them good and half defective, evenly spread."""
    chosen = []
    for label in (0, 1):
        indices = [index for index, row in enumerate(examined.rows) if row.label == label and row.verdict]
        chosen += [indices[place] for place in evenly(len(indices), max(1, most // 2))]
    return sorted(chosen)


def _curve(parts: Sequence[Part], confidence: float) -> tuple[PodCurve | None, str]:
    sized = [part for part in parts if part.label == 1 and part.width > 0]
    sizes, hits = np.array([part.width for part in sized]), np.array([part.is_right for part in sized], bool)
    try:
        return fit_pod(sizes, hits, confidence), ""
    except NoCurveError as error:
        return None, str(error)


def _compared(
    looks: HumanLooks | None, looked_at: Sequence[Sequence[int]], rows: Sequence[Row], read: ReadPlan
) -> tuple[Agreement | None, Knapp | None]:
    """The agreement study and the Knapp test."""
    if looks is None:
        return None, None
    shown = [[rows[index] for index in photographs] for photographs in looked_at]
    for part, photographs in zip(looks.parts, shown, strict=True):
        if any(row.label < 0 for row in photographs):
            raise UserError(
                f"{part} has no label, so the inspectors have no reference",
                where=read.at(read.plan.looks),
                remedy="label it in the test set, or remove its looks",
            )
    reference = [any(row.label == 1 for row in photographs) for photographs in shown]
    machine = [[row.is_rejected for row in photographs] for photographs in shown]
    agreement = study({**looks.rejected, MACHINE: machine}, reference, MACHINE)
    by_hand = [
        [look for of_part in looks.rejected.values() for look in of_part[index]]
        for index in range(len(looks.parts))
    ]
    test = knapp(
        np.array([np.mean(of_part) for of_part in by_hand]),
        np.array([np.mean(of_part) for of_part in machine]),
        fewest_manual_looks=min(map(len, by_hand)),
        fewest_machine_looks=min(map(len, machine)),
    )
    return agreement, test


def _remarks(findings: Findings, parts: Sequence[Part], foreign: Sequence[Foreign]) -> list[str]:
    remarks, counts, curve = [], findings.counts, findings.curve
    if counts.without_verdict:
        remarks.append(
            f"{counts.without_verdict} photographs could not be inspected: each counts as a wrong answer, "
            f"and none as found or as good; {PHOTOGRAPHS} gives the reasons"
        )
    if counts.unlabelled:
        remarks.append(f"{counts.unlabelled} photographs have no label and are in no rate")
    defective = [part for part in parts if part.label == 1]
    without_mask = sum(part.width == 0 for part in defective)
    if without_mask:
        remarks.append(
            f"{without_mask} of {len(defective)} defective parts have no mask of the defect, so the POD "
            "curve lacks them"
        )
    if curve is not None and curve.parts < FEW_PARTS:
        remarks.append(f"the POD curve is from {curve.parts} defects; {FEW_PARTS} or more are usual")
    test = findings.knapp
    if test is not None and test.fewest_manual_looks < 10:
        remarks.append(
            f"the Knapp test has {test.fewest_manual_looks} manual looks at a part; the zones are rough "
            "with fewer than 10"
        )
    if test is not None and test.fewest_machine_looks < 2:
        remarks.append(
            "the machine saw a part once, in one photograph: how its verdict varies when the part is "
            "presented again is not tested"
        )
    passed = sum(picture.verdict == "good" for picture in foreign)
    if passed:
        remarks.append(f"{passed} pictures that do not show the part were passed as good")
    return remarks


def _about(
    read: ReadPlan, inspector: Inspector, trained_on: tuple[int, int], seconds: float
) -> dict[str, str]:
    bundle, path = inspector.bundle, read.at(read.plan.bundle)
    used, held = trained_on
    held_out = f"{held:,} held out" if held else "unknown ones held out (a bundle of an earlier version)"
    return {
        "tested on": time.strftime("%Y-%m-%d %H:%M %z"),
        "plan": f"{read.path}, SHA-256 {read.digest}",
        "bundle": f"{path}, version {bundle_version(path)}",
        "method": bundle.method,
        "threshold": f"{bundle.threshold.value:.6g}: {bundle.threshold.origin}",
        "threshold warning": bundle.threshold.warning or "none",
        "trained on": f"{used:,} photographs, and {held_out}; none of them is in the test",
        "runtime": inspector.runtime or "unknown",
        "audit log": head() or "none",
        "roinspect": __version__,
        "computer": f"{platform.node()}: {platform.processor() or platform.machine()}, {cores()} cores, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "duration": f"{seconds:.0f} s",
    }
