"""Prometheus metrics; labels never contain request content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from roinspect.production.spool import Spool
from roinspect.server.line import Line

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """Metrics of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        counter = partial(Counter, registry=self._registry)
        seconds = partial(Histogram, registry=self._registry, buckets=_SECONDS)
        self.requests = counter("roinspect_requests", "Answered requests.", ("route", "status"))
        self.images = counter(
            "roinspect_images",
            "Inspected images, by outcome: good, defective, not inspectable or error.",
            ("model", "outcome"),
        )
        self.reloads = counter(
            "roinspect_model_reloads",
            "Reloads of changed bundles, by result: loaded or failed.",
            ("model", "result"),
        )
        self.seconds = seconds(
            "roinspect_request_seconds", "Seconds from first byte to response.", ("route",)
        )
        self.batch_seconds = seconds(
            "roinspect_batch_seconds", "Seconds per batch, from decoding to regions.", ("model",)
        )
        self.batch_images = Histogram(
            "roinspect_batch_images",
            "Images per batch.",
            ("model",),
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self._registry,
        )
        self.self_test = Gauge(
            "roinspect_self_test_passed",
            "1 if the last self-test of a model was passed, 0 if not; only where it is repeated.",
            ("model",),
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "roinspect_requests_in_flight", "Requests accepted but not yet answered.", registry=self._registry
        )

    def watch(self, lines: Mapping[str, Line], spools: Mapping[str, Spool]) -> None:
        """Report the state of queues and spools on every scrape."""
        self._registry.register(_State(lines, spools))
        for name in lines:
            for result in ("loaded", "failed"):
                # Create the counter at zero, so that alerts see its first increase.
                self.reloads.labels(name, result)

    def text(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self._registry)


class _State(Collector):
    def __init__(self, lines: Mapping[str, Line], spools: Mapping[str, Spool]) -> None:
        self._lines, self._spools = lines, spools

    def collect(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily(
            "roinspect_requests_waiting", "Requests not yet taken by a thread.", labels=("model",)
        )
        stale = GaugeMetricFamily(
            "roinspect_model_stale", "1 while a changed bundle cannot be loaded.", labels=("model",)
        )
        drift = GaugeMetricFamily(
            "roinspect_drift",
            "Rolling mean of a signal, in deviations from that of held-out good parts.",
            labels=("model", "signal"),
        )
        moved = GaugeMetricFamily(
            "roinspect_drift_warning", "1 while a signal has moved.", labels=("model", "signal")
        )
        for name, line in self._lines.items():
            waiting.add_metric((name,), line.waiting)
            stale.add_metric((name,), bool(line.model.fault))
            if (monitor := line.model.loaded.drift) is not None:
                for signal, level in monitor.level.items():
                    drift.add_metric((name, signal), level)
                    moved.add_metric((name, signal), signal in monitor.moved)
        spooled = GaugeMetricFamily(
            "roinspect_results_spooled", "Results not yet delivered.", labels=("sink",)
        )
        refused = GaugeMetricFamily(
            "roinspect_results_refused", "Results rejected by a receiver.", labels=("sink",)
        )
        for name, spool in self._spools.items():
            spooled.add_metric((name,), spool.pending)
            refused.add_metric((name,), spool.refused)
        yield from (waiting, stale, drift, moved, spooled, refused)
