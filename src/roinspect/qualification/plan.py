"""What a plan of a qualification says: intended use, test sets, and the limits that must be met."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt

from roinspect.errors import UserError
from roinspect.inspection.backends import RUNTIMES
from roinspect.settings import Count, NotNegative, Positive, Rate, check

Between = Annotated[float, Gt(0), Lt(1)]
Split = Literal["train", "val", "test", "all"]


@dataclass(frozen=True, slots=True)
class TestSet:
    """Photographs with known truth.

    Attributes:
        data: a folder or a manifest.
        roi: where the ROI masks are, as for `--roi`; used for the truth, never by the model.
        split: that is inspected.
        good: names of good parts' folders or labels; empty: those that the bundle was trained with.
    """

    __test__ = False

    data: str
    roi: str = "auto"
    split: Split = "test"
    good: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Repeatability:
    """The same photographs again.

    Attributes:
        photographs: at most so many, evenly spread over the test sets.
        repetitions: looks at each by the runtime of the plan, at least 2.
        threads: numbers of CPU threads to compare.
        other_runtimes: whether to compare the other runtimes that the bundle is exported for.
    """

    photographs: Count = 50
    repetitions: Annotated[int, Ge(2)] = 2
    threads: tuple[int, ...] = (1, 2)
    other_runtimes: bool = True

    def __post_init__(self) -> None:
        check(self, "repeatability.")
        if any(threads < 1 for threads in self.threads):
            raise UserError("must be at least 1 each", where="repeatability.threads")


@dataclass(frozen=True, slots=True)
class Strengths:
    """Strengths of each disturbance, see `disturbances`; an empty list leaves it out."""

    brightness: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4)
    contrast: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4)
    blur: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    shift: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1)
    rotation: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0)
    jpeg: tuple[float, ...] = (10.0, 30.0, 60.0, 90.0)
    noise: tuple[float, ...] = (2.0, 5.0, 10.0, 20.0)

    def __post_init__(self) -> None:
        for name, (highest, _) in HIGHEST.items():
            strengths = getattr(self, name)
            is_growing = all(low < high for low, high in zip((0.0, *strengths), strengths, strict=False))
            if not is_growing or any(strength > highest for strength in strengths):
                raise UserError(
                    f"must grow, from above 0 to at most {highest:g}",
                    where=f"robustness.strengths.{name}",
                    remedy="list the strengths in rising order, such as [0.05, 0.1, 0.2]",
                )


HIGHEST: Mapping[str, tuple[float, str]] = {
    "brightness": (0.95, "share of brightness, darker and brighter"),
    "contrast": (0.95, "share of contrast, less and more"),
    "blur": (50.0, "standard deviation in pixels"),
    "shift": (0.5, "share of the width and height, to each side"),
    "rotation": (180.0, "degrees, either way"),
    "jpeg": (99.0, "100 - quality"),
    "noise": (128.0, "standard deviation in grey levels of 255"),
}
"""The highest strength of each disturbance, and its unit."""


@dataclass(frozen=True, slots=True)
class Robustness:
    """Disturbed photographs.

    Attributes:
        photographs: at most so many, half of them defective, evenly spread.
        false_reject_rate: the observed share of good parts not passed, above which a strength is too much.
        escape_rate: the observed share of defective parts passed as good, above which a strength is too much.
        strengths: of each disturbance.
    """

    photographs: Count = 40
    false_reject_rate: Rate = 0.1
    escape_rate: Rate = 0.1
    strengths: Strengths = field(default_factory=Strengths)

    def __post_init__(self) -> None:
        check(self, "robustness.")


@dataclass(frozen=True, slots=True)
class RobustTo:
    """Strengths up to which the rates must hold."""

    brightness: Positive | None = None
    contrast: Positive | None = None
    blur: Positive | None = None
    shift: Positive | None = None
    rotation: Positive | None = None
    jpeg: Positive | None = None
    noise: Positive | None = None

    def __post_init__(self) -> None:
        check(self, "limits.robust_to.")


@dataclass(frozen=True, slots=True)
class Limits:
    """Acceptance limits; each is optional.

    Attributes:
        detection_rate: the lower bound of the share of defective parts found must be at least this.
        escape_rate: the upper bound of the share of defective parts passed as good must be at most this.
        false_reject_rate: the upper bound of the share of good parts not passed must be at most this.
        a90_95: size in pixels that a90/95 must not exceed.
        without_verdict: at most so many photographs may be without a verdict.
        equal_verdicts: every repetition, runtime and number of threads must give the same verdicts.
        score_difference: their scores may differ by this share of a score.
        effectiveness: of the machine, at least.
        miss_rate: of the machine, at most.
        false_alarm_rate: of the machine, at most.
        kappa: Cohen's, machine against reference, at least.
        knapp: the machine's reject-zone efficiency must be at least the inspectors'.
        foreign_passed: at most so many pictures that do not show the part may be passed as good.
        robust_to: strengths of disturbances up to which the rates of `robustness` must hold.
    """

    detection_rate: Between | None = None
    escape_rate: Between | None = None
    false_reject_rate: Between | None = None
    a90_95: Positive | None = None
    without_verdict: Annotated[int, Ge(0)] | None = None
    equal_verdicts: Literal[True] | None = None
    score_difference: NotNegative | None = None
    effectiveness: Between | None = None
    miss_rate: Rate | None = None
    false_alarm_rate: Rate | None = None
    kappa: Between | None = None
    knapp: Literal[True] | None = None
    foreign_passed: Annotated[int, Ge(0)] | None = None
    robust_to: RobustTo | None = None

    def __post_init__(self) -> None:
        check(self, "limits.")


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan.

    Attributes:
        title: of the report.
        intended_use: what the machine decides, on which product, and what follows from a verdict.
        written_by: who wrote the plan.
        written_on: when, as YEAR-MONTH-DAY; not after the test.
        bundle: folder of the trained model.
        tests: sets of photographs.
        limits: at least one.
        runtime: as for `--runtime`.
        looks: CSV of the inspectors' looks; "" without.
        foreign: folder of pictures that do not show the part, beside those that are generated; "" without.
        confidence: of each bound.
        repeatability: null omits it.
        robustness: null omits it.
    """

    title: str
    intended_use: str
    written_by: str
    written_on: str
    bundle: str
    tests: tuple[TestSet, ...]
    limits: Limits
    runtime: str = "auto"
    looks: str = ""
    foreign: str = ""
    confidence: Annotated[float, Gt(0.5), Lt(1)] = 0.95
    repeatability: Repeatability | None = field(default_factory=Repeatability)
    robustness: Robustness | None = field(default_factory=Robustness)

    def __post_init__(self) -> None:
        check(self, "")
        for name in ("title", "intended_use", "written_by"):
            if not getattr(self, name).strip():
                raise UserError("is empty", where=name, remedy="fill it in: the report is signed on it")
        if not self.tests:
            raise UserError("names no test set", where="tests", remedy="name a folder: - data: FOLDER")
        if self.runtime not in RUNTIMES:
            raise UserError(
                f"no such runtime: {self.runtime}",
                where="runtime",
                remedy=f"use one of {', '.join(RUNTIMES)}",
            )
        self._refuse_no_limits()
        self._refuse_limits_without_test()

    def _refuse_no_limits(self) -> None:
        given = [value for value in dataclasses.asdict(self.limits).values() if value is not None]
        if not any(
            not isinstance(value, dict) or any(part is not None for part in value.values()) for value in given
        ):
            raise UserError(
                "sets no limit, and a plan without acceptance limits is no plan",
                where="limits",
                remedy="write what must be reached before you test, such as detection_rate: 0.9",
            )

    def _refuse_limits_without_test(self) -> None:
        limits = self.limits
        of_looks = ("effectiveness", "miss_rate", "false_alarm_rate", "kappa", "knapp")
        needs = {
            "looks: a CSV of inspectors' looks": () if self.looks else of_looks,
            "repeatability": () if self.repeatability else ("equal_verdicts", "score_difference"),
            "robustness": () if self.robustness else ("robust_to",),
        }
        for section, names in needs.items():
            for name in names:
                if getattr(limits, name) is not None:
                    raise UserError(
                        f"needs {section}", where=f"limits.{name}", remedy="add it, or remove the limit"
                    )
        if limits.robust_to is None or self.robustness is None:
            return
        for name in HIGHEST:
            limit, strengths = getattr(limits.robust_to, name), getattr(self.robustness.strengths, name)
            if limit is not None and limit not in strengths:
                raise UserError(
                    f"{limit:g} is not one of the strengths that are tested",
                    where=f"limits.robust_to.{name}",
                    remedy=f"use one of {', '.join(map('{:g}'.format, strengths)) or 'none'}, or add it to "
                    f"robustness.strengths.{name}",
                )
