"""Predict the masks that were not drawn, into a `roi/` tree that mirrors the images.

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
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from roinspect.data.annotations.drawn import DrawnMask, drawn_in_folder
from roinspect.data.names import NO_CATEGORY
from roinspect.data.paths import kind
from roinspect.data.records import find_images, read_records
from roinspect.data.roi import mask_stems
from roinspect.errors import UserError
from roinspect.files import sha256, whole_file, write_whole, writing
from roinspect.images.pixels import encode_image, image_size, read_mask
from roinspect.inspection.bundle import photograph_digest
from roinspect.production.journal import Journal
from roinspect.production.progress import Progress
from roinspect.segmenter.contact_sheet import Tile, write_contact_sheet
from roinspect.segmenter.finder import FoundRegion, RegionFinder

TABLE, SHEET, JOURNAL = "confidence.csv", "contact_sheet.jpg", ".predicted.jsonl"

Origin = Literal["predicted", "drawn", "none"]
Made: TypeAlias = dict[tuple[str, str], dict[str, Any]]
"""The journal's rows by the photograph's key and the mask's digest: a mask without one was drawn."""


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
    """Predict a mask for each photograph that has none in `out`, or was replaced since its own was predicted.

    A photograph that cannot be read, or in which no region is found, costs its row alone.

    Args:
        bundle: a segmenter's.
        data: a folder, sorted or not, or a manifest.
        out: the folder of masks; it may hold drawn ones. An ended run goes on there.
        columns: the manifest's column names.
        certain: confidence below which a mask is worth a look, in [0, 1]; None is the bundle's own.
        overwrite: predict those again that another segmenter made here and nobody changed; never drawn ones.

    Raises:
        UserError: the bundle or the data cannot be used, two photographs would share a mask, another
            segmenter's masks lie in `out`, another run writes there, or the disk refuses.
    """
    images = _photographs(data, out, columns)
    places = _mask_places(images, out)
    finder = RegionFinder(bundle)
    made: Made = {}
    with Journal(out / JOURNAL, lambda _, row: made.update({(row["key"], row["mask"]): row})) as journal:
        drawn = drawn_in_folder(out, None, list(images), lambda: list(images))
        rows = {key: _from_drawing(key, mask, images[key]) for key, mask in drawn.items()}
        for key in drawn:
            if _made_here(key, places[key], made):
                places[key].unlink()
        others = {key: place for key, place in places.items() if key not in drawn}
        # Before any is read: one that is replaced from now on is another one to the next run.
        stamps = {key: _stamp(images[key]) for key in others}
        surveyed, missing = _survey(others, stamps, made, finder.digest, out, overwrite=overwrite)
        rows |= surveyed
        with Progress(len(images), len(images) - len(missing)) as progress:
            for key, region in zip(missing, finder.find([images[key] for key in missing]), strict=True):
                origin = {"key": key, "segmenter": finder.digest, "photograph": stamps[key]}
                rows[key] = _written(region, places[key], origin, made, journal)
                progress.step(is_error=bool(rows[key].error))
        tree = RoiTree([rows[key] for key in images], finder.least_confidence if certain is None else certain)
        write_whole(out / TABLE, _table(tree))
        write_contact_sheet(
            out / SHEET,
            [Tile(row.key, sure, images[row.key], places[row.key]) for sure, row in tree.doubtful],
            bits=finder.bits,
        )
    return tree


# -- before ------------------------------------------------------------------------------------------------


def _photographs(data: Path, out: Path, columns: Mapping[str, str] | None) -> dict[str, Path]:
    """Every photograph by its key, sorted. Folders of masks are passed over, and `out`."""
    if kind(data) != "folder" or kind(data / "manifest.csv") == "file":
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
    for mask in find_images(out):
        there[mask.relative_to(out).with_suffix("").as_posix()].append(mask)
    places: dict[str, Path] = {}
    for key, stem in mask_stems(images).items():
        if len(there[stem]) > 1:
            raise UserError(
                f"fits {key} as well as {there[stem][1]} does",
                where=there[stem][0],
                remedy="keep one of them",
            )
        places[key] = there[stem][0] if there[stem] else out / f"{stem}.png"
    return places


def _stamp(image: Path) -> list[int]:
    """What changes when a photograph is replaced: its size and time.

    A digest would read every photograph again for each run that has little left to do.
    """
    try:
        state = image.stat()
    except OSError:
        # Whoever reads it says why.
        return []
    return [state.st_size, state.st_mtime_ns]


def _survey(
    places: Mapping[str, Path],
    stamps: Mapping[str, list[int]],
    made: Made,
    digest: str,
    out: Path,
    *,
    overwrite: bool,
) -> tuple[dict[str, RoiRow], list[str]]:
    """Rows of the masks that stay, and keys of those to predict."""
    rows, missing, stale = dict[str, RoiRow](), list[str](), list[str]()
    for key, mask in places.items():
        before = _made_here(key, mask, made)
        if before is None:
            if kind(mask) == "file":
                rows[key] = _drawn(key, mask)
            else:
                missing.append(key)
        elif before["segmenter"] != digest:
            stale.append(key)
        # A row without its photograph's digest may be of any: predicting it again loses nobody's work.
        elif before.get("photograph") != stamps[key]:
            missing.append(key)
        else:
            rows[key] = RoiRow(key, "predicted", before["confidence"], before["share"])
    if stale and not overwrite:
        raise UserError(
            f"holds {len(stale):,} masks of another segmenter",
            where=out,
            remedy="pass --overwrite to predict unchanged ones again, or name another --out",
        )
    return rows, sorted([*missing, *stale])


def _made_here(key: str, mask: Path, made: Made) -> dict[str, Any] | None:
    """The row of the mask that lies there; None without one, or where it was not made here or was changed."""
    return made.get((key, _digest(mask))) if kind(mask) == "file" else None


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


def _written(
    region: FoundRegion, place: Path, origin: Mapping[str, Any], made: Made, journal: Journal
) -> RoiRow:
    """Write a mask and its row, unless somebody laid a mask there since the survey."""
    key, content = origin["key"], b""
    row = RoiRow(key, "none", error=region.error)
    if region.mask is not None:
        row = RoiRow(key, "predicted", round(region.confidence, 4), round(_share(region.mask), 4))
        # PNG whatever the file's suffix says, as a photograph's own format may not hold a mask exactly.
        content = encode_image(region.mask * 255, ".png", place)
        # The row comes first: were the run ended between the two, a mask without a row would pass for drawn.
        mask = sha256(content)[:16]
        journal.add({**origin, "mask": mask, "confidence": row.confidence, "share": row.share})
    with writing(place, remedy="free space, then run it again"):
        if kind(place) == "file" and _made_here(key, place, made) is None:
            return _drawn(key, place)
        if content:
            with whole_file(place) as partial:
                partial.write_bytes(content)
        else:
            # What lies there is of another segmenter or another photograph.
            place.unlink(missing_ok=True)
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
