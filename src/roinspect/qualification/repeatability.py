"""The same photographs again: by the same runtime, by others, and with other numbers of threads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from roinspect.errors import UserError
from roinspect.inspection.backends import RUNTIMES
from roinspect.inspection.inspector import Inspector, Source, Verdict
from roinspect.inspection.tolerance import LEAST
from roinspect.qualification.outcomes import Row
from roinspect.qualification.plan import Repeatability


@dataclass(frozen=True, slots=True)
class Repeated:
    """One way of looking again.

    Attributes:
        name: "again", a runtime, or a number of threads.
        photographs: looked at.
        differing: photographs with another verdict than at first.
        such_as: the first of them, "" if none.
        difference: the largest difference of a score, as a share of the score, or of 1 % of the threshold if
            that is more; the measure of an export's gate.
    """

    name: str
    photographs: int
    differing: int
    such_as: str
    difference: float


class Repeat:
    """Compares an inspector's looks with the first ones, photograph by photograph."""

    def __init__(self, name: str, inspector: Inspector, looks: int = 1) -> None:
        self._name, self._inspector, self._looks = name, inspector, looks
        self._photographs, self._differing, self._difference = 0, list[str](), 0.0

    def add(self, row: Row, image: Source) -> None:
        """Look at a photograph that has a verdict."""
        verdicts = list(self._inspector.inspect_many([image] * self._looks))
        self._photographs += 1
        if any((verdict.verdict or "") != row.verdict for verdict in verdicts):
            self._differing.append(row.key)
        self._difference = max(self._difference, *(self._apart(row, verdict) for verdict in verdicts))

    def _apart(self, row: Row, verdict: Verdict) -> float:
        if verdict.error is not None:
            return float("inf")
        least = LEAST * abs(self._inspector.threshold)
        return abs(verdict.pred_score - row.pred_score) / max(abs(row.pred_score), least, 1e-30)

    def result(self) -> Repeated:
        """What was found."""
        such_as = next(iter(self._differing), "")
        return Repeated(self._name, self._photographs, len(self._differing), such_as, self._difference)


def other_runtimes(
    bundle: Path, runtime: str | None, plan: Repeatability
) -> tuple[list[Repeat], dict[str, str]]:
    """The other runtimes that can run the bundle, and why each of the rest cannot.

    Args:
        bundle: the model.
        runtime: that gave the first verdicts.
        plan: says whether to try them.
    """
    found, missing = list[Repeat](), dict[str, str]()
    for name in RUNTIMES if plan.other_runtimes else ():
        if name in ("auto", runtime):
            continue
        try:
            found.append(Repeat(name, Inspector.load(bundle, name)))
        except UserError as error:
            missing[name] = error.what
    return found, missing


@contextmanager
def with_threads(bundle: Path, runtime: str | None, threads: int) -> Iterator[Repeat]:
    """The runtime with a number of threads, while the block runs: torch has one for the whole process."""
    restore = None
    if runtime == "torch":
        import torch

        restore = torch.get_num_threads()
    try:
        name = f"{threads} thread{'s' * (threads > 1)}"
        yield Repeat(name, Inspector.load(bundle, runtime or "auto", threads=threads))
    finally:
        if restore is not None:
            torch.set_num_threads(restore)


def evenly(count: int, most: int) -> Sequence[int]:
    """At most `most` indices of `count`, evenly spread.

    Example:
        >>> list(evenly(10, 3)), list(evenly(2, 5))
        ([1, 5, 8], [0, 1])
    """
    if count <= most:
        return range(count)
    return [int((index + 0.5) * count / most) for index in range(most)]
