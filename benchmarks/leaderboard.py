"""The leaderboard of the ROI Benchmark: JSON Lines that fit `leaderboard.schema.json`.

Lines come from `roi_benchmark.py run`, and once from what `headline.py` had measured, as it was recorded.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import headline
import jsonschema
from results import NotMeasuredError, Run

from roinspect.comparison.arms import ARMS, PLAIN, ROI_PREDICTED
from roinspect.errors import UserError
from roinspect.methods.roibank_settings import RoiBankSettings

FILE = Path(__file__).with_name("leaderboard.jsonl")
SCHEMA = json.loads(Path(__file__).with_name("leaderboard.schema.json").read_text(encoding="utf-8"))
SETS: tuple[str, ...] = tuple(SCHEMA["properties"]["set"]["enum"])
MEASURES: tuple[str, ...] = tuple(SCHEMA["properties"]["measures"]["required"])
RECALL = "recall_at_1_percent"
IDENTITY = ("set", "method", "arm", "settings", "size", "seed")
"""What two lines must not have in common."""
CLASSES = {
    "padim": "anomalib:Padim",
    "mh_patchcore": "anomalib:MHPatchcore",
    "patchcore": "anomalib:Patchcore",
    "supersimplenet": "anomalib:Supersimplenet",
    "ganomaly": "anomalib:Ganomaly",
    "draem": "anomalib:Draem",
}
"""`headline.RIVALS`, by the names of anomalib's classes."""
_LONGEST = 160

Line: TypeAlias = Mapping[str, Any]


def read(file: Path = FILE) -> list[Line]:
    """The lines of a leaderboard.

    Raises:
        UserError: it cannot be read, or has a fault; the first is named.
    """
    if found := faults(file):
        more = f" (and {len(found) - 1} more faults)" if len(found) > 1 else ""
        raise UserError(found[0] + more, remedy=f"mend it; see roi_benchmark.py check {file}")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def faults(file: Path) -> list[str]:
    """What is wrong with a leaderboard, a line of text for each fault: "FILE:3: seed: -1 is less than ...".

    Raises:
        UserError: the file cannot be read.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8"
        raise UserError(f"cannot be read ({reason})", where=file, remedy="name a .jsonl file") from None
    found, seen = list[str](), dict[str, int]()
    for number, content in enumerate(text.splitlines(), 1):
        told = list(_faults_of(content))
        if not told:
            line = json.loads(content)
            key = json.dumps([line[name] for name in IDENTITY], sort_keys=True)
            if key in seen:
                told = [f"repeats line {seen[key]}: the same {', '.join(IDENTITY)}"]
            seen.setdefault(key, number)
        found += [f"{file}:{number}: {fault}" for fault in told]
    return found


def _faults_of(content: str) -> Iterator[str]:
    try:
        line = json.loads(content, parse_constant=_refuse_constant)
    except ValueError as error:
        yield f"is no JSON ({error})"
        return
    for error in sorted(jsonschema.Draft202012Validator(SCHEMA).iter_errors(line), key=str):
        place = ".".join(map(str, error.absolute_path))
        message = " ".join(error.message.split())
        if len(message) > _LONGEST:
            # What is wrong stands at the end, after the value.
            message = f"{message[: _LONGEST // 4]} ... {message[-_LONGEST // 2 :]}"
        yield f"{place}: {message}" if place else message


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON; write null")


def shares(measures: Mapping[str, Any], scores: Iterable[float], which: str) -> dict[str, float | None]:
    """The measures of a line.

    Args:
        measures: of an arm.
        scores: of every test photograph.
        which: their kinds, see `roibank.kinds`.
    """
    found = {name: measures[name] for name in MEASURES if name != RECALL}
    found[RECALL] = headline.recall_at_one_percent(list(scores), which)
    return {name: None if found[name] is None else round(found[name], 6) for name in MEASURES}


# -- what had been measured before -----------------------------------------------------------------------


def recorded() -> list[Line]:
    """Lines of the runs of `headline.py`, with settings, seed, machine, date and versions as recorded."""
    lines = list[Line]()
    for name in SETS:
        try:
            candidate = headline.chosen(name)
        except NotMeasuredError:
            continue
        changed = _changes(candidate)
        for run in headline.our_runs(name, candidate):
            measures = shares(run.measures, run.measures["scores"], run.measures["kinds"])
            cost = {
                "train_seconds": run.measures["fit_seconds"],
                "inference_ms": run.measures["inference_ms"],
            }
            size = headline.SETS[name].size
            size = size if "x" in size else f"{size}x{size}"
            lines.append(_line(run, name, "roibank", PLAIN, changed, "on other sets", size, measures, cost))
        for method, arm in ((method, arm) for method in headline.RIVALS for arm in ARMS):
            lines += _of_rival(name, method, arm)
    return lines


def _of_rival(name: str, method: str, arm: str) -> Iterator[Line]:
    try:
        runs = headline.rival_runs(name, method, "predicted" if arm == ROI_PREDICTED else "rivals")
    except NotMeasuredError:
        return
    first = {run.seed: run for run in headline.rival_runs(name, method)}
    for run in runs:
        if (values := run.measures["arms"].get(arm)) is None:
            continue
        training = first[run.seed].measures
        cost = {key: training["cost"][key] for key in ("train_seconds", "inference_ms")}
        rival = headline.RIVALS[method]
        settings = dict(rival.settings) | ({} if rival.budget is None else {"budget_seconds": rival.budget})
        measures = shares(values, values["scores"], run.measures["kinds"])
        line = _line(
            run, name, CLASSES[method], arm, settings, "defaults", run.settings["size"], measures, cost
        )
        note = f"weights: {training['notes']['weights']}"
        if rival.budget is not None:
            note += f"; stopped after {training['cost']['steps']} steps, far from its authors' length"
        yield {**line, "note": note}


def _changes(candidate: str) -> dict[str, Any]:
    """Where a candidate differs from the defaults."""
    given, default = dataclasses.asdict(headline.CANDIDATES[candidate]), dataclasses.asdict(RoiBankSettings())
    return {key: value for key, value in given.items() if value != default[key]}


def _line(
    run: Run,
    name: str,
    method: str,
    arm: str,
    settings: Mapping[str, Any],
    settings_chosen: str,
    size: str,
    measures: Mapping[str, Any],
    cost: Mapping[str, Any],
) -> Line:
    return {
        "benchmark": "ROI Benchmark",
        "version": "1.0",
        "set": name,
        "method": method,
        "arm": arm,
        "settings": dict(settings),
        "settings_chosen": settings_chosen,
        "size": size,
        "seed": run.seed,
        "measures": dict(measures),
        "cost": {key: round(value, 1) for key, value in cost.items()},
        "machine": run.machine,
        "date": run.date,
        "versions": dict(run.versions),
    }
