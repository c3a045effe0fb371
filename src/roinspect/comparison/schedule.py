"""Run jobs in parallel, on this machine or as tasks on a Ray cluster (extra `scale`)."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Literal, TypeAlias

from roinspect.comparison.contender import Scored
from roinspect.comparison.job import ComparisonJob, attempt
from roinspect.errors import UserError

Place: TypeAlias = Literal["local", "ray"]


def run_all(
    jobs: Sequence[ComparisonJob], *, at_once: int, on: Place
) -> Generator[tuple[ComparisonJob, Scored | str], None, None]:
    """Run jobs; jobs still running when the iterator is closed are killed.

    Args:
        jobs: in the order in which they start.
        at_once: how many run at a time on this machine; Ray runs as many as have their threads.
        on: "local", or "ray" for the cluster at RAY_ADDRESS, or else a new one on this machine. All machines
            of a cluster must see the data under the same path.

    Yields:
        Each job as it ends, with the result of `attempt`.

    Raises:
        UserError: Ray is not installed.
    """
    yield from _on_ray(jobs) if on == "ray" else _here(jobs, at_once)


def _here(
    jobs: Sequence[ComparisonJob], at_once: int
) -> Generator[tuple[ComparisonJob, Scored | str], None, None]:
    stop = threading.Event()
    # Each thread only waits for a process.
    pool = ThreadPoolExecutor(at_once)
    try:
        futures = {pool.submit(attempt, job, stop): job for job in jobs}
        for future in as_completed(list(futures)):
            # Not stored, as a result has the maps of all test images.
            yield futures.pop(future), future.result()
            del future
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _on_ray(jobs: Sequence[ComparisonJob]) -> Generator[tuple[ComparisonJob, Scored | str], None, None]:
    try:
        import ray
    except ModuleNotFoundError:
        raise UserError(
            "Ray is not installed", where="--on ray", remedy='run: pip install "roinspect[scale]"'
        ) from None
    # Otherwise Ray sends usage statistics.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(log_to_driver=False, logging_level=logging.ERROR)
    try:
        # Ray hides all GPUs from a task that asks for none. It does not type this function.
        has_gpu = bool(vars(ray)["cluster_resources"]().get("GPU"))
        waiting = {
            ray.remote(attempt)
            .options(num_cpus=job.threads, num_gpus=_gpus(job, has_gpu), max_retries=0)
            .remote(job): job
            for job in jobs
        }
        while waiting:
            (done,), _ = ray.wait(list(waiting))
            yield waiting.pop(done), ray.get(done)
    finally:
        ray.shutdown()


def _gpus(job: ComparisonJob, has_gpu: bool) -> int:
    """The GPUs that a job takes on a cluster."""
    if job.accelerator == "gpu" and not has_gpu:
        raise UserError(
            "no machine of the cluster has a GPU", where="--on ray --device gpu", remedy="use --device cpu"
        )
    return int(has_gpu and job.accelerator != "cpu")
