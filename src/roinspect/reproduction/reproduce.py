"""Reproduce a table: train and test what is missing, and write the figures beside the paper's.

    OUT/jobs/ENTRY-PRODUCT-seedN.json    the results of each training, see `comparison.job_files`
    OUT/logs/ENTRY-PRODUCT-seedN.log     everything that it printed
    OUT/data/                            images that are made for a table
    OUT/TABLE.jsonl, OUT/TABLE.md        the table

Trainings run as in a comparison: each in its own process, here or on a Ray cluster. Finished ones are not run
again, so a killed command continues where it stopped, and tables with the same trainings share them.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from roinspect.comparison.arms import PLAIN
from roinspect.comparison.compare import outcome_of, parse_budget
from roinspect.comparison.compare_table import Outcome
from roinspect.comparison.contender import Scored
from roinspect.comparison.job import (
    HELD_OUT,
    Accelerator,
    ComparisonJob,
    Preset,
    method_settings,
    records_to_test,
)
from roinspect.comparison.job_files import JobFiles
from roinspect.comparison.schedule import Place, run_all
from roinspect.data.dataset import DecodedCache
from roinspect.data.reading import Data, read_data
from roinspect.errors import UserError
from roinspect.files import sha256
from roinspect.images.pixels import parse_size
from roinspect.methods.registry import METHODS
from roinspect.reproduction.catalogue import find_table, without_missing_rivals
from roinspect.reproduction.data_sets import find_categories
from roinspect.reproduction.measures import curve_values, decisions
from roinspect.reproduction.regions import with_regions
from roinspect.reproduction.report import Report, write_report
from roinspect.reproduction.tables import Entry, Table
from roinspect.reproduction.zipper_copies import Split, make_copies, split_copies
from roinspect.segmenter.roi import with_roi
from roinspect.settings import Count, check
from roinspect.training.runs import fingerprint
from roinspect.version import __version__

BATCH_SIZE = 8
"""Images per training step, unless a preset has another number."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The length of every training, in place of the paper's: seconds, or epochs."""

    seconds: float = math.inf
    epochs: int | None = None


@dataclass(frozen=True, slots=True)
class ReproduceSettings:
    """What to train, and under which limits; the defaults are the paper's.

    Attributes:
        methods: of a table's trainings; None takes all of a paper's table.
        categories: the products; None takes all.
        seeds: number of trainings of each entry and product, with seeds 0, 1, ...
        budget: None trains as long as the paper.
        split: how the copies of a photograph are divided, see `zipper_copies`.
        roi: "auto": a data set's table uses the masks in each product's folder; "none" inspects all of every
            photograph.
        preset: of our methods' settings.
        size: height x width that images are resized to; None is the table's.
        batch_size: images per training step; None is the preset's.
        settings: by entry or method, where they differ from the table's.
        textures: see `run_peer`.
        device: "auto", "cpu" or "gpu".
        jobs: how many run at a time on this machine.
        on: see `run_all`.
    """

    methods: tuple[str, ...] | None = None
    categories: tuple[str, ...] | None = None
    seeds: Count = 3
    budget: Budget | None = None
    split: Split = "grouped"
    roi: Literal["auto", "none"] = "none"
    preset: Preset = "paper"
    size: str | None = None
    batch_size: Count | None = None
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    textures: Path | None = None
    device: Accelerator = "auto"
    jobs: Count = 1
    on: Place = "local"

    def __post_init__(self) -> None:
        """Validate the settings before anything is read."""
        check(self, "--")

    def changes(self) -> list[str]:
        """What differs from the paper's protocol, as options."""
        shown = [f"--split {self.split}"] if self.split == "paper" else []
        if self.budget is not None:
            epochs = self.budget.epochs
            length = f"{self.budget.seconds:g}s" if epochs is None else f"{epochs} epoch{'s' * (epochs > 1)}"
            shown.append(f"--budget {length}")
        for option, value, usual in (
            ("preset", self.preset, "paper"),
            ("roi", self.roi, "none"),
            ("size", self.size, None),
            ("batch-size", self.batch_size, None),
            ("textures", self.textures, None),
        ):
            if value != usual:
                shown.append(f"--{option} {value}")
        for name, values in self.settings.items():
            shown += [f"{name}: {key} {value}" for key, value in values.items()]
        return shown


def parse_length(text: str) -> Budget:
    """A budget in seconds, see `parse_budget`, or in epochs: "5 epochs".

    Raises:
        UserError: the text is neither.

    Example:
        >>> parse_length("90s"), parse_length("5 epochs")
        (Budget(seconds=90.0, epochs=None), Budget(seconds=inf, epochs=5))
    """
    if match := re.fullmatch(r"\s*(\d+)\s*epochs?\s*", text):
        if not int(match[1]):
            raise UserError("must be at least 1 epoch", where="--budget")
        return Budget(epochs=int(match[1]))
    try:
        return Budget(seconds=parse_budget(text))
    except UserError as error:
        raise UserError(
            f"{text!r} is no length of a training",
            where=error.where,
            remedy="write 90s, 10m, 1.5h or 5 epochs",
        ) from None


@dataclass(frozen=True, slots=True)
class _Source:
    """What the trainings of a product with a seed learn from."""

    path: Path
    roi: str
    title: str
    remark: str = ""


def reproduce(
    name: str,
    root: Path,
    out: Path,
    settings: ReproduceSettings,
    *,
    tell: Callable[[str], None] = lambda line: None,
) -> Path:
    """Train and test every entry of a table on every product with every seed, and write the table.

    Args:
        name: of the table, see `catalogue.NAMES`.
        root: the folder that holds the data set's products.
        out: the folder to write to; trainings that are done there are not run again.
        settings: what to train.
        tell: called with a line of text when a training ends.

    Returns:
        The table in Markdown.

    Raises:
        UserError: the table, the data or a setting cannot be used, photographs lack a mask, `out` has
            trainings on other terms, or all trainings failed.
    """
    table = find_table(name, settings.methods, settings.categories)
    _refuse_what_does_not_fit(table, settings)
    _refuse_unknown_settings(table, settings)
    table, missing_rivals = without_missing_rivals(table)
    found = find_categories(root, table.data_set, table.categories)
    if table.needs_roi or settings.roi == "auto":
        found = {category: with_regions(data, out) for category, data in found.items()}
    if missing_rivals:
        tell(missing_rivals)
    sources = {
        (category, seed): _source(table, data, out, settings, seed)
        for category, data in found.items()
        for seed in range(settings.seeds)
    }
    size_hw = parse_size(settings.size or table.size)
    jobs = {
        (entry.name, category, seed): _job(entry, sources[category, seed], seed, size_hw, out, settings)
        for seed in range(settings.seeds)
        for entry in table.entries
        for category in table.categories
        if any((cell.entry, cell.category) == (entry.name, category) for cell in table.cells)
    }
    terms = _Terms()
    files = {job: JobFiles(out, terms.of(job), {}, with_predicted_roi=False) for job in jobs.values()}
    outcomes = {job: files[job].outcome(job) for job in jobs.values()}
    if missing := [job for job, outcome in outcomes.items() if outcome is None]:
        tell(f"{len(jobs) - len(missing)} of {len(jobs)} trainings are done; {len(missing)} to go")
        try:
            _run(missing, outcomes, files, settings, tell)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"{out}: interrupted; the same command continues") from None
    finished = {key: outcome for key, job in jobs.items() if (outcome := outcomes[job]) is not None}
    failed = {key: outcome.error for key, outcome in finished.items() if outcome.error}
    if len(failed) == len(jobs):
        raise UserError(
            f"no training succeeded (first: {next(iter(failed.values()))})",
            where=out,
            remedy=f"fix the cause, remove {out / 'jobs'} and try again",
        )
    if failed:
        names = ", ".join(jobs[key].name for key in failed)
        tell(f"Failed: {names}. To try them again, remove their files in {out / 'jobs'}.")
    remarks = dict.fromkeys(source.remark for source in sources.values() if source.remark)
    changes = settings.changes()
    if table.makes_copies and settings.split == "grouped":
        changes = [*changes, "copies of a photograph stay in one split (--split grouped)"]
    report = Report(table, finished, tuple(changes), tuple(remarks), data=str(root))
    return write_report(out, f"{table.name}-{settings.split}" if table.makes_copies else table.name, report)


def _refuse_what_does_not_fit(table: Table, settings: ReproduceSettings) -> None:
    if settings.split == "paper" and not table.makes_copies:
        raise UserError(
            f"{table.name} has no copies of photographs", where="--split paper", remedy="leave it out"
        )
    if settings.device == "gpu" and settings.on == "local":
        import torch

        if not torch.cuda.is_available():
            raise UserError(
                "torch finds none", where="--device gpu", remedy="see roinspect doctor, or use --device cpu"
            )


def _refuse_unknown_settings(table: Table, settings: ReproduceSettings) -> None:
    names = {entry.name for entry in table.entries} | set(table.methods)
    if strangers := sorted(set(settings.settings) - names):
        raise UserError(
            "is no training and no method of the table",
            where=f"--settings.{strangers[0]}",
            remedy=f"it has {', '.join(sorted(names))}",
        )
    for entry in table.entries:
        if entry.method in METHODS:
            method_settings(entry.method, settings.preset, _changed(entry, settings))


def _changed(entry: Entry, settings: ReproduceSettings) -> dict[str, Any]:
    """The settings of an entry; those given for it alone come before those of its method."""
    given = settings.settings
    return {**entry.settings, **given.get(entry.method, {}), **given.get(entry.name, {})}


def _source(table: Table, data: Data, out: Path, settings: ReproduceSettings, seed: int) -> _Source:
    if not table.makes_copies:
        return _Source(data.path, data.roi, data.path.name)
    made = split_copies(make_copies(data, out / "data" / data.path.name), settings.split, seed)
    remark = (
        f"Seed {seed}: of {made.test_parts} test images, {made.leaked} are copies of a photograph that is "
        "trained on or validated with."
    )
    return _Source(made.manifest, "auto", f"{data.path.name}-{settings.split}", remark)


def _job(
    entry: Entry,
    source: _Source,
    seed: int,
    size_hw: tuple[int, int],
    out: Path,
    settings: ReproduceSettings,
) -> ComparisonJob:
    preset: Mapping[str, int] = {}
    changed = _changed(entry, settings)
    if entry.method in METHODS:
        preset = method_settings(entry.method, settings.preset, changed).training(settings.preset)
    budget = settings.budget or Budget(epochs=entry.epochs or preset.get("epochs"))
    given = os.environ.get("OMP_NUM_THREADS", "")
    title = f"{entry.name}-{source.title}"
    return ComparisonJob(
        method=entry.method,
        seed=seed,
        # Another machine of a cluster has another working folder.
        data=source.path.absolute(),
        size_hw=size_hw,
        batch_size=settings.batch_size or preset.get("batch_size", BATCH_SIZE),
        budget_seconds=budget.seconds,
        threads=int(given) if given.isdigit() else max(1, (os.cpu_count() or 1) // settings.jobs),
        log=(out / "logs" / f"{title}-seed{seed}.log").resolve(),
        roi=source.roi,
        textures=settings.textures,
        settings=changed,
        preset=settings.preset,
        epochs=budget.epochs,
        accelerator=settings.device,
        title=title,
    )


class _Terms:
    """What the results of a job depend on; the files of a product are read once."""

    def __init__(self) -> None:
        self._digests: dict[tuple[Path, str], dict[str, str]] = {}

    def of(self, job: ComparisonJob) -> dict[str, Any]:
        key = (job.data, job.roi)
        if key not in self._digests:
            source = read_data(job.data, job.roi)
            self._digests[key] = {
                "images_sha256": fingerprint(record.image_path for record in source.records),
                "roi_sha256": fingerprint(record.roi_path for record in with_roi(source)),
                "splits_sha256": _of_splits(source),
            }
        return {
            "roinspect_version": __version__,
            **self._digests[key],
            "size": "x".join(map(str, job.size_hw)),
            "batch_size": job.batch_size,
            "budget_seconds": job.budget_seconds if math.isfinite(job.budget_seconds) else None,
            "epochs": job.epochs,
            "preset": job.preset,
            "device": job.accelerator,
            "held_out": HELD_OUT,
            "textures": str(job.textures or "synthetic"),
        }


def _of_splits(source: Data) -> str:
    return sha256("\n".join(f"{record.key} {record.split}" for record in source.records))


def _run(
    missing: list[ComparisonJob],
    outcomes: dict[ComparisonJob, Outcome | None],
    files: Mapping[ComparisonJob, JobFiles],
    settings: ReproduceSettings,
    tell: Callable[[str], None],
) -> None:
    running = run_all(missing, at_once=settings.jobs, on=settings.on)
    # Closing kills jobs that still run before an error or Ctrl-C is reported.
    with closing(running):
        for job, scored in running:
            outcomes[job] = outcome = _measured(job, scored)
            files[job].keep(job, outcome)
            tell(_line(job, outcome))


def _measured(job: ComparisonJob, scored: Scored | str) -> Outcome:
    records = records_to_test(read_data(job.data, job.roi))
    with DecodedCache(records, job.size_hw, bits=job.bits) as test:
        outcome = outcome_of(job, scored, test)
        if isinstance(scored, str) or outcome.error:
            return outcome
        omega = None
        if job.method in METHODS:
            omega = getattr(method_settings(job.method, job.preset, job.settings), "omega", None)
        own = decisions(scored.pred_score, test.labels) | curve_values(scored.curves, omega=omega)
    arms = {**outcome.arms, PLAIN: {**outcome.arms[PLAIN], **own}}
    return dataclasses.replace(outcome, arms=arms)


def _line(job: ComparisonJob, outcome: Outcome) -> str:
    if outcome.error:
        return f"{job.name}: {outcome.error}"
    auroc = outcome.arms[PLAIN]["image_auroc"]
    shown = "–" if auroc is None else f"{auroc:.3f}"
    return f"{job.name}: image AUROC {shown} after {outcome.cost['train_seconds']:.0f} s of training"
