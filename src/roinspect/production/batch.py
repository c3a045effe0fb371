"""Inspect many images into one table with exactly one row each, however often the run is killed.

Rows go to `OUT.unfinished.jsonl` beside the table as they come; the same command goes on from there. The
table is written from it at the end, whole.
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
from roinspect.inspection.exported import made_from, read_export
from roinspect.inspection.inspector import Inspector, verdict_row
from roinspect.production.journal import Journal
from roinspect.production.progress import Progress
from roinspect.production.sources import one_spelling
from roinspect.production.tables import Row, Rows, refuse_table, write_table
from roinspect.production.verdict_images import Pictures, free_name

Inspect: TypeAlias = Callable[[Mapping[str, str]], Rows]
"""Image paths, each with the name of its pictures, to one row for each, in any order."""


@dataclass(slots=True)
class BatchSummary:
    """What a table holds.

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
        """Pass rows on, counted."""
        for row in rows:
            self.images += 1
            self.defective += bool(row.get("is_defect"))
            self.unseen += row.get("verdict") == "not inspectable"
            self.errors += "error" in row
            yield row


def predictions(inspector: Inspector, names: Mapping[str, str], pictures: Pictures) -> Rows:
    """Inspect files, in order.

    Args:
        inspector: the model.
        names: image paths, each with the name of its pictures.
        pictures: which ones are written.

    Yields:
        Values for JSON, as `verdict_row` and `Pictures.write` make them.

    Raises:
        UserError: a picture cannot be written.
    """
    for verdict in inspector.inspect_many(names):
        yield verdict_row(verdict) | pictures.write(verdict, names[verdict.image_path])


def named(listed: Mapping[str, str], taken: set[str]) -> dict[str, str]:
    """Give every image's pictures a name of their own."""
    return {path: free_name(name, taken) for path, name in listed.items()}


def terms_of(bundle: Path, runtime: str | None, pictures: Pictures) -> dict[str, Any]:
    """What all rows of a table, made by a runtime, must have in common."""
    manifest = read_bundle(bundle)
    target = TARGET_OF.get(runtime or "")
    return {
        "model": made_from(bundle),
        # Runtimes agree in float32; what was rounded answers a little differently.
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
    """Inspect what has no row yet, then write the table, in the order of the images.

    Rows of images that are listed no more stay, at the end.

    Args:
        listed: as `list_images` gives it.
        out: the table; its suffix chooses the format.
        inspect: makes the rows.
        terms: of `terms_of`; rows made on other terms are refused.
        pictures: which ones `inspect` writes.
        overwrite: replace a table that is there, and drop an unfinished one on other terms.

    Raises:
        UserError: the table is there, an unfinished one was begun on other terms, another run writes it, or
            the disk refuses.
    """
    refuse_table(out)
    unfinished = out.with_name(f"{out.name}.unfinished.jsonl")
    _refuse_finished(out, overwrite or unfinished.exists())
    head = json.loads(json.dumps({"terms": terms}))
    heads: list[dict[str, Any]] = []
    places: dict[str, int] = {}
    taken: set[str] = set()

    def replay(place: int, row: dict[str, Any]) -> None:
        if not heads:
            heads.append(row)
        elif heads == [head]:
            places[one_spelling(row["image_path"])] = place
            taken.update(pictures.names_in(row))

    with Journal(unfinished, replay) as journal:
        if not heads:
            try:
                # Another run may have ended since the first look.
                _refuse_finished(out, overwrite)
            except UserError:
                journal.remove()
                raise
        if heads and heads != [head]:
            if not overwrite:
                raise UserError(
                    "was begun with another model, threshold, precision or folder of pictures",
                    where=unfinished,
                    remedy="choose another --out, or drop it with --overwrite",
                )
            journal.clear()
        if heads != [head]:
            journal.add(head)
        remaining = {path: name for path, name in listed.items() if one_spelling(path) not in places}
        remaining = named(remaining, taken)
        progress = Progress(len(places) + len(remaining), len(places))
        with closing(inspect(remaining)) as rows:
            for row in rows:
                places[one_spelling(row["image_path"])] = journal.add(row)
                progress.step(is_error="error" in row)
        progress.end()
        journal.sync()
        order = [*(places.pop(one_spelling(path)) for path in listed), *places.values()]
        tally = BatchSummary()
        write_table(out, tally.count(map(journal.at, order)))
        journal.remove()
    return tally


def _refuse_finished(out: Path, may_replace: bool) -> None:
    if out.exists() and not may_replace:
        raise UserError(
            "exists already", where=out, remedy="choose another --out, or replace it with --overwrite"
        )
