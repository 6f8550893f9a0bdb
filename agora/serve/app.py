"""The application: which address is answered by what, over one catalog, journal and gate."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from agora.budget import Budget
from agora.calls import sentence
from agora.serve import chat, document, messages, replying
from agora.serve.asked import Answered, Asked, Begun, Piece, Refused
from agora.serve.catalog import Catalog
from agora.serve.faults import Fault, fault
from agora.serve.gate import Gate
from agora.serve.guard import Guard, Room, body_of
from agora.serve.metrics import Metrics, Timed
from agora.serve.replying import Gone, StreamWriter
from agora.serve.running import Runner

LOG = logging.getLogger("agora.serve")
BODIES = 32  # of the largest size that are held at a time


@dataclass(frozen=True)
class Limits:
    """What a server takes on.

    Attributes:
        body: bytes of a request.
        running: requests that run at a time.
        waiting: requests that wait for a turn; more are turned away.
        most: that a request may take, whatever limits it sets itself.
        arrival: seconds within which a request's body must be there.
    """

    body: int = 8 * 2**20
    running: int = 64
    waiting: int = 256
    most: Budget = Budget(seconds=600.0)
    arrival: float = 60.0


class _Tracer(Protocol):
    around: Any

    def request(self, asked: Asked, headers: Mapping[str, str]) -> Any: ...


class Service:
    """What the addresses share.

    Args:
        catalog: what is served.
        store: URL or path of the journal; None: the usual one; 'none': runs are kept nowhere.
        limits: what it takes on.
        guard: who may speak to it.
        tracer: makes spans of requests and calls.
    """

    def __init__(
        self,
        catalog: Catalog,
        store: str | None = None,
        *,
        limits: Limits = Limits(),
        guard: Guard | None = None,
        tracer: _Tracer | None = None,
    ) -> None:
        self.catalog, self.limits, self._tracer = catalog, limits, tracer
        self.guard = guard or Guard(None, None)
        self.gate = Gate(limits.running, limits.waiting)
        self.room = Room(BODIES * limits.body)
        self.metrics = Metrics(self.gate)
        self.runner = Runner(catalog, store, most=limits.most, spent=self.metrics.took)

    async def reply(
        self,
        api: str,
        form: Callable[[Fault], dict[str, Any]],
        read: Callable[[bytes], tuple[Asked, Callable[[], StreamWriter], Callable[[list[Answered]], dict[str, Any]]]],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Answer one request of an API.

        Args:
            api: its name.
            form: an error in its form.
            read: a request's body, as what is asked, what writes a stream, and what writes a whole reply.
            scope: of ASGI.
            receive: of ASGI.
            send: of ASGI.
        """
        request, timed, status = Request(scope, receive), Timed(self.metrics, api), "500"
        started = False

        async def watched(message: Any) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        stack = ExitStack()
        try:
            take = stack.enter_context(self.room.share())
            async with self.gate.arrival():
                body = await body_of(request, self.limits.body, self.limits.arrival, take)
            asked, writer, whole = read(body)
            del body  # it may be long until there is an answer
            prepared = self.runner.prepare(asked)
            timed.model = self.catalog[asked.model].id
            work = partial(self._work, asked, request, prepared)
            if asked.stream:
                broken = await replying.stream(receive, watched, work, writer(), form, timed.begun)
                status = "200" if broken is None else f"200 then {broken.status}"
            else:
                await replying.whole(receive, watched, work, whole, timed.begun)
                status = "200"
        except (Gone, ClientDisconnect):
            status = "gone"
        except Exception as error:
            found = fault(error)
            status = str(found.status)
            if found.status == 500:
                LOG.error("%s: %s", api, sentence(error))
            if not started:
                close = {"connection": "close"} if found.status in (408, 413, 503) else {}  # the rest is not read
                await replying.send_json(watched, found.status, form(found), {**found.headers, **close})
        finally:
            stack.close()
            timed.over(status)

    async def _work(
        self, asked: Asked, request: Request, prepared: Any, tell: Callable[[Piece], None]
    ) -> list[Answered]:
        runs: list[str] = []

        def told(piece: Piece) -> None:
            if isinstance(piece, Begun):
                runs.append(piece.run)
            elif isinstance(piece, Answered) and note is not None:
                note(piece)
            tell(piece)

        note: Callable[[Answered], None] | None = None
        try:
            async with self.gate.turn():
                with ExitStack() as stack:
                    around = None
                    if self._tracer is not None:
                        note = stack.enter_context(self._tracer.request(asked, request.headers))
                        around = self._tracer.around
                    answers: list[Answered] = await prepared(told, around)
                    return answers
        except Refused as error:
            error.run = error.run or (runs[0] if runs else None)
            raise
        raise AssertionError  # the gate says why there is no answer

    # ---- what else there is ------------------------------------------------------------------------------------

    async def health(self, request: Request) -> Response:
        """Whether it can answer."""
        broken = self.runner.broken()
        said = "ending" if self.gate.closing else "the journal cannot be written" if broken else "ok"
        return JSONResponse({"status": said}, 200 if said == "ok" else 503)

    async def prometheus(self, request: Request) -> Response:
        """What it has counted."""
        return Response(self.metrics.text(), media_type="text/plain; version=1.0.0; charset=utf-8")

    async def models(self, request: Request) -> Response:
        """What can be asked; in Anthropic's form for who says that it is Anthropic's client."""
        made = [self._model(request, name) for name in self.catalog]
        if _of_anthropic(request):
            first, last = (made[0]["id"], made[-1]["id"]) if made else (None, None)
            return JSONResponse({"data": made, "has_more": False, "first_id": first, "last_id": last})
        return JSONResponse({"object": "list", "data": made})

    async def model(self, request: Request) -> Response:
        """One of them."""
        name = request.path_params["name"]
        served = self.catalog.get(name)
        if served is None:
            raise Refused(f"The model '{name[:100]}' does not exist.", status=404, code="model_not_found",
                          param="model")  # fmt: skip
        return JSONResponse(self._model(request, served.id))

    def _model(self, request: Request, name: str) -> dict[str, Any]:
        if _of_anthropic(request):
            import datetime

            made = datetime.datetime.fromtimestamp(self.catalog.created, datetime.UTC).isoformat()
            return {"type": "model", "id": name, "display_name": name, "created_at": made, "lifecycle": "active"}
        return {"id": name, "object": "model", "created": self.catalog.created, "owned_by": "agora"}


def _of_anthropic(request: Request) -> bool:
    return "anthropic-version" in request.headers or request.scope["path"].startswith("/v1/messages")


def _read_chat(body: bytes) -> Any:
    asked, with_usage = chat.read(body)
    return asked, partial(chat.Writer, asked, with_usage), partial(chat.body, asked)


def _read_messages(body: bytes) -> Any:
    asked = messages.read(body)
    return asked, partial(messages.Writer, asked), partial(messages.body, asked)


class _Endpoint:
    """An endpoint that speaks ASGI itself: it listens to whether its client is there."""

    def __init__(self, service: Service, api: str, form: Callable[[Fault], dict[str, Any]], read: Any) -> None:
        self._go = partial(service.reply, api, form, read)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._go(scope, receive, send)


class _Guarded:
    """The application behind its guard; `way_in` is where a browser can give the key."""

    def __init__(self, app: Any, guard: Guard, way_in: str | None) -> None:
        self._app, self._guard, self._way_in = app, guard, way_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope)
            try:
                self._guard.check(request)
            except Refused as error:
                response = _failed(request, error)
                # a browser that opens a page is shown where the key can be given
                if error.status == 401 and "text/html" in request.headers.get("accept", "") and self._way_in:
                    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
                    response = RedirectResponse(f"{self._way_in}?next={quote(asked, safe='')}", 303)
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _failed(request: Request, error: Exception) -> Response:
    """An error in the form of the API whose client asks."""
    found = fault(error)
    body = found.anthropic() if _of_anthropic(request) else found.openai()
    return JSONResponse(body, found.status, headers=found.headers)


async def _refused(request: Request, error: Exception) -> Response:
    return _failed(request, error)


async def _http(request: Request, error: Any) -> Response:
    said = {
        404: f"there is nothing at {request.scope['path'][:100]}.",
        405: f"{request.method} is not for this address.",
    }
    refused = Refused(said.get(error.status_code, str(error.detail)), status=error.status_code, code="not_found")
    response = _failed(request, refused)
    response.headers.update(error.headers or {})
    return response


async def _unforeseen(request: Request, error: Exception) -> Response:
    LOG.error("%s: %s", request.scope["path"], sentence(error))
    return _failed(request, error)


def application(service: Service, more: Sequence[BaseRoute] = (), origins: Sequence[str] = ()) -> Starlette:
    """The ASGI application of a service.

    Args:
        service: it; its runner is open as long as it is used.
        more: further routes, such as a viewer's; they go after the endpoints, behind the same guard.
        origins: pages elsewhere that may ask.
    """
    from starlette.exceptions import HTTPException

    async def openapi(request: Request) -> Response:
        return JSONResponse(document.openapi(list(service.catalog)))

    routes: list[BaseRoute] = [
        Route("/v1/chat/completions", _Endpoint(service, "chat", Fault.openai, _read_chat), methods=["POST"]),
        Route("/v1/messages", _Endpoint(service, "messages", Fault.anthropic, _read_messages), methods=["POST"]),
        Route("/v1/models", service.models, methods=["GET"]),
        Route("/v1/models/{name:path}", service.model, methods=["GET"]),
        Route("/healthz", service.health, methods=["GET"]),
        Route("/metrics", service.prometheus, methods=["GET"]),
        Route("/openapi.json", openapi, methods=["GET"]),
        *more,
    ]
    way_in = next((route.path for route in more if isinstance(route, Route) and route.path == "/login"), None)
    middleware = [Middleware(_Guarded, guard=service.guard, way_in=way_in)]
    if origins:
        exposed = ["x-agora-run", "retry-after"]
        middleware.insert(0, Middleware(CORSMiddleware, allow_origins=list(origins), allow_methods=["GET", "POST"],
                                        allow_headers=["*"], expose_headers=exposed))  # fmt: skip
    handlers: Any = {Refused: _refused, HTTPException: _http, Exception: _unforeseen}
    return Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)
