"""Results as Markdown tables between markers in the docs.

    python benchmarks/tables.py            # puts the tables of every benchmark into the docs
    python benchmarks/tables.py --check    # only names the tables in the docs that differ from the results

Neither needs data or weights. A script's own tables are in its `TABLES`, by marker, and go to its `DOCS`;
those for other pages are in `ALSO`, by page.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from results import NotMeasuredError, Run

MEASURES = ("image_auroc", "pixel_auroc", "aupro", "outside_alarm_rate_at_recall95")


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def shown(values: Iterable[float | None]) -> str:
    """Mean and deviation over seeds; a dash without values."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    mean = f"{statistics.mean(known):.3f}"
    return mean if len(known) == 1 else f"{mean} ± {statistics.stdev(known):.3f}"


def out_of(count: int, parts: Sequence[int]) -> str:
    """A count over several trainings, with how many parts each was tested on.

    The same parts, tested again, are not more parts, so their number is not multiplied.

    Example:
        >>> out_of(209, [80, 80, 80])
        '209 of 3 × 80'
        >>> out_of(21, [23])
        '21 of 23'
    """
    if not sum(parts):
        return "–"
    if len(parts) > 1 and len({*parts}) == 1:
        return f"{count} of {len(parts)} × {parts[0]}"
    return f"{count} of {sum(parts)}"


def filled(text: str, tables: Mapping[str, Callable[[], str]]) -> str:
    """The text with each table between its markers; those without results are reported and unchanged.

    Raises:
        ValueError: a table has no place in the text, whether it has results or not.
    """
    for name, table in tables.items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if text.count(start) != 1 or text.count(end) != 1:
            raise ValueError(f"the page needs {start} and {end} once each")
        try:
            content = table()
        except NotMeasuredError:
            print(f"{name}: not measured yet")
            continue
        before, rest = text.split(start)
        text = f"{before}{start}\n{content}\n{end}{rest.split(end)[1]}"
    return text


def put(docs: Path, tables: Mapping[str, Callable[[], str]]) -> None:
    """Put each table between its markers in the docs."""
    docs.write_text(filled(docs.read_text(encoding="utf-8"), tables), encoding="utf-8")


def stale(docs: Path, tables: Mapping[str, Callable[[], str]]) -> list[str]:
    """The tables that would change in the docs."""
    text = docs.read_text(encoding="utf-8")
    return [name for name, table in tables.items() if filled(text, {name: table}) != text]


def outcomes_table(runs: Iterable[Run], arms: Sequence[str], apart: Mapping[str, str] | None = None) -> str:
    """The results of `compare`: a row for every arm, method and size; the best of an arm in bold.

    Args:
        runs: of `compare`.
        arms: in the order of the table.
        apart: methods that the others cannot be compared with, and why. They come last and are never bold.
    """
    if not (runs := list(runs)):
        raise NotMeasuredError
    apart = apart or {}
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.settings["method"] in apart):
        groups.setdefault((run.settings["method"], run.settings["terms"]["size"]), []).append(run)
    rows: list[list[str]] = []
    for arm in arms:
        done = {key: [run for run in group if arm in run.measures["arms"]] for key, group in groups.items()}
        means = {
            key: [_mean(run.measures["arms"][arm][name] for run in group) for name in MEASURES]
            for key, group in done.items()
        }
        best = [
            _best(
                [mean[column] for key, mean in means.items() if key[0] not in apart],
                lowest=name.startswith("outside"),
            )
            for column, name in enumerate(MEASURES)
        ]
        for key, group in done.items():
            head = [f"{key[0]} ({apart[key[0]]})" if key[0] in apart else key[0], arm, key[1]]
            if group:
                rows.append([*head, *_cells(group, arm, means[key], [] if key[0] in apart else best)])
            elif arm == arms[0]:
                error = groups[key][0].measures["error"].split(";")[0]
                rows.append([*head, *["–"] * 4, error, *["–"] * 3, "0"])
    heads = ["method", "arm", "size", "image AUROC", "pixel AUROC", "AUPRO", "outside alarms at 95 % recall"]
    heads += ["training, s", "steps", "ms per image", "peak memory, MB", "seeds"]
    return f"{markdown(heads, rows)}\n\n{'; '.join(sorted({run.machine for run in runs}))}; one thread"


def _cells(
    group: Sequence[Run], arm: str, means: Sequence[float | None], best: Sequence[float | None]
) -> list[str]:
    cells = []
    for name, mean, highest in zip(MEASURES, means, best or [None] * len(MEASURES), strict=True):
        text = shown(run.measures["arms"][arm][name] for run in group)
        cells.append(f"**{text}**" if mean is not None and mean == highest else text)
    costs = [run.measures["cost"] for run in group]
    cells += [
        f"{statistics.mean(cost[name] for cost in costs):.0f}"
        for name in ("train_seconds", "steps", "inference_ms")
    ]
    peak = statistics.mean(cost["peak_bytes"] for cost in costs) / 1e6
    return [*cells, f"{peak:,.0f}", str(len(group))]


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.mean(known) if known else None


def _best(values: Iterable[float | None], *, lowest: bool) -> float | None:
    known = [value for value in values if value is not None]
    return (min if lowest else max)(known) if len({*known}) > 1 else None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="exit with 1 where a table differs")
    is_check = parser.parse_args().check
    differing: list[str] = []
    for script in sorted(Path(__file__).parent.glob("*.py")):
        if "\nTABLES" not in script.read_text(encoding="utf-8"):
            continue
        benchmark = importlib.import_module(script.stem)
        for page, tables in {benchmark.DOCS: benchmark.TABLES, **getattr(benchmark, "ALSO", {})}.items():
            if is_check:
                differing += stale(page, tables)
            else:
                put(page, tables)
    if differing:
        raise SystemExit(f"differ from the results: {', '.join(differing)}; python benchmarks/tables.py")


if __name__ == "__main__":
    main()
