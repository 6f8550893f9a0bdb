"""OpenTelemetry spans by the conventions for generative AI: one of each request, and one of each call below it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from agora.errors import MissingError
from agora.model import Model, Settings
from agora.records import Reply, Usage
from agora.serve.asked import Answered, Asked

if TYPE_CHECKING:
    from agora.calls import Around

_VENDORS = {"openai": "openai", "anthropic": "anthropic"}
_ASKED = {"temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "max_tokens": "max_tokens", "seed": "seed"}


class Tracer:
    """Makes spans. No prompt and no reply is in them.

    Args:
        provider: of OpenTelemetry; None: the one that is set for the process.

    Raises:
        MissingError: if OpenTelemetry is not installed.
    """

    def __init__(self, provider: Any = None) -> None:
        try:
            from opentelemetry import trace
        except ModuleNotFoundError:
            raise MissingError("traces need OpenTelemetry, which is not installed.",
                               hint="Run: pip install 'agora-debate[otel]'") from None  # fmt: skip
        self._trace = trace
        self._tracer = trace.get_tracer("agora", tracer_provider=provider)

    @contextmanager
    def request(self, asked: Asked, headers: Mapping[str, str]) -> Iterator[Callable[[Answered], None]]:
        """The span of a request, under that of the client where it sends `traceparent`."""
        from opentelemetry.propagate import extract

        kinds = self._trace.SpanKind
        name = f"chat {asked.model}"
        attributes = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "agora",
                      "gen_ai.request.model": asked.model, **_settings(asked.settings)}  # fmt: skip
        if asked.choices > 1:
            attributes["gen_ai.request.choice.count"] = asked.choices
        with self._span(name, kinds.SERVER, attributes, extract(dict(headers))) as span:
            total, runs, finishes = Usage(), list[str](), list[str]()

            def told(answered: Answered) -> None:
                nonlocal total
                total = total + answered.reply.usage
                runs.append(answered.run)
                finishes.append(answered.reply.finish or "stop")
                span.set_attributes({"gen_ai.response.id": runs[0], "gen_ai.response.model": asked.model,
                                     "gen_ai.response.finish_reasons": finishes, "agora.run": runs,
                                     **_usage(total)})  # fmt: skip

            yield told

    @property
    def around(self) -> Around:
        """What `agora.calls` enters around each call."""
        return self._call

    @contextmanager
    def _call(self, path: str, model: Model, settings: Settings) -> Iterator[Callable[[Reply], None]]:
        vendor, colon, name = model.name.partition(":")
        attributes = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": _VENDORS.get(vendor, "agora"),
                      "gen_ai.request.model": name if colon else model.name, "agora.path": path,
                      **_settings(settings)}  # fmt: skip
        with self._span(f"chat {model.name}", self._trace.SpanKind.CLIENT, attributes, None) as span:

            def told(reply: Reply) -> None:
                span.set_attributes({"gen_ai.response.model": reply.model, **_usage(reply.usage)})
                if reply.finish:
                    span.set_attribute("gen_ai.response.finish_reasons", [reply.finish])

            yield told

    @contextmanager
    def _span(self, name: str, kind: Any, attributes: dict[str, Any], context: Any) -> Iterator[Any]:
        """A span that says of an error its kind alone: its text may quote what was asked."""
        with self._tracer.start_as_current_span(
            name, context=context, kind=kind, attributes=attributes, record_exception=False,
            set_status_on_exception=False,
        ) as span:  # fmt: skip
            try:
                yield span
            except BaseException as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(self._trace.StatusCode.ERROR)
                raise


def _settings(settings: Settings) -> dict[str, Any]:
    found = {f"gen_ai.request.{name}": getattr(settings, key) for key, name in _ASKED.items()}
    found["gen_ai.request.stop_sequences"] = list(settings.stop) if settings.stop else None
    return {name: value for name, value in found.items() if value is not None}


def _usage(usage: Usage) -> dict[str, Any]:
    return {"gen_ai.usage.input_tokens": usage.input_tokens, "gen_ai.usage.output_tokens": usage.output_tokens}


def to_endpoint() -> None:
    """Send spans where OTEL_EXPORTER_OTLP_ENDPOINT and its like say.

    Raises:
        MissingError: if what does that is not installed.
    """
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError:
        raise MissingError("--otel needs OpenTelemetry, which is not installed.",
                           hint="Run: pip install 'agora-debate[otel]'") from None  # fmt: skip
    provider = TracerProvider(resource=Resource.create({"service.name": "agora"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
