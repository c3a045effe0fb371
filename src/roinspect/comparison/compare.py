"""Compare methods on equal terms: the same images, training time and metrics.

    OUT/jobs/                    the results of each job, see `job_files`
    OUT/logs/METHOD-seedN.log    everything that it printed
    OUT/compare.csv, compare.md, compare.svg

Finished jobs are not run again, so a killed comparison continues where it stopped.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roinspect.comparison.arms import (
    PLAIN,
    ROI_AT_TEST,
    ROI_PREDICTED,
    ROI_PROVIDER,
    measure,
    refuse_unknown_arms,
)
from roinspect.comparison.compare_table import Outcome, machine, write_tables
from roinspect.comparison.contender import Scored
from roinspect.comparison.job import ComparisonJob, records_to_test
from roinspect.comparison.job_files import JobFiles
from roinspect.comparison.peers import RIVALS, peer_names, refuse_unknown_peer
from roinspect.comparison.schedule import Place, run_all
from roinspect.data.account import missed_line
from roinspect.data.dataset import DecodedCache
from roinspect.data.reading import read_data
from roinspect.errors import UserError, nearest
from roinspect.images.pixels import parse_size, refuse_unknown_bits
from roinspect.methods.registry import METHODS
from roinspect.segmenter.roi import absolute_roi, with_roi
from roinspect.settings import Count, check
from roinspect.training.runs import fingerprint
from roinspect.version import __version__

ALL = (*METHODS, *RIVALS)


@dataclass(frozen=True, slots=True)
class CompareSettings:
    """What to compare, and under which limits.

    Attributes:
        methods: ours, or anomalib's by name.
        arms: of `arms.ARMS`; `roi-predicted` adds `arms.ROI_PROVIDER` to the methods.
        seeds: number of trainings of each method, with seeds 0, 1, ...
        budget_seconds: for each training.
        limit_seconds: after which methods that cannot stop at the budget, such as PatchCore, are killed;
            None: 1.5 times the budget plus a minute.
        size: height x width that images are resized to.
        bits: see `read_image`, for all methods.
        batch_size: images per training step.
        textures: see `run_peer`.
        settings: by method, where they differ from its `compact` preset or anomalib's defaults.
        jobs: how many run at a time; they share the machine's threads.
        on: see `run_all`.
    """

    methods: tuple[str, ...] = ALL
    arms: tuple[str, ...] = (PLAIN, ROI_AT_TEST)
    seeds: Count = 3
    budget_seconds: float = 600.0
    limit_seconds: float | None = None
    size: str = "256"
    bits: int = 16
    batch_size: Count = 8
    textures: Path | None = None
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    jobs: Count = 1
    on: Place = "local"

    def __post_init__(self) -> None:
        """Validate the settings before anything is trained."""
        check(self, "--")
        if self.limit_seconds is not None and self.limit_seconds < self.budget_seconds:
            raise UserError(
                f"{self.limit_seconds:g} s is less than the budget of {self.budget_seconds:g} s",
                where="--limit",
                remedy="make it at least as long as the --budget",
            )
        refuse_unknown_bits(self.bits)
        refuse_unknown_arms(self.arms)
        if strangers := sorted(set(self.settings) - set(self.methods)):
            raise UserError("is not among the --methods", where=f"--settings.{strangers[0]}")
        for name in self.methods:
            if name in METHODS:
                continue
            if not peer_names() and name not in RIVALS:
                near = nearest(name, METHODS)
                remedy = f'use {", ".join(METHODS)}, or for others run: pip install "roinspect[peers]"'
                raise UserError(f"no such method{near}", where=name, remedy=remedy)
            refuse_unknown_peer(name)


def compare(
    data: Path,
    out: Path,
    settings: CompareSettings,
    *,
    roi: str = "auto",
    columns: Mapping[str, str] | None = None,
    good: Sequence[str] | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Outcome]:
    """Train and test every method with every seed, and write the tables.

    Methods are trained on all splits but test, without the share that is held out for thresholds; methods for
    good parts see only good parts. They are measured on the test split, from raw scores and maps, without a
    threshold.

    Args:
        data: a folder or a manifest, as in `read_records`.
        out: the folder to write to; jobs that are done there are not run again, except those whose maps are
            needed for a new arm `roi-predicted`.
        settings: what to compare.
        roi: where the ROI masks are, as in `with_roi`: our methods learn from those of the training images;
            the measures and the arm `roi-at-test` use those of the test images.
        columns: the manifest's column names.
        good: names of good parts' folders or labels, as in `read_records`.
        tell: called with a line of text when a job ends.

    Returns:
        The result of every job.

    Raises:
        UserError: the data or a setting cannot be used, `out` has jobs of another comparison, or all jobs
            failed.
    """
    columns = dict(columns or {})
    with_predicted_roi = ROI_PREDICTED in settings.arms
    if with_predicted_roi and roi == "none":
        raise UserError(
            "has no region of interest to learn from",
            where=f"--arms {ROI_PREDICTED} --roi none",
            remedy="give its masks with --roi, or leave this arm out",
        )
    size_hw = parse_size(settings.size)
    good = None if good is None else tuple(good)
    source = read_data(data, roi, columns, good)
    records = records_to_test(source)
    if unused := missed_line(source):
        tell(unused)
    given = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(given) if given.isdigit() else max(1, (os.cpu_count() or 1) // settings.jobs)
    terms = {
        "roinspect_version": __version__,
        "images_sha256": fingerprint(record.image_path for record in source.records),
        "roi_sha256": fingerprint(record.roi_path for record in records),
        "size": "x".join(map(str, size_hw)),
        "batch_size": settings.batch_size,
        "budget_seconds": settings.budget_seconds,
        "threads": threads,
        "textures": str(settings.textures or "made up"),
        # Empty by default, as in results that lack these terms.
        "good": list(good) if good else {},
        "bits": settings.bits if settings.bits < 16 else {},
    }
    methods = dict.fromkeys((*settings.methods, *([ROI_PROVIDER] if with_predicted_roi else [])))
    jobs = [
        ComparisonJob(
            method=method,
            seed=seed,
            # Another machine of a cluster has another working folder.
            data=data.absolute(),
            size_hw=size_hw,
            batch_size=settings.batch_size,
            budget_seconds=settings.budget_seconds,
            threads=threads,
            log=(out / "logs" / f"{method.replace(':', '-')}-seed{seed}.log").resolve(),
            roi=absolute_roi(roi),
            columns=columns,
            good=good,
            textures=settings.textures,
            limit_seconds=settings.limit_seconds,
            settings=settings.settings.get(method, {}),
            bits=settings.bits,
        )
        for seed in range(settings.seeds)
        for method in methods
    ]
    own_terms = {}
    if any(job.is_ours for job in jobs):
        # Only our methods learn from the masks of the training images.
        own_terms = {"training_roi_sha256": fingerprint(record.roi_path for record in with_roi(source))}
    files = JobFiles(out, terms, own_terms, with_predicted_roi)
    outcomes = {job: files.outcome(job) for job in jobs}
    if missing := _missing(outcomes, files):
        tell(_to_do(settings, outcomes, missing))
        try:
            with DecodedCache(records, size_hw, bits=settings.bits) as test:
                _run(outcomes, files, test, settings, tell)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"{out}: interrupted; the same command continues") from None
    finished = [outcome for outcome in outcomes.values() if outcome is not None]
    failed = [outcome for outcome in finished if outcome.error]
    if len(failed) == len(finished):
        raise UserError(
            f"no training succeeded (first: {finished[0].error})",
            where=out,
            remedy=f"fix the cause, remove {out / 'jobs'} and try again",
        )
    if failed:
        names = ", ".join(f"{outcome.method}-seed{outcome.seed}" for outcome in failed)
        tell(f"Failed: {names}. To try them again, remove their files in {out / 'jobs'}.")
    write_tables(out, finished, settings.arms, {"data": str(data), "roi": roi, **terms})
    return finished


def parse_budget(text: str, where: str = "--budget") -> float:
    """Seconds from "90s", "10m", "1.5h" or a bare number of seconds; `where` names the option in errors.

    Raises:
        UserError: the text is not a positive time.

    Example:
        >>> parse_budget("10m"), parse_budget("1.5h"), parse_budget("45")
        (600.0, 5400.0, 45.0)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", text)
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]] if match else 0.0
    if seconds <= 0:
        raise UserError(f"{text!r} is not a time", where=where, remedy="write 90s, 10m or 1.5h")
    return seconds


def _missing(outcomes: Mapping[ComparisonJob, Outcome | None], files: JobFiles) -> list[ComparisonJob]:
    """Jobs without a result, or without one for the arm `roi-predicted`, whose maps are not stored."""
    failed = {job.seed for job, outcome in outcomes.items() if _provides(job) and outcome and outcome.error}

    def is_missing(job: ComparisonJob, outcome: Outcome | None) -> bool:
        if outcome is None:
            return True
        # A method without maps has no such arm.
        if not files.with_predicted_roi or outcome.error or ROI_AT_TEST not in outcome.arms:
            return False
        if _provides(job):
            return not files.has_roi(job.seed)
        return ROI_PREDICTED not in outcome.arms and job.seed not in failed

    return [job for job, outcome in outcomes.items() if is_missing(job, outcome)]


def _run(
    outcomes: dict[ComparisonJob, Outcome | None],
    files: JobFiles,
    test: DecodedCache,
    settings: CompareSettings,
    tell: Callable[[str], None],
) -> None:
    """Run the missing jobs, those that predict the ROI first, so that no maps wait for it in memory."""
    has_provider = any(_provides(job) for job in outcomes)
    for is_turn_of_providers in (True, False):
        jobs = [job for job in _missing(outcomes, files) if _provides(job) == is_turn_of_providers]
        if not jobs:
            continue
        running = run_all(jobs, at_once=settings.jobs, on=settings.on)
        # Closing kills jobs that still run before an error or Ctrl-C is reported.
        with closing(running):
            for job, scored in running:
                if is_turn_of_providers:
                    predicted = None if isinstance(scored, str) else scored.roi_probability
                else:
                    predicted = files.roi(job.seed) if has_provider else None
                outcomes[job] = outcome = outcome_of(job, scored, test, predicted)
                if is_turn_of_providers:
                    files.keep_roi(job.seed, None if outcome.error else predicted)
                files.keep(job, outcome)
                tell(_line(outcome))


def _provides(job: ComparisonJob) -> bool:
    return job.method == ROI_PROVIDER


def outcome_of(
    job: ComparisonJob, scored: Scored | str, test: DecodedCache, predicted: NDArray[np.float32] | None = None
) -> Outcome:
    """A job's measures, or why there are none.

    Args:
        job: that ended.
        scored: its result, or its error in one line.
        test: the test images.
        predicted: see `measure`.
    """
    failed = Outcome(job.method, job.seed, machine=machine())
    if isinstance(scored, str):
        return dataclasses.replace(failed, error=scored)
    try:
        arms = measure(scored, test, predicted)
    except UserError as error:
        return dataclasses.replace(failed, error=str(error))
    return dataclasses.replace(
        failed, arms=arms, cost=dataclasses.asdict(scored.cost), notes=dict(scored.notes)
    )


def _to_do(
    settings: CompareSettings,
    outcomes: Mapping[ComparisonJob, Outcome | None],
    missing: Sequence[ComparisonJob],
) -> str:
    minutes = len(missing) * settings.budget_seconds / settings.jobs / 60
    text = f"{len(outcomes) - len(missing)} of {len(outcomes)} trainings are done; "
    text += f"{len(missing)} to go, {minutes:.0f} minutes of training"
    again = sum(outcomes[job] is not None for job in missing)
    return text + (f"; {again} of them again, for the arm {ROI_PREDICTED}" if again else "")


def _line(outcome: Outcome) -> str:
    head = f"{outcome.method}, seed {outcome.seed}: "
    if outcome.error:
        return head + outcome.error
    auroc = outcome.arms[PLAIN]["image_auroc"]
    shown = "–" if auroc is None else f"{auroc:.3f}"
    return head + f"image AUROC {shown} after {outcome.cost['train_seconds']:.0f} s of training"
