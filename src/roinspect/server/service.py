"""The service behind the routes: models, their queues, receivers, and a limit on requests."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from roinspect.errors import UserError
from roinspect.inspection.inspector import Source, Verdict
from roinspect.inspection.references import OnFailure
from roinspect.isolated import CancelledError
from roinspect.production.delivery import Delivery
from roinspect.server.line import Budget, Line, Work
from roinspect.server.memory import give_back
from roinspect.server.prometheus import Metrics
from roinspect.server.protocol import LONGEST_HEAD, InferRequest, read_request
from roinspect.server.served_models import LoadedModel, ServedModel
from roinspect.server.settings import ServeSettings
from roinspect.server.waiting import WaitEstimator

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")

_TRIM_S = 5.0


class Service:
    """Inspects images with models by name, within limits.

    Args:
        models: by name, at least one.
        settings: the limits.
        delivery: receivers of results; None has none.
        self_test: what a later self-test that fails does: "stop" answers 503 from then on.
    """

    def __init__(
        self,
        models: Mapping[str, ServedModel],
        settings: ServeSettings,
        delivery: Delivery | None = None,
        self_test: OnFailure = "off",
    ) -> None:
        self.models, self.settings, self._self_test = models, settings, self_test
        self.delivery = delivery or Delivery((), Path())
        self.metrics = Metrics()
        self._pace = WaitEstimator(settings.deadline_s)
        self._parsing = asyncio.Lock()
        self._stop = threading.Event()
        self._lines: dict[str, Line] = {}
        self._has_worked = False
        thread = partial(threading.Thread, daemon=True)
        # One for each model, so that a bundle that loads forever delays no other.
        self._threads = [
            thread(target=self._watch_bundle, args=item, name="roinspect-reload") for item in models.items()
        ]
        self._threads.append(thread(target=self._give_memory_back, name="roinspect-memory"))

    def open(self) -> None:
        """Start the threads."""
        decoded = Budget(self.settings.decoded_pixels)
        for name, model in self.models.items():
            self._lines[name] = Line(model, self.settings, decoded, self._observer(name))
        self.metrics.watch(self._lines, self.delivery.spools)
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Answer waiting requests, and stop; undelivered results stay in their spools."""
        self._stop.set()
        for line in self._lines.values():
            line.close()
        self.delivery.close()
        for thread in self._threads:
            thread.join()

    @property
    def is_ready(self) -> bool:
        """Whether every model is ready, and has passed its last self-test where that is required."""
        is_fit = self._self_test != "stop" or not any(model.unfit for model in self.models.values())
        return is_fit and bool(self._lines) and all(line.is_alive for line in self._lines.values())

    @property
    def is_stale(self) -> bool:
        """Whether a changed bundle could not be loaded, so that its former version answers."""
        return any(model.fault for model in self.models.values())

    def model(self, name: str | None, version: str | None = None) -> ServedModel:
        """A model by name.

        Args:
            name: of the model; None if only one is served.
            version: required version; None accepts any.

        Raises:
            HTTPException: 404 for an unknown name or version, 422 if a name is required.
        """
        if name is None:
            if len(self.models) > 1:
                raise HTTPException(422, f"model is required; use one of {', '.join(self.models)}")
            return next(iter(self.models.values()))
        if name not in self.models:
            raise HTTPException(404, f"no such model; available: {', '.join(self.models)}")
        model = self.models[name]
        if version not in (None, model.loaded.version):
            raise HTTPException(404, f"no such version; available: {model.loaded.version}")
        return model

    @contextmanager
    def slot(self) -> Iterator[None]:
        """A slot for a request in progress.

        Raises:
            HTTPException: 429 if all are taken.
        """
        if self._pace.inside >= self.settings.queue:
            wait = {"Retry-After": str(self._pace.wait_s())}
            raise HTTPException(429, "too many requests at once; try again", wait)
        self._pace.enter()
        self.metrics.in_flight.set(self._pace.inside)
        try:
            yield
        finally:
            self._pace.leave()
            self._has_worked = True
            self.metrics.in_flight.set(self._pace.inside)

    async def read(
        self, body: bytes, length: int, size_hw: tuple[int, int] | None, deadline: float
    ) -> InferRequest:
        """Parse an infer request in a thread; long ones one at a time, as parsing blocks other threads.

        Args:
            body: of the request.
            length: of its JSON.
            size_hw: of the model, see `input_hw`.
            deadline: on the event loop's clock.

        Raises:
            UserError: the request is invalid.
            HTTPException: 504 if the deadline passed before its turn.
        """
        async with self._parsing if length > LONGEST_HEAD else nullcontext():
            if asyncio.get_running_loop().time() > deadline:
                raise _deadline_passed()
            return await run_in_threadpool(read_request, body, length, size_hw)

    async def inspect(
        self,
        model: ServedModel,
        images: Sequence[Source],
        deadline: float,
        finish: Callable[[LoadedModel, list[Verdict]], Answer],
    ) -> Answer:
        """Inspect images in the model's threads; they leave the queue at the deadline.

        Args:
            model: one of `models`.
            images: of one request.
            deadline: on the event loop's clock.
            finish: makes the response, in the thread that inspected.

        Raises:
            HTTPException: 504 after the deadline, 503 if the model has failed a required self-test.
        """
        if self._self_test == "stop" and model.unfit:
            raise HTTPException(503, model.unfit)
        answer = self._lines[model.name].submit(Work(images, finish))
        try:
            async with asyncio.timeout_at(deadline):
                result: Answer = await asyncio.wrap_future(answer)
        except TimeoutError:
            raise _deadline_passed() from None
        return result

    def _observer(self, name: str) -> Callable[[int, float], None]:
        images, seconds = self.metrics.batch_images.labels(name), self.metrics.batch_seconds.labels(name)

        def observe(count: int, duration_s: float) -> None:
            images.observe(count)
            seconds.observe(duration_s)

        return observe

    def _give_memory_back(self) -> None:
        while not self._stop.wait(_TRIM_S):
            if self._has_worked:
                self._has_worked = False
                give_back()

    def _test(self, name: str, model: ServedModel) -> None:
        unfit = model.test()
        self.metrics.self_test.labels(name).set(0 if unfit else 1)
        if unfit:
            log.error(unfit, extra={"fields": {"model": name}})

    def _watch_bundle(self, name: str, model: ServedModel) -> None:
        tested_at = time.monotonic()
        while not self._stop.wait(self.settings.poll_s):
            if self._self_test != "off" and 0 < self.settings.self_test_s <= time.monotonic() - tested_at:
                self._test(name, model)
                tested_at = time.monotonic()
            try:
                if model.refresh(self._stop):
                    self.metrics.reloads.labels(name, "loaded").inc()
                    fields = {"model": name, "model_version": model.loaded.version}
                    log.info("model loaded", extra={"fields": fields})
            except CancelledError:
                return
            except Exception as error:
                # Whatever happened, keep watching.
                self.metrics.reloads.labels(name, "failed").inc()
                fault = None if isinstance(error, UserError) else error
                log.error(
                    f"the previous model stays loaded: {error}",
                    exc_info=fault,
                    extra={"fields": {"model": name}},
                )


def _deadline_passed() -> HTTPException:
    return HTTPException(504, "no verdict within the deadline")
