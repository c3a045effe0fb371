"""The queue of images for a model, and the threads that inspect them in batches."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from roinspect.errors import UserError
from roinspect.images.pixel_limit import check_pixels
from roinspect.inspection.inspector import Inspector, Source, Verdict
from roinspect.server.served_models import LoadedModel, ServedModel
from roinspect.server.settings import ServeSettings


@dataclass(frozen=True, slots=True)
class Work:
    """Images of one request, and the function that turns their verdicts into the response.

    The future can be cancelled until all verdicts are complete.
    """

    images: Sequence[Source]
    finish: Callable[[LoadedModel, list[Verdict]], Any]
    answer: Future[Any] = field(default_factory=Future)


class Budget:
    """Bounds a sum over all threads, such as the pixels that are decoded at once; first come, first served.

    Args:
        limit: of the sum; more than this is taken alone.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._taken = limit, 0
        self._turn, self._changed = threading.Lock(), threading.Condition()

    @contextmanager
    def take(self, amount: int) -> Iterator[None]:
        """Wait until there is room, and give it back after the block."""
        with self._turn, self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + amount <= self._limit)
            self._taken += amount
        try:
            yield
        finally:
            with self._changed:
                self._taken -= amount
                self._changed.notify()


class Line:
    """A model's queue and its threads.

    Args:
        model: its loaded state is read once per batch.
        settings: number of threads, batch size, and limit of pixels.
        decoded: the pixels of all models' images in progress.
        observe: called with the number of images and the seconds of each batch.
    """

    def __init__(
        self,
        model: ServedModel,
        settings: ServeSettings,
        decoded: Budget,
        observe: Callable[[int, float], object],
    ) -> None:
        self.model, self._decoded = model, decoded
        self._settings, self._observe = settings, observe
        self._waiting: deque[Work] = deque()
        self._changed = threading.Condition()
        self._is_open = True
        self._threads = [
            threading.Thread(target=self._work, name=f"roinspect-{model.name}-{number}", daemon=True)
            for number in range(settings.workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Requests not yet taken by a thread."""
        return len(self._waiting)

    @property
    def is_alive(self) -> bool:
        """Whether all threads are running."""
        return self._is_open and all(thread.is_alive() for thread in self._threads)

    def submit(self, work: Work) -> Future[Any]:
        """Queue images; cancelling the future removes them."""
        with self._changed:
            self._waiting.append(work)
            self._changed.notify()
        work.answer.add_done_callback(self._leave)
        return work.answer

    def close(self) -> None:
        """Stop accepting work, and return once the queue is empty."""
        with self._changed:
            self._is_open = False
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _leave(self, answer: Future[Any]) -> None:
        if answer.cancelled():
            with self._changed:
                self._waiting = deque(work for work in self._waiting if work.answer is not answer)

    def _work(self) -> None:
        while taken := self._next_batch():
            batch = [work for work in taken if not work.answer.cancelled()]
            images = [image for work in batch for image in work.images]
            claims = [_claim(image, self._settings.max_pixels) for image in images]
            # Until the response is made: an overlay takes the memory of several photographs.
            with self._decoded.take(sum(claim for claim in claims if isinstance(claim, int))):
                self._answer(batch, images, claims)

    def _next_batch(self) -> list[Work]:
        """The next requests that fit into one batch, at least one; empty once closed and drained."""
        with self._changed:
            while not self._waiting:
                if not self._is_open:
                    return []
                self._changed.wait()
            batch = [self._waiting.popleft()]
            size, deadline = len(batch[0].images), time.monotonic() + self._settings.batch_wait_ms / 1000
            while size < self._settings.batch:
                if not self._waiting:
                    left = deadline - time.monotonic()
                    if left <= 0 or not self._is_open or not self._changed.wait(left):
                        break
                    continue
                size += len(self._waiting[0].images)
                if size > self._settings.batch:
                    break
                batch.append(self._waiting.popleft())
            return batch

    def _answer(
        self, batch: Sequence[Work], images: Sequence[Source], claims: Sequence[int | UserError]
    ) -> None:
        loaded, start = self.model.loaded, time.perf_counter()
        try:
            pending = inspect_all(loaded.inspector, images, claims, self._settings.batch)
            verdicts: list[Verdict] = []
            while len(verdicts) < len(images):
                # All requests of the batch have timed out.
                if all(work.answer.cancelled() for work in batch):
                    return
                verdicts.append(next(pending))
            self._observe(len(images), time.perf_counter() - start)
        except Exception as error:
            for work in batch:
                if work.answer.set_running_or_notify_cancel():
                    work.answer.set_exception(error)
            return
        remaining = iter(verdicts)
        for work in batch:
            own = [next(remaining) for _ in work.images]
            if not work.answer.set_running_or_notify_cancel():
                continue
            try:
                work.answer.set_result(work.finish(loaded, own))
            except Exception as error:
                work.answer.set_exception(error)


def inspect_all(
    inspector: Inspector, images: Sequence[Source], claims: Sequence[int | UserError], batch: int
) -> Iterator[Verdict]:
    """Verdicts in order; an image that is too large or unreadable gets one with an error."""
    allowed = [image for image, claim in zip(images, claims, strict=True) if isinstance(claim, int)]
    if len(allowed) == 1:
        # Starting the threads of `inspect_many` can take longer than one image.
        verdicts = iter([_inspect(inspector, allowed[0])])
    else:
        verdicts = inspector.inspect_many(allowed, batch_size=batch)
    for claim in claims:
        yield next(verdicts) if isinstance(claim, int) else _error_verdict(inspector, claim)


def _inspect(inspector: Inspector, image: Source) -> Verdict:
    try:
        return inspector.inspect(image)
    except UserError as error:
        return _error_verdict(inspector, error)


def _claim(image: Source, max_pixels: int) -> int | UserError:
    """The pixels of an image, or why it is not decoded."""
    if isinstance(image, np.ndarray):
        return int(image.shape[0] * image.shape[1])
    try:
        return check_pixels(image, max_pixels) if isinstance(image, bytes) else 0
    except UserError as error:
        return error


def _error_verdict(inspector: Inspector, error: UserError) -> Verdict:
    return Verdict("", math.nan, None, inspector.threshold, 0.0, error=str(error))
