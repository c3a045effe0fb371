"""Every method on equal terms: the same images, the same size, three minutes of training on one thread.

    python benchmarks/rivals.py [right hazelnut raceway]    # goes on where it stopped
    python benchmarks/rivals.py --tables                    # puts the results into docs/benchmarks.md

What takes no budget (roibank, PaDiM, PatchCore at 1 %) is measured by `roibank.py compare`: the tables take
its results as well. Needs ``pip install 'roinspect[peers,weights]'``, and the images in ROINSPECT_DATA.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import roibank
from tables import outcomes, outcomes_table, put

from roinspect.comparison.arms import PLAIN, ROI_AT_TEST
from roinspect.comparison.compare import CompareSettings, compare

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "rivals"
DOCS = ROOT / "docs" / "benchmarks.md"
BUDGET, LIMIT = 180.0, 1800.0
STEPWISE, DRAEM = ("ceod", "grdnet", "ganomaly", "padim"), ("draem",)
PLANS: dict[str, list[tuple[tuple[str, ...], int, str]]] = {
    "hazelnut": [(("grdnet", "ganomaly", "draem", "padim", "patchcore"), 3, "128")],
    # DRAEM takes four seconds to look at one image of 128x320.
    "right": [(STEPWISE, 3, "128x320"), (DRAEM, 1, "64x160")],
    "raceway": [(("ceod", "grdnet", "ganomaly"), 1, "128x320")],
}


def run(names: list[str]) -> None:
    for name in names:
        one = roibank.SETS[name]
        for methods, seeds, size in PLANS[name]:
            settings = CompareSettings(
                methods=methods,
                arms=(PLAIN, ROI_AT_TEST),
                seeds=seeds,
                size=size,
                budget_seconds=BUDGET,
                limit_seconds=LIMIT,
            )
            compare(one.data, RESULTS / name, settings, roi=one.roi, tell=print)


def table(name: str) -> str:
    found = outcomes(RESULTS / name)
    measured = {(one["method"], one["seed"]) for one in found}
    others = outcomes(roibank.RESULTS / "compare" / name)
    found += [one for one in others if (one["method"], one["seed"]) not in measured]
    return outcomes_table(found, (PLAIN, ROI_AT_TEST))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="*", metavar="set", help=", ".join(PLANS))
    parser.add_argument("--tables", action="store_true")
    given = parser.parse_args()
    if given.tables:
        put(DOCS, {f"rivals-{name}": partial(table, name) for name in PLANS})
    else:
        run(given.sets or list(PLANS))
