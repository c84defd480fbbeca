"""What goes wrong between a client and a busy site, from a seed: middleware around the booru.

What befalls a request follows from the seed, its address and how often that address was asked for,
so that two runs meet the same faults in whatever order they ask. Storms of 429 alone follow the
count of all requests, since that is what brings them.
"""

import asyncio
import contextlib
import hashlib
import socket
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from prep.demo.manners import CHALLENGE, CHALLENGE_HEADERS, refusal_response

# The share of addresses that each trouble befalls, of files and of the API.
FILE_TROUBLES: Mapping[str, float] = {
    **{"cut": 0.10, "reset": 0.04, "stalled": 0.02, "busy": 0.04, "challenged": 0.02},
    **{"wrong": 0.05, "spoilt": 0.02, "gone": 0.03},
}
API_TROUBLES: Mapping[str, float] = {
    **{"cut": 0.08, "reset": 0.06, "stalled": 0.03, "busy": 0.08, "challenged": 0.05},
}
FOR_EVER = ("spoilt", "gone")  # the others pass after one or two requests
GONE = (404, 410, 451)
SHORT = 0.6  # share of listing pages that hold fewer posts than were asked for
ANSWERED = (200, 206)
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, no time, so that closing sends RST

Address = tuple[str, int]


@dataclass
class Faults:
    """Faults of one seed. One object belongs to one server.

    stall: seconds for which a stalled answer sends nothing.
    retry_after: seconds that a 503 asks for, as a number and as a date in turn.
    storm_every, storm: in each so many requests to API or files, so many in a row get 429.
    """

    seed: int = 0
    stall: float = 90.0
    retry_after: int = 30
    storm_every: int = 100
    storm: int = 12
    _asked: Counter[str] = field(default_factory=Counter)  # by address, and of all
    _transports: dict[Address, asyncio.Transport] = field(default_factory=dict)

    def trouble(self, address: str) -> str:
        """What befalls an address ("/original/ab/cd/x.png"); "" where all is well."""
        shares = API_TROUBLES if _is_api(address) else FILE_TROUBLES
        drawn = self._drawn("trouble", address)
        for name, share in shares.items():
            drawn -= share
            if drawn < 0:
                return name
        return ""

    def around(self, app: ASGIApp) -> ASGIApp:
        """Return `app` with faults before and behind it."""

        async def faulty(scope: Scope, receive: Receive, send: Send) -> None:
            address = _address(scope)
            if self._in_storm(address):
                text = "You're doing that too fast. Wait a minute and try again."
                await refusal_response(HTTPException(429, text))(scope, receive, send)
                return
            times = self._asked[address]
            self._asked[address] += 1
            trouble = self.trouble(address)
            lasting = trouble in FOR_EVER or times < 1 + (self._drawn("times", address) < 0.5)
            scope = self._shortened(scope)
            if not (trouble and lasting):
                await app(scope, receive, send)
            elif refusal := self._refusal(trouble, address, times):
                await refusal(scope, receive, send)
            else:
                await self._spoil(trouble, app, scope, receive, send)

        return faulty

    def protocol(self) -> type[H11Protocol]:
        """The server's protocol, which tells us its connections, so that we can break them."""
        transports = self._transports

        class Breakable(H11Protocol):
            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
                super().connection_made(transport)
                if self.client:
                    transports[self.client] = transport

            def connection_lost(self, exc: Exception | None) -> None:
                if self.client:
                    transports.pop(self.client, None)
                super().connection_lost(exc)

        return Breakable

    def _in_storm(self, address: str) -> bool:
        kind = "all of the api" if _is_api(address) else "all files"
        number = self._asked[kind]
        self._asked[kind] += 1
        window, place = divmod(number, self.storm_every)
        start = int(self._drawn(kind, str(window)) * (self.storm_every - self.storm))
        return start <= place < start + self.storm

    def _refusal(self, trouble: str, address: str, times: int) -> Response | None:
        """The answer that tells of the trouble, where one does."""
        if trouble == "gone":
            status = GONE[int(self._drawn("status", address) * len(GONE))]
            return refusal_response(HTTPException(status, "That record was not found."))
        if trouble == "challenged":
            return HTMLResponse(CHALLENGE, 403, CHALLENGE_HEADERS)
        if trouble == "busy":
            later = datetime.now(UTC) + timedelta(seconds=self.retry_after)
            asked = format_datetime(later, usegmt=True) if times % 2 else str(self.retry_after)
            text = "The site is down for maintenance."
            return refusal_response(HTTPException(503, text, {"retry-after": asked}))
        return None

    async def _spoil(
        self, trouble: str, app: ASGIApp, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if trouble == "reset":
            await self._break(scope, receive, reset=True)
            return
        start, body = await _answered(app, scope, receive)
        half = len(body) // 2
        if start["status"] not in ANSWERED or half == 0:
            trouble = ""
        if trouble in ("wrong", "spoilt"):
            body = body[:half] + bytes([body[half] ^ 0x55]) + body[half + 1 :]
        await send(start)
        if trouble in ("cut", "stalled"):
            await send({"type": "http.response.body", "body": body[:half], "more_body": True})
            if trouble == "cut":
                await self._break(scope, receive)
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(_disconnected(receive), self.stall)
            body = body[half:]
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _break(self, scope: Scope, receive: Receive, *, reset: bool = False) -> None:
        transport = self._transports[tuple(scope["client"])]
        if reset:
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        transport.abort()
        await _disconnected(receive)

    def _shortened(self, scope: Scope) -> Scope:
        """The request for a listing page, asking for fewer posts; only where the cursor is used.

        A short page must not lose posts: what it leaves out stands on the next one.
        """
        query = {name: values[0] for name, values in parse_qs(scope["query_string"]).items()}
        page, limit = query.get(b"page", b"1"), query.get(b"limit", b"")
        cursor = page.startswith(b"b") or (
            page == b"1" and b"order:" not in query.get(b"tags", b"")
        )
        drawn = self._drawn("short", _address(scope))
        if scope["path"] != "/posts.json" or not cursor or not limit.isdigit() or drawn >= SHORT:
            return scope
        fewer = max(1, int(int(limit) * drawn / SHORT))
        return {**scope, "query_string": urlencode({**query, b"limit": fewer}).encode()}

    def _drawn(self, what: str, address: str) -> float:
        """A number of [0, 1) that the seed gives to an address."""
        text = f"{self.seed} {what} {address}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=6).digest()) / 2**48


def _is_api(address: str) -> bool:
    return address.partition("?")[0].endswith(".json")


def _address(scope: Scope) -> str:
    query = scope["query_string"].decode("latin-1")
    return Request(scope).url.path + (f"?{query}" if query else "")


async def _answered(app: ASGIApp, scope: Scope, receive: Receive) -> tuple[Message, bytes]:
    """The start and the whole body of the app's answer."""
    start: dict[str, Any] = {}
    body = bytearray()

    async def keep(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            body.extend(message.get("body", b""))

    await app(scope, receive, keep)
    return start, bytes(body)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
