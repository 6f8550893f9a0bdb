"""Who may speak to the server at all: Host, Origin and key are checked before a request is read; bodies are bounded."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

import anyio
from starlette.requests import ClientDisconnect, Request

from agora.serve.asked import Refused

LOOPBACK = ("localhost", "127.0.0.1", "::1")
# without a key: for whoever watches over the server, and the way in for a browser
OPEN = ("/healthz", "/login", "/static/app.js", "/static/app.css")
COOKIE = "agora_pass"
VALID = 7 * 86_400  # seconds for which a browser is let in
# of the page, where a browser's pass is as good as the key; at the endpoints it is not
_PAGES = re.compile(r"/(new|compare|evaluations|logout|(api|runs|evaluations)/.*)?", re.DOTALL)


class Guard:
    """What a request must bring.

    Args:
        key: of the server; None: none is needed.
        hosts: names that the server may be called by; None: any. A page that a browser has open can give its own name
            the address of this machine; it cannot change what the browser sends as Host.
        origins: pages that may ask, besides those of `hosts`.
    """

    def __init__(self, key: str | None, hosts: Sequence[str] | None, origins: Sequence[str] = ()) -> None:
        self._key = key.encode() if key is not None else None
        self._hosts = None if hosts is None else {host.casefold() for host in hosts}
        self._origins = {origin.casefold().rstrip("/") for origin in origins}

    def check(self, request: Request) -> None:
        """Check the headers of a request.

        Raises:
            Refused: if it may not go on.
        """
        host = request.headers.getlist("host")
        if self._hosts is not None and (len(host) != 1 or _name(host[0]) not in self._hosts):
            raise Refused("this server does not go by that name.", status=403, code="host_not_allowed",
                          hint="Use 127.0.0.1 or localhost, or start it with --allow-host NAME.")  # fmt: skip
        origin = request.headers.get("origin")
        if origin is not None and not self._own(origin, host[0] if host else ""):
            raise Refused("pages from elsewhere may not ask this server.", status=403, code="origin_not_allowed",
                          hint="Start it with --allow-origin ORIGIN.")  # fmt: skip
        site = request.headers.getlist("sec-fetch-site")
        if request.scope["path"].startswith("/api/") and {"cross-site", "same-site"} & set(site):
            raise Refused("pages from elsewhere may not ask this server.", status=403, code="origin_not_allowed")
        if self._key is not None and request.scope["path"] not in OPEN and request.method != "OPTIONS":
            if _PAGES.fullmatch(request.scope["path"]) and self._passes(request.cookies.get(COOKIE, "")):
                return
            self._check_key(request)

    @property
    def locked(self) -> bool:
        """Whether a key is needed."""
        return self._key is not None

    def right(self, key: str) -> bool:
        """Whether this is the key."""
        return self._key is not None and hmac.compare_digest(key.encode("utf-8", "replace"), self._key)

    def made_pass(self, now: float | None = None) -> str:
        """A pass for a browser: until when it is valid, and a proof that who made it has the key."""
        until = str(int(time.time() if now is None else now) + VALID)
        return f"{until}.{self._proof(until)}"

    def _passes(self, given: str) -> bool:
        until, _, proof = given.partition(".")
        if not re.fullmatch("[0-9]{1,12}", until) or int(until) < time.time():
            return False
        return hmac.compare_digest(proof.encode("latin-1", "replace"), self._proof(until).encode())

    def _proof(self, until: str) -> str:
        return hmac.new(self._key or b"", f"agora page {until}".encode(), hashlib.sha256).hexdigest()

    def _own(self, origin: str, host: str) -> bool:
        if origin.casefold().rstrip("/") in self._origins:
            return True
        try:
            return urlsplit(origin).netloc.casefold() == host.casefold() != ""
        except ValueError:
            return False

    def _check_key(self, request: Request) -> None:
        assert self._key is not None
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        given = [request.headers.get("x-api-key", ""), token.strip() if kind.casefold() == "bearer" else ""]
        # each is compared, whatever the other said, in a time that says nothing of how much was right
        right = [hmac.compare_digest(each.encode("latin-1", "replace"), self._key) for each in given]
        if not any(right):
            said = "the key is wrong." if any(given) else "a key is needed."
            raise Refused(said, status=401, code="invalid_api_key",
                          hint="Send it as `Authorization: Bearer KEY` or `x-api-key: KEY`.")  # fmt: skip


def _name(host: str) -> str:
    """A Host header without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").casefold()
    except ValueError:
        return ""


def loopback(host: str) -> bool:
    """Whether an address is of this machine alone."""
    if host.casefold() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Room:
    """Memory for the bodies of all requests that are under way.

    Args:
        most: bytes.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.held = 0

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """One request's part of it, for as long as the block lasts: is told the bytes that come.

        Raises:
            Refused: if there is no room for them.
        """
        mine = 0

        def take(size: int) -> None:
            nonlocal mine
            if self.held + size > self._most:
                raise Refused("the server is busy with large requests.", status=429, code="rate_limit_exceeded",
                              hint="Try again later.", retry_after=5)  # fmt: skip
            self.held, mine = self.held + size, mine + size

        try:
            yield take
        finally:
            self.held -= mine


async def body_of(request: Request, most: int, seconds: float, take: Callable[[int], None]) -> bytes:
    """The body of a request.

    Args:
        request: it.
        most: bytes; more are not read.
        seconds: until it must be there.
        take: is told the bytes that come.

    Raises:
        Refused: if it is too large, or too slow.
        ClientDisconnect: if the client has left.
    """
    large = Refused(f"the body is larger than {most:,} bytes.", status=413, code="request_too_large")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > most:
        raise large
    parts, size = [], 0
    with anyio.move_on_after(seconds) as scope:
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise large
            take(len(part))
            parts.append(part)
    if scope.cancelled_caught:
        raise Refused(f"the body was not there within {seconds:g} seconds.", status=408, code="timeout")
    return b"".join(parts)


__all__ = ["LOOPBACK", "ClientDisconnect", "Guard", "Room", "body_of", "loopback"]
