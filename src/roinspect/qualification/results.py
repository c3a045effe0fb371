"""The results of a plan, as shown in the report and written as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from roinspect.evaluation.rates import Rate
from roinspect.qualification.agreement import Agreement
from roinspect.qualification.examination import Foreign
from roinspect.qualification.knapp import Knapp
from roinspect.qualification.outcomes import Counts, Part, Row
from roinspect.qualification.plan_file import ReadPlan
from roinspect.qualification.pod import PodCurve
from roinspect.qualification.repeatability import Repeated
from roinspect.qualification.robustness import Disturbance


@dataclass(frozen=True, slots=True)
class Criterion:
    """A limit of the plan, and whether it is met.

    Attributes:
        name: the limit's key in the plan.
        limit: in words.
        found: in words.
        is_met: whether it is met. What could not be determined is not met.
        note: what a reader must know, such as how many parts would do; or "".
    """

    name: str
    limit: str
    found: str
    is_met: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Findings:
    """All that was measured.

    Attributes:
        counts: photographs, parts and rates.
        curve: probability of detection; None if it could not be fitted.
        no_curve: why, or "".
        agreement: of inspectors and machine; None without looks.
        knapp: the Knapp test; None without looks.
        repeated: ways of looking again.
        runtimes_missing: runtimes that could not be compared, and why.
        disturbances: of the photographs.
        foreign: pictures that do not show the part.
    """

    counts: Counts
    curve: PodCurve | None = None
    no_curve: str = ""
    agreement: Agreement | None = None
    knapp: Knapp | None = None
    repeated: tuple[Repeated, ...] = ()
    runtimes_missing: dict[str, str] = field(default_factory=dict)
    disturbances: tuple[Disturbance, ...] = ()
    foreign: tuple[Foreign, ...] = ()


@dataclass(frozen=True, slots=True)
class Qualification:
    """The result of a plan.

    Attributes:
        read: the plan.
        criteria: each limit, and whether it is met.
        findings: all that was measured.
        rows: one a photograph.
        parts: that they show.
        remarks: what a reader must know.
        about: when, where and with what the test was run.
    """

    read: ReadPlan
    criteria: tuple[Criterion, ...]
    findings: Findings
    rows: tuple[Row, ...]
    parts: tuple[Part, ...]
    remarks: tuple[str, ...]
    about: dict[str, str]

    @property
    def is_met(self) -> bool:
        """Whether every limit of the plan is met."""
        return all(criterion.is_met for criterion in self.criteria)


def as_json(result: Qualification) -> str:
    """Every figure, as JSON; null for what could not be determined and for a bound that does not exist."""
    findings = result.findings
    content = {
        "met": result.is_met,
        "criteria": result.criteria,
        "remarks": result.remarks,
        **{entry.name: getattr(findings, entry.name) for entry in dataclasses.fields(findings)},
        "knapp_passed": None if findings.knapp is None else findings.knapp.is_passed,
        "plan": result.read.plan,
        "plan_sha256": result.read.digest,
        "about": result.about,
        "photographs": len(result.rows),
        "wrong_parts": [part for part in result.parts if not part.is_right],
    }
    return json.dumps(_plain(content), indent=1, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Rate):
        return _plain({"share": value.share, **dataclasses.asdict(value)})
    if dataclasses.is_dataclass(value):
        return {entry.name: _plain(getattr(value, entry.name)) for entry in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
