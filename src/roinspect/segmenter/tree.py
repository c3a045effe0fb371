"""Predict missing masks into a `roi/` tree that mirrors the images.

    OUT/KEY.png              the mask of each photograph, 255 = inspect
    OUT/confidence.csv       one row per photograph: the mask's origin and confidence
    OUT/contact_sheet.jpg    the masks with the lowest confidence
    OUT/.predicted.jsonl     the journal of predicted masks, used to continue an interrupted run

A mask that was not predicted here, or was changed since, counts as drawn and is never overwritten. So does a
drawing in an annotation file in OUT; it replaces an unchanged predicted mask.
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
"""Journal rows by the photograph's key and the mask's digest; a mask without a row was drawn."""


@dataclass(frozen=True, slots=True)
class RoiRow:
    """The mask of one photograph.

    Attributes:
        key: the photograph's path relative to the data.
        origin: "predicted" here, "drawn" by a person, or "none" if there is no mask, see `error`.
        confidence: of a predicted mask, in [0, 1]; otherwise None.
        share: share of the photograph's area inside the mask, in [0, 1]; None without a mask.
        error: one line; otherwise "".
    """

    key: str
    origin: Origin
    confidence: float | None = None
    share: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class RoiTree:
    """The state of the folder.

    Attributes:
        rows: one per photograph, in the order of their keys.
        certain: masks below this confidence should be reviewed.
    """

    rows: Sequence[RoiRow]
    certain: float

    @property
    def doubtful(self) -> list[tuple[float, RoiRow]]:
        """All predicted masks with their confidence, lowest first."""
        predicted = [(row.confidence, row) for row in self.rows if row.confidence is not None]
        return sorted(predicted, key=lambda pair: pair[0])

    @property
    def unsure(self) -> int:
        """Number of predicted masks that should be reviewed."""
        return sum(confidence < self.certain for confidence, _ in self.doubtful)

    def count(self, origin: Origin) -> int:
        """Number of photographs whose mask has this origin."""
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
    """Predict a mask for each photograph without one in `out`, or that was replaced after its prediction.

    If a photograph cannot be read, or no region is found in it, its row reports the error.

    Args:
        bundle: of a segmenter.
        data: a folder, with or without categories, or a manifest.
        out: the folder of masks; it may contain drawn ones. An interrupted run is continued.
        columns: the manifest's column names.
        certain: masks below this confidence should be reviewed, in [0, 1]; None for the bundle's value.
        overwrite: replace unchanged masks of another segmenter; drawn masks are never replaced.

    Raises:
        UserError: the bundle or the data cannot be used, two photographs would share a mask, `out` contains
            masks of another segmenter, another run writes there, or a file cannot be written.
    """
    images = _photographs(data, out, columns)
    paths = _mask_places(images, out)
    finder = RegionFinder(bundle)
    made: Made = {}
    with Journal(out / JOURNAL, lambda _, row: made.update({(row["key"], row["mask"]): row})) as journal:
        drawn = drawn_in_folder(out, None, list(images), lambda: list(images))
        rows = {key: _from_drawing(key, mask, images[key]) for key, mask in drawn.items()}
        for key in drawn:
            if _made_here(key, paths[key], made):
                paths[key].unlink()
        not_drawn = {key: path for key, path in paths.items() if key not in drawn}
        # Taken before reading, so that the next run notices photographs that are replaced during this one.
        stamps = {key: _stamp(images[key]) for key in not_drawn}
        surveyed, missing = _survey(not_drawn, stamps, made, finder.digest, out, overwrite=overwrite)
        rows |= surveyed
        with Progress(len(images), len(images) - len(missing)) as progress:
            for key, region in zip(missing, finder.find([images[key] for key in missing]), strict=True):
                origin = {"key": key, "segmenter": finder.digest, "photograph": stamps[key]}
                rows[key] = _written(region, paths[key], origin, made, journal)
                progress.step(is_error=bool(rows[key].error))
        tree = RoiTree([rows[key] for key in images], finder.least_confidence if certain is None else certain)
        write_whole(out / TABLE, _table(tree))
        write_contact_sheet(
            out / SHEET,
            [Tile(row.key, confidence, images[row.key], paths[row.key]) for confidence, row in tree.doubtful],
            bits=finder.bits,
        )
    return tree


# -- survey ------------------------------------------------------------------------------------------------


def _photographs(data: Path, out: Path, columns: Mapping[str, str] | None) -> dict[str, Path]:
    """All photographs by key, sorted, without those in `out` and in folders of masks."""
    if kind(data) != "folder" or kind(data / "manifest.csv") == "file":
        return {record.key: record.image_path for record in read_records(data, columns=columns)}
    mask_folder, images = out.resolve(), dict[str, Path]()
    for image in find_images(data):
        relative = image.relative_to(data)
        if relative.parts[0].lower() in NO_CATEGORY and len(relative.parts) > 1:
            continue
        if not image.resolve().is_relative_to(mask_folder):
            images[relative.as_posix()] = image
    if not images:
        raise UserError("no photographs found", where=data, remedy="name a folder of them, or a manifest")
    return images


def _mask_places(images: Mapping[str, Path], out: Path) -> dict[str, Path]:
    """The path of each photograph's mask, whether or not it exists."""
    existing: dict[str, list[Path]] = defaultdict(list)
    for mask in find_images(out):
        existing[mask.relative_to(out).with_suffix("").as_posix()].append(mask)
    paths: dict[str, Path] = {}
    for key, stem in mask_stems(images).items():
        if len(existing[stem]) > 1:
            raise UserError(
                f"fits {key} as well as {existing[stem][1]} does",
                where=existing[stem][0],
                remedy="keep one of them",
            )
        paths[key] = existing[stem][0] if existing[stem] else out / f"{stem}.png"
    return paths


def _stamp(image: Path) -> list[int]:
    """Size and modification time of a photograph, which change when it is replaced.

    For a digest, every run would have to read all photographs again.
    """
    try:
        state = image.stat()
    except OSError:
        # The error is reported when the photograph is read.
        return []
    return [state.st_size, state.st_mtime_ns]


def _survey(
    paths: Mapping[str, Path],
    stamps: Mapping[str, list[int]],
    made: Made,
    digest: str,
    out: Path,
    *,
    overwrite: bool,
) -> tuple[dict[str, RoiRow], list[str]]:
    """Rows of the masks to keep, and keys of those to predict."""
    rows, missing, stale = dict[str, RoiRow](), list[str](), list[str]()
    for key, mask in paths.items():
        row = _made_here(key, mask, made)
        if row is None:
            if kind(mask) == "file":
                rows[key] = _drawn(key, mask)
            else:
                missing.append(key)
        elif row["segmenter"] != digest:
            stale.append(key)
        # Predict again if the photograph was replaced, or its row has no stamp; no drawn mask is lost.
        elif row.get("photograph") != stamps[key]:
            missing.append(key)
        else:
            rows[key] = RoiRow(key, "predicted", row["confidence"], row["share"])
    if stale and not overwrite:
        raise UserError(
            f"holds {len(stale):,} masks of another segmenter",
            where=out,
            remedy="pass --overwrite to predict unchanged ones again, or name another --out",
        )
    return rows, sorted([*missing, *stale])


def _made_here(key: str, mask: Path, made: Made) -> dict[str, Any] | None:
    """The journal row of an unchanged predicted mask; None if it is missing, drawn or changed."""
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


# -- writing ----------------------------------------------------------------------------------------------


def _written(
    region: FoundRegion, path: Path, origin: Mapping[str, Any], made: Made, journal: Journal
) -> RoiRow:
    """Write a mask and its journal row, unless a drawn mask has appeared since the survey."""
    key, content = origin["key"], b""
    row = RoiRow(key, "none", error=region.error)
    if region.mask is not None:
        row = RoiRow(key, "predicted", round(region.confidence, 4), round(_share(region.mask), 4))
        # Always PNG, whatever the suffix, as lossy formats would change the mask.
        content = encode_image(region.mask * 255, ".png", path)
        # The row first: after an interruption, a mask without a row would count as drawn.
        mask = sha256(content)[:16]
        journal.add({**origin, "mask": mask, "confidence": row.confidence, "share": row.share})
    with writing(path, remedy="free space, then run it again"):
        if kind(path) == "file" and _made_here(key, path, made) is None:
            return _drawn(key, path)
        if content:
            with whole_file(path) as partial:
                partial.write_bytes(content)
        else:
            # Remove the outdated mask of another segmenter or a replaced photograph.
            path.unlink(missing_ok=True)
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
