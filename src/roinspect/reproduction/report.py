"""A reproduced table: one line per figure as JSON Lines, and the same in Markdown beside the paper's."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roinspect.comparison.arms import PLAIN
from roinspect.comparison.compare_table import Outcome
from roinspect.files import write_whole
from roinspect.reproduction.data_sets import DATA_SETS
from roinspect.reproduction.measures import head
from roinspect.reproduction.tables import Cell, Table
from roinspect.version import __version__

SHARES = ("auroc", "aupro", "accuracy")
"""Parts of the names of measures in [0, 1], which are shown with three decimals."""


@dataclass(frozen=True, slots=True)
class Report:
    """A table with its results.

    Attributes:
        table: what was reproduced.
        outcomes: by entry, product and seed.
        changes: what differs from the paper's protocol in this run.
        remarks: on the data.
        data: the data set's folder.
    """

    table: Table
    outcomes: Mapping[tuple[str, str, int], Outcome]
    changes: tuple[str, ...]
    remarks: tuple[str, ...]
    data: str


@dataclass(frozen=True, slots=True)
class Figure:
    """A cell with what was measured: the values of all seeds that succeeded, their mean and deviation."""

    cell: Cell
    values: tuple[float, ...]
    mean: float | None
    deviation: float | None
    difference: float | None


def figures(report: Report) -> list[Figure]:
    """The table's cells with their results."""
    return [_figure(cell, report.outcomes) for cell in report.table.cells]


def write_report(out: Path, name: str, report: Report) -> Path:
    """Write OUT/NAME.jsonl and OUT/NAME.md, each whole or not at all; returns the latter.

    Raises:
        UserError: a file cannot be written.
    """
    shown = figures(report)
    write_whole(out / f"{name}.jsonl", as_json_lines(report, shown))
    write_whole(out / f"{name}.md", as_markdown(report, shown))
    return out / f"{name}.md"


def as_json_lines(report: Report, shown: list[Figure]) -> str:
    """One line per figure."""
    table, date = report.table, time.strftime("%Y-%m-%d")
    labels = {entry.name: entry.label for entry in table.entries}
    lines = [
        {
            "table": table.name,
            "source": table.source,
            "data_set": DATA_SETS[table.data_set].title,
            "category": figure.cell.category,
            "entry": figure.cell.entry,
            "label": labels[figure.cell.entry],
            "measure": figure.cell.measure,
            "paper": figure.cell.paper,
            "measured": figure.mean,
            "deviation": figure.deviation,
            "difference": figure.difference,
            "values": list(figure.values),
            "changes": list(report.changes),
            "machines": _machines(report),
            "date": date,
            "roinspect_version": __version__,
        }
        for figure in shown
    ]
    return "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)


def as_markdown(report: Report, shown: list[Figure]) -> str:
    """The table, what was done otherwise than in the paper, and the notes on the trainings."""
    table = report.table
    labels = {entry.name: entry.label for entry in table.entries}
    lines = [["product", "training", "measure", "paper", "measured", "difference", "seeds"], ["---"] * 7]
    for figure in sorted(shown, key=lambda figure: table.categories.index(figure.cell.category)):
        cell = figure.cell
        lines.append(
            [
                cell.category,
                labels[cell.entry],
                head(cell.measure),
                _number(cell.paper, cell.measure),
                _with_deviation(figure),
                _number(figure.difference, cell.measure, sign="+"),
                str(len(figure.values)),
            ]
        )
    text = [
        f"# {table.title}",
        "",
        *(
            [f"{table.source}, and the same measured with roinspect {__version__}.", ""]
            if table.source
            else []
        ),
        "\n".join("| " + " | ".join(line) + " |" for line in lines),
        "",
        "Measured: mean ± deviation over seeds; all measures count only what lies inside the region of "
        f"interest. Measured on {' and '.join(_machines(report))}, {time.strftime('%Y-%m-%d')}, with "
        f"{DATA_SETS[table.data_set].title} in {report.data}.",
    ]
    for title, items in (
        ("Protocol", table.protocol),
        ("Different in this run", report.changes),
        ("Data", report.remarks),
        ("Trainings", _notes(report, labels)),
    ):
        if items:
            text += ["", f"{title}:", "", *(f"- {item}" for item in items)]
    return "\n".join(text) + "\n"


def _figure(cell: Cell, outcomes: Mapping[tuple[str, str, int], Outcome]) -> Figure:
    values = []
    for (entry, category, _), outcome in outcomes.items():
        if (entry, category) == (cell.entry, cell.category) and not outcome.error:
            known: dict[str, Any] = {**outcome.arms[PLAIN], **outcome.cost}
            value = known.get(cell.measure)
            if value is not None:
                values.append(float(value))
    mean = statistics.mean(values) if values else None
    deviation = statistics.stdev(values) if len(values) > 1 else None
    difference = None if mean is None or cell.paper is None else mean - cell.paper
    return Figure(cell, tuple(values), mean, deviation, difference)


def _machines(report: Report) -> list[str]:
    machines = dict.fromkeys(
        ", ".join(filter(None, (outcome.notes.get("device"), outcome.machine)))
        for outcome in report.outcomes.values()
        if not outcome.error
    )
    return list(machines)


def _number(value: float | None, measure: str, sign: str = "") -> str:
    if value is None or math.isnan(value):
        return "–"
    if measure == "train_seconds":
        return f"{value:{sign}.0f}"
    is_share = any(share in measure for share in SHARES)
    return f"{value:{sign}.3f}" if is_share else f"{value:{sign}.3g}"


def _with_deviation(figure: Figure) -> str:
    text = _number(figure.mean, figure.cell.measure)
    if figure.deviation is None:
        return text
    return f"{text} ± {_number(figure.deviation, figure.cell.measure)}"


def _notes(report: Report, labels: Mapping[str, str]) -> list[str]:
    """One line per entry, or several if its trainings differ."""
    where: dict[str, dict[str, list[str]]] = {}
    for (entry, category, seed), outcome in report.outcomes.items():
        text = outcome.error or "; ".join(f"{name}: {value}" for name, value in outcome.notes.items())
        where.setdefault(labels[entry], {}).setdefault(text, []).append(f"{category} seed {seed}")
    return [
        f"**{label}**{_among(places) if len(texts) > 1 else ''}: {text}"
        for label, texts in where.items()
        for text, places in texts.items()
    ]


def _among(places: list[str]) -> str:
    return f" ({', '.join(places)})"
