"""A few masks were drawn, the rest is predicted: a `roi/` tree that mirrors the photographs.

    OUT/KEY.png              the mask of each photograph, 255 = inspect
    OUT/confidence.csv       a row for each: who made its mask, how sure of it the segmenter is
    OUT/contact_sheet.jpg    the least certain ones
    OUT/.predicted.jsonl     what was predicted, so that a run goes on where it was ended

A mask that is there and was not made here, or was changed since, was drawn by a person and stays as it is. A
drawing in an annotation file there counts as one, and an untouched predicted mask gives way to it.
"""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from roinspect.bundle import photograph_digest
from roinspect.data.drawn import DrawnMask, drawn_in_folder
from roinspect.data.records import NO_CATEGORY, find_images, read_records
from roinspect.deploy.contact_sheet import Tile, write_contact_sheet
from roinspect.deploy.journal import Journal
from roinspect.deploy.progress import Progress
from roinspect.errors import UserError
from roinspect.evaluation.report import write_whole
from roinspect.pixels import image_size, read_mask, write_image
from roinspect.segmenting import FoundRegion, RegionFinder

TABLE, SHEET, JOURNAL = "confidence.csv", "contact_sheet.jpg", ".predicted.jsonl"

Origin = Literal["predicted", "drawn", "none"]


@dataclass(frozen=True, slots=True)
class RoiRow:
    """What is known of one photograph's mask.

    Attributes:
        key: of the photograph, its path below the data.
        origin: "predicted" here, "drawn" by a person, or "none": there is no mask, see `error`.
        confidence: of a predicted mask, in [0, 1]; None otherwise.
        share: of the photograph that the mask marks, in [0, 1]; None without a mask.
        error: one line, else "".
    """

    key: str
    origin: Origin
    confidence: float | None = None
    share: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class RoiTree:
    """What lies in the folder now.

    Attributes:
        rows: one a photograph, in the order of their keys.
        certain: confidence from which on a mask is taken as it is.
    """

    rows: Sequence[RoiRow]
    certain: float

    @property
    def doubtful(self) -> list[tuple[float, RoiRow]]:
        """All predicted masks with their confidence, the least certain first."""
        found = [(row.confidence, row) for row in self.rows if row.confidence is not None]
        return sorted(found, key=lambda pair: pair[0])

    @property
    def unsure(self) -> int:
        """How many predicted masks are worth a look."""
        return sum(confidence < self.certain for confidence, _ in self.doubtful)

    def count(self, origin: Origin) -> int:
        """How many masks are of this origin."""
        return Counter(row.origin for row in self.rows)[origin]


def predict_rois(
    bundle: Path,
    data: Path,
    out: Path,
    *,
    columns: Mapping[str, str] | None = None,
    certain: float | None = None,
    overwrite: bool = False,
) -> RoiTree:
    """Predict a mask for each photograph that has none in `out`.

    A photograph that cannot be read, or in which no region is found, costs its row alone.

    Args:
        bundle: a segmenter's.
        data: a folder, sorted or not, or a manifest.
        out: the folder of masks; it may hold drawn ones. An ended run goes on there.
        columns: the manifest's column names.
        certain: confidence below which a mask is worth a look, in [0, 1]; None is the bundle's own.
        overwrite: predict those anew that another segmenter made here and nobody changed; never drawn ones.

    Raises:
        UserError: the bundle or the data cannot be used, two photographs would share a mask, another
            segmenter's masks lie in `out`, another run writes there, or the disk refuses.
    """
    images = _photographs(data, out, columns)
    places = _mask_places(images, out)
    finder = RegionFinder(bundle)
    known: dict[str, dict[str, Any]] = {}
    with Journal(out / JOURNAL, lambda _, row: known.update({row["key"]: row})) as journal:
        drawn = drawn_in_folder(out, None, list(images), lambda: list(images))
        rows = {key: _from_drawing(key, mask, images[key]) for key, mask in drawn.items()}
        for key in drawn:
            if _is_ours(places[key], known.get(key, {})):
                places[key].unlink()
        others = {key: place for key, place in places.items() if key not in drawn}
        surveyed, missing = _survey(others, known, finder.digest, out, overwrite=overwrite)
        rows |= surveyed
        progress = Progress(len(images), len(images) - len(missing))
        for key, region in zip(missing, finder.find([images[key] for key in missing]), strict=True):
            rows[key] = _written(key, region, places[key], finder.digest, journal)
            progress.step(is_error=bool(rows[key].error))
        if missing:
            progress.end()
        tree = RoiTree([rows[key] for key in images], finder.least_confidence if certain is None else certain)
        write_whole(out / TABLE, _table(tree))
        write_contact_sheet(
            out / SHEET,
            [Tile(row.key, sure, images[row.key], places[row.key]) for sure, row in tree.doubtful],
        )
    return tree


# -- before ------------------------------------------------------------------------------------------------


def _photographs(data: Path, out: Path, columns: Mapping[str, str] | None) -> dict[str, Path]:
    """Every photograph by its key, sorted. Folders of masks are passed over, and `out`."""
    if not data.is_dir() or (data / "manifest.csv").is_file():
        return {record.key: record.image_path for record in read_records(data, columns=columns)}
    own, found = out.resolve(), dict[str, Path]()
    for image in find_images(data):
        below = image.relative_to(data)
        if below.parts[0].lower() in NO_CATEGORY and len(below.parts) > 1:
            continue
        if not image.resolve().is_relative_to(own):
            found[below.as_posix()] = image
    if not found:
        raise UserError("no photographs found", where=data, remedy="name a folder of them, or a manifest")
    return found


def _mask_places(images: Mapping[str, Path], out: Path) -> dict[str, Path]:
    """Where each photograph's mask lies or will lie."""
    there: dict[str, list[Path]] = defaultdict(list)
    for mask in find_images(out) if out.is_dir() else ():
        there[mask.relative_to(out).with_suffix("").as_posix()].append(mask)
    taken: dict[str, str] = {}
    places: dict[str, Path] = {}
    for key in images:
        stem = PurePosixPath(key).with_suffix("").as_posix()
        if stem in taken:
            raise UserError(
                f"would share its mask with {taken[stem]}", where=key, remedy="give them names of their own"
            )
        if len(there[stem]) > 1:
            raise UserError(
                f"fits {key} as well as {there[stem][1]} does",
                where=there[stem][0],
                remedy="keep one of them",
            )
        taken[stem] = key
        places[key] = there[stem][0] if there[stem] else out / f"{stem}.png"
    return places


def _survey(
    places: Mapping[str, Path],
    known: Mapping[str, Mapping[str, Any]],
    digest: str,
    out: Path,
    *,
    overwrite: bool,
) -> tuple[dict[str, RoiRow], list[str]]:
    """Rows of the masks that stay, and keys of those to predict."""
    rows, missing, stale = dict[str, RoiRow](), list[str](), list[str]()
    for key, mask in places.items():
        before = known.get(key, {})
        if not mask.is_file():
            missing.append(key)
        elif not _is_ours(mask, before):
            rows[key] = _drawn(key, mask)
        elif before["segmenter"] == digest:
            rows[key] = RoiRow(key, "predicted", before["confidence"], before["share"])
        else:
            stale.append(key)
    if stale and not overwrite:
        raise UserError(
            f"holds {len(stale):,} masks of another segmenter",
            where=out,
            remedy="pass --overwrite to predict those anew that nobody changed, or name another --out",
        )
    return rows, sorted([*missing, *stale])


def _is_ours(mask: Path, before: Mapping[str, Any]) -> bool:
    """Whether a mask is there and is the one that was predicted, untouched."""
    return mask.is_file() and before.get("mask") == _digest(mask)


def _digest(mask: Path) -> str:
    try:
        return photograph_digest(mask)
    except OSError as error:
        raise UserError(
            f"cannot be read ({error.strerror})", where=mask, remedy="check its rights, or remove it"
        ) from None


def _drawn(key: str, mask: Path) -> RoiRow:
    try:
        return RoiRow(key, "drawn", None, _share(read_mask(mask)))
    except UserError as error:
        return RoiRow(key, "drawn", error=str(error))


def _from_drawing(key: str, drawing: DrawnMask, image: Path) -> RoiRow:
    try:
        return RoiRow(key, "drawn", None, _share(drawing.pixels(image_size(image))))
    except UserError as error:
        return RoiRow(key, "drawn", error=str(error))


# -- one by one --------------------------------------------------------------------------------------------


def _written(key: str, region: FoundRegion, place: Path, digest: str, journal: Journal) -> RoiRow:
    """Write a mask and its row."""
    if region.mask is None:
        # What another segmenter found there is not this one's answer.
        place.unlink(missing_ok=True)
        return RoiRow(key, "none", error=region.error)
    row = RoiRow(key, "predicted", round(region.confidence, 4), round(_share(region.mask), 4))
    # A photograph's own suffix may not hold a mask as it is; hidden, the file counts for nobody yet.
    partial = place.with_name(f".{place.stem}.png")
    write_image(partial, region.mask * 255)
    # The row comes first: were the run ended between the two, a mask without a row would pass for drawn.
    journal.add(
        {
            "key": key,
            "mask": _digest(partial),
            "segmenter": digest,
            "confidence": row.confidence,
            "share": row.share,
        }
    )
    try:
        partial.replace(place)
    except OSError as error:
        raise UserError(
            f"cannot be written ({error.strerror})", where=place, remedy="free space, then run it again"
        ) from None
    return row


def _share(mask: NDArray[np.uint8]) -> float:
    return float(mask.mean())


def _table(tree: RoiTree) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["key", "origin", "confidence", "share", "error"])
    for row in tree.rows:
        confidence = "" if row.confidence is None else f"{row.confidence:.4f}"
        share = "" if row.share is None else f"{row.share:.4f}"
        writer.writerow([row.key, row.origin, confidence, share, row.error])
    return text.getvalue()
