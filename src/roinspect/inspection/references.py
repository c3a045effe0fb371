"""Reference photographs in a bundle, and the self-test: do they still score as when the model was trained?

A line's processor, driver or runtime may answer otherwise than those on which a model was accepted. A bundle
therefore carries some held-out photographs, as files, with their scores by the trained graph; and an export
in reduced precision the scores that it gave where it was made.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from roinspect.errors import UserError
from roinspect.inspection.scene import Outcome, outcome
from roinspect.inspection.tolerance import LEAST, REDUCED_TOLERANCE, SCORE_TOLERANCE

if TYPE_CHECKING:
    from roinspect.inspection.inspector import Verdict

OnFailure: TypeAlias = Literal["stop", "warn", "off"]
"""What a failed self-test does; "off" runs none."""
LARGEST = 32 * 2**20
"""Bytes of a photograph that is carried along, at most."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference photograph as the trained graph saw it.

    Attributes:
        name: of its file.
        label: 0 for a good part, 1 for a defective one.
        pred_score: by the trained graph, in float32.
        reason: why it is not inspectable; None if it is.
    """

    name: str
    label: Literal[0, 1]
    pred_score: float
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Tested:
    """A reference photograph as it is seen here.

    Attributes:
        name: of its file.
        expected: score when the model was trained.
        pred_score: score here; None with an error.
        expected_verdict: of that score at the present threshold.
        verdict: here; None with an error.
        is_equal: whether score and verdict are as expected.
        error: why there is no verdict, in one line; "" if there is.
    """

    name: str
    expected: float
    pred_score: float | None
    expected_verdict: Outcome
    verdict: Outcome | None
    is_equal: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class SelfTest:
    """The result of a self-test.

    Attributes:
        runtime: that ran the graph.
        tested: one for each reference photograph.
    """

    runtime: str
    tested: tuple[Tested, ...]

    @property
    def is_passed(self) -> bool:
        """Whether every photograph scored as expected, and there was one."""
        return bool(self.tested) and all(one.is_equal for one in self.tested)

    def __str__(self) -> str:
        wrong = [one for one in self.tested if not one.is_equal]
        if not self.tested:
            return "the bundle has no reference photographs, so nothing was tested"
        if not wrong:
            return f"{len(self.tested)} reference photographs score as when the model was trained"
        first = wrong[0]
        seen = first.error or f"scores {first.pred_score:.6g} and is {first.verdict}"
        return (
            f"{len(wrong)} of {len(self.tested)} reference photographs are not seen as when the model was "
            f"trained: {first.name} {seen}, and was {first.expected:.6g} and {first.expected_verdict}"
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {
            "runtime": self.runtime,
            "passed": self.is_passed,
            "photographs": [
                {
                    "name": one.name,
                    "expected_score": one.expected,
                    "pred_score": one.pred_score,
                    "expected_verdict": one.expected_verdict,
                    "verdict": one.verdict,
                    "equal": one.is_equal,
                    **({"error": one.error} if one.error else {}),
                }
                for one in self.tested
            ],
        }

    def require(self, where: object) -> None:
        """Raise a UserError unless it is passed, or there was nothing to test."""
        if self.tested and not self.is_passed:
            raise UserError(
                f"the self-test failed: {self}",
                where=where,
                remedy="do not use it on this machine: see `roinspect selftest`, and try another --runtime; "
                "--self-test warn goes on all the same",
            )


def compared(
    references: Sequence[Reference],
    verdicts: Sequence[Verdict],
    threshold: float,
    *,
    runtime: str,
    at_export: Mapping[str, float] | None = None,
) -> SelfTest:
    """Reference photographs beside their verdicts here.

    Args:
        references: as they were seen in training.
        verdicts: here, in the same order.
        threshold: of the bundle.
        runtime: that ran the graph.
        at_export: scores by name of an export in reduced precision, where it was made; a score within
            `REDUCED_TOLERANCE` of that or of the trained graph's is as expected. None for float32, whose
            scores must be within `SCORE_TOLERANCE`.
    """
    tested = []
    for reference, verdict in zip(references, verdicts, strict=True):
        expected = outcome(reference.pred_score, threshold, reference.reason)
        if verdict.error is not None:
            tested.append(
                Tested(reference.name, reference.pred_score, None, expected, None, False, verdict.error)
            )
            continue
        tolerance = SCORE_TOLERANCE if at_export is None else REDUCED_TOLERANCE
        allowed = {reference.pred_score, (at_export or {}).get(reference.name, reference.pred_score)}
        is_near = any(
            abs(verdict.pred_score - score) <= tolerance * max(abs(score), LEAST * abs(threshold))
            for score in allowed
        )
        # Rounding decides beside the threshold, where a new one may lie.
        is_close = abs(reference.pred_score - threshold) <= SCORE_TOLERANCE * max(
            abs(reference.pred_score), abs(threshold)
        )
        is_equal = is_near and (verdict.verdict == expected or is_close)
        tested.append(
            Tested(
                reference.name, reference.pred_score, verdict.pred_score, expected, verdict.verdict, is_equal
            )
        )
    return SelfTest(runtime, tuple(tested))


# -- the file ------------------------------------------------------------------------------------------------


def packed(photographs: Mapping[str, bytes]) -> bytes:
    """Photographs by name as a ZIP archive, the same for the same photographs."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in photographs.items():
            # Without the time of writing.
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def unpacked(content: bytes, references: Sequence[Reference]) -> list[bytes]:
    """The photographs' files, in the order of the references.

    Raises:
        ValueError: one is missing, or the archive is none that a training writes.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            found = {info.filename: info for info in archive.infolist()}
            if sorted(found) != sorted(reference.name for reference in references):
                raise ValueError("holds other photographs than the manifest names")
            if any(info.compress_type != zipfile.ZIP_STORED for info in found.values()):
                raise ValueError("is compressed")
            return [archive.read(found[reference.name]) for reference in references]
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"is no archive of photographs ({error})") from None
