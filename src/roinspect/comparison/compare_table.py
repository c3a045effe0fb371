"""Comparison results as a table (Markdown and CSV) and a plot of quality against speed."""

from __future__ import annotations

import csv
import importlib.metadata
import io
import math
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from roinspect.comparison.arms import ARMS, PLAIN
from roinspect.files import write_whole

MARKDOWN, TABLE, PLOT = "compare.md", "compare.csv", "compare.svg"

LEARNS_FROM = "learns from"
"""The note with its own column."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one method with one seed.

    Attributes:
        method: its name.
        seed: of its training.
        arms: arm to measures, see `MetricValues.to_dict`; None for an undefined measure.
        cost: see `Cost`.
        notes: see `Scored`.
        error: why there is no result, in one line, or "".
        machine: on which the comparison ran, see `machine`.
    """

    method: str
    seed: int
    arms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    cost: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    machine: str = ""


class Column(NamedTuple):
    """A column: its values, their format, and which are better: +1 higher, -1 lower."""

    head: str
    name: str
    digits: int
    better: int = 0
    scale: float = 1.0
    error: str = ""
    """Name of the measure's error bound, if it has one."""


MEASURES = (
    Column("image AUROC", "image_auroc", 3, 1),
    Column("pixel AUROC", "pixel_auroc", 3, 1, error="pixel_auroc_error"),
    Column("AUPRO", "aupro", 3, 1, error="aupro_error"),
    Column("outside alarms at 95 % recall", "outside_alarm_rate_at_recall95", 3, -1),
    Column("heat inside", "roi_mass", 3, 1),
)
COSTS = (
    Column("training, s", "train_seconds", 0),
    Column("steps", "steps", 0),
    Column("ms per image", "inference_ms", 1, -1),
    Column("model, MB", "model_bytes", 1, -1, 1e-6),
    Column("peak memory, MB", "peak_bytes", 0, -1, 1e-6),
)


class Spread(NamedTuple):
    """Mean and sample deviation over seeds; NaN without values, or with a single one, respectively."""

    mean: float
    deviation: float


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """One method in one arm, over all seeds.

    Attributes:
        method: its name.
        arm: of `arms.ARMS`.
        seeds: number of seeds with a result.
        spreads: of every column, by name.
        learns_from: the parts it is trained on, "good" or "good and defective"; "" if all seeds failed.
        error: why a seed failed, or "".
        bounds: error bounds by column, the largest over all seeds.
    """

    method: str
    arm: str
    seeds: int
    spreads: Mapping[str, Spread]
    learns_from: str = ""
    error: str = ""
    bounds: Mapping[str, float] = field(default_factory=dict)


def rows(outcomes: Sequence[Outcome], arms: Sequence[str]) -> list[ComparisonRow]:
    """The table's rows: every method in each of its arms."""
    table = []
    for arm in arms:
        for method in dict.fromkeys(outcome.method for outcome in outcomes):
            own = [outcome for outcome in outcomes if outcome.method == method]
            done = [outcome for outcome in own if arm in outcome.arms]
            errors = [outcome.error for outcome in own if outcome.error]
            if not done and not (errors and arm == PLAIN):
                continue
            spreads = {column.name: _spread([o.arms[arm][column.name] for o in done]) for column in MEASURES}
            spreads |= {column.name: _spread([o.cost[column.name] for o in done]) for column in COSTS}
            learns_from = done[0].notes.get(LEARNS_FROM, "").removesuffix(" parts") if done else ""
            error = errors[0] if errors else ""
            bounds = {
                column.name: max((o.arms[arm].get(column.error) or 0.0 for o in done), default=0.0)
                for column in MEASURES
                if column.error
            }
            table.append(ComparisonRow(method, arm, len(done), spreads, learns_from, error, bounds))
    return table


def write_tables(
    out: Path, outcomes: Sequence[Outcome], arms: Sequence[str], terms: Mapping[str, Any]
) -> None:
    """Write OUT/compare.md, compare.csv and compare.svg, each whole or not at all.

    Args:
        out: the folder.
        outcomes: of all jobs.
        arms: those to show.
        terms: common to all jobs.

    Raises:
        UserError: a file cannot be written.
    """
    shown = rows(outcomes, arms)
    write_whole(out / TABLE, as_csv(shown))
    write_whole(out / MARKDOWN, as_markdown(shown, outcomes, terms))
    write_whole(out / PLOT, plot(shown))


def as_csv(shown: Sequence[ComparisonRow]) -> str:
    """One line per row; means and deviations in separate columns, empty without a value."""
    columns = (*MEASURES, *COSTS)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [f"{column.name}{end}" for column in columns for end in ("", "_deviation")]
    writer.writerow(["method", "learns_from", "arm", "seeds", *names, "error"])
    for row in shown:
        values = [value for column in columns for value in row.spreads[column.name]]
        cells = ["" if math.isnan(value) else repr(value) for value in values]
        writer.writerow([row.method, row.learns_from, row.arm, row.seeds, *cells, row.error])
    return text.getvalue()


def as_markdown(shown: Sequence[ComparisonRow], outcomes: Sequence[Outcome], terms: Mapping[str, Any]) -> str:
    """The table with the best values in bold, and notes."""
    columns = (*MEASURES, *COSTS)
    seeds = max((row.seeds for row in shown), default=0)
    lines = [["method", LEARNS_FROM, "arm", *(column.head for column in columns)]]
    lines.append(["---"] * len(lines[0]))
    for row in shown:
        rivals = [rival for rival in shown if rival.arm == row.arm]
        cells = [
            f"**{cell}**" if _is_best(row, rivals, column) else cell
            for column in columns
            for cell in [_cell(row.spreads[column.name], column, row.bounds.get(column.name, 0.0))]
        ]
        method = row.method if row.seeds == seeds else f"{row.method} ({row.seeds} of {seeds} seeds)"
        lines.append([method, row.learns_from or "–", row.arm, *cells])
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    machines = " and ".join(dict.fromkeys(outcome.machine for outcome in outcomes if not outcome.error))
    arms = "; ".join(f"`{arm}` {ARMS[arm]}" for arm in dict.fromkeys(row.arm for row in shown))
    text = [
        "# Comparison",
        "",
        table,
        "",
        "Mean ± deviation over seeds; bold: best of its arm; (to x): accurate to within x. Measured on "
        f"{machines}.",
        "",
        *(f"- {name}: {value}" for name, value in terms.items()),
        "",
        f"Arms: {arms}. In every arm, measures count only what lies inside the region. No threshold is used.",
        "",
        "Time: methods that learn step by step stop when the budget is spent. Ours choose their number of "
        "steps after timing a few; others are stopped by the clock. Methods whose training ends by itself, "
        "such as roibank, PaDiM and PatchCore, take the time that they need. Milliseconds are those of the "
        "network, for one decoded image at a time.",
        "",
        "Notes on the methods:",
        "",
        *_notes(outcomes),
    ]
    return "\n".join(text) + "\n"


def plot(shown: Sequence[ComparisonRow]) -> str:
    """Image AUROC against milliseconds per image, as SVG; colours are methods, shapes are arms."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    drawn = [row for row in shown if not math.isnan(row.spreads["image_auroc"].mean)]
    methods = list(dict.fromkeys(row.method for row in drawn))
    palette = matplotlib.colormaps["tab10" if len(methods) <= 10 else "tab20"]
    colours = {method: palette(place % palette.N) for place, method in enumerate(methods)}
    shapes = dict(zip(dict.fromkeys(row.arm for row in drawn), "osD", strict=False))
    key = [Line2D([], [], color=colour, lw=4, label=method) for method, colour in colours.items()]
    for arm, shape in shapes.items():
        key.append(Line2D([], [], color="grey", lw=0, marker=shape, label=arm, fillstyle=_fill(arm)))

    figure = Figure(figsize=(7.5, max(4.5, 0.25 * len(key))), layout="constrained")
    axes = figure.add_subplot()
    for row in drawn:
        time, quality = row.spreads["inference_ms"], row.spreads["image_auroc"]
        axes.errorbar(
            time.mean,
            quality.mean,
            yerr=0.0 if math.isnan(quality.deviation) else quality.deviation,
            fmt=shapes[row.arm],
            color=colours[row.method],
            fillstyle=_fill(row.arm),
            capsize=3,
        )
    times = [row.spreads["inference_ms"].mean for row in drawn] or [1.0]
    axes.set_xscale("log")
    axes.set_xlim(min(times) / 2, max(times) * 2)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("milliseconds per image")
    axes.set_ylabel("image AUROC inside the region")
    axes.grid(alpha=0.3)
    if key:
        figure.legend(handles=key, loc="outside right upper", fontsize="small", frameon=False)
    text = io.StringIO()
    # Otherwise element names are random, and the same numbers give different files.
    with matplotlib.rc_context({"svg.hashsalt": "roinspect"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def _fill(arm: str) -> Literal["full", "none"]:
    return "full" if arm == PLAIN else "none"


def machine() -> str:
    """Processor, cores, torch and Python in one line."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    processor = names[0].split(":")[1].strip() if names else platform.processor() or platform.machine()
    torch = importlib.metadata.version("torch")
    return f"{processor}, {os.cpu_count()} cores, torch {torch}, Python {platform.python_version()}"


def _spread(values: Sequence[float | None]) -> Spread:
    known = [float(value) for value in values if value is not None]
    return Spread(
        statistics.mean(known) if known else math.nan,
        statistics.stdev(known) if len(known) > 1 else math.nan,
    )


def _is_best(row: ComparisonRow, rivals: Sequence[ComparisonRow], column: Column) -> bool:
    """Whether no other is better; if all are equal, none is best."""
    values = [column.better * rival.spreads[column.name].mean for rival in rivals]
    known = [value for value in values if not math.isnan(value)]
    own = column.better * row.spreads[column.name].mean
    return bool(known) and own == max(known) > min(known)


def _cell(spread: Spread, column: Column, bound: float = 0.0) -> str:
    mean, deviation = (value * column.scale for value in spread)
    if math.isnan(mean):
        return "–"
    text = f"{mean:.{column.digits}f}"
    text += "" if math.isnan(deviation) else f" ± {deviation:.{column.digits}f}"
    # Shown only if it would change a printed digit.
    shown = f"{bound:.{column.digits}f}"
    return f"{text} (to {shown})" if float(shown) else text


def _notes(outcomes: Sequence[Outcome]) -> list[str]:
    """One line per method, or one per seed if the seeds differ."""
    lines = []
    for method in dict.fromkeys(outcome.method for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.method == method]
        notes = {outcome.seed: _note(outcome) for outcome in own}
        if len(set(notes.values())) == 1:
            lines.append(f"- **{method}**: {notes[own[0].seed]}")
        else:
            lines += [f"- **{method}**, seed {seed}: {text}" for seed, text in notes.items()]
    return lines


def _note(outcome: Outcome) -> str:
    if outcome.error:
        return outcome.error.removeprefix(f"{outcome.method}: ")
    return "; ".join(f"{name}: {text}" for name, text in outcome.notes.items() if name != LEARNS_FROM)
