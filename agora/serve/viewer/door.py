"""The way in for a browser where the server has a key: it is given once, and a pass is kept that is not the key."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote

import anyio
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from agora.lettering import escaped
from agora.serve.asked import Refused
from agora.serve.guard import COOKIE, VALID, body_of

if TYPE_CHECKING:
    from agora.serve.viewer.viewer import Viewer

LOGIN = {
    "content-security-policy": "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "cache-control": "no-store",
    "referrer-policy": "same-origin",  # with none, a browser would not say that its form is ours
}
_SLOW, _AT_A_TIME = 1.0, 4  # seconds that a wrong key takes, and how many are taken at a time
_BODY = 10_000  # bytes


class Door:
    """Lets browsers in.

    Args:
        viewer: whose server.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._trying = 0

    async def show(self, request: Request) -> Response:
        """The page that asks for the key; it needs no script."""
        if not self._viewer.service.guard.locked:
            return RedirectResponse("/", 303)
        return _page(_inside(request.query_params.get("next", "")), "")

    async def enter(self, request: Request) -> Response:
        """Take the key, and give a pass for it."""
        service = self._viewer.service
        kind = request.headers.get("content-type", "").partition(";")[0].strip().casefold()
        if kind != "application/x-www-form-urlencoded":
            raise Refused("the key comes as a form.", status=415, code="not_a_form")
        with service.room.share() as take:
            async with self._viewer.gate.arrival():
                body = await body_of(request, _BODY, service.limits.arrival, take)
        try:
            given = parse_qs(body.decode("utf-8", "replace"), max_num_fields=10)
        except ValueError:
            raise Refused("the form has too many fields.") from None
        key, after = given.get("key", [""])[0].strip(), _inside(given.get("next", [""])[0])
        if self._trying >= _AT_A_TIME:  # else keys could be tried as fast as they come
            raise Refused("too many keys are tried now.", status=429, code="rate_limit_exceeded",
                          hint="Try again in a moment.", retry_after=2)  # fmt: skip
        if not service.guard.right(key):
            self._trying += 1
            try:
                await anyio.sleep(_SLOW)
            finally:
                self._trying -= 1
            return _page(after, "This is not the key.", 401)
        response = RedirectResponse(after, 303)
        secure = request.url.scheme == "https" or request.headers.get("origin", "").startswith("https:")
        response.set_cookie(COOKIE, service.guard.made_pass(), max_age=VALID, path="/", httponly=True,
                            samesite="strict", secure=secure)  # fmt: skip
        return response

    async def leave(self, request: Request) -> Response:
        """Take the pass back."""
        response = RedirectResponse("/login", 303)
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
        return response


def _inside(address: str) -> str:
    """An address of this server, or its first page: nobody is sent elsewhere from here."""
    if not re.fullmatch(r"/(?![/\\])[^\x00-\x20\\]{0,2000}", address):
        return "/"
    return quote(address, safe="/?=&%:.-_~!$'()*+,;@")


def _page(after: str, said: str, status: int = 200) -> Response:
    note = f'<p class="error" role="alert">{escaped(said)}</p>' if said else ""
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><title>agora</title>'
        '<link rel="stylesheet" href="/static/app.css"></head><body><main id="main" class="login"><h1>agora</h1>'
        f'<form method="post" action="/login">{note}<label>Key of this server <input type="password" name="key" '
        'autocomplete="current-password" required autofocus></label>'
        f'<input type="hidden" name="next" value="{escaped(after)}"><button>Enter</button></form></main></body></html>',
        status,
    )
