"""The addresses of the page: what each takes, gives, and tells a browser about itself."""

from __future__ import annotations

import gzip
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar
from urllib.parse import quote, unquote, unquote_to_bytes

import anyio.to_thread
from pydantic import Field, ValidationError
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from agora.calls import sentence
from agora.lettering import clean
from agora.models.human import LIMIT
from agora.serve.asked import Refused, Whole, Wire, dumped, wrong
from agora.serve.faults import fault
from agora.serve.guard import body_of
from agora.serve.viewer.door import LOGIN, Door
from agora.serve.viewer.starting import Form
from agora.serve.viewer.streaming import Live
from agora.serve.viewer.viewer import Viewer
from agora.view import page
from agora.view.records import Cursor, full_call, run_record

LOG = logging.getLogger("agora.serve")
_BODY = 2_000_000  # bytes of a form
_LONG = 10_000  # bytes of an answer that is worth compressing
_LISTED = 300  # characters of a question in a list
_ALWAYS = {
    "x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}  # fmt: skip
_DATA = {"content-security-policy": "default-src 'none'; frame-ancestors 'none'", "cache-control": "no-store"}
_PAGE = {"content-security-policy": page.POLICY, "cache-control": "no-cache"}
# a report is a page without a script, whatever an evaluation's names say
_REPORT = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'; sandbox",
    "cache-control": "no-store",
}
_F = TypeVar("_F", bound=Wire)
Handler = Callable[[Request], Awaitable[Response]]


def routes(viewer: Viewer) -> list[BaseRoute]:
    """The page's routes, to be put beside those of the endpoints and behind their guard."""
    pages, door = Pages(viewer), Door(viewer)
    runs = "/api/runs/{run}"
    listed: list[tuple[str, Handler, Mapping[str, str], str]] = [
        ("/api/runs", pages.runs, _DATA, "GET"),
        (runs, pages.run, _DATA, "GET"),
        (f"{runs}/live", pages.live, {}, "GET"),
        (f"{runs}/calls/{{call:int}}", pages.call, _DATA, "GET"),
        (f"{runs}/stop", pages.stop, _DATA, "POST"),
        (f"{runs}/resume", pages.resume, _DATA, "POST"),
        (f"{runs}/seats/{{seat}}", pages.seat, _DATA, "POST"),
        ("/api/offers", pages.offers, _DATA, "GET"),
        ("/api/debates/check", pages.check, _DATA, "POST"),
        ("/api/debates", pages.begin, _DATA, "POST"),
        ("/runs/{run}/file", pages.file, {"cache-control": "no-store"}, "GET"),
        ("/static/{name}", pages.static, {}, "GET"),
        ("/api/evaluations", pages.evaluations, _DATA, "GET"),
        ("/evaluations/{id}", pages.report, _REPORT, "GET"),
        ("/login", door.show, LOGIN, "GET"),
        ("/login", door.enter, LOGIN, "POST"),
        ("/logout", door.leave, LOGIN, "POST"),
        *((path, pages.page, _PAGE, "GET") for path in ("/", "/new", "/compare", "/evaluations", "/runs/{run}")),
    ]
    return [_Segments(path, _answered(handler, told), methods=[method]) for path, handler, told, method in listed]


class _Segments(Route):
    """A route whose parameters are one segment of the address each, whatever is in it: a run's id may have slashes."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        raw = scope.get("raw_path") or quote(scope["path"]).encode()
        kept = re.sub(rb"%(2[fF5])", rb"%25\1", raw.partition(b"?")[0])  # slashes and percent signs stay encoded
        return super().matches({**scope, "path": unquote_to_bytes(kept).decode("utf-8", "replace")})


def segment(request: Request, name: str) -> str:
    """A parameter of the address."""
    return unquote(request.path_params[name])


def _answered(handler: Handler, told: Mapping[str, str]) -> Handler:
    """A handler with its headers; what is wrong is one sentence in JSON."""

    async def answer(request: Request) -> Response:
        try:
            response = await handler(request)
            headers = told
        except Exception as error:
            found = fault(error)
            if found.status == 500:
                LOG.error("%s: %s", request.scope["path"], sentence(error))
            close = {"connection": "close"} if found.status in (408, 413) else {}  # the rest is not read
            said = " ".join(clean(found.message).split())  # it may quote what was sent
            response = data({"error": {"message": said, "code": found.code}}, found.status)
            headers = {**_DATA, **found.headers, **close}
        for name, value in {**_ALWAYS, **headers}.items():
            response.headers.setdefault(name, value)
        return response

    return answer


def data(content: object, status: int = 200) -> Response:
    """Plain data as JSON."""
    return Response(dumped(content), status, media_type="application/json")


async def _packed(request: Request, content: object) -> Response:
    """Plain data that may be long: made into JSON apart from all else, and compressed for who takes that."""
    packs = "gzip" in request.headers.get("accept-encoding", "")

    def made() -> tuple[bytes, bool]:
        body = dumped(content).encode()
        return (gzip.compress(body, 1), True) if packs and len(body) > _LONG else (body, False)

    body, packed = await anyio.to_thread.run_sync(made)
    headers = {"vary": "accept-encoding", **({"content-encoding": "gzip"} if packed else {})}
    return Response(body, media_type="application/json", headers=headers)


class Filters(Wire):
    """What runs are listed; as the words of an address."""

    text: str | None = Field(None, max_length=1000)
    status: str | None = Field(None, pattern="^(running|killed|done|failed|interrupted|budget)$")
    name: str | None = Field(None, max_length=1000)
    answer: str | None = Field(None, max_length=10_000)
    since: float | None = Field(None, ge=0, le=1e12)
    until: float | None = Field(None, ge=0, le=1e12)
    min_usd: float | None = Field(None, ge=0, le=1e12)
    max_usd: float | None = Field(None, ge=0, le=1e12)
    sort: str = Field("created", pattern="^(created|cost|calls|tokens|seconds)$")
    items: bool = False
    limit: Whole = Field(50, ge=1, le=500)
    offset: Whole = Field(0, ge=0, le=2**31)

    model_config = {**Wire.model_config, "strict": False}


class From(Wire):
    """How far somebody has been told of a run."""

    event: int = Field(0, ge=0, lt=2**63)
    call: int = Field(0, ge=0, lt=2**63)

    model_config = {**Wire.model_config, "strict": False}


class Nothing(Wire):
    """A body that says nothing."""


class Said(Wire):
    """What a person replies."""

    text: str = Field(max_length=LIMIT)


class Pages:
    """What answers at the addresses.

    Args:
        viewer: what they share.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer

    # ---- pages -------------------------------------------------------------------------------------------------

    async def page(self, request: Request) -> Response:
        """The page itself: which view it shows is its own affair."""
        return HTMLResponse(page.served())

    async def static(self, request: Request) -> Response:
        """Its script, its style, its icon."""
        kinds = {"app.js": "text/javascript; charset=utf-8", "app.css": "text/css; charset=utf-8",
                 "icon.svg": "image/svg+xml"}  # fmt: skip
        name = segment(request, "name")
        if name not in kinds:
            raise nothing("there is nothing of that name.")
        same = request.scope["query_string"].decode("latin-1") == page.version(name)
        kept = "public, max-age=31536000, immutable" if same else "no-cache"
        return Response(page.asset(name), headers={"content-type": kinds[name], "cache-control": kept})

    async def file(self, request: Request) -> Response:
        """A run as one file."""
        info = await self._viewer.run(segment(request, "run"))
        content = await page.of_run(self._viewer.journal, info.id)
        name = re.sub(r"[^A-Za-z0-9._-]", "_", info.id)[:120]
        said = {"content-disposition": f'attachment; filename="agora-{name}.html"',
                "content-security-policy": "sandbox"}  # fmt: skip
        return HTMLResponse(content.encode("utf-8", "replace"), headers=said)

    # ---- runs --------------------------------------------------------------------------------------------------

    async def runs(self, request: Request) -> Response:
        """Runs, newest first or largest first."""
        found = asked(Filters, request)
        infos, more = await self._viewer.listed(found)
        listed = []
        for info in infos:
            record = run_record(info, self._viewer.here(info.id))
            record["question"] = None if info.question is None else cut(info.question)
            record["reason"] = None if info.reason is None else cut(info.reason)
            listed.append(record)
        names = await self._viewer.names()
        return data({"runs": listed, "more": more, "names": names, "store": self._viewer.shown})

    async def run(self, request: Request) -> Response:
        """All of a run, but for what was asked in its calls."""
        info = await self._viewer.run(segment(request, "run"))
        records, cursor = await self._viewer.hub.told(info.id)
        told = {"records": records, "cursor": {"event": cursor.event, "call": cursor.call}}
        return await _packed(request, told)

    async def call(self, request: Request) -> Response:
        """The whole of a call."""
        number = request.path_params["call"]
        found = await self._viewer.journal.call(segment(request, "run"), number) if number < 2**63 else None
        if found is None:
            raise nothing("there is no such call.")
        return await _packed(request, full_call(found))

    async def live(self, request: Request) -> Response:
        """What is new of a run, as it comes."""
        info = await self._viewer.run(segment(request, "run"))
        since = asked(From, request)
        cursor = Cursor(since.event, since.call)
        # a browser whose connection was lost says what it has
        last = re.fullmatch(r"(\d{1,18})\.(\d{1,18})", request.headers.get("last-event-id", ""))
        if last is not None:
            cursor = Cursor(int(last[1]), int(last[2]))
        return Live(self._viewer.hub, info.id, cursor, self._viewer.gate)

    # ---- evaluations -------------------------------------------------------------------------------------------

    async def evaluations(self, request: Request) -> Response:
        """The evaluations there are."""
        return data({"evaluations": await self._viewer.evaluations.listed()})

    async def report(self, request: Request) -> Response:
        """The report of one."""
        content = await self._viewer.evaluations.report(segment(request, "id"))
        return HTMLResponse(content.encode("utf-8", "replace"))

    # ---- begun from the page -----------------------------------------------------------------------------------

    async def offers(self, request: Request) -> Response:
        """What a debate can be begun with."""
        return data(await self._viewer.starter.offers.everything(_port(request)))

    async def check(self, request: Request) -> Response:
        """What a debate would take."""
        form = await self._posted(Form, request)
        return data(await self._viewer.starter.check(form, _port(request)))

    async def begin(self, request: Request) -> Response:
        """Begin a debate."""
        form = await self._posted(Form, request)
        return data({"run": await self._viewer.starter.begin(form, _port(request))})

    async def stop(self, request: Request) -> Response:
        """End a run that goes on here."""
        await self._posted(Nothing, request)
        info = await self._viewer.run(segment(request, "run"))
        await self._viewer.starter.stop(info.id)
        return Response(status_code=204)

    async def resume(self, request: Request) -> Response:
        """Go on with a run."""
        await self._posted(Nothing, request)
        info = await self._viewer.run(segment(request, "run"))
        return data({"run": await self._viewer.starter.resume(info)})

    async def seat(self, request: Request) -> Response:
        """Reply for a person."""
        said = await self._posted(Said, request)
        self._viewer.starter.answer(segment(request, "run"), segment(request, "seat"), said.text)
        return Response(status_code=204)

    async def _posted(self, form: type[_F], request: Request) -> _F:
        """The body of a request.

        Raises:
            Refused: naming what is wrong.
        """
        # a form of another page can send no JSON unless that page may ask here
        if request.headers.get("content-type", "").partition(";")[0].strip().casefold() != "application/json":
            raise Refused("the body must be JSON: content-type application/json.", status=415, code="not_json")
        service = self._viewer.service
        with service.room.share() as take:
            async with self._viewer.gate.arrival():
                body = await body_of(request, _BODY, service.limits.arrival, take)
            try:
                return form.model_validate_json(body)
            except ValidationError as errors:
                raise wrong(errors) from None


def _port(request: Request) -> int | None:
    server = request.scope.get("server")
    return server[1] if server else None


def nothing(said: str) -> Refused:
    """That there is nothing at an address."""
    return Refused(said, status=404, code="not_found")


def cut(text: str) -> str:
    """A text as it stands in a list."""
    return text if len(text) <= _LISTED else f"{text[: _LISTED - 1]}…"


def asked(form: type[_F], request: Request) -> _F:
    """The words of an address. One that is empty is not there.

    Raises:
        Refused: naming what is wrong.
    """
    try:
        return form.model_validate({key: value for key, value in request.query_params.items() if value != ""})
    except ValidationError as errors:
        raise wrong(errors) from None
