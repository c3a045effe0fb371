"""The next training set: the data of the last one, and the photographs that people looked at since.

    FOLDER/manifest.csv       every photograph, with label, split, masks and group
    FOLDER/photographs/       copies of the added ones; those of the data stay where they are
    FOLDER/regions/           their regions, as the model predicts them
    FOLDER/masks/             masks of the data that were drawings, as pixels

A photograph is known by the digest of its file, so one that is in the data already is not added again: it
keeps its split, and gets the label that a person gave it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roinspect.data.annotations.drawn import MaskSource, read_source
from roinspect.data.dataset import load_sample
from roinspect.data.manifests import label_of, named, row_of, write_manifest
from roinspect.data.reading import Data
from roinspect.data.records import Record
from roinspect.data.roi import find_roi
from roinspect.errors import UserError
from roinspect.files import read_file, sha256, whole_folder, writing
from roinspect.images.pixels import image_size, read_image, resize_image, write_image
from roinspect.inspection.bundle import photograph_digest, read_bundle, shortened
from roinspect.inspection.inspector import Inspector
from roinspect.inspection.threads import cores, in_threads
from roinspect.production.verdict_images import free_name
from roinspect.review.corrections import Correction
from roinspect.review.rows import Row
from roinspect.segmenter.roi import PREFIX, with_roi

MANIFEST = "manifest.csv"
_PHOTOGRAPHS, _REGIONS, _MASKS = "photographs", "regions", "masks"
_UNUSUAL = re.compile(r"[^\w-]")
_INSIDE = 0.5


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """What was written.

    Attributes:
        manifest: the file.
        records: photographs of the data.
        added: new photographs, by label.
        known: photographs that the data have already, with the same label.
        relabelled: photographs of the data that have another label now, by split.
        predicted: regions that the model predicted.
        left_out: photographs that are not in the set, each with the reason.
        uses_roi: whether the photographs have regions.
    """

    manifest: Path
    records: int
    added: Mapping[str, int]
    known: int
    relabelled: Mapping[str, int]
    predicted: int
    left_out: Sequence[str]
    uses_roi: bool


@dataclass(slots=True)
class _Account:
    """What happened to the photographs."""

    added: Counter[str] = field(default_factory=Counter)
    known: int = 0
    relabelled: Counter[str] = field(default_factory=Counter)
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _New:
    """A photograph to add."""

    name: str
    path: Path
    digest: str
    entry: Correction


def write_training_set(
    folder: Path, bundle: Path, found: Iterable[tuple[Row, Correction]], data: Data | None = None
) -> TrainingSet:
    """Write the next training set, completely or not at all.

    Args:
        folder: a new folder.
        bundle: the model; it predicts the regions of the added photographs.
        found: the photographs that people looked at.
        data: the data of the last training; None for the added photographs alone.

    Raises:
        UserError: the folder exists or cannot be written, the bundle or the data cannot be used, or there
            would be no photograph.
    """
    if folder.exists():
        raise UserError(
            "exists already, and is not overwritten", where=folder, remedy="name another --training-set"
        )
    training = read_bundle(bundle).training
    uses_roi = (data.roi if data is not None else training.get("roi")) != "none"
    account = _Account()
    records = [] if data is None else _with_roi(data)
    records, new = _sorted(records, found, int(training.get("min_defect_pixels", 1)), account)
    remedy = "free space, or name another --training-set"
    with writing(folder, remedy=remedy), whole_folder(folder) as partial:
        rows = [_listed(record, partial, folder) for record in records]
        rows += _added(new, partial, bundle if uses_roi else None, account)
        if not rows:
            raise UserError(
                "no photograph is left for it",
                where=folder,
                remedy=f"first left out: {account.left_out[0]}"
                if account.left_out
                else "correct some parts first",
            )
        write_manifest(partial / MANIFEST, rows)
    return TrainingSet(
        manifest=folder / MANIFEST,
        records=len(records),
        added=dict(sorted(account.added.items())),
        known=account.known,
        relabelled=dict(sorted(account.relabelled.items())),
        predicted=sum(account.added.values()) if uses_roi else 0,
        left_out=account.left_out,
        uses_roi=uses_roi,
    )


def _with_roi(data: Data) -> list[Record]:
    """The records with their regions; one without is left to the training, which says so."""
    return with_roi(data) if data.roi.startswith(PREFIX) else find_roi(data)[0]


def _sorted(
    records: Sequence[Record], found: Iterable[tuple[Row, Correction]], min_pixels: int, account: _Account
) -> tuple[list[Record], list[_New]]:
    """The records with corrected labels, and the photographs that are not among them."""
    listed, of_digest = list(records), defaultdict[str, list[int]](list)
    digests = in_threads(_digest, [record.image_path for record in records], workers=cores(), ahead=64)
    for index, digest in enumerate(digests):
        of_digest[digest].append(index)
    new, taken, stems = list[_New](), dict[str, Correction](), set[str]()
    for row, entry in found:
        try:
            content = _content(row)
        except UserError as error:
            account.left_out.append(str(error))
            continue
        digest = shortened(sha256(content))
        if (other := taken.setdefault(digest, entry)) is not entry:
            if other.truth != entry.truth:
                account.left_out.append(
                    f"{row.part}: is the same picture as {other.part}, which is {other.truth}"
                )
            continue
        if digest in of_digest:
            for index in of_digest[digest]:
                listed[index] = _relabelled(listed[index], entry, min_pixels, account)
            continue
        path = Path(row.part)
        # Lower case and plain, for every disk.
        stem = free_name(_UNUSUAL.sub("_", path.stem.lower()), stems)
        new.append(_New(f"{stem}{path.suffix.lower()}", path, digest, entry))
    return listed, new


def _digest(path: Path) -> str:
    try:
        return photograph_digest(path)
    except OSError:
        # The training says which photographs of the data it cannot read.
        return ""


def _content(row: Row) -> bytes:
    """The file of a photograph, if it is still the one that was inspected.

    Raises:
        UserError: it is not there, is another one now, or is no photograph.
    """
    path = Path(row.part)
    try:
        status = path.stat()
    except (OSError, ValueError):
        raise UserError("is not there any more", where=row.part) from None
    if row.state is not None and row.state != (status.st_size, status.st_mtime_ns):
        raise UserError("was changed since it was inspected", where=row.part)
    content = read_file(path)
    read_image(content, name=row.part)
    return content


def _relabelled(record: Record, entry: Correction, min_pixels: int, account: _Account) -> Record:
    """A record of the data with the label that a person gave it."""
    label = int(entry.truth == "defective")
    if label == _effective(record, min_pixels):
        account.known += 1
        return record
    account.relabelled[record.split] += 1
    category = entry.kind or (record.category if record.label == 1 else "")
    # Its mask says otherwise.
    return replace(record, label=label, category=label_of(label, category), mask_path=None)


def _effective(record: Record, min_pixels: int) -> int | None:
    """The label as training takes it, by the rule of the region."""
    if record.label == 1 and record.mask_path is not None:
        try:
            return load_sample(record, None, min_pixels=min_pixels).label
        except UserError:
            pass
    return record.label


def _listed(record: Record, partial: Path, folder: Path) -> dict[str, str]:
    """The row of a record; drawings become masks in the folder."""
    return row_of(record, folder) | {
        "mask_path": _mask(record, record.mask_path, f"{_MASKS}/defects", partial, folder),
        "roi_path": _mask(record, record.roi_path, f"{_MASKS}/regions", partial, folder),
    }


def _mask(record: Record, source: MaskSource | None, place: str, partial: Path, folder: Path) -> str:
    if source is None:
        return ""
    if isinstance(source, Path):
        return named(source, folder)
    # Matching a drawing to its photograph depends on the folder that it was found in.
    below = f"{place}/{record.key}.png"
    write_image(partial / below, read_source(source, image_size(record.image_path)) * 255)
    return below


def _added(
    new: Sequence[_New], partial: Path, finder: Path | None, account: _Account
) -> list[dict[str, str]]:
    """Copy the new photographs, with the regions that the model finds in them; their rows."""
    copied = [one for one in new if _copied(one, partial / _PHOTOGRAPHS / one.name, account)]
    paths = [partial / _PHOTOGRAPHS / one.name for one in copied]
    regions = _regions(finder, paths) if finder is not None and paths else None
    rows = list[dict[str, str]]()
    for one, path in zip(copied, paths, strict=True):
        label = label_of(int(one.entry.truth == "defective"), one.entry.kind)
        row = {"image_path": f"{_PHOTOGRAPHS}/{one.name}", "split": "train", "label": label}
        if regions is not None:
            region = next(regions)
            if isinstance(region, str):
                account.left_out.append(f"{one.entry.part}: {region}")
                path.unlink()
                continue
            row["roi_path"] = f"{_REGIONS}/{path.stem}.png"
            write_image(partial / row["roi_path"], region * 255)
        account.added[label] += 1
        rows.append(row)
    return rows


def _copied(one: _New, target: Path, account: _Account) -> bool:
    """Copy a photograph, unless it has changed in the meantime."""
    content = read_file(one.path)
    if shortened(sha256(content)) != one.digest:
        account.left_out.append(f"{one.entry.part}: was changed just now")
        return False
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(content)
    return True


def _regions(bundle: Path, photographs: Sequence[Path]) -> Iterator[NDArray[np.uint8] | str]:
    """The region of each photograph, (H, W) in {0, 1} at its own size; or why there is none."""
    for verdict in Inspector.load(bundle).inspect_many(photographs):
        if verdict.image is None or verdict.roi_map is None:
            yield f"could not be inspected ({verdict.error})"
            continue
        large = resize_image(verdict.roi_map, (verdict.image.shape[0], verdict.image.shape[1]))
        inside = (large >= _INSIDE).astype(np.uint8)
        yield inside if inside.any() else "the model finds no region of interest in it"
