"""Look through a data set before training: what there is, what would break training, what looks wrong."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from roinspect.data.dataset import SamplePlace, SharedMasks, load_sample
from roinspect.data.depth import shallow_warnings
from roinspect.data.records import Record
from roinspect.data.threads import in_threads
from roinspect.errors import UserError

_LABELS = {0: "good", 1: "bad", None: "?"}
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Row:
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
    """

    rows: tuple[Row, ...]
    duplicates: tuple[tuple[str, ...], ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is kept of a record once its pixels are let go."""

    record: Record
    error: UserError | None = None
    size_hw: tuple[int, int] = (0, 0)
    digest: bytes = b""
    coverage: float = 1.0
    defect_pixels: int = 0
    place: SamplePlace = "none"


def check(records: Sequence[Record], size_hw: tuple[int, int] | None = None, *, workers: int = 2) -> Findings:
    """Read every file once and report on the data set.

    Problems: files that cannot be read, masks of another size than their image, a ROI that marks nothing or
    that only some images have, no photograph or no good one to train on. Warnings: equal pictures in two
    splits, labels that the masks contradict, defects without a mask or that vanish at the training size.

    Args:
        records: with their ROI attached.
        size_hw: height and width that training will use; None leaves out what depends on it.
        workers: decoding threads.
    """
    read = SharedMasks(records)

    def look(record: Record) -> _Seen:
        try:
            sample = load_sample(record, None, read=read)
        except UserError as error:
            return _Seen(record, error)
        height, width = sample.roi_mask.shape
        return _Seen(
            record,
            size_hw=(height, width),
            digest=hashlib.blake2b(sample.image.data, digest_size=16).digest(),
            coverage=float(sample.roi_mask.mean()),
            defect_pixels=int(sample.gt_mask.sum()),
            place=sample.place,
        )

    seen = list(in_threads(look, records, workers=workers, ahead=16))
    whole = [one for one in seen if one.error is None]
    duplicates = _duplicates(whole)
    return Findings(
        rows=_rows(whole),
        duplicates=duplicates,
        problems=tuple(_problems(seen)),
        warnings=(
            *_warnings(whole, duplicates, size_hw),
            *shallow_warnings([one.record.image_path for one in whole], workers=workers),
        ),
    )


def print_findings(findings: Findings, console: Console | None = None) -> None:
    """Print the table, then the problems and the warnings."""
    console = console or Console()
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
    for title, lines, style in (
        ("problem", findings.problems, "bold red"),
        ("warning", findings.warnings, "yellow"),
    ):
        for line in lines:
            console.print(f"[{style}]{title}:[/] ", end="")
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    if not findings.problems:
        console.print("[green]Nothing here would break training.[/]")


def _rows(whole: Sequence[_Seen]) -> tuple[Row, ...]:
    groups: dict[tuple[int, str, str], list[_Seen]] = defaultdict(list)
    for one in whole:
        record = one.record
        groups[_SPLITS.index(record.split), record.category, _LABELS[record.label]].append(one)
    rows: list[Row] = []
    for (split, category, label), group in sorted(groups.items(), key=lambda item: item[0]):
        shares = [one.coverage for one in group if one.record.roi_path is not None]
        rows.append(
            Row(
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


def _duplicates(whole: Sequence[_Seen]) -> tuple[tuple[str, ...], ...]:
    by_pixels: dict[tuple[tuple[int, int], bytes], list[Record]] = defaultdict(list)
    for one in whole:
        by_pixels[one.size_hw, one.digest].append(one.record)
    return tuple(
        tuple(record.key for record in group)
        for group in by_pixels.values()
        if len({record.split for record in group}) > 1
    )


def _problems(seen: Sequence[_Seen]) -> Iterable[str]:
    # One mask may serve many images: its fault is told once.
    yield from dict.fromkeys(str(one.error) for one in seen if one.error is not None)
    without = [one.record for one in seen if one.record.roi_path is None]
    if 0 < len(without) < len(seen):
        yield f"{without[0].key}: no ROI mask ({len(without)} of {len(seen)} images have none); add the masks"
    training = [one for one in seen if one.record.split == "train" and one.error is None]
    if not training:
        yield "train: no readable photograph in this split; add some"
    elif not any(_is_good(one) for one in training):
        yield "train: no good photograph in this split; add some, or name the good folders"


def _is_good(one: _Seen) -> bool:
    return one.record.label == 0 or one.place in ("none", "outside")


def _warnings(
    whole: Sequence[_Seen], duplicates: Sequence[tuple[str, ...]], size_hw: tuple[int, int] | None
) -> Iterable[str]:
    def count(found: list[_Seen], what: str) -> Iterable[str]:
        if found:
            others = f" ({len(found)} such images)" if len(found) > 1 else ""
            yield f"{found[0].record.key}: {what}{others}"

    for group in duplicates:
        yield f"{', '.join(group)}: the same picture in more than one split; keep it in one"
    marked = [one for one in whole if one.defect_pixels]
    yield from count(
        [one for one in marked if one.record.label == 0], "labelled good but its mask marks a defect"
    )
    yield from count(
        [one for one in whole if one.record.label == 1 and one.record.mask_path and not one.defect_pixels],
        "labelled defective but its mask is empty, so it counts as good",
    )
    yield from count(
        [one for one in whole if one.record.label == 1 and one.record.mask_path is None],
        "defective without a mask: its label stands wherever the defect lies",
    )
    yield from count(
        [one for one in whole if one.place == "unknown" and one.record.label is None], "no label"
    )
    if size_hw is not None:
        shrink = [size_hw[0] * size_hw[1] / (one.size_hw[0] * one.size_hw[1]) for one in marked]
        yield from count(
            [one for one, factor in zip(marked, shrink, strict=True) if one.defect_pixels * factor < 1],
            f"its defect is smaller than a pixel at {size_hw[0]}x{size_hw[1]}; train at a larger size",
        )
