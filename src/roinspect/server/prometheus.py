"""Prometheus metrics. Labels name models and routes, never request content."""

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
    """Counters of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        counter = partial(Counter, registry=self._registry)
        seconds = partial(Histogram, registry=self._registry, buckets=_SECONDS)
        self.requests = counter("roinspect_requests", "Requests answered.", ("route", "status"))
        self.images = counter(
            "roinspect_images", "Images: good, defective, not inspectable or error.", ("model", "outcome")
        )
        self.reloads = counter("roinspect_model_reloads", "Bundles: loaded, failed.", ("model", "result"))
        self.seconds = seconds("roinspect_request_seconds", "From first byte to answer.", ("route",))
        self.batch_seconds = seconds("roinspect_batch_seconds", "Decoding to regions.", ("model",))
        self.batch_images = Histogram(
            "roinspect_batch_images",
            "Images inspected at once.",
            ("model",),
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "roinspect_requests_in_flight", "Requests accepted, not yet answered.", registry=self._registry
        )

    def watch(self, lines: Mapping[str, Line], spools: Mapping[str, Spool]) -> None:
        """Read the state of these whenever somebody asks for the numbers."""
        self._registry.register(_State(lines, spools))
        for name in lines:
            for result in ("loaded", "failed"):
                # A counter that is there from the start, at zero, can be alarmed on.
                self.reloads.labels(name, result)

    def text(self) -> bytes:
        """In Prometheus's text format."""
        return generate_latest(self._registry)


class _State(Collector):
    def __init__(self, lines: Mapping[str, Line], spools: Mapping[str, Spool]) -> None:
        self._lines, self._spools = lines, spools

    def collect(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily(
            "roinspect_requests_waiting", "Requests that no thread has taken.", labels=("model",)
        )
        stale = GaugeMetricFamily(
            "roinspect_model_stale", "1 while a changed bundle cannot be loaded.", labels=("model",)
        )
        for name, line in self._lines.items():
            waiting.add_metric((name,), line.waiting)
            stale.add_metric((name,), line.model.is_stale)
        spooled = GaugeMetricFamily(
            "roinspect_results_spooled", "Results not yet delivered.", labels=("sink",)
        )
        refused = GaugeMetricFamily(
            "roinspect_results_refused", "Results that a receiver will not have.", labels=("sink",)
        )
        for name, spool in self._spools.items():
            spooled.add_metric((name,), spool.pending)
            refused.add_metric((name,), spool.refused)
        yield from (waiting, stale, spooled, refused)
