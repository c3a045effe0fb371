"""All tables by name: those of the papers, and one for each public data set with the methods asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from roinspect.comparison.peers import peer_names, refuse_unknown_peer
from roinspect.errors import UserError, nearest
from roinspect.methods.registry import METHODS
from roinspect.reproduction import ceod_tables, grdnet_tables
from roinspect.reproduction.data_sets import DATA_SETS, DataSetName, refuse_unknown_categories
from roinspect.reproduction.tables import Cell, Entry, Table

PAPERS = {table.name: table for table in (*grdnet_tables.TABLES, *ceod_tables.TABLES)}
"""The papers' tables by name."""

MEASURED = ("image_auroc", "pixel_auroc", "aupro")
"""The measures of a data set's table."""

DEFAULT_METHODS = ("roibank", "grdnet")
RIVAL_EPOCHS = 200
"""Of rivals in a data set's table: as many as GRD-Net's authors gave them."""

NAMES = (*PAPERS, *DATA_SETS)
"""Every table."""


def find_table(
    name: str, methods: Sequence[str] | None = None, categories: Sequence[str] | None = None
) -> Table:
    """A table, or the part of it that is asked for.

    Args:
        name: of the table.
        methods: of the trainings; None takes all of a paper's table, or `DEFAULT_METHODS` of a data set.
        categories: the products; None takes all.

    Raises:
        UserError: there is no such table, or it has no such method or product.
    """
    if name not in NAMES:
        raise UserError(
            f"no such table{nearest(name, NAMES)}", where=name, remedy=f"use one of {', '.join(NAMES)}"
        )
    if name in PAPERS:
        return _part(PAPERS[name], methods, categories)
    data_set: DataSetName = name  # type: ignore[assignment]  # a key of DATA_SETS
    methods = DEFAULT_METHODS if methods is None else methods
    for method in methods:
        _refuse_unknown_method(method)
    if categories is not None:
        refuse_unknown_categories(data_set, categories)
    entries = [
        Entry(method, method, method, epochs=None if method in METHODS else RIVAL_EPOCHS)
        for method in dict.fromkeys(methods)
    ]
    return Table(
        name,
        f"{DATA_SETS[data_set].title}, product by product",
        "",
        data_set,
        tuple(entries),
        tuple(
            Cell(entry.name, category, measure)
            for category in dict.fromkeys(categories or DATA_SETS[data_set].categories)
            for entry in entries
            for measure in MEASURED
        ),
        ("15 % of the good training photographs are held out, unless there is a validation split.",),
    )


def _part(table: Table, methods: Sequence[str] | None, categories: Sequence[str] | None) -> Table:
    for asked, known, option in (
        (methods, table.methods, "methods"),
        (categories, table.categories, "categories"),
    ):
        if strange := [one for one in asked or () if one not in known]:
            raise UserError(
                f"{table.name} has no {strange[0]}{nearest(strange[0], known)}",
                where=f"--{option}",
                remedy=f"it has {', '.join(known)}",
            )
    entries = tuple(entry for entry in table.entries if methods is None or entry.method in methods)
    names = {entry.name for entry in entries}
    cells = tuple(
        cell
        for cell in table.cells
        if cell.entry in names and (categories is None or cell.category in categories)
    )
    return dataclasses.replace(table, entries=entries, cells=cells)


def without_missing_rivals(table: Table) -> tuple[Table, str]:
    """The table without rivals if anomalib is not installed, and a line about them, or "".

    Raises:
        UserError: nothing is left.
    """
    rivals = [method for method in table.methods if method not in METHODS]
    if not rivals or peer_names():
        return table, ""
    ours = [method for method in table.methods if method in METHODS]
    remedy = 'run: pip install "roinspect[peers]"'
    what = f"anomalib is not installed, so {', '.join(rivals)} are not trained"
    if not ours:
        raise UserError(what, where=table.name, remedy=remedy)
    return _part(table, ours, None), f"{table.name}: {what}; {remedy}"


def _refuse_unknown_method(method: str) -> None:
    if method in METHODS:
        return
    if not peer_names():
        raise UserError(
            f"no such method{nearest(method, METHODS)}",
            where=f"--methods {method}",
            remedy=f'use {", ".join(METHODS)}, or for others run: pip install "roinspect[peers]"',
        )
    refuse_unknown_peer(method)


def listed() -> str:
    """Every table in words: what it shows, and what it needs."""
    lines = []
    for table in PAPERS.values():
        lines.append(f"{table.name:11}{table.title} ({table.source})")
        lines.append(f"{'':11}{DATA_SETS[table.data_set].title}: {', '.join(table.categories)}{_also(table)}")
    for name, data_set in DATA_SETS.items():
        lines.append(f"{name:11}{data_set.title}, with the methods of --methods")
        lines.append(f"{'':11}{data_set.title}: {', '.join(data_set.categories)}")
    return "\n".join(lines)


def _also(table: Table) -> str:
    rivals = [method for method in table.methods if method not in METHODS]
    return ("; ROI masks of all photographs" if table.needs_roi else "") + (
        f"; anomalib for {', '.join(rivals)}" if rivals else ""
    )
