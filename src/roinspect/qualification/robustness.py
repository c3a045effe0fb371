"""At which strength of a disturbance are too many good parts rejected, or too many defective ones passed?"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass

from roinspect.inspection.inspector import Inspector
from roinspect.qualification.disturbances import KINDS, Picture, disturbed
from roinspect.qualification.outcomes import Row
from roinspect.qualification.plan import Robustness


@dataclass(frozen=True, slots=True)
class Level:
    """One strength; of a disturbance with two directions the worse count of each.

    Attributes:
        strength: of the disturbance; 0 is the undisturbed photograph.
        good: photographs.
        not_passed: good photographs with another verdict than "good".
        defective: photographs.
        escaped: defective photographs with the verdict "good".
    """

    strength: float
    good: int
    not_passed: int
    defective: int
    escaped: int

    def is_within(self, plan: Robustness) -> bool:
        """Whether both observed shares are within the plan's."""
        return (
            self.not_passed <= plan.false_reject_rate * self.good + 1e-9
            and self.escaped <= plan.escape_rate * self.defective + 1e-9
        )


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One kind of disturbance.

    Attributes:
        kind: of the disturbance.
        levels: in rising strength, with 0 first.
        holds_to: the strength up to which both rates hold; None if they do not even without a disturbance.
        fails_at: the next strength, at which one does not; None if they hold at all.
    """

    kind: str
    levels: tuple[Level, ...]
    holds_to: float | None
    fails_at: float | None


class Robust:
    """Collects verdicts on disturbed photographs."""

    def __init__(self, inspector: Inspector, plan: Robustness) -> None:
        self._inspector, self._plan = inspector, plan
        self._strengths = {kind: values for kind, values in asdict(plan.strengths).items() if values}
        self._totals = [0, 0]
        self._undisturbed = [0, 0]
        # By kind and strength: for each direction the wrong verdicts on good and on defective photographs.
        self._wrong: dict[tuple[str, float], list[list[int]]] = defaultdict(lambda: [[0, 0], [0, 0]])

    def add(self, row: Row, image: Picture) -> None:
        """Look at a labelled photograph at all strengths; a few pictures are held at a time."""
        self._totals[row.label] += 1
        self._undisturbed[row.label] += _is_wrong(row.label, row.verdict)
        plan = [
            (kind, strength, direction)
            for kind, strengths in self._strengths.items()
            for strength in strengths
            for direction in range(len(KINDS[kind]))
        ]
        pictures = (
            picture
            for kind, strengths in self._strengths.items()
            for strength in strengths
            for picture in disturbed(image, kind, strength, row.key)
        )
        verdicts = self._inspector.inspect_many(pictures)
        for (kind, strength, direction), verdict in zip(plan, verdicts, strict=True):
            self._wrong[kind, strength][direction][row.label] += _is_wrong(row.label, verdict.verdict or "")

    def result(self) -> tuple[Disturbance, ...]:
        """What was found."""
        good, defective = self._totals
        first = Level(0.0, good, self._undisturbed[0], defective, self._undisturbed[1])
        found = []
        for kind, strengths in self._strengths.items():
            levels = [first]
            for strength in strengths:
                directions = self._wrong[kind, strength]
                worst = (max(counts[label] for counts in directions) for label in (0, 1))
                not_passed, escaped = worst
                levels.append(Level(strength, good, not_passed, defective, escaped))
            fails = next(
                (index for index, level in enumerate(levels) if not level.is_within(self._plan)), None
            )
            last = len(levels) if fails is None else fails
            found.append(
                Disturbance(
                    kind,
                    tuple(levels),
                    levels[last - 1].strength if last else None,
                    None if fails is None else levels[fails].strength,
                )
            )
        return tuple(found)


def _is_wrong(label: int, verdict: str) -> bool:
    """A good part that is not passed, or a defective one that is."""
    return verdict == "good" if label else verdict != "good"
