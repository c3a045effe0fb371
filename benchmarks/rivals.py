"""What three minutes of training on one thread are good for, with the same images at the same size.

    python benchmarks/rivals.py [right hazelnut raceway]    # continues where it stopped
    python benchmarks/rivals.py --tables                    # puts the results into docs/benchmarks.md

Methods without a time budget (roibank, PaDiM, PatchCore at 1 %) are measured by `roibank.py compare`; the
tables include its results. A training of fewer than `LEAST_STEPS` steps has hardly begun: the tables only say
how far it came. Needs ``pip install 'roinspect[peers,weights]'``, and the images in
ROINSPECT_DATA.
"""

from __future__ import annotations

import argparse
import statistics
from functools import partial

import roibank
from compared import run_compare
from results import Results
from tables import outcomes_table, put

from roinspect.comparison.arms import PLAIN, ROI_AT_TEST
from roinspect.comparison.compare import CompareSettings

RESULTS = Results("rivals")
DOCS = roibank.ROOT / "docs" / "benchmarks.md"
BUDGET, LIMIT = 180.0, 1800.0
STEPWISE, DRAEM = ("ceod", "grdnet", "ganomaly", "padim"), ("draem",)
IN_ONE_PASS = ("padim", "patchcore", "roibank")
LEAST_STEPS = 60
APART = {"ceod": "learns from defects too"}
PLANS: dict[str, list[tuple[tuple[str, ...], int, str]]] = {
    "hazelnut": [(("grdnet", "ganomaly", "draem", "padim", "patchcore"), 3, "128")],
    # DRAEM takes four seconds for one image of 128x320.
    "right": [(STEPWISE, 3, "128x320"), (DRAEM, 1, "64x160")],
    "raceway": [(("ceod", "grdnet", "ganomaly"), 1, "128x320")],
}


def run(names: list[str]) -> None:
    for name in names:
        data = roibank.SETS[name]
        for methods, seeds, size in PLANS[name]:
            settings = CompareSettings(
                methods=methods,
                arms=(PLAIN, ROI_AT_TEST),
                seeds=seeds,
                size=size,
                budget_seconds=BUDGET,
                limit_seconds=LIMIT,
            )
            work = roibank.WORK / "rivals" / name
            run_compare(RESULTS, {"set": name}, data.data, data.roi, settings, work)


def table(name: str) -> str:
    runs = RESULTS.read(set=name)
    measured = {(run.settings["method"], run.seed) for run in runs}
    others = roibank.RESULTS.read(verb="compare", set=name)
    runs += [run for run in others if (run.settings["method"], run.seed) not in measured]
    steps: dict[str, list[int]] = {}
    for one in runs:
        if one.settings["method"] not in IN_ONE_PASS:
            steps.setdefault(one.settings["method"], []).append(one.measures["cost"]["steps"])
    begun = {
        method: mean for method, counts in steps.items() if (mean := statistics.mean(counts)) < LEAST_STEPS
    }
    finished = [run for run in runs if run.settings["method"] not in begun]
    told = ", ".join(f"{method} ({mean:.0f} steps)" for method, mean in begun.items())
    left_out = f" Not shown, as they had hardly begun: {told}." if begun else ""
    return f"{outcomes_table(finished, (PLAIN, ROI_AT_TEST), APART)}.{left_out}"


TABLES = {f"rivals-{name}": partial(table, name) for name in PLANS}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="*", metavar="set", help=", ".join(PLANS))
    parser.add_argument("--tables", action="store_true")
    arguments = parser.parse_args()
    if arguments.tables:
        put(DOCS, TABLES)
    else:
        run(arguments.sets or list(PLANS))
