"""Inspect many images into one table with exactly one row each, even if the run is killed and resumed.

Rows are appended to `OUT.unfinished.jsonl`, from which the same command resumes. At the end the table is
written from that file in one piece.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from roinspect.errors import UserError
from roinspect.inspection.backends import TARGET_OF
from roinspect.inspection.bundle import read_bundle
from roinspect.inspection.drift import DriftMonitor
from roinspect.inspection.exported import made_from, read_export
from roinspect.inspection.inspector import Inspector, drift_row
from roinspect.production.journal import Journal
from roinspect.production.progress import Progress
from roinspect.production.sources import one_spelling
from roinspect.production.tables import Row, Rows, check_table, write_table
from roinspect.production.verdict_images import Pictures, free_name

Inspect: TypeAlias = Callable[[Mapping[str, str]], Rows]
"""Maps image paths, each with the name of its pictures, to one row per image, in any order."""


@dataclass(slots=True)
class BatchSummary:
    """Counts of a table's rows.

    Attributes:
        images: rows.
        defective: rejected images.
        unseen: images that are not inspectable.
        errors: images that could not be read.
    """

    images: int = 0
    defective: int = 0
    unseen: int = 0
    errors: int = 0

    def count(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Count rows while passing them on."""
        for row in rows:
            self.images += 1
            self.defective += bool(row.get("is_defect"))
            self.unseen += row.get("verdict") == "not inspectable"
            self.errors += "error" in row
            yield row


def predictions(
    inspector: Inspector, names: Mapping[str, str], pictures: Pictures, drift: DriftMonitor | None = None
) -> Rows:
    """Inspect files, in order.

    Args:
        inspector: the model.
        names: image paths, each with the name of its pictures.
        pictures: where pictures are written.
        drift: sees every inspectable part, in order, and warns in the log.

    Yields:
        The values of `Verdict.to_dict` and `Pictures.write`.

    Raises:
        UserError: a picture cannot be written.
    """
    for verdict in inspector.inspect_many(names):
        drift_row(drift, verdict)
        yield verdict.to_dict() | pictures.write(verdict, names[verdict.image_path])


def named(listed: Mapping[str, str], taken: set[str]) -> dict[str, str]:
    """Make the names of pictures unique and add them to `taken`."""
    return {path: free_name(name, taken) for path, name in listed.items()}


def terms_of(bundle: Path, runtime: str | None, pictures: Pictures) -> dict[str, Any]:
    """Values that all rows of a table must share."""
    manifest = read_bundle(bundle)
    target = TARGET_OF.get(runtime or "")
    return {
        "model": made_from(bundle),
        # Runtimes agree in float32; lower precisions give slightly different scores.
        "precision": read_export(bundle, target).precision if target else "float32",
        "threshold": manifest.threshold.value,
        "overlays": str(pictures.overlays or ""),
        "maps": str(pictures.maps or ""),
    }


def inspect_to_table(
    listed: Mapping[str, str],
    out: Path,
    inspect: Inspect,
    terms: Mapping[str, Any],
    pictures: Pictures,
    *,
    overwrite: bool = False,
) -> BatchSummary:
    """Inspect the images without a row yet, then write the table in the order of the images.

    Rows of images that are no longer listed are kept, at the end.

    Args:
        listed: result of `list_images`.
        out: the table; its suffix determines the format.
        inspect: makes the rows.
        terms: result of `terms_of`; must equal the terms of an unfinished table.
        pictures: where `inspect` writes pictures.
        overwrite: replace an existing table, and discard an unfinished one with other terms.

    Raises:
        UserError: the table exists, an unfinished one has other terms, another run is writing it, or a file
            cannot be written.
    """
    check_table(out)
    unfinished = out.with_name(f"{out.name}.unfinished.jsonl")
    _refuse_existing(out, overwrite or unfinished.exists())
    head = json.loads(json.dumps({"terms": terms}))
    heads: list[dict[str, Any]] = []
    offsets: dict[str, int] = {}
    taken: set[str] = set()

    def replay(offset: int, row: dict[str, Any]) -> None:
        if not heads:
            heads.append(row)
        elif heads == [head]:
            offsets[one_spelling(row["image_path"])] = offset
            taken.update(pictures.names_in(row))

    with Journal(unfinished, replay) as journal:
        if not heads:
            try:
                # Another run may have finished since the first check.
                _refuse_existing(out, overwrite)
            except UserError:
                journal.remove()
                raise
        if heads and heads != [head]:
            if not overwrite:
                raise UserError(
                    "was started with another model, threshold, precision or folder of pictures",
                    where=unfinished,
                    remedy="choose another --out, or discard it with --overwrite",
                )
            journal.clear()
        if heads != [head]:
            journal.add(head)
        remaining = {path: name for path, name in listed.items() if one_spelling(path) not in offsets}
        remaining = named(remaining, taken)
        total = len(offsets) + len(remaining)
        with Progress(total, len(offsets)) as progress, closing(inspect(remaining)) as rows:
            for row in rows:
                offsets[one_spelling(row["image_path"])] = journal.add(row)
                progress.step(is_error="error" in row)
        journal.sync()
        order = [*(offsets.pop(one_spelling(path)) for path in listed), *offsets.values()]
        tally = BatchSummary()
        write_table(out, tally.count(map(journal.at, order)))
        journal.remove()
    return tally


def _refuse_existing(out: Path, may_replace: bool) -> None:
    if out.exists() and not may_replace:
        raise UserError(
            "already exists", where=out, remedy="choose another --out, or replace it with --overwrite"
        )
