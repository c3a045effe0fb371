"""How sure the headline is: intervals, differences from the rivals, and what the last parts change.

    python benchmarks/certainty.py    # puts the tables into docs/benchmarks.md

Nothing is trained: all follows from the score of each test photograph, which `headline.py` keeps. Intervals
are those of `roinspect evaluate`; the table shows the lowest and the highest bound over the seeds. The ball
screw has none: its test photographs come from three positions, and those of one position are alike.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from headline import (
    DOCS,
    NAMES,
    OURS,
    OUTSIDE,
    POSITIONS,
    SETS,
    all_runs,
    arm_of,
    chosen_runs,
    columns,
    heads,
    parts,
    rival_runs,
    titled,
)
from numpy.typing import NDArray
from results import NotMeasuredError, where
from tables import markdown, put

from roinspect.comparison.arms import PLAIN, ROI_AT_TEST
from roinspect.evaluation.intervals import LEVEL, Interval, find_intervals

RESAMPLES = 4000
LAST = 3
"""Defective parts beyond which the alarms are told one by one."""
RATES = {"recall": "caught", "outside_alarm_rate": "outside alarms", "good_reject_rate": "good rejected"}


def scores_of(name: str, column: str, arm: str = ROI_AT_TEST) -> dict[int, NDArray[np.float64]]:
    """The score of each test photograph, by seed."""
    if column == OURS:
        return {run.seed or 0: np.array(run.measures["scores"], float) for run in chosen_runs(name)}
    found = ((run.seed or 0, arm_of(run, arm)) for run in rival_runs(name, column))
    return {seed: np.array(one["scores"], float) for seed, one in found if one is not None}


def kinds_of(name: str) -> NDArray[np.str_]:
    """See `roibank.kinds`."""
    return np.array(list(chosen_runs(name)[0].measures["kinds"]))


def widest(
    name: str, scores: Sequence[NDArray[np.float64]], measure: str, thresholds: Sequence[float] = ()
) -> Interval | None:
    """The lowest and highest bound over the seeds; None where there are too few parts or positions."""
    if name in POSITIONS:
        return None
    kinds = kinds_of(name)
    limits = thresholds or [None] * len(scores)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = [
            find_intervals(each, kinds == "d", kinds == "o", [""] * len(kinds), limit).bounds[measure]
            for each, limit in zip(scores, limits, strict=True)
        ]
    if not found or np.isnan(found[0].low):
        return None
    return Interval(min(one.low for one in found), max(one.high for one in found))


def told(interval: Interval | None) -> str:
    return "–" if interval is None else f"{interval.low:.2f} to {interval.high:.2f}"


def intervals_table() -> str:
    """Of image AUROC and of the alarms at 95 % recall, for every method, with the true ROI for the rivals."""
    rows = []
    for name in measured_sets():
        counts = parts(name)
        head = [titled(name), *(str(counts[kind]) for kind in "dog")]
        for measure in ("image_auroc", OUTSIDE):
            if measure == OUTSIDE and not counts["o"]:
                continue
            cells = [told(widest(name, [*scores_of(name, column).values()], measure)) for column in columns()]
            rows.append([*head, NAMES[measure], *cells])
    first = ["set", "defect inside", "only outside", "good", "95 % interval of"]
    return f"{markdown([*first, *heads()], rows)}\n\n{where(all_runs())}"


def thresholds_table() -> str:
    """What roibank's own thresholds did, with intervals; the counts are those of each seed."""
    rows = []
    for name in measured_sets():
        runs = [run.measures for run in chosen_runs(name)]
        scores = [*scores_of(name, OURS).values()]
        row = [titled(name)]
        counted = (("caught", "defective"), ("outside_alarms", "outside"), ("rejected", "good"))
        for measure, (part, whole) in zip(RATES, counted, strict=True):
            if not runs[0][whole]:
                row += ["–", "–"]
                continue
            interval = widest(name, scores, measure, [run["threshold"] for run in runs])
            counts = ", ".join(str(run[part]) for run in runs)
            row += [f"{counts} of {runs[0][whole]}", told(interval)]
        rows.append(row)
    first = ["set", *(head for title in RATES.values() for head in (title, "95 % interval"))]
    runs_shown = [run for name in measured_sets() for run in chosen_runs(name)]
    return f"{markdown(first, rows)}\n\n{where(runs_shown)}"


def differences_table() -> str:
    """By how much roibank's image AUROC is higher than each rival's, as it is and with the true ROI."""
    rivals = [column for column in columns() if column != OURS]
    rows = []
    for name in measured_sets():
        for arm in (PLAIN, ROI_AT_TEST):
            cells = []
            for rival in rivals:
                difference = paired_difference(
                    scores_of(name, OURS), scores_of(name, rival, arm), kinds_of(name)
                )
                if difference is None:
                    cells.append("–")
                    continue
                mean, interval = difference
                text = f"{mean:+.3f}"
                if name not in POSITIONS:
                    text += f" ({interval.low:+.3f} to {interval.high:+.3f})"
                    text = f"**{text}**" if interval.low > 0 or interval.high < 0 else text
                cells.append(text)
            rows.append([titled(name), arm, *cells])
    titles = [title for column, title in zip(columns(), heads(), strict=True) if column != OURS]
    return f"{markdown(['set', 'arm of the rivals', *titles], rows)}\n\n{where(all_runs())}"


def paired_difference(
    ours: dict[int, NDArray[np.float64]], theirs: dict[int, NDArray[np.float64]], kinds: NDArray[np.str_]
) -> tuple[float, Interval] | None:
    """Difference of image AUROC, as a mean over the seeds that both have, and its interval by the bootstrap.

    The parts are drawn with replacement within each kind, the same ones for both methods and all seeds.

    Args:
        ours: (N,) scores by seed.
        theirs: likewise, of the same photographs.
        kinds: (N,), see `roibank.kinds`.

    Returns:
        None where both rank all parts correctly, and the bootstrap would find no spread at all; or where they
        share no seed.
    """
    seeds = sorted(set(ours) & set(theirs))
    if not seeds:
        return None
    wins = np.mean([_wins(ours[seed], kinds) - _wins(theirs[seed], kinds) for seed in seeds], axis=0)
    if not wins.any() and all(_wins(ours[seed], kinds).all() for seed in seeds):
        return None
    random = np.random.default_rng(0)
    other_kinds = kinds[kinds != "d"]
    drawn = _drawn(random, wins.shape[0])
    others = np.zeros((RESAMPLES, len(other_kinds)))
    for kind in np.unique(other_kinds):
        others[:, other_kinds == kind] = _drawn(random, int((other_kinds == kind).sum()))
    means = ((drawn @ wins) * others).sum(1) / wins.size
    low, high = np.quantile(means, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(wins.mean()), Interval(float(low), float(high))


def _wins(scores: NDArray[np.float64], kinds: NDArray[np.str_]) -> NDArray[np.float64]:
    """For each defective part and each other one, whether they rank correctly: 1, 0, or a half for a tie."""
    defective, others = scores[kinds == "d"][:, None], scores[kinds != "d"]
    return (defective > others) + 0.5 * (defective == others)


def _drawn(random: np.random.Generator, count: int) -> NDArray[np.float64]:
    """How often each of so many parts is drawn, (RESAMPLES, count)."""
    return random.multinomial(count, np.full(count, 1 / count), RESAMPLES).astype(float)


def last_table() -> str:
    """Outside alarms on the ball screw where all defects, or all but one, two, three, are caught."""
    name = "right"
    if name not in measured_sets():
        raise NotMeasuredError
    kinds, rows = kinds_of(name), []
    count = int((kinds == "d").sum())
    for column, title in zip(columns(), heads(), strict=True):
        for arm in (PLAIN, ROI_AT_TEST):
            if column == OURS and arm == ROI_AT_TEST:
                continue
            alarms = [outside_alarms(scores, kinds, LAST) for scores in scores_of(name, column, arm).values()]
            cells = [" / ".join(f"{seed[missed]:.2f}" for seed in alarms) for missed in range(LAST, -1, -1)]
            rows.append([title, "own" if column == OURS else arm, *cells])
    first = ["method", "arm", *(f"{count - missed} of {count} caught" for missed in range(LAST, -1, -1))]
    return f"{markdown(first, rows)}\n\n{where(all_runs())}"


def outside_alarms(scores: NDArray[np.float64], kinds: NDArray[np.str_], most: int) -> Sequence[float]:
    """Share of the parts with damage only outside that raise an alarm where 0 to `most` defects are missed.

    Example:
        >>> outside_alarms(np.array([1.0, 3.0, 2.0, 0.5]), np.array(list("ddoo")), 1)
        [0.5, 0.0]
    """
    limits = np.sort(scores[kinds == "d"])[: most + 1]
    return [float((scores[kinds == "o"] >= limit).mean()) for limit in limits]


def measured_sets() -> list[str]:
    """Those that we have been measured on.

    Raises:
        NotMeasuredError: none.
    """
    if not (names := [name for name in SETS if chosen_runs(name)]):
        raise NotMeasuredError
    return names


TABLES: dict[str, Callable[[], str]] = {
    "certainty-intervals": intervals_table,
    "certainty-thresholds": thresholds_table,
    "certainty-differences": differences_table,
    "certainty-last": last_table,
}

if __name__ == "__main__":
    put(DOCS, TABLES)
