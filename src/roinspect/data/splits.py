"""Hold out training images for the threshold; near-duplicates are held out together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roinspect.data.records import Record
from roinspect.errors import UserError


def hold_out(
    records: Sequence[Record], trains_on: str, share: float, seed: int, data: Path
) -> tuple[list[Record], list[Record]]:
    """What is trained on, and what the threshold comes from: the val split, or a share of the train split.

    Photographs of one group are held out together, as they show nearly the same: with all of their group that
    would otherwise be trained on.

    Args:
        records: of the train and val splits.
        trains_on: "good", or "all": then defective parts are trained on and held out too.
        share: of each kind to hold out where there is no val split, in [0, 1); at least one good image is.
        seed: which ones.
        data: where the records come from, for errors.

    Returns:
        Images to train on, and images held out.

    Raises:
        UserError: too few images are left to train on, or no good one is held out.
    """
    fitted = [r for r in records if r.split == "train" and (trains_on == "all" or r.label == 0)]
    held_out = [r for r in records if r.split == "val" and r.label is not None]
    if not any(record.label == 0 for record in held_out):
        kept: set[int] = set()
        for label, least in ((0, 1), (1, 0)):
            kind = [row for row, record in enumerate(fitted) if record.label == label]
            wanted = max(least, round(share * len(kind)))
            for place in np.random.default_rng((seed, len(kind))).permutation(len(kind)):
                if sum(row in kept for row in kind) >= wanted:
                    break
                group = fitted[kind[place]].group
                alike = {row for row, record in enumerate(fitted) if group and record.group == group}
                kept |= alike or {kind[place]}
        held_out += [fitted[row] for row in sorted(kept)]
        fitted = [record for row, record in enumerate(fitted) if row not in kept]
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
    """Raise a UserError where the best F1 is asked for and held-out parts (N,) are all of one kind."""
    good, defective = int((labels == 0).sum()), int((labels == 1).sum())
    if not good or not defective:
        raise UserError(
            f"the best F1 needs good and defective parts, not {good} good and {defective} defective",
            where=data,
            remedy="label some of each in the val split, or ask for a false-reject rate",
        )
