"""`roinspect compare` for benchmarks: each job becomes a line of the results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from results import Results

from roinspect.comparison.compare import CompareSettings, compare


def run_compare(
    results: Results, common: Mapping[str, Any], data: Path, roi: str, settings: CompareSettings, work: Path
) -> None:
    """Run all jobs without a result.

    Args:
        results: the benchmark's results.
        common: settings shared by all these lines.
        data: see `compare`, also for the next two.
        roi: where the ROI masks are.
        settings: what to compare.
        work: the comparison's folder; it keeps predicted ROIs for later runs.
    """
    jobs = work / "jobs"
    jobs.mkdir(parents=True, exist_ok=True)
    for file in jobs.glob("*.json"):
        file.unlink()
    for run in results.read(**common):
        head = {"terms": run.settings["terms"], "method": run.settings["method"]}
        content = {**head, "seed": run.seed, "machine": run.machine, **run.measures}
        (jobs / f"{head['method']}-seed{run.seed}.json").write_text(json.dumps(content))
    before = {file: file.read_bytes() for file in jobs.glob("*.json")}

    def keep(line: str) -> None:
        print(line, flush=True)
        for file in sorted(jobs.glob("*.json")):
            content = file.read_bytes()
            if content != before.get(file):
                before[file] = content
                job = json.loads(content)
                own = {"method": job.pop("method"), "terms": job.pop("terms")}
                del job["machine"]
                results.append({**common, **own}, job, seed=job.pop("seed"))

    compare(data, work, settings, roi=roi, tell=keep)
