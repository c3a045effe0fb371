"""Result files to Markdown tables between markers in the docs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

MEASURES = ("image_auroc", "pixel_auroc", "aupro", "outside_alarm_rate_at_recall95")


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def shown(values: Iterable[float | None]) -> str:
    """Mean and deviation over seeds; a dash where nothing was measured."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    mean = f"{statistics.mean(known):.3f}"
    return mean if len(known) == 1 else f"{mean} ± {statistics.stdev(known):.3f}"


def put(docs: Path, tables: Mapping[str, Callable[[], str]]) -> None:
    """Put each table between its markers in the docs; those without results are named."""
    text = docs.read_text(encoding="utf-8")
    for name, table in tables.items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        try:
            content = table()
        except (FileNotFoundError, IndexError):
            print(f"{name}: not measured yet")
            continue
        before, rest = text.split(start)
        text = f"{before}{start}\n{content}\n{end}{rest.split(end)[1]}"
    docs.write_text(text, encoding="utf-8")


def outcomes(*folders: Path) -> list[dict[str, Any]]:
    """What `roinspect compare` has left in its folders."""
    files = [file for folder in folders for file in sorted((folder / "jobs").glob("*.json"))]
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def outcomes_table(found: Sequence[dict[str, Any]], arms: Sequence[str]) -> str:
    """A row for every arm, method and size; the best of an arm in bold."""
    if not found:
        raise FileNotFoundError
    rows: list[list[str]] = []
    for arm in arms:
        groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for one in found:
            groups.setdefault((one["method"], one["terms"]["size"]), []).append(one)
        means: dict[tuple[str, str], list[float | None]] = {}
        for key, every in groups.items():
            done = [one for one in every if arm in one["arms"]]
            means[key] = [_mean(one["arms"][arm][name] for one in done) for name in MEASURES]
        best = [
            _best([mean[place] for mean in means.values()], lowest=name.startswith("outside"))
            for place, name in enumerate(MEASURES)
        ]
        for (method, size), every in groups.items():
            done = [one for one in every if arm in one["arms"]]
            if not done:
                if arm == arms[0]:
                    rows.append(
                        [method, arm, size, *["–"] * 4, every[0]["error"].split(";")[0], *["–"] * 3, "0"]
                    )
                continue
            cells = []
            for place, name in enumerate(MEASURES):
                text = shown(one["arms"][arm][name] for one in done)
                value = means[method, size][place]
                cells.append(f"**{text}**" if value is not None and value == best[place] else text)
            cost = [one["cost"] for one in done]
            rows.append(
                [
                    method,
                    arm,
                    size,
                    *cells,
                    f"{statistics.mean(one['train_seconds'] for one in cost):.0f}",
                    f"{statistics.mean(one['steps'] for one in cost):.0f}",
                    f"{statistics.mean(one['inference_ms'] for one in cost):.0f}",
                    f"{statistics.mean(one['peak_bytes'] for one in cost) / 1e6:,.0f}",
                    str(len(done)),
                ]
            )
    heads = ["method", "arm", "size", "image AUROC", "pixel AUROC", "AUPRO", "outside alarms at 95 % recall"]
    heads += ["training, s", "steps", "ms per image", "peak memory, MB", "seeds"]
    machines = sorted({one["machine"] for one in found if one.get("machine")})
    return f"{markdown(heads, rows)}\n\n{'; '.join(machines)}; one thread"


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.mean(known) if known else None


def _best(values: Iterable[float | None], *, lowest: bool) -> float | None:
    known = [value for value in values if value is not None]
    return (min if lowest else max)(known) if len(known) > 1 else None
