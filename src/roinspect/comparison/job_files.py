"""Stored results of a comparison's jobs, so that no job runs twice.

    OUT/jobs/METHOD-seedN.json      the result of a method with a seed, or its error
    OUT/jobs/METHOD-seedN.roi.npz   the predicted ROI of the test images, for the arm `roi-predicted`

Each is written completely or not at all.
"""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roinspect.comparison.arms import ROI_PREDICTED, ROI_PROVIDER
from roinspect.comparison.compare_table import Outcome
from roinspect.comparison.job import ComparisonJob
from roinspect.errors import UserError
from roinspect.files import write_whole, writing


@dataclasses.dataclass(frozen=True, slots=True)
class JobFiles:
    """The files of a comparison; results from other settings are rejected.

    Attributes:
        out: the comparison's folder.
        terms: settings that all results must share.
        own_terms: settings that the results of our methods must share as well: the ROI that they learn from.
        with_predicted_roi: whether to measure the arm `roi-predicted`, which depends on `own_terms` for all
            methods.
    """

    out: Path
    terms: Mapping[str, Any]
    own_terms: Mapping[str, Any]
    with_predicted_roi: bool

    def outcome(self, job: ComparisonJob) -> Outcome | None:
        """The result of a job from an earlier run, if any.

        Raises:
            UserError: the file is damaged, or from other terms.
        """
        file = self._file(job.name)
        if not file.exists():
            return None
        try:
            content = json.loads(file.read_bytes())
            before = content["terms"]
            outcome = Outcome(**{field.name: content[field.name] for field in dataclasses.fields(Outcome)})
        except (OSError, ValueError, KeyError, TypeError):
            raise _damaged(file) from None
        terms = self._terms(job, uses_prediction=self.with_predicted_roi and ROI_PREDICTED in outcome.arms)
        differing = sorted(name for name in terms if before.get(name, {}) != terms[name])
        if differing:
            raise UserError(
                f"was measured on other terms ({', '.join(differing)})",
                where=file,
                remedy="compare on the same terms or choose another --out",
            )
        return outcome

    def keep(self, job: ComparisonJob, outcome: Outcome) -> None:
        """Write a job's result.

        Raises:
            UserError: the file cannot be written.
        """
        terms = self._terms(job, uses_prediction=ROI_PREDICTED in outcome.arms)
        content = {"terms": terms, **dataclasses.asdict(outcome)}
        write_whole(self._file(job.name), json.dumps(content, indent=1, allow_nan=False) + "\n")

    def has_roi(self, seed: int) -> bool:
        """Whether there is a predicted ROI for that seed."""
        return self._roi_file(seed).exists()

    def roi(self, seed: int) -> NDArray[np.float32] | None:
        """The predicted ROI (N, H, W) in [0, 1], if any.

        Raises:
            UserError: the file is damaged.
        """
        file = self._roi_file(seed)
        if not file.exists():
            return None
        try:
            with np.load(file) as arrays:
                steps = arrays["roi"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            raise _damaged(file) from None
        return np.asarray(steps, np.float32) / np.float32(255)

    def keep_roi(self, seed: int, probability: NDArray[np.float32] | None) -> None:
        """Write a predicted ROI (N, H, W) in [0, 1], in steps of 1/255; None removes it.

        Raises:
            UserError: the file cannot be written.
        """
        file = self._roi_file(seed)
        if probability is None:
            with writing(file):
                file.unlink(missing_ok=True)
            return
        packed = io.BytesIO()
        np.savez_compressed(packed, roi=(probability.clip(0, 1) * 255).round().astype(np.uint8))
        write_whole(file, packed.getvalue())

    def _terms(self, job: ComparisonJob, *, uses_prediction: bool) -> dict[str, Any]:
        own = self.own_terms if job.is_ours or uses_prediction else {}
        return {**self.terms, **own, "settings": dict(job.settings)}

    def _file(self, name: str) -> Path:
        return self.out / "jobs" / f"{name}.json"

    def _roi_file(self, seed: int) -> Path:
        return self.out / "jobs" / f"{ROI_PROVIDER}-seed{seed}.roi.npz"


def _damaged(file: Path) -> UserError:
    return UserError("is damaged", where=file, remedy="remove it to repeat its training")
