"""A comparison's outcomes as a table, in Markdown and CSV, and a plot of quality against speed."""

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
from typing import Any, NamedTuple

from roinspect.evaluation.arms import PLAIN
from roinspect.evaluation.report import write_whole

MARKDOWN, TABLE, PLOT = "compare.md", "compare.csv", "compare.svg"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one method reached with one seed.

    Attributes:
        method: its name.
        seed: of its training.
        arms: arm to measures as `MetricValues.to_dict`; None where a measure is undefined.
        cost: as `Cost`.
        notes: as `Scored`.
        error: one line why there is nothing; "" otherwise.
    """

    method: str
    seed: int
    arms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    cost: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    error: str = ""


class Column(NamedTuple):
    """One column: where its values are, how they are shown, and which are better: +1 higher, -1 lower."""

    head: str
    name: str
    digits: int
    better: int = 0
    scale: float = 1.0


MEASURES = (
    Column("image AUROC", "image_auroc", 3, 1),
    Column("pixel AUROC", "pixel_auroc", 3, 1),
    Column("AUPRO", "aupro", 3, 1),
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
    """Mean and sample deviation over seeds; NaN where there are no values, or one, respectively."""

    mean: float
    deviation: float


@dataclass(frozen=True, slots=True)
class Row:
    """One method in one arm, over its seeds."""

    method: str
    arm: str
    seeds: int
    spreads: Mapping[str, Spread]
    error: str = ""


def rows(outcomes: Sequence[Outcome], arms: Sequence[str]) -> list[Row]:
    """The table's rows: every method in every arm that it has, in order."""
    found = []
    for arm in arms:
        for method in dict.fromkeys(outcome.method for outcome in outcomes):
            own = [outcome for outcome in outcomes if outcome.method == method]
            done = [outcome for outcome in own if arm in outcome.arms]
            errors = [outcome.error for outcome in own if outcome.error]
            if not done and not (errors and arm == PLAIN):
                continue
            spreads = {column.name: _spread([o.arms[arm][column.name] for o in done]) for column in MEASURES}
            spreads |= {column.name: _spread([o.cost[column.name] for o in done]) for column in COSTS}
            found.append(Row(method, arm, len(done), spreads, errors[0] if errors else ""))
    return found


def write_tables(
    out: Path, outcomes: Sequence[Outcome], arms: Sequence[str], terms: Mapping[str, Any]
) -> None:
    """Write OUT/compare.md, compare.csv and compare.svg, each whole or not at all.

    Args:
        out: the folder.
        outcomes: of all jobs.
        arms: those to show.
        terms: what all jobs had in common, for the reader.

    Raises:
        UserError: a file cannot be written.
    """
    shown = rows(outcomes, arms)
    write_whole(out / TABLE, as_csv(shown))
    write_whole(out / MARKDOWN, as_markdown(shown, outcomes, terms))
    write_whole(out / PLOT, plot(shown))


def as_csv(shown: Sequence[Row]) -> str:
    """One line a row; means and deviations in columns of their own, empty where there is no value."""
    columns = (*MEASURES, *COSTS)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [f"{column.name}{end}" for column in columns for end in ("", "_deviation")]
    writer.writerow(["method", "arm", "seeds", *names, "error"])
    for row in shown:
        values = [value for column in columns for value in row.spreads[column.name]]
        cells = ["" if math.isnan(value) else repr(value) for value in values]
        writer.writerow([row.method, row.arm, row.seeds, *cells, row.error])
    return text.getvalue()


def as_markdown(shown: Sequence[Row], outcomes: Sequence[Outcome], terms: Mapping[str, Any]) -> str:
    """The table with its best values in bold, and below it what a reader must know of it."""
    columns = (*MEASURES, *COSTS)
    best = {
        (arm, column.name): max((column.better * row.spreads[column.name].mean for row in own), default=0.0)
        for arm in dict.fromkeys(row.arm for row in shown)
        for column in columns
        if (own := [r for r in shown if r.arm == arm and not math.isnan(r.spreads[column.name].mean)])
    }
    lines = [["method", "arm", *(column.head for column in columns)]]
    lines.append(["---"] * len(lines[0]))
    for row in shown:
        cells = []
        for column in columns:
            mean, cell = row.spreads[column.name].mean, _cell(row.spreads[column.name], column)
            is_best = column.better and not math.isnan(mean)
            is_best = is_best and column.better * mean == best[row.arm, column.name]
            cells.append(f"**{cell}**" if is_best else cell)
        lines.append([row.method, row.arm, *cells])
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    text = [
        "# Comparison",
        "",
        table,
        "",
        f"Mean ± deviation over seeds; bold: best of its arm. {machine()}.",
        "",
        *(f"- {name}: {value}" for name, value in terms.items()),
        "",
        "Arms: `plain` is the method as it is; `roi-at-test` multiplies the true region of interest into the "
        "map of each test image, whose highest value is then the score. Measures count what lies inside the "
        "region, whatever the arm. No threshold plays a part.",
        "",
        "Time: methods that learn step by step stop when the budget is spent. Ours choose their number of "
        "steps from the time of a few; others are stopped by the clock. Milliseconds are those of the "
        "network, for one decoded image at a time.",
        "",
        "What the numbers rest on:",
        "",
        *_notes(outcomes),
    ]
    return "\n".join(text) + "\n"


def plot(shown: Sequence[Row]) -> str:
    """Image AUROC against milliseconds for an image, as SVG: a colour a method, a shape an arm."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    methods = list(dict.fromkeys(row.method for row in shown))
    shapes = dict(zip(dict.fromkeys(row.arm for row in shown), "osD", strict=False))
    for row in shown:
        time, quality = row.spreads["inference_ms"], row.spreads["image_auroc"]
        if math.isnan(quality.mean) or math.isnan(time.mean):
            continue
        axes.errorbar(
            time.mean,
            quality.mean,
            yerr=0.0 if math.isnan(quality.deviation) else quality.deviation,
            fmt=shapes[row.arm],
            color=f"C{methods.index(row.method)}",
            label=row.method if row.arm == PLAIN else f"{row.method}, {row.arm}",
            markerfacecolor=None if row.arm == PLAIN else "none",
            capsize=3,
        )
    times = [row.spreads["inference_ms"].mean for row in shown]
    known = [math.log10(time) for time in times if time > 0] or [0.0]
    axes.set_xscale("log")
    axes.set_xlim(10 ** math.floor(min(known)), 10 ** (math.floor(max(known)) + 1))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("milliseconds for an image")
    axes.set_ylabel("image AUROC inside the region")
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside right upper", fontsize="small", frameon=False)
    text = io.StringIO()
    # Names of elements are random otherwise: the same numbers give the same file.
    with matplotlib.rc_context({"svg.hashsalt": "roinspect"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def machine() -> str:
    """One line: processor, cores, torch, Python."""
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


def _cell(spread: Spread, column: Column) -> str:
    mean, deviation = (value * column.scale for value in spread)
    if math.isnan(mean):
        return "–"
    text = f"{mean:.{column.digits}f}"
    return text if math.isnan(deviation) else f"{text} ± {deviation:.{column.digits}f}"


def _notes(outcomes: Sequence[Outcome]) -> list[str]:
    """A line for each method; where its seeds differ, each seed's."""
    lines = []
    for method in dict.fromkeys(outcome.method for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.method == method]
        told = {o.seed: o.error or "; ".join(f"{k}: {v}" for k, v in o.notes.items()) for o in own}
        if len(set(told.values())) == 1:
            lines.append(f"- **{method}**: {told[own[0].seed]}")
        else:
            lines += [f"- **{method}**, seed {seed}: {text}" for seed, text in told.items()]
    return lines
