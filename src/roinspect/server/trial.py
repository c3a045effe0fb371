"""Run a bundle in a process of its own before it is served.

A faulty graph may crash the process that runs it, never end, or fill the memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from roinspect.errors import UserError
from roinspect.inspection.inspector import Inspector
from roinspect.inspection.references import OnFailure
from roinspect.isolated import FIRST_STAGE, answer, run_isolated

_GB = 10**9


def try_out(
    bundle: Path,
    stop: threading.Event,
    *,
    runtime: str,
    threads: int | None,
    providers: Sequence[str],
    seconds: float,
    gigabytes: float,
    self_test: OnFailure = "off",
) -> None:
    """Load a bundle, run each of its networks once, and the self-test, in a process of its own.

    Args:
        bundle: the folder.
        stop: set from another thread to give up.
        runtime: see `Inspector.load`.
        threads: see `Inspector.load`.
        providers: see `Inspector.load`.
        seconds: after which the process is killed.
        gigabytes: of memory that the process may have; not limited on Windows.
        self_test: see `Inspector.load`; a bundle's photographs may need more memory than there is.

    Raises:
        UserError: the bundle cannot be loaded, does not run, or not within the limits; its outputs have other
            shapes, types or values than `Looks.warm_up` allows.
        CancelledError: `stop` was set.
    """
    request = {"bundle": str(bundle.absolute()), "bytes": round(gigabytes * _GB)}
    run_isolated(
        __name__,
        request
        | {"runtime": runtime, "threads": threads, "providers": list(providers), "self_test": self_test},
        {FIRST_STAGE: seconds},
        name=str(bundle),
        folder=bundle.parent,
        log=None,
        remedy="export it again, or raise --load-s",
        stop=stop,
    )


# -- in the process ------------------------------------------------------------------------------------------


def _work(request: dict[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
    _limit_memory(request["bytes"])
    options = {name: request[name] for name in ("runtime", "threads", "providers", "self_test")}
    try:
        Inspector.load(request["bundle"], **options, is_recorded=False).warm_up()
    except UserError:
        raise
    except Exception as error:
        # Runtimes raise exceptions of any type.
        raise UserError(f"does not run ({str(error).strip()[:300]})", remedy="export it again") from None
    return {}


def _limit_memory(limit: int) -> None:
    # Without memory, Linux kills this process and not the server.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    with suppress(ImportError):
        import resource

        # Not RLIMIT_AS: GPU drivers reserve far more addresses than they use.
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    answer(_work)
