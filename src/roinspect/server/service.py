"""Behind the routes: models, their queues, sinks, and a limit on requests."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from roinspect.errors import UserError
from roinspect.inspection.inspector import Source, Verdict
from roinspect.production.delivery import Delivery
from roinspect.server.line import Line, Work
from roinspect.server.prometheus import Metrics
from roinspect.server.protocol import LONGEST_HEAD, InferRequest, read_request
from roinspect.server.served_models import LoadedModel, ServedModel
from roinspect.server.settings import ServeSettings
from roinspect.server.waiting import WaitEstimator

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")


class Service:
    """Inspects images by a model's name, within limits.

    Args:
        models: by name, at least one.
        settings: the limits.
        delivery: where results go, too; None is nowhere.
    """

    def __init__(
        self, models: Mapping[str, ServedModel], settings: ServeSettings, delivery: Delivery | None = None
    ) -> None:
        self.models, self.settings = models, settings
        self.delivery = delivery or Delivery((), Path())
        self.metrics = Metrics()
        self._pace = WaitEstimator(settings.deadline_s)
        self._reading = asyncio.Lock()
        self._stop = threading.Event()
        self._lines: dict[str, Line] = {}
        self._watcher = threading.Thread(target=self._watch, name="roinspect-reload", daemon=True)

    def open(self) -> None:
        """Start the threads."""
        for name, model in self.models.items():
            self._lines[name] = Line(model, self.settings, self._observer(name))
        self.metrics.watch(self._lines, self.delivery.spools)
        self._watcher.start()

    def close(self) -> None:
        """Answer what waits, and stop; results that cannot be delivered now stay in their spools."""
        self._stop.set()
        for line in self._lines.values():
            line.close()
        self.delivery.close()
        self._watcher.join()

    @property
    def is_ready(self) -> bool:
        """Whether every model can answer."""
        return bool(self._lines) and all(line.is_alive for line in self._lines.values())

    def model(self, name: str | None, version: str | None = None) -> ServedModel:
        """A model by name; None is the only one.

        Args:
            name: of the model.
            version: that has to answer at the moment; None is any.

        Raises:
            HTTPException: 404 for an unknown name or version, 422 where a name is wanted.
        """
        if name is None:
            if len(self.models) > 1:
                raise HTTPException(422, f"name a model, one of {', '.join(self.models)}")
            return next(iter(self.models.values()))
        if name not in self.models:
            raise HTTPException(404, f"no such model; there is {', '.join(self.models)}")
        model = self.models[name]
        if version not in (None, model.loaded.version):
            raise HTTPException(404, f"no such version; there is {model.loaded.version}")
        return model

    @contextmanager
    def slot(self) -> Iterator[None]:
        """A place among the requests that are worked on.

        Raises:
            HTTPException: 429, all are taken.
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
            self.metrics.in_flight.set(self._pace.inside)

    async def read(self, body: bytes, length: int, size_hw: tuple[int, int], until: float) -> InferRequest:
        """Read an infer request in a thread; long ones one after the other, or Python has time for no other.

        Args:
            body: of the request.
            length: of its JSON.
            size_hw: of the model.
            until: time of the event loop's clock.

        Raises:
            UserError: it is no such request.
            HTTPException: 504, the time was over before its turn came.
        """
        async with self._reading if length > LONGEST_HEAD else nullcontext():
            if asyncio.get_running_loop().time() > until:
                raise _late()
            return await run_in_threadpool(read_request, body, length, size_hw)

    async def inspect(
        self,
        model: ServedModel,
        images: Sequence[Source],
        until: float,
        finish: Callable[[LoadedModel, list[Verdict]], Answer],
    ) -> Answer:
        """Inspect images in the model's threads; those whose time is over leave them to others.

        Args:
            model: one of ours.
            images: of one request.
            until: time of the event loop's clock.
            finish: makes the answer, in the thread that inspected.

        Raises:
            HTTPException: 504, the time is over.
        """
        answer = self._lines[model.name].submit(Work(images, finish))
        try:
            async with asyncio.timeout_at(until):
                found: Answer = await asyncio.wrap_future(answer)
        except TimeoutError:
            raise _late() from None
        return found

    def _observer(self, name: str) -> Callable[[int, float], None]:
        images, seconds = self.metrics.batch_images.labels(name), self.metrics.batch_seconds.labels(name)

        def observe(count: int, taken: float) -> None:
            images.observe(count)
            seconds.observe(taken)

        return observe

    def _watch(self) -> None:
        while not self._stop.wait(self.settings.poll_s):
            for name, model in self.models.items():
                try:
                    if model.refresh():
                        self.metrics.reloads.labels(name, "loaded").inc()
                        told = {"model": name, "model_version": model.loaded.version}
                        log.info("model loaded", extra={"fields": told})
                except Exception as error:
                    # Whatever a look runs into: the next one, and the other models', must take place.
                    self.metrics.reloads.labels(name, "failed").inc()
                    fault = None if isinstance(error, UserError) else error
                    fields = {"fields": {"model": name}}
                    log.error(f"the former model goes on: {error}", exc_info=fault, extra=fields)


def _late() -> HTTPException:
    return HTTPException(504, "there was no verdict in time")
