"""Hold out training images for the threshold; near-duplicates are held out together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roinspect.data.records import Record
from roinspect.errors import UserError


def hold_out(
    records: Sequence[Record], trains_on: str, share: float, seed: int, data: Path
) -> tuple[list[Record], list[Record]]:
    """Split into images to train on and images for the threshold, from the val split or the train split.

    Photographs of one group are near-duplicates and are held out together.

    Args:
        records: records of the train and val splits.
        trains_on: "good", or "all" to train on defective parts too and hold them out likewise.
        share: share of good and of defective training images to hold out if there is no val split, in
            [0, 1); at least one good image is held out.
        seed: seed of the random choice.
        data: where the records come from, for errors.

    Returns:
        Images to train on, and images held out.

    Raises:
        UserError: too few images are left to train on, or no good one is held out.
    """
    fitted = [r for r in records if r.split == "train" and (trains_on == "all" or r.label == 0)]
    held_out = [r for r in records if r.split == "val" and r.label is not None]
    if not any(record.label == 0 for record in held_out):
        held_rows: set[int] = set()
        alike: dict[str, list[int]] = defaultdict(list)
        for row, record in enumerate(fitted):
            alike[record.group].append(row)
        for label, minimum in ((0, 1), (1, 0)):
            rows = [row for row, record in enumerate(fitted) if record.label == label]
            missing = max(minimum, round(share * len(rows))) - sum(row in held_rows for row in rows)
            for pick in np.random.default_rng((seed, len(rows))).permutation(len(rows)):
                if missing <= 0:
                    break
                group = fitted[rows[pick]].group
                new = set(alike[group] if group else [rows[pick]]) - held_rows
                held_rows |= new
                missing -= sum(fitted[row].label == label for row in new)
        held_out += [fitted[row] for row in sorted(held_rows)]
        fitted = [record for row, record in enumerate(fitted) if row not in held_rows]
    if len(fitted) < 2:
        raise UserError(
            f"{len(fitted)} {'good ' if trains_on == 'good' else ''}training images are left beside those "
            "that set the threshold",
            where=data,
            remedy="give at least 3 good images, of more than one group, in the train split",
        )
    if not any(record.label == 0 for record in held_out):
        raise UserError(
            f"none of {len(fitted) + len(held_out)} training images is labelled good",
            where=data,
            remedy="label some, or put good ones into the train split: they set the threshold",
        )
    return fitted, held_out


def refuse_one_kind(labels: NDArray[np.int64], data: Path) -> None:
    """Raise a UserError for the best-F1 threshold if held-out labels (N,) are all good or all defective."""
    good, defective = int((labels == 0).sum()), int((labels == 1).sum())
    if not good or not defective:
        raise UserError(
            f"the best F1 needs good and defective parts, not {good} good and {defective} defective",
            where=data,
            remedy="label some of each in the val split, or ask for a false-reject rate",
        )
