"""Check a data set before training: its contents, errors and warnings."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from roinspect.data.account import FileUse
from roinspect.data.dataset import (
    EMPTY_REMEDY,
    UNKNOWN_LABEL,
    Sample,
    SamplePlace,
    SharedMasks,
    is_empty_defect,
    load_sample,
)
from roinspect.data.depth import shallow_warnings
from roinspect.data.records import FEW_GOOD, Record
from roinspect.data.suspicious import (
    FEWEST,
    MOST,
    SIDE,
    backbone_at_hand,
    features_of,
    odd_ones,
    other_product,
)
from roinspect.data.unlike import appearance, sampled, unlike
from roinspect.data.width import (
    SCALES,
    TILE,
    WIDE_ENOUGH,
    defect_width,
    size_for,
    tile_cost,
    tile_scale,
    tiled_share,
)
from roinspect.errors import UserError
from roinspect.files import read_file, sha256
from roinspect.images.pixels import SixteenBit, resize_image, resize_mask, sixteen_bit
from roinspect.inspection.threads import in_threads

_LABELS = {0: "good", 1: "bad", None: "?"}
_SPLITS = ("train", "val", "test")
_NAMED = 10
LARGER = 1.5
"""How much larger than the training size photographs must be for tiles to be proposed."""
SMALLEST_ROI = 16
"""Pixels of a cell of the finest features, at stride 4."""


@dataclass(frozen=True, slots=True)
class CategoryRow:
    """One category of one split.

    Attributes:
        split: "train", "val" or "test".
        category: folder name or label text.
        label: "good", "bad" or "?" (unknown), before the ROI rule.
        images: number of readable images.
        sizes_hw: number of images of each (height, width).
        places: number of images by location of the defect: "none", "inside", "outside" or "both" with
            respect to the ROI, or "unknown" without a mask.
        coverage: minimum, mean and maximum share of the image inside the ROI, in [0, 1]; None without ROI.
    """

    split: str
    category: str
    label: str
    images: int
    sizes_hw: Counter[tuple[int, int]]
    places: Counter[str]
    coverage: tuple[float, float, float] | None


@dataclass(frozen=True, slots=True)
class Findings:
    """What `check` found.

    Attributes:
        rows: one per split and category.
        duplicates: keys of images with equal pixels in more than one split.
        problems: what would break training, one line each.
        warnings: what looks wrong but would not break training.
        remarks: other facts worth knowing.
        files: how every file in the folder is used.
    """

    rows: tuple[CategoryRow, ...]
    duplicates: tuple[tuple[str, ...], ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    files: tuple[FileUse, ...] = ()


@dataclass(frozen=True, slots=True)
class _RecordSummary:
    """Measurements of a record that remain after its pixels are freed."""

    record: Record
    error: UserError | None = None
    size_hw: tuple[int, int] = (0, 0)
    digest: str = ""
    coverage: float = 1.0
    defect_pixels: int = 0
    label: int = UNKNOWN_LABEL
    """The effective label, after the ROI rule."""
    place: SamplePlace = "none"
    is_blank: bool = False
    width: float = 0.0
    own_width: float = 0.0
    tiled_shares: tuple[float, ...] = ()
    """Share of the photograph in tiles at each of `SCALES`, if it is large enough for tiles."""
    appearance: NDArray[np.float32] | None = None
    small: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None
    """Photograph and ROI mask, reduced for a backbone."""
    deep: SixteenBit | None = None


def check(
    records: Sequence[Record],
    size_hw: tuple[int, int] | None = None,
    *,
    min_pixels: int = 1,
    files: Sequence[FileUse] = (),
    bits: int = 16,
    workers: int = 2,
) -> Findings:
    """Read every file once and report on the data set.

    Problems: unreadable files, masks of a different size than their image, a ROI that is empty or missing for
    some images, no photograph or no good one to train on, an empty mask of a defect used for training.
    Warnings: equal images in two splits, labels that contradict the masks, defects without a mask or narrower
    than five pixels at the training size, unused files, good photographs that look unlike the others or like
    another product.

    Args:
        records: with their ROI attached.
        size_hw: height and width used for training; None skips the checks that depend on it.
        min_pixels: defective pixels inside the ROI that make a defect, as in training.
        files: how every file in the folder is used, from `account`.
        bits: same as for `read_image`; use the value that training will use.
        workers: decoding threads.
    """
    read = SharedMasks(records)
    good = [record for record in records if record.label == 0]
    backbone = backbone_at_hand() if len(good) >= FEWEST else None
    most = () if backbone is None else (MOST,)
    compared = {good[row].key for row in sampled(len(good), *most)} if good else set[str]()

    def looks(record: Record, sample: Sample) -> dict[str, Any]:
        if record.key not in compared:
            return {}
        if backbone is None:
            return {"appearance": appearance(sample.image)}
        small_hw = SIDE, SIDE
        return {"small": (resize_image(sample.image, small_hw), resize_mask(sample.roi_mask, small_hw))}

    def summarise(record: Record) -> _RecordSummary:
        try:
            content = read_file(record.image_path)
            sample = load_sample(record, None, min_pixels=min_pixels, bits=bits, read=read, content=content)
        except UserError as error:
            return _RecordSummary(record, error)
        height, across = sample.roi_mask.shape
        width = defect_width(sample.gt_mask, sample.roi_mask, size_hw) if size_hw else 0.0
        return _RecordSummary(
            record,
            size_hw=(height, across),
            digest=sha256(sample.image.tobytes()),
            coverage=float(sample.roi_mask.mean()),
            defect_pixels=int(sample.gt_mask.sum()),
            label=sample.label,
            place=sample.place,
            is_blank=bool((sample.image == sample.image[0, 0]).all()),
            width=width,
            own_width=defect_width(sample.gt_mask, sample.roi_mask) if width else 0.0,
            tiled_shares=tuple(tiled_share(sample.roi_mask, scale) for scale in SCALES)
            if size_hw and min(height / size_hw[0], across / size_hw[1]) >= LARGER
            else (),
            **looks(record, sample),
            deep=sixteen_bit(content),
        )

    summaries = list(in_threads(summarise, records, workers=workers, ahead=16))
    readable = [summary for summary in summaries if summary.error is None]
    duplicates = _duplicates(readable)
    return Findings(
        rows=_rows(readable),
        duplicates=duplicates,
        problems=tuple(_problems(summaries)),
        warnings=(
            *_warnings(readable, duplicates),
            *shallow_warnings(
                {summary.record.image_path: summary.deep for summary in readable if summary.deep is not None},
                bits,
            ),
            *([] if size_hw is None else _too_narrow(readable, size_hw)),
            *([] if size_hw is None else _tiny_roi(readable, size_hw)),
            *(_unlike(readable) if backbone is None else _suspicious(readable, backbone)),
            *(str(file) for file in files if file.standing == "missed"),
        ),
        remarks=(*_few_good(readable), *([] if size_hw is None else _smallest(readable, size_hw))),
        files=tuple(files),
    )


def print_findings(findings: Findings, console: Console | None = None) -> None:
    """Print the tables, then remarks, problems and warnings."""
    console = console or Console()
    if findings.files:
        console.print(_files_table(findings.files))
    table = Table("split", title="Photographs", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("category", overflow="fold", min_width=8)
    table.add_column("label")
    measures = (
        "count",
        "height x\nwidth",
        "ROI %\nmin/mean/max",
        "in-\nside",
        "out-\nside",
        "both",
        "no\nmask",
    )
    for heading in measures:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in findings.rows:
        sizes = [f"{height}x{width}" for (height, width), _ in row.sizes_hw.most_common(2)]
        more = [f"{len(row.sizes_hw) - 2} more"] if len(row.sizes_hw) > 2 else []
        coverage = "/".join(f"{100 * share:.0f}" for share in row.coverage) if row.coverage else "-"
        places = [str(row.places[location] or "-") for location in ("inside", "outside", "both", "unknown")]
        table.add_row(
            row.split,
            escape(row.category),
            row.label,
            str(row.images),
            "\n".join(sizes + more),
            coverage,
            *places,
        )
    console.print(table)
    for line in findings.remarks:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for title, lines, style in (
        ("problem", findings.problems, "bold red"),
        ("warning", findings.warnings, "yellow"),
    ):
        for line in lines:
            console.print(f"[{style}]{title}:[/] ", end="")
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    if not findings.problems:
        console.print("[green]Nothing here would break training.[/]")


def _files_table(files: Sequence[FileUse]) -> Table:
    table = Table("count", "files", title="Files", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.columns[0].justify = "right"
    table.add_column("used", no_wrap=True)
    table.add_column("such as", overflow="fold")
    for file in files:
        names = "\n".join(file.examples) + ("\n..." if file.count > len(file.examples) else "")
        is_used = "yes" if file.standing == "used" else "no"
        # For used files one example is enough.
        table.add_row(
            f"{file.count:,}",
            escape(file.what),
            is_used,
            escape(file.examples[0] if file.standing == "used" else names),
        )
    return table


def _rows(readable: Sequence[_RecordSummary]) -> tuple[CategoryRow, ...]:
    groups: dict[tuple[int, str, str], list[_RecordSummary]] = defaultdict(list)
    for summary in readable:
        record = summary.record
        groups[_SPLITS.index(record.split), record.category, _LABELS[record.label]].append(summary)
    rows: list[CategoryRow] = []
    for (split, category, label), group in sorted(groups.items(), key=lambda item: item[0]):
        shares = [summary.coverage for summary in group if summary.record.roi_path is not None]
        rows.append(
            CategoryRow(
                split=_SPLITS[split],
                category=category,
                label=label,
                images=len(group),
                sizes_hw=Counter(summary.size_hw for summary in group),
                places=Counter(summary.place for summary in group),
                coverage=(min(shares), float(np.mean(shares)), max(shares)) if shares else None,
            )
        )
    return tuple(rows)


def _duplicates(readable: Sequence[_RecordSummary]) -> tuple[tuple[str, ...], ...]:
    by_pixels: dict[tuple[tuple[int, int], str], list[Record]] = defaultdict(list)
    for summary in readable:
        by_pixels[summary.size_hw, summary.digest].append(summary.record)
    return tuple(
        tuple(record.key for record in group)
        for group in by_pixels.values()
        if len({record.split for record in group}) > 1
    )


def _problems(images: Sequence[_RecordSummary]) -> Iterable[str]:
    # One mask may serve many images: report its error once.
    yield from dict.fromkeys(str(summary.error) for summary in images if summary.error is not None)
    no_roi = [summary.record for summary in images if summary.record.roi_path is None]
    if 0 < len(no_roi) < len(images):
        yield f"{no_roi[0].key}: no ROI mask ({len(no_roi)} of {len(images)} images have none); add the masks"
    training = [summary for summary in images if summary.record.split == "train" and summary.error is None]
    if not training:
        yield "train: no readable photograph in this split; add some"
    elif all(summary.label != 0 for summary in training):
        called = ", ".join(
            sorted({summary.record.category for summary in training if summary.record.category})
        )
        but = f", only {called}" if called else ""
        yield f"train: no good photograph in this split{but}; add some, or name the good folders: --good NAME"
    if empty := [summary for summary in images if summary.record.split != "test" and _is_empty(summary)]:
        yield _describe(empty, f"labelled defective but its mask is empty; {EMPTY_REMEDY}")


def _warnings(readable: Sequence[_RecordSummary], duplicates: Sequence[tuple[str, ...]]) -> Iterable[str]:
    def count(summaries: list[_RecordSummary], what: str) -> Iterable[str]:
        if summaries:
            yield _describe(summaries, what)

    for group in duplicates[:_NAMED]:
        yield f"{_named(group)}: the same picture in more than one split; keep it in one"
    if (more := len(duplicates) - _NAMED) > 0:
        yield f"{more:,} further pictures are in more than one split"
    marked = [summary for summary in readable if summary.defect_pixels]
    yield from count(
        [summary for summary in marked if summary.record.label == 0],
        "labelled good but its mask marks a defect",
    )
    yield from count(
        [summary for summary in readable if summary.record.split == "test" and _is_empty(summary)],
        f"labelled defective but its mask is empty, so it counts as good; {EMPTY_REMEDY}",
    )
    yield from count(
        [summary for summary in readable if summary.record.label == 1 and summary.record.mask_path is None],
        "defective without a mask: its label stands wherever the defect lies",
    )
    yield from count(
        [summary for summary in readable if summary.place == "unknown" and summary.record.label is None],
        "no label",
    )
    yield from count(
        [summary for summary in readable if summary.is_blank and summary.record.label == 0],
        "labelled good but all its pixels have one colour; remove it if it shows no part",
    )


def _describe(summaries: Sequence[_RecordSummary], what: str) -> str:
    others = f" ({len(summaries)} such images)" if len(summaries) > 1 else ""
    return f"{summaries[0].record.key}: {what}{others}"


def _is_empty(summary: _RecordSummary) -> bool:
    return summary.error is None and is_empty_defect(summary.record, summary.place)


def _measured(readable: Sequence[_RecordSummary]) -> list[_RecordSummary]:
    """Records with a measured defect, narrowest first."""
    return sorted(
        (summary for summary in readable if summary.width and summary.record.label != 0),
        key=lambda summary: summary.width,
    )


def _smallest(readable: Sequence[_RecordSummary], size_hw: tuple[int, int]) -> Iterable[str]:
    if measured := _measured(readable):
        yield (
            f"The smallest of {len(measured):,} defects is {measured[0].width:.1f} pixels wide at "
            f"{size_hw[0]}x{size_hw[1]} and {measured[0].own_width:.1f} in the photograph itself "
            f"({measured[0].record.key})."
        )


def _tiny_roi(readable: Sequence[_RecordSummary], size_hw: tuple[int, int]) -> Iterable[str]:
    area = size_hw[0] * size_hw[1]
    tiny = [summary for summary in readable if summary.coverage * area < SMALLEST_ROI]
    if tiny:
        pixels = min(summary.coverage for summary in tiny) * area
        yield _describe(
            tiny,
            f"its ROI has {pixels:.1f} pixels at {size_hw[0]}x{size_hw[1]}, less than one cell of the "
            f"features ({SMALLEST_ROI}), and will hardly be found; use a larger --size, or mark more",
        )


def _few_good(readable: Sequence[_RecordSummary]) -> Iterable[str]:
    good = sum(summary.record.split == "train" and summary.label == 0 for summary in readable)
    if 0 < good < FEW_GOOD:
        yield f"{good} good photographs to train on are few: add some, at least {FEW_GOOD}, better 50."


def _too_narrow(readable: Sequence[_RecordSummary], size_hw: tuple[int, int]) -> Iterable[str]:
    """Suggests a larger size, or tiles, if the photographs have enough pixels for it."""
    narrow = [summary for summary in _measured(readable) if summary.width < WIDE_ENOUGH]
    if not narrow:
        return
    worst = narrow[0]
    width_text = (
        f"its defect is {worst.width:.1f} pixels wide at {size_hw[0]}x{size_hw[1]}, under {WIDE_ENOUGH:g}, "
        f"and {worst.own_width:.1f} in the photograph itself"
    )
    if worst.own_width < WIDE_ENOUGH:
        remedy = "photograph the part closer up"
    else:
        enough_hw = size_for(worst.width, size_hw)
        more = enough_hw[0] * enough_hw[1] / (size_hw[0] * size_hw[1])
        remedy = f"--size {enough_hw[0]}x{enough_hw[1]} would do, at {more:.1f} times the pixels of today"
        remedy += _tiles(readable, min(summary.own_width for summary in narrow), size_hw)
    yield _describe(narrow, f"{width_text}; {remedy}")


def _tiles(readable: Sequence[_RecordSummary], own_width: float, size_hw: tuple[int, int]) -> str:
    """The proposal of tiles for defects of a width in pixels of the photograph; empty if they do not help."""
    scale = tile_scale(own_width)
    large = [summary for summary in readable if summary.tiled_shares]
    if scale is None or not large:
        return ""
    at = SCALES.index(scale)
    pixels = float(
        np.mean([summary.tiled_shares[at] * summary.size_hw[0] * summary.size_hw[1] for summary in large])
    )
    at_scale = f" --scale {scale:g}" if scale < 1 else ""
    return f"; so would --tile {TILE}{at_scale}, at {tile_cost(pixels, scale, size_hw):.1f} times"


def _unlike(readable: Sequence[_RecordSummary]) -> Iterable[str]:
    compared = [summary for summary in readable if summary.appearance is not None]
    if not compared:
        return
    is_unlike = unlike(
        np.stack([summary.appearance for summary in compared if summary.appearance is not None])
    )
    yield from _odd([summary.record.key for summary in compared], is_unlike)


def _suspicious(readable: Sequence[_RecordSummary], backbone: str) -> Iterable[str]:
    compared = [summary for summary in readable if summary.small is not None]
    if len(compared) < FEWEST:
        return
    images, roi_masks = zip(
        *(summary.small for summary in compared if summary.small is not None), strict=True
    )
    keys = [summary.record.key for summary in compared]
    features, inside = features_of(images, roi_masks, backbone)
    is_other = other_product(features, inside)
    if is_other.any():
        usual = keys[int(np.flatnonzero(~is_other)[0])]
        yield (
            f"{_named([*compress(keys, is_other)])}: {is_other.sum():,} of {len(keys):,} good photographs "
            f"compared look like another product than the others, such as {usual}; train a model for each "
            "product"
        )
    yield from _odd(
        [key for key, is_out in zip(keys, is_other, strict=True) if not is_out],
        odd_ones(features[~is_other], inside[~is_other]),
    )


def _odd(keys: Sequence[str], is_odd: NDArray[np.bool_]) -> Iterable[str]:
    if is_odd.any():
        yield (
            f"{_named([*compress(keys, is_odd)])}: {is_odd.sum():,} of {len(keys):,} good photographs look "
            "unlike the rest; see whether they show defects or another product"
        )


def _named(keys: Sequence[str]) -> str:
    return ", ".join(keys[:_NAMED]) + (", ..." if len(keys) > _NAMED else "")
