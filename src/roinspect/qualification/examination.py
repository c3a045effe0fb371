"""Inspect the test sets: each photograph is decoded once, and shown to all that look at it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from roinspect.data.dataset import EMPTY_REMEDY, UNKNOWN_LABEL, LoadResult, is_empty_defect, stream
from roinspect.data.reading import read_data
from roinspect.data.records import Record, find_images
from roinspect.data.width import defect_width
from roinspect.errors import UserError
from roinspect.inspection.bundle import Bundle
from roinspect.inspection.inspector import Inspector
from roinspect.production.progress import Progress
from roinspect.qualification.disturbances import Picture, foreign_pictures
from roinspect.qualification.outcomes import Row
from roinspect.qualification.plan import TestSet
from roinspect.qualification.plan_file import ReadPlan
from roinspect.segmenter.roi import PREFIX, with_roi

log = logging.getLogger(__name__)

Observer = Callable[[Row, Picture], None]
"""Takes a photograph that has a verdict, and its pixels."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found in the test sets.

    Attributes:
        rows: one a photograph, in the order of the records.
        size_hw: height and width of the first photograph that could be read; None if none could.
        remarks: what a reader must know about the truth.
    """

    rows: tuple[Row, ...]
    size_hw: tuple[int, int] | None
    remarks: tuple[str, ...]


def test_records(read: ReadPlan, bundle: Bundle) -> list[tuple[str, Record]]:
    """The photographs of all test sets, each with a name that is unique among them.

    Raises:
        UserError: a test set cannot be read, or a split is empty.
    """
    several = len(read.plan.tests) > 1
    found = list[tuple[str, Record]]()
    for test in read.plan.tests:
        prefix = f"{test.data}/" if several else ""
        found += [(f"{prefix}{record.key}", record) for record in _records(read, test, bundle)]
    names = [name for name, _ in found]
    if len(set(names)) < len(names):
        raise UserError("the same test set stands twice", where=read.path, remedy="remove one of them")
    return found


def _records(read: ReadPlan, test: TestSet, bundle: Bundle) -> list[Record]:
    good = test.good or None
    data = read_data(
        read.at(test.data), _roi(read, test.roi), good=good, usual_good=bundle.training.get("good")
    )
    records = data.records if test.split == "all" else data.split(test.split)
    if not records:
        raise UserError(
            f"no photographs in the {test.split} split",
            where=read.at(test.data),
            remedy="add some, or name another split of the test set in the plan: split: all",
        )
    return with_roi(data, records)


def _roi(read: ReadPlan, roi: str) -> str:
    """The source of masks, with its path from where the command runs."""
    if roi in ("auto", "none") or roi.startswith("column:"):
        return roi
    prefix = PREFIX if roi.startswith(PREFIX) else ""
    return f"{prefix}{read.at(roi.removeprefix(prefix))}"


def examine(
    records: Sequence[tuple[str, Record]],
    inspector: Inspector,
    observers: Mapping[int, Sequence[Observer]],
) -> Examined:
    """Inspect every photograph once, and show it to its observers.

    Args:
        records: names and photographs.
        inspector: the model.
        observers: by the index of a photograph.
    """
    rows, size_hw, empty = list[Row](), None, list[str]()
    with Progress(len(records)) as progress:
        for (name, record), loaded in zip(records, loading(records, inspector), strict=True):
            if loaded.sample is None:
                label = UNKNOWN_LABEL if record.label is None else record.label
                row = Row(name, record.group, label, error=str(loaded.error))
            else:
                image = loaded.sample.image
                size_hw = size_hw or (image.shape[0], image.shape[1])
                if is_empty_defect(record, loaded.sample.place):
                    empty.append(name)
                row = _row(name, loaded, inspector)
                for observer in observers.get(len(rows), ()) if row.verdict else ():
                    observer(row, image)
            rows.append(row)
            progress.step(is_error=not row.verdict)
    remarks = []
    if empty:
        remarks.append(
            f"{len(empty)} photographs are labelled defective but their masks are empty: they count as good "
            f"(first: {empty[0]}); {EMPTY_REMEDY}"
        )
    return Examined(tuple(rows), size_hw, tuple(remarks))


def loading(records: Sequence[tuple[str, Record]], inspector: Inspector) -> Iterator[LoadResult]:
    """Decode photographs at their own size, at most two ahead."""
    bundle = inspector.bundle
    min_pixels = int(bundle.training.get("min_defect_pixels", 1))
    photographs = [record for _, record in records]
    for batch in stream(photographs, None, 1, min_pixels=min_pixels, bits=bundle.bits):
        yield from batch


def _row(name: str, loaded: LoadResult, inspector: Inspector) -> Row:
    sample, record = loaded.sample, loaded.record
    assert sample is not None
    (verdict,) = inspector.inspect_many([sample.image])
    if verdict.error is not None:
        return Row(name, record.group, sample.label, digest=sample.digest, error=f"{name}: {verdict.error}")
    return Row(
        name,
        record.group,
        sample.label,
        width=defect_width(sample.gt_mask, sample.roi_mask) if sample.label == 1 else 0.0,
        digest=sample.digest,
        pred_score=verdict.pred_score,
        verdict=verdict.verdict or "",
        reason=verdict.reason or "",
    )


@dataclass(frozen=True, slots=True)
class Foreign:
    """A picture that does not show the part, and its verdict.

    Attributes:
        name: of the file, or of the generated picture.
        verdict: "" if it could not be inspected.
        reason: why it is not inspectable or could not be inspected, else "".
    """

    name: str
    verdict: str
    reason: str


def foreign_files(folder: Path) -> list[Path]:
    """The pictures of a folder.

    Raises:
        UserError: it has none.
    """
    if paths := find_images(folder):
        return paths
    raise UserError("no pictures found", where=folder, remedy="name a folder of PNG or JPEG files")


def examine_foreign(
    inspector: Inspector, folder: Path | None, paths: Sequence[Path], size_hw: tuple[int, int]
) -> tuple[Foreign, ...]:
    """Inspect pictures that do not show the part.

    Args:
        inspector: the model.
        folder: of the files, which names are relative to.
        paths: files, beside the pictures that are generated.
        size_hw: height and width of the generated ones.
    """
    named = [(f"{name} (generated)", picture) for name, picture in foreign_pictures(size_hw)]
    names = [name for name, _ in named]
    names += [path.relative_to(folder or ".").as_posix() for path in paths]
    verdicts = inspector.inspect_many([*(picture for _, picture in named), *paths])
    return tuple(
        Foreign(name, verdict.verdict or "", verdict.error or verdict.reason or "")
        for name, verdict in zip(names, verdicts, strict=True)
    )
