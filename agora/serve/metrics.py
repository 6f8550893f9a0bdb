"""What the server counts, for Prometheus."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from agora.records import Usage

if TYPE_CHECKING:
    from agora.serve.gate import Gate

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """Counters of one server, in a registry of their own.

    Args:
        gate: whose load is shown.
    """

    def __init__(self, gate: Gate) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = registry = CollectorRegistry()
        labels = ("api", "model")
        self._requests = Counter("agora_requests", "Requests, by status", (*labels, "status"), registry=registry)
        self._seconds = Histogram("agora_request_seconds", "Time to the last byte", labels, registry=registry,
                                  buckets=_SECONDS)  # fmt: skip
        self._first = Histogram("agora_first_byte_seconds", "Time to the first byte", labels, registry=registry,
                                buckets=_SECONDS)  # fmt: skip
        self._calls = Counter("agora_model_calls", "Calls of models", ("model",), registry=registry)
        self._tokens = Counter("agora_tokens", "Tokens", ("model", "direction"), registry=registry)
        self._usd = Counter("agora_usd", "Cost, where prices are known", ("model",), registry=registry)
        running = Gauge("agora_requests_running", "Requests that run", registry=registry)
        waiting = Gauge("agora_requests_waiting", "Requests that wait for a turn", registry=registry)
        running.set_function(lambda: gate.running)
        waiting.set_function(lambda: gate.waiting)

    def took(self, model: str, usage: Usage) -> None:
        """A request has taken so much, whether or not there was an answer."""
        self._calls.labels(model).inc(usage.calls)
        self._tokens.labels(model, "in").inc(usage.input_tokens)
        self._tokens.labels(model, "out").inc(usage.output_tokens)
        self._usd.labels(model).inc(usage.usd or 0)

    def text(self) -> bytes:
        """All of it, in Prometheus' format."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry)


class Timed:
    """One request's times.

    Args:
        metrics: where they go.
        api: which API's.
    """

    def __init__(self, metrics: Metrics, api: str) -> None:
        self._metrics, self._api = metrics, api
        self._begun = time.perf_counter()
        self._first: float | None = None
        self.model = ""  # of the catalog: what clients make up is no label

    def begun(self) -> None:
        """The first byte goes out."""
        self._first = self._first or time.perf_counter()

    def over(self, status: str) -> None:
        """The last one has."""
        labels = (self._api, self.model)
        self._metrics._requests.labels(*labels, status).inc()
        self._metrics._seconds.labels(*labels).observe(time.perf_counter() - self._begun)
        if self._first is not None:
            self._metrics._first.labels(*labels).observe(self._first - self._begun)
