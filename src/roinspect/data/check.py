"""Check a data set before training: its contents, errors and warnings."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
    SamplePlace,
    SharedMasks,
    is_empty_defect,
    load_sample,
)
from roinspect.data.depth import shallow_warnings
from roinspect.data.records import Record
from roinspect.data.unlike import appearance, sampled, unlike
from roinspect.data.width import WIDE_ENOUGH, defect_width, size_for
from roinspect.errors import UserError
from roinspect.files import read_file, sha256
from roinspect.images.pixels import SixteenBit, sixteen_bit
from roinspect.inspection.threads import in_threads

_LABELS = {0: "good", 1: "bad", None: "?"}
_SPLITS = ("train", "val", "test")
_NAMED = 5


@dataclass(frozen=True, slots=True)
class CategoryRow:
    """One category of one split.

    Attributes:
        split: "train", "val" or "test".
        category: folder name or label text.
        label: "good", "bad" or "?" (unknown), before the ROI rule.
        images: how many could be read.
        sizes_hw: how many images there are of each (height, width).
        places: how many images have no defect ("none"), or one "inside", "outside" or on "both" sides of
            the ROI, or in an "unknown" place for want of a mask.
        coverage: least, mean and largest share of the image that the ROI takes, in [0, 1]; None if none.
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
        duplicates: keys of pictures with equal pixels that stand in more than one split.
        problems: lines on what would break training.
        warnings: lines on what looks wrong but would not.
        remarks: lines on what is worth knowing.
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
    """What is kept of a record once its pixels are let go."""

    record: Record
    error: UserError | None = None
    size_hw: tuple[int, int] = (0, 0)
    digest: str = ""
    coverage: float = 1.0
    defect_pixels: int = 0
    label: int = UNKNOWN_LABEL
    """The label in use, after the ROI rule."""
    place: SamplePlace = "none"
    width: float = 0.0
    own_width: float = 0.0
    appearance: NDArray[np.float32] | None = None
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

    Problems: files that cannot be read, masks of another size than their image, a ROI that marks nothing or
    that only some images have, no photograph or no good one to train on, a defect to learn from whose mask is
    empty. Warnings: equal pictures in two splits, labels that the masks contradict, defects without a mask or
    narrower than five pixels at the training size, files that are not used, good photographs that look unlike
    the others.

    Args:
        records: with their ROI attached.
        size_hw: height and width that training will use; None leaves out what depends on it.
        min_pixels: defective pixels inside the ROI that make a defect, as in training.
        files: how every file in the folder is used, from `account`.
        bits: as `read_image`, and as training will be given it.
        workers: decoding threads.
    """
    read = SharedMasks(records)
    good = [record for record in records if record.label == 0]
    compared = {good[row].key for row in sampled(len(good))} if good else set[str]()

    def look(record: Record) -> _RecordSummary:
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
            width=width,
            own_width=defect_width(sample.gt_mask, sample.roi_mask) if width else 0.0,
            appearance=appearance(sample.image) if record.key in compared else None,
            deep=sixteen_bit(content),
        )

    seen = list(in_threads(look, records, workers=workers, ahead=16))
    whole = [one for one in seen if one.error is None]
    duplicates = _duplicates(whole)
    return Findings(
        rows=_rows(whole),
        duplicates=duplicates,
        problems=tuple(_problems(seen)),
        warnings=(
            *_warnings(whole, duplicates),
            *shallow_warnings(
                {one.record.image_path: one.deep for one in whole if one.deep is not None}, bits
            ),
            *([] if size_hw is None else _too_narrow(whole, size_hw)),
            *_unlike(whole),
            *(str(file) for file in files if file.standing == "missed"),
        ),
        remarks=() if size_hw is None else tuple(_smallest(whole, size_hw)),
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
        places = [str(row.places[place] or "-") for place in ("inside", "outside", "both", "unknown")]
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
        named = "\n".join(file.examples) + ("\n..." if file.count > len(file.examples) else "")
        is_used = "yes" if file.standing == "used" else "no"
        # Of what is used, one tells what is meant.
        table.add_row(
            f"{file.count:,}",
            escape(file.what),
            is_used,
            escape(file.examples[0] if file.standing == "used" else named),
        )
    return table


def _rows(whole: Sequence[_RecordSummary]) -> tuple[CategoryRow, ...]:
    groups: dict[tuple[int, str, str], list[_RecordSummary]] = defaultdict(list)
    for one in whole:
        record = one.record
        groups[_SPLITS.index(record.split), record.category, _LABELS[record.label]].append(one)
    rows: list[CategoryRow] = []
    for (split, category, label), group in sorted(groups.items(), key=lambda item: item[0]):
        shares = [one.coverage for one in group if one.record.roi_path is not None]
        rows.append(
            CategoryRow(
                split=_SPLITS[split],
                category=category,
                label=label,
                images=len(group),
                sizes_hw=Counter(one.size_hw for one in group),
                places=Counter(one.place for one in group),
                coverage=(min(shares), float(np.mean(shares)), max(shares)) if shares else None,
            )
        )
    return tuple(rows)


def _duplicates(whole: Sequence[_RecordSummary]) -> tuple[tuple[str, ...], ...]:
    by_pixels: dict[tuple[tuple[int, int], str], list[Record]] = defaultdict(list)
    for one in whole:
        by_pixels[one.size_hw, one.digest].append(one.record)
    return tuple(
        tuple(record.key for record in group)
        for group in by_pixels.values()
        if len({record.split for record in group}) > 1
    )


def _problems(seen: Sequence[_RecordSummary]) -> Iterable[str]:
    # One mask may serve many images: its fault is told once.
    yield from dict.fromkeys(str(one.error) for one in seen if one.error is not None)
    without = [one.record for one in seen if one.record.roi_path is None]
    if 0 < len(without) < len(seen):
        yield f"{without[0].key}: no ROI mask ({len(without)} of {len(seen)} images have none); add the masks"
    training = [one for one in seen if one.record.split == "train" and one.error is None]
    if not training:
        yield "train: no readable photograph in this split; add some"
    elif all(one.label != 0 for one in training):
        called = ", ".join(sorted({one.record.category for one in training if one.record.category}))
        of = f", only {called}" if called else ""
        yield f"train: no good photograph in this split{of}; add some, or name the good folders: --good NAME"
    if learnt := [one for one in seen if one.record.split != "test" and _is_empty(one)]:
        yield _told(learnt, f"labelled defective but its mask is empty; {EMPTY_REMEDY}")


def _warnings(whole: Sequence[_RecordSummary], duplicates: Sequence[tuple[str, ...]]) -> Iterable[str]:
    def count(found: list[_RecordSummary], what: str) -> Iterable[str]:
        if found:
            yield _told(found, what)

    for group in duplicates:
        yield f"{', '.join(group)}: the same picture in more than one split; keep it in one"
    marked = [one for one in whole if one.defect_pixels]
    yield from count(
        [one for one in marked if one.record.label == 0], "labelled good but its mask marks a defect"
    )
    yield from count(
        [one for one in whole if one.record.split == "test" and _is_empty(one)],
        f"labelled defective but its mask is empty, so it counts as good; {EMPTY_REMEDY}",
    )
    yield from count(
        [one for one in whole if one.record.label == 1 and one.record.mask_path is None],
        "defective without a mask: its label stands wherever the defect lies",
    )
    yield from count(
        [one for one in whole if one.place == "unknown" and one.record.label is None], "no label"
    )


def _told(found: Sequence[_RecordSummary], what: str) -> str:
    others = f" ({len(found)} such images)" if len(found) > 1 else ""
    return f"{found[0].record.key}: {what}{others}"


def _is_empty(one: _RecordSummary) -> bool:
    return one.error is None and is_empty_defect(one.record, one.place)


def _measured(whole: Sequence[_RecordSummary]) -> list[_RecordSummary]:
    """Those with a defect that counts, from the narrowest on."""
    return sorted((one for one in whole if one.width and one.record.label != 0), key=lambda one: one.width)


def _smallest(whole: Sequence[_RecordSummary], size_hw: tuple[int, int]) -> Iterable[str]:
    if found := _measured(whole):
        yield (
            f"The smallest of {len(found):,} defects is {found[0].width:.1f} pixels wide at "
            f"{size_hw[0]}x{size_hw[1]} ({found[0].record.key})."
        )


def _too_narrow(whole: Sequence[_RecordSummary], size_hw: tuple[int, int]) -> Iterable[str]:
    """A size that would do is named where the photographs have as many pixels."""
    narrow = [one for one in _measured(whole) if one.width < WIDE_ENOUGH]
    if not narrow:
        return
    worst = narrow[0]
    told = f"its defect is {worst.width:.1f} pixels wide at {size_hw[0]}x{size_hw[1]}, under {WIDE_ENOUGH:g}"
    if worst.own_width < WIDE_ENOUGH:
        remedy = (
            f"the photograph itself shows it {worst.own_width:.1f} pixels wide: photograph the part closer up"
        )
    else:
        wanted = size_for(worst.width, size_hw)
        remedy = f"--size {wanted[0]}x{wanted[1]} would do"
    yield _told(narrow, f"{told}; {remedy}")


def _unlike(whole: Sequence[_RecordSummary]) -> Iterable[str]:
    compared = [one for one in whole if one.appearance is not None]
    if not compared:
        return
    odd = unlike(np.stack([one.appearance for one in compared if one.appearance is not None]))
    named = [one.record.key for one, is_odd in zip(compared, odd, strict=True) if is_odd]
    if named:
        shown = ", ".join(named[:_NAMED]) + (", ..." if len(named) > _NAMED else "")
        yield (
            f"{shown}: {len(named):,} of {len(compared):,} good photographs look unlike the rest; see "
            "whether they show defects or another product"
        )
