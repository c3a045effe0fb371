"""ROI Benchmark 1.0: sets, measures and a leaderboard for inspection inside a region of interest.

    python benchmarks/roi_benchmark.py build ballscrew BSDATA   # a set from its authors' download
    python benchmarks/roi_benchmark.py run roibank --sets zipper
    python benchmarks/roi_benchmark.py run anomalib:Padim --settings '{"n_features": 50}'
    python benchmarks/roi_benchmark.py check [FILE]             # names every fault of a leaderboard
    python benchmarks/roi_benchmark.py --tables                 # puts the tables into docs/roi-benchmark.md

Sets are built in, and read from, the folder ROINSPECT_DATA; synthetic ones are generated in ROINSPECT_WORK.
`run` trains one of our methods, or any of anomalib's models by the name of its class, once for each seed, and
adds a line for each set, seed and arm to the leaderboard. What has a line is not measured again. `record`
writes the lines of what `headline.py` had measured, in place of all that are there. Needs
``pip install 'roinspect[train,peers,weights]' jsonschema``.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import headline
import leaderboard
import roi_sets
import roibank
from leaderboard import FILE, MEASURES, Line
from results import NotMeasuredError, machine
from roibank import IMAGES, ROOT, WORK
from tables import markdown, put, shown

from roinspect.comparison.arms import ROI_AT_TEST, measure, weighted
from roinspect.comparison.job import ComparisonJob, run
from roinspect.comparison.peers import refuse_unknown_peer
from roinspect.data.dataset import DecodedCache
from roinspect.data.reading import read_data
from roinspect.data.roi import attach_roi
from roinspect.errors import UserError
from roinspect.files import write_whole
from roinspect.images.pixels import parse_size
from roinspect.methods.registry import METHODS

DOCS = ROOT / "docs" / "roi-benchmark.md"
FOLDERS = {
    "hazelnut": "hazelnut_toy",
    "right": "ballscrew",
    "raceway": "ballscrew",
    "tile": "magnetic_tile",
}
"""Of the sets of photographs; two have the same."""
BUDGET = 3600.0
"""Seconds for a training step by step."""


def run_method(
    method: str,
    names: Sequence[str],
    seeds: Sequence[int],
    settings: dict[str, Any],
    *,
    budget: float = BUDGET,
    chosen: str = "defaults",
    file: Path = FILE,
) -> None:
    """Train and measure a method where the leaderboard lacks it.

    Args:
        method: one of ours, or anomalib:CLASS.
        names: of the sets.
        seeds: one training for each.
        settings: where they differ from the method's defaults.
        budget: seconds for a training step by step.
        chosen: how the settings were chosen, see the schema.
        file: the leaderboard.

    Raises:
        UserError: there is no such method, a set is missing, or a training failed.
    """
    if method not in METHODS:
        refuse_unknown_peer(method)
    roibank.generate(names)
    for seed, name in product(seeds, names):
        one = roibank.SETS[name]
        size_hw = parse_size(one.size)
        head = {"set": name, "method": method, "settings": settings, "size": f"{size_hw[0]}x{size_hw[1]}"}
        head["seed"] = seed
        before = leaderboard.read(file) if file.exists() else []
        if any(head.items() <= line.items() for line in before):
            continue
        lines = [
            {"benchmark": "ROI Benchmark", "version": "1.0", **head, "settings_chosen": chosen, **measured}
            for measured in _measured(method, name, seed, settings, budget)
        ]
        _append(lines, before, file)
        for line in lines:
            print(f"{name}, {method}, {line['arm']}, seed {seed}: {line['measures']}", flush=True)


def _measured(method: str, name: str, seed: int, settings: dict[str, Any], budget: float) -> list[Line]:
    """The lines of one training, without what identifies them."""
    one = roibank.SETS[name]
    size_hw = parse_size(one.size)
    job = ComparisonJob(
        method=method,
        seed=seed,
        data=one.data,
        size_hw=size_hw,
        batch_size=8,
        budget_seconds=budget,
        threads=int(os.environ.get("OMP_NUM_THREADS", "0")) or os.cpu_count() or 1,
        log=WORK / "roi-benchmark" / f"{name}-{method.replace(':', '-')}-{seed}.log",
        roi=one.roi,
        limit_seconds=max(headline.LIMIT, budget),
        settings=settings,
    )
    scored = run(job)
    data, maps = read_data(one.data, one.roi), scored.anomaly_map
    packages = ("roinspect",) if method in METHODS else ("roinspect", "anomalib")
    common = {
        "cost": {
            "train_seconds": round(scored.cost.train_seconds, 1),
            "inference_ms": round(scored.cost.inference_ms, 1),
        },
        "machine": machine(),
        "date": date.today().isoformat(),
        "versions": {package: version(package) for package in packages},
    }
    # Where a training step by step ended shows whether its figures say anything of the method.
    length = f"{scored.cost.steps} steps, budget {budget:g} s"
    weights = scored.notes.get("weights")
    common["note"] = length if weights is None else f"weights: {weights}; {length}"
    lines = []
    with DecodedCache(attach_roi(data, data.split("test")), size_hw) as cache:
        which = roibank.kinds(cache)
        for arm, values in measure(scored, cache).items():
            scores = scored.pred_score
            if arm == ROI_AT_TEST:
                if method in METHODS:
                    # Ours predict where the region is, and need no other.
                    continue
                assert maps is not None
                scores = weighted(maps, cache.roi_masks, min(0.0, float(maps.min()))).max((1, 2))
            lines.append({"arm": arm, "measures": leaderboard.shares(values, scores, which), **common})
    return lines


def _append(lines: Sequence[Line], before: Sequence[Line], file: Path) -> None:
    text = "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in (*before, *lines))
    write_whole(file, text.encode())


# -- the page --------------------------------------------------------------------------------------------


def sets_table() -> str:
    """Every set: where its photographs come from, and how many there are."""
    rows = []
    for name in leaderboard.SETS:
        one, trained, tested = roibank.SETS[name], "–", "–"
        if name in roibank.SYNTHETIC:
            product_name, count = roibank.SYNTHETIC[name]
            source, licence = f"{count}, generated as by `roinspect synth {product_name}`", "Apache-2.0"
        else:
            folder = FOLDERS[name]
            about, images = roi_sets.SOURCES[folder], roi_sets.RECIPES[folder]["images"]
            source, licence = f"[{about.title}]({about.address}), `build {folder}`", about.licence
            trained, tested = (
                ", ".join(
                    f"{len(names)} {key.removeprefix(split)}"
                    for key, names in images.items()
                    if key.startswith(split)
                )
                for split in ("train/", "test/")
            )
        rows.append([f"`{name}`", one.title, source, licence, one.size, trained, tested])
    return markdown(["set", "what", "photographs", "licence", "size", "train", "test"], rows)


TITLES = {
    "image_auroc": "image AUROC",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO",
    "recall_at_1_percent": "recall at 1 % false rejects",
    "outside_alarm_rate_at_recall95": "outside alarms at 95 % recall",
}


def board_table() -> str:
    """The leaderboard: of every set, what has the highest image AUROC first.

    Trainings that a budget stopped are only named below it: their figures say nothing of the method.
    """
    if not FILE.exists():
        raise NotMeasuredError
    groups: dict[tuple[str, ...], list[Line]] = {}
    stopped: dict[str, set[str]] = {}
    for line in leaderboard.read():
        if "budget_seconds" in line["settings"]:
            stopped.setdefault(line["method"], set()).add(f"`{line['set']}`")
            continue
        settings = ", ".join(f"{key} {value}" for key, value in sorted(line["settings"].items())) or "–"
        key = (line["set"], line["method"], line["arm"], settings, line["settings_chosen"])
        groups.setdefault((*key, line["size"]), []).append(line)

    def order(key: tuple[str, ...]) -> tuple[int, float]:
        values = [line["measures"]["image_auroc"] or 0.0 for line in groups[key]]
        return leaderboard.SETS.index(key[0]), -sum(values) / len(values)

    rows = []
    for key in sorted(groups, key=order):
        lines = groups[key]
        values = [shown(line["measures"][name] for line in lines) for name in MEASURES]
        dates = sorted({line["date"] for line in lines})
        days = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
        seeds = ", ".join(str(seed) for seed in sorted(line["seed"] for line in lines))
        rows.append([*key[:3], *values, *key[3:], seeds, days])
    heads = ["set", "method", "arm", *(TITLES[name] for name in MEASURES)]
    heads += ["settings", "chosen", "size", "seeds", "date"]
    below = "; ".join(sorted({line["machine"] for lines in groups.values() for line in lines}))
    if stopped:
        told = ", ".join(f"{method} ({', '.join(sorted(sets))})" for method, sets in stopped.items())
        below += f". Not ranked, as they were stopped by a budget of seconds: {told}."
    return f"{markdown(heads, rows)}\n\n{below}"


TABLES = {"roi-benchmark-sets": sets_table, "roi-benchmark": board_table}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", action="store_true")
    verbs = parser.add_subparsers(dest="verb")
    build = verbs.add_parser("build", help="a set from its authors' download")
    build.add_argument("set", choices=roi_sets.SOURCES)
    build.add_argument("source", type=Path, help="the download's folder")
    running = verbs.add_parser("run", help="train and measure a method")
    running.add_argument("method", help="one of ours, or anomalib:CLASS")
    running.add_argument("--sets", nargs="+", choices=leaderboard.SETS, default=leaderboard.SETS)
    running.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    running.add_argument(
        "--settings", type=json.loads, default={}, help="JSON, where they differ from the defaults"
    )
    running.add_argument("--budget", type=float, default=BUDGET, help="seconds for a training step by step")
    running.add_argument(
        "--chosen",
        choices=leaderboard.SCHEMA["properties"]["settings_chosen"]["enum"],
        default="defaults",
        help="by whose figures the settings were chosen",
    )
    running.add_argument("--file", type=Path, default=FILE, help="the leaderboard to add to")
    checking = verbs.add_parser("check", help="name every fault of a leaderboard")
    checking.add_argument("file", type=Path, nargs="?", default=FILE)
    verbs.add_parser("record", help="write what headline.py had measured")
    options = parser.parse_args()
    try:
        if options.verb == "build":
            count = roi_sets.build(options.set, options.source, IMAGES / options.set)
            print(f"{IMAGES / options.set}: {count} photographs")
        elif options.verb == "run":
            run_method(
                options.method, options.sets, options.seeds, options.settings,
                budget=options.budget, chosen=options.chosen, file=options.file,
            )  # fmt: skip
        elif options.verb == "check":
            found = leaderboard.faults(options.file)
            print("\n".join(found) or f"{options.file}: no fault")
            return 2 if found else 0
        elif options.verb == "record":
            _append(leaderboard.recorded(), [], FILE)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    if options.tables:
        put(DOCS, TABLES)
    return 0


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    sys.exit(main())
