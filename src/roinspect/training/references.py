"""Choose the reference photographs that a bundle carries for its self-test."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roinspect.data.records import Record
from roinspect.files import read_file
from roinspect.inspection.bundle import Bundle
from roinspect.inspection.inspector import Inspector
from roinspect.inspection.prediction import Predict
from roinspect.inspection.references import LARGEST, Reference

log = logging.getLogger(__name__)


def with_references(
    bundle: Bundle,
    records: Sequence[Record],
    labels: NDArray[np.int64],
    scores: NDArray[np.float32],
    count: int,
    *,
    whole: Predict,
    close: Predict | None = None,
) -> tuple[Bundle, dict[str, bytes]]:
    """A manifest with references, and their files by name.

    Half are good parts and half defective ones, as far as there are any; from the lowest to the highest score
    of those on the right side of the threshold.

    Args:
        bundle: with its threshold.
        records: N held-out photographs.
        labels: (N,), 0 for good parts, 1 for defective ones.
        scores: (N,), of the trained graph.
        count: of photographs to choose.
        whole: the trained graph, see `Inspector`.
        close: the one for tiles.
    """
    small = np.array([_size(record) <= LARGEST for record in records])
    is_rejected = scores >= bundle.threshold.value
    good, defective = (
        np.flatnonzero(small & (labels == label) & (is_rejected == bool(label))) for label in (0, 1)
    )
    of_defective = _spread(defective, scores, count // 2)
    of_good = _spread(good, scores, count - len(of_defective))
    if len(of_good) + len(of_defective) < count:
        of_defective = _spread(defective, scores, count - len(of_good))
    if count and not len(of_good) + len(of_defective):
        log.warning(
            f"no held-out photograph of at most {LARGEST // 2**20} MB has the right verdict, so the bundle "
            "has no references, and the line no self-test"
        )
    files = {
        f"{place}-{kind}{records[row].image_path.suffix.lower()}": (row, records[row].image_path)
        for place, (kind, row) in enumerate(
            [*(("good", row) for row in of_good), *(("defective", row) for row in of_defective)]
        )
    }
    contents = {name: read_file(path) for name, (_, path) in files.items()}
    verdicts = Inspector(bundle, whole, close=close).inspect_many(contents.values())
    references = tuple(
        Reference(name, 1 if "defective" in name else 0, verdict.pred_score, verdict.reason)
        for name, verdict in zip(contents, verdicts, strict=True)
    )
    return dataclasses.replace(bundle, references=references), contents


def _spread(rows: NDArray[np.int64], scores: NDArray[np.float32], count: int) -> list[int]:
    """So many rows, or all, evenly from the lowest score to the highest."""
    ordered = rows[np.argsort(scores[rows], kind="stable")]
    chosen = np.linspace(len(ordered) - 1, 0, min(count, len(ordered))).round().astype(int)
    return [int(row) for row in ordered[chosen]]


def _size(record: Record) -> int:
    return Path(record.image_path).stat().st_size
