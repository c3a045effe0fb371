"""How often 95 % intervals contain the true value, by simulation, next to those of the plain bootstrap.

    python benchmarks/coverage.py            # a few minutes
    python benchmarks/coverage.py --tables   # puts the result into docs/thresholds.md

Scores are normal; those of defective parts are shifted so that the AUROC is 0.84 or 0.98. With groups, nine
tenths of a score's variance are shared within the group.
"""

from __future__ import annotations

import argparse
import warnings
from itertools import product
from pathlib import Path
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from results import Results, where
from tables import markdown, put

from roinspect.evaluation import curves
from roinspect.evaluation.intervals import find_intervals

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Results("coverage")
DOCS = ROOT / "docs" / "thresholds.md"
TRIALS, RESAMPLES = 500, 300
GROUPS_SHARE = 0.9
MEASURES = ("image_auroc", "image_ap", "recall", "good_reject_rate")


class Case(NamedTuple):
    """Numbers of defective, outside-only and good parts, and of parts per group."""

    counts: tuple[int, int, int]
    of_group: int


CASES = {
    "23 / 42 / 142 parts": Case((23, 42, 142), 1),
    "10 / 10 / 20 parts": Case((10, 10, 20), 1),
    "6 / 6 / 6 parts": Case((6, 6, 6), 1),
    "60 / 60 / 120 parts in groups of 6": Case((60, 60, 120), 6),
}


def drawn(case: Case, shift: float, random: np.random.Generator) -> tuple[NDArray[np.float64], list[str]]:
    """Scores of defective, outside-only and good parts in turn, and their groups."""
    scores, groups = [], list[str]()
    for place, (count, moved) in enumerate(zip(case.counts, (shift, 0.0, 0.0), strict=True)):
        number = np.arange(count) // case.of_group
        own = random.normal(size=count)
        if case.of_group > 1:
            shared = random.normal(size=number[-1] + 1)[number]
            own = np.sqrt(GROUPS_SHARE) * shared + np.sqrt(1 - GROUPS_SHARE) * own
            groups += [f"{place}-{one}" for one in number]
        else:
            groups += [""] * count
        scores.append(own + moved)
    return np.concatenate(scores), groups


def bootstrap(
    scores: NDArray[np.float64], label: NDArray[np.bool_], random: np.random.Generator
) -> list[float]:
    """The middle 95 % of the AUROC over resampled parts: the plain bootstrap."""
    found = []
    for _ in range(RESAMPLES):
        rows = random.integers(0, len(scores), len(scores))
        _, positive, negative = curves.tally(scores[rows], label[rows])
        found.append(curves.auroc(positive, negative).value)
    low, high = np.nanquantile(found, [0.025, 0.975])
    return [low, high]


def coverage(case: Case, shift: float, seed: int) -> dict[str, float]:
    """Share of trials whose interval contains the true value, by measure."""
    random, normal = np.random.default_rng(seed), NormalDist()
    label = np.repeat([True, False, False], case.counts)
    outside = np.repeat([False, True, False], case.counts)
    cut = shift / 2
    reject = 1 - normal.cdf(cut)
    # The average precision of a large sample with the same proportions.
    large = Case((*(2000 * count for count in case.counts),), 1)
    many, _ = drawn(large, shift, np.random.default_rng(99))
    _, positive, negative = curves.tally(many, np.repeat(label, 2000))
    truth = {
        "image_auroc": normal.cdf(shift / 2**0.5),
        "image_ap": curves.average_precision(positive, negative).value,
        "recall": 1 - normal.cdf(cut - shift),
        "good_reject_rate": reject,
    }
    held = dict.fromkeys([*truth, "image_auroc, bootstrap"], 0.0)
    widths = dict.fromkeys(truth, 0.0)
    for _ in range(TRIALS):
        scores, groups = drawn(case, shift, random)
        bounds = find_intervals(scores, label, outside, groups, cut).bounds
        for name, value in truth.items():
            held[name] += bounds[name].low <= value <= bounds[name].high
            widths[name] += bounds[name].high - bounds[name].low
        low, high = bootstrap(scores, label, random)
        held["image_auroc, bootstrap"] += low <= truth["image_auroc"] <= high
    shares = {name: count / TRIALS for name, count in held.items()}
    return shares | {f"width of {name}": width / TRIALS for name, width in widths.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", action="store_true")
    if not parser.parse_args().tables:
        warnings.simplefilter("ignore")
        for (name, case), (auroc, shift) in product(CASES.items(), (("0.84", 1.41), ("0.98", 2.9))):
            settings = {"parts": name, "auroc": auroc, "trials": TRIALS}
            run = RESULTS.append(settings, coverage(case, shift, seed=0), seed=0)
            print(name, auroc, run.measures, flush=True)
    put(DOCS, TABLES)


def table() -> str:
    """The shares, one row per case."""
    runs, columns = RESULTS.read(trials=TRIALS), ("image_auroc, bootstrap", *MEASURES)
    rows = [
        [
            f"{run.settings['parts']}, AUROC {run.settings['auroc']}",
            *(f"{run.measures[column]:.2f}" for column in columns),
        ]
        for run in runs
    ]
    heads = [
        "parts",
        "AUROC, bootstrap of parts",
        "AUROC",
        "average precision",
        "recall",
        "good parts rejected",
    ]
    return f"{markdown(heads, rows)}\n\n{TRIALS:,} trials each. {where(runs)}."


TABLES = {"coverage": table}


if __name__ == "__main__":
    main()
