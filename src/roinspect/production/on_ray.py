"""Inspect on a Ray cluster, with one model per process (extra `scale`)."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Generator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from roinspect.errors import UserError
from roinspect.inspection.references import OnFailure
from roinspect.production.verdict_images import Pictures

_SHARD = 64
"""Images given to a process at a time; after a kill an unfinished shard is inspected again."""


class _Worker:
    """A model in its own process, on one core."""

    def __init__(
        self, bundle: str, runtime: str, folder: str, pictures: Pictures, self_test: OnFailure
    ) -> None:
        from roinspect.inspection.inspector import Inspector

        # Paths may be relative to the caller's working directory.
        with suppress(OSError):
            os.chdir(folder)
        self._inspector = Inspector.load(bundle, runtime, threads=1, self_test=self_test)
        self._pictures = pictures

    def __call__(self, shard: dict[str, Any]) -> dict[str, Any]:
        from roinspect.production.batch import predictions

        names = dict(zip(map(str, shard["path"]), map(str, shard["name"]), strict=True))
        rows = predictions(self._inspector, names, self._pictures)
        return {"row": [json.dumps(row) for row in rows]}


def predictions_on_ray(
    bundle: Path,
    runtime: str | None,
    names: Mapping[str, str],
    *,
    pictures: Pictures,
    workers: int | None = None,
    self_test: OnFailure = "off",
) -> Generator[dict[str, Any], None, None]:
    """Inspect files on the Ray cluster of RAY_ADDRESS, or on this machine if it is not set.

    Every machine of a cluster needs roinspect, and the bundle, the images and the folders of pictures under
    the same paths.

    Args:
        bundle: the model.
        runtime: of every process; None lets each choose.
        names: image paths, each with the name of its pictures.
        pictures: where pictures are written.
        workers: number of processes; one per CPU by default.
        self_test: of every process, see `Inspector.load`.

    Yields:
        Rows of `predictions`, a shard at a time, in any order.

    Raises:
        UserError: Ray is not installed, a process cannot load the model, or a picture cannot be written.
    """
    try:
        import ray
        import ray.data
    except ModuleNotFoundError:
        raise UserError(
            "Ray is not installed", where="--on ray", remedy='run: pip install "roinspect[scale]"'
        ) from None
    if not names:
        return
    # Opt out of Ray's usage reports unless the user chose otherwise.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(log_to_driver=False, logging_level=logging.ERROR)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        # Ray does not type this function, and without Ray mypy cannot see it.
        resources: Any = vars(ray)["cluster_resources"]()
        processes = workers or int(resources.get("CPU", 1))
        shards = -(-len(names) // _SHARD)
        items = [{"path": path, "name": name} for path, name in names.items()]
        rows = ray.data.from_items(items, override_num_blocks=shards).map_batches(
            _Worker,
            fn_constructor_args=(str(bundle), runtime or "auto", str(Path.cwd()), pictures, self_test),
            batch_size=_SHARD,
            num_cpus=1,
            concurrency=min(processes, shards),
        )
        for row in rows.iter_rows():
            yield json.loads(row["row"])
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise
    except ray.exceptions.RayActorError as error:
        raise UserError(
            f"a Ray worker process died ({str(error).strip().splitlines()[-1]})",
            where="--on ray",
            remedy="check that every machine has roinspect, the model's runtime and enough free memory",
        ) from error
    finally:
        ray.shutdown()
