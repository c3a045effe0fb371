"""The test must be independent of the training, and no photograph may count twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from roinspect.data.records import Record
from roinspect.errors import UserError
from roinspect.files import sha256_of
from roinspect.inspection.bundle import read_held_out, read_trained_on, shortened
from roinspect.inspection.threads import in_threads

_NAMED = 5
"""Photographs that a message names."""


def refuse_dependent(records: Sequence[Record], bundle: Path) -> tuple[int, int]:
    """Compare the content of all photographs with that of the training photographs.

    Photographs that training held out chose the threshold, so they are refused as well. A photograph that was
    saved again has other content and is not recognised.

    Args:
        records: of all test sets. Unreadable ones are skipped: they have no verdict later.
        bundle: the model.

    Returns:
        How many photographs the model was trained on, and how many were held out; 0 if unknown.

    Raises:
        UserError: a photograph was used or held out in training, or stands twice in the test; or the bundle
            does not say what it was trained on.
    """
    trained_on = read_trained_on(bundle)
    if not trained_on:
        raise UserError(
            "holds no digests of its training photographs, so independence cannot be shown",
            where=bundle,
            remedy="train again with this version",
        )
    held_out = read_held_out(bundle)
    paths = [record.image_path for record in records]
    seen: dict[str, Path] = {}
    known, twice = list[Path](), list[tuple[Path, Path]]()
    for path, digest in zip(paths, in_threads(_digest, paths, workers=2, ahead=16), strict=True):
        if not digest:
            continue
        if shortened(digest) in trained_on or shortened(digest) in held_out:
            known.append(path)
        if (first := seen.setdefault(digest, path)) is not path:
            twice.append((first, path))
    if known:
        raise UserError(
            f"{len(known):,} of {len(paths):,} test photographs were used in training: {_names(known)}",
            where=bundle,
            remedy="take them out of the test set; a test on known photographs shows nothing",
        )
    if twice:
        first, second = twice[0]
        others = f" ({len(twice):,} such photographs)" if len(twice) > 1 else ""
        raise UserError(
            f"is the same photograph as {first}{others}",
            where=second,
            remedy="remove it: the same photograph twice is no second part",
        )
    return len(trained_on), len(held_out)


def _digest(path: Path) -> str:
    try:
        return sha256_of(path)
    except (OSError, ValueError):
        return ""


def _names(paths: Sequence[Path]) -> str:
    named = ", ".join(map(str, paths[:_NAMED]))
    return f"{named} and {len(paths) - _NAMED:,} more" if len(paths) > _NAMED else named
