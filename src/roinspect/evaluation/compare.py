"""Methods compared on equal terms: the same images, the same time to train, the same measures.

    OUT/jobs/METHOD-seedN.json   what one method reached with one seed, or why it reached nothing
    OUT/logs/METHOD-seedN.log    all that it printed
    OUT/compare.csv, compare.md, compare.svg

A job whose file is there is not run again, so a killed comparison goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roinspect import __version__
from roinspect.arguments import nearest
from roinspect.data.dataset import DecodedCache
from roinspect.data.records import read_records
from roinspect.data.roi import attach_roi
from roinspect.errors import UserError
from roinspect.evaluation.arms import PLAIN, ROI_AT_TEST, measure, refuse_arms
from roinspect.evaluation.compare_table import Outcome, machine, write_tables
from roinspect.evaluation.contender import Scored
from roinspect.evaluation.job import Job, records_to_test
from roinspect.evaluation.peers import RIVALS, peer_names, refuse_unknown_peer
from roinspect.evaluation.report import write_whole
from roinspect.evaluation.schedule import Engine, run_all
from roinspect.methods.method import METHODS
from roinspect.pixels import parse_size
from roinspect.runs import fingerprint

ALL = (*METHODS, *RIVALS)


@dataclass(frozen=True, slots=True)
class CompareSettings:
    """What to compare, and on what terms.

    Attributes:
        methods: ours, or anomalib's by name.
        arms: of `arms.ARMS`.
        seeds: how many trainings of each method, with seeds 0, 1, ...
        budget_seconds: for each training.
        limit_seconds: methods that cannot stop when it is spent, as PatchCore cannot, are ended after this;
            None: half as long again as the budget, and a minute.
        size: height x width that images are resized to.
        batch_size: images per training step.
        textures: as `run_peer`.
        jobs: how many at a time; they share the machine's threads.
        engine: as `run_all`.
    """

    methods: tuple[str, ...] = ALL
    arms: tuple[str, ...] = (PLAIN, ROI_AT_TEST)
    seeds: int = 3
    budget_seconds: float = 600.0
    limit_seconds: float | None = None
    size: str = "256"
    batch_size: int = 8
    textures: Path | None = None
    jobs: int = 1
    engine: Engine = "local"

    def __post_init__(self) -> None:
        """Refuse what cannot be, before anything is trained."""
        for name in ("seeds", "batch_size", "jobs"):
            if getattr(self, name) < 1:
                raise UserError(f"must be at least 1, not {getattr(self, name)}", where=f"--{name}")
        refuse_arms(self.arms)
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
    tell: Callable[[str], None] = lambda line: None,
) -> list[Outcome]:
    """Train and test every method with every seed, and write the tables.

    All but the test split trains them, less the share that is held out for thresholds; methods for good parts
    see its good parts only. The test split measures them. Scores and maps are taken as they come: no
    threshold plays a part.

    Args:
        data: a folder or a manifest, as `read_records` takes it.
        out: the folder to write to; jobs that are done there are not run again.
        settings: what to compare.
        roi: where the ROI masks are, as `attach_roi` takes it: our methods learn from those of the training
            images, the measures and the arm `roi-at-test` use those of the test images.
        columns: the manifest's column names.
        tell: is given a line as each job ends.

    Returns:
        What became of every job.

    Raises:
        UserError: the data or a setting cannot be used, `out` holds jobs of another comparison, or no job
            came to an end.
    """
    columns = dict(columns or {})
    size_hw = parse_size(settings.size)
    records = records_to_test(data, roi, columns)
    everything = read_records(data, columns=columns)
    given = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(given) if given.isdigit() else max(1, (os.cpu_count() or 1) // settings.jobs)
    terms = {
        "roinspect_version": __version__,
        "images_sha256": fingerprint(record.image_path for record in everything),
        "roi_sha256": fingerprint(record.roi_path for record in records),
        "size": "x".join(map(str, size_hw)),
        "batch_size": settings.batch_size,
        "budget_seconds": settings.budget_seconds,
        "threads": threads,
        "textures": str(settings.textures or "made up"),
    }
    jobs = [
        Job(
            method=method,
            seed=seed,
            data=data,
            size_hw=size_hw,
            batch_size=settings.batch_size,
            budget_seconds=settings.budget_seconds,
            threads=threads,
            log=(out / "logs" / f"{method}-seed{seed}.log").resolve(),
            roi=roi,
            columns=columns,
            textures=settings.textures,
            limit_seconds=settings.limit_seconds,
        )
        for seed in range(settings.seeds)
        for method in dict.fromkeys(settings.methods)
    ]
    own_terms = terms
    if any(job.is_ours for job in jobs):
        # Ours learn from the masks of the training images; others' need none of them.
        learnt = attach_roi(everything, roi, data, columns=columns)
        own_terms = terms | {"training_roi_sha256": fingerprint(record.roi_path for record in learnt)}
    terms_of = {job: own_terms if job.is_ours else terms for job in jobs}
    outcomes = {job: _read(out, job, terms_of[job]) for job in jobs}
    missing = [job for job in jobs if outcomes[job] is None]
    if missing:
        tell(f"{len(jobs) - len(missing)} of {len(jobs)} trainings are done; {_times(settings, missing)}")
        running = run_all(missing, at_once=settings.jobs, engine=settings.engine)
        try:
            # Closed, so that what still runs is ended before an error or a Ctrl-C is told.
            with DecodedCache(records, size_hw) as test, closing(running):
                for job, scored in running:
                    outcomes[job] = outcome = _outcome(job, scored, test)
                    content = {"terms": terms_of[job], "machine": machine(), **dataclasses.asdict(outcome)}
                    write_whole(_file(out, job), json.dumps(content, indent=1, allow_nan=False) + "\n")
                    tell(_line(outcome))
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"{out}: interrupted; the same command goes on there") from None
    found = [outcome for outcome in outcomes.values() if outcome is not None]
    if all(outcome.error for outcome in found):
        raise UserError(
            f"none of {len(found)} trainings came to an end (first: {found[0].error})",
            where=out,
            remedy=f"mend the cause, remove {out / 'jobs'} and try again",
        )
    write_tables(out, found, settings.arms, {"data": str(data), "roi": roi, **terms})
    return found


def parse_budget(text: str, where: str = "--budget") -> float:
    """Seconds from "90s", "10m", "1.5h" or a bare number of seconds; `where` is what an error is about.

    Raises:
        UserError: the text is none of these, or not above zero.

    Example:
        >>> parse_budget("10m"), parse_budget("1.5h"), parse_budget("45")
        (600.0, 5400.0, 45.0)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", text)
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]] if match else 0.0
    if seconds <= 0:
        raise UserError(f"{text!r} is no time", where=where, remedy="write 90s, 10m or 1.5h")
    return seconds


def _outcome(job: Job, scored: Scored | str, test: DecodedCache) -> Outcome:
    if isinstance(scored, str):
        return Outcome(job.method, job.seed, error=scored)
    try:
        arms = measure(scored, test)
    except UserError as error:
        return Outcome(job.method, job.seed, error=str(error))
    return Outcome(job.method, job.seed, arms, dataclasses.asdict(scored.cost), dict(scored.notes))


def _file(out: Path, job: Job) -> Path:
    return out / "jobs" / f"{job.name}.json"


def _read(out: Path, job: Job, terms: Mapping[str, Any]) -> Outcome | None:
    """What an earlier run found, on the same terms."""
    file = _file(out, job)
    if not file.exists():
        return None
    try:
        content = json.loads(file.read_bytes())
        before = content["terms"]
        outcome = Outcome(**{field.name: content[field.name] for field in dataclasses.fields(Outcome)})
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError("is damaged", where=file, remedy="remove it; its training will be repeated") from None
    differing = sorted(name for name in terms if before.get(name) != terms[name])
    if differing:
        raise UserError(
            f"was measured on other terms ({', '.join(differing)})",
            where=file,
            remedy="compare on the same terms or choose another --out",
        )
    return outcome


def _times(settings: CompareSettings, missing: Sequence[Job]) -> str:
    minutes = len(missing) * settings.budget_seconds / settings.jobs / 60
    return f"{len(missing)} to go, {minutes:.0f} minutes of training"


def _line(outcome: Outcome) -> str:
    head = f"{outcome.method}, seed {outcome.seed}: "
    if outcome.error:
        return head + outcome.error
    auroc = outcome.arms[PLAIN]["image_auroc"]
    shown = "–" if auroc is None else f"{auroc:.3f}"
    return head + f"image AUROC {shown} after {outcome.cost['train_seconds']:.0f} s of training"
