"""The embedded booru over HTTP: routes, statuses and errors as Danbooru's, made with Starlette.

`Site(world).app` is the ASGI application. What was asked is kept in `Site.calls`, so that tests can
count what a client did and see what it sent where.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prep.demo import answers, manners
from prep.demo.answers import Reader
from prep.demo.faults import Faults
from prep.demo.files import file_response
from prep.demo.index import Listing, TagIndex
from prep.demo.manners import Account, Limiter, Rate
from prep.demo.world import ALIAS_ROWS, IMPLICATION_ROWS, World

MAX_POSTS, MAX_ROWS, DEFAULT_ROWS = 200, 1000, 20
KEPT_CALLS = 100_000  # at least so many of the last ones; a server may run for days
KEPT_HEADERS = ("user-agent", "authorization", "cookie", "range", "if-range", "host")


@dataclass(frozen=True)
class Call:
    """One request as it came, and the status it was answered with."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    status: int


@dataclass
class Site:
    """A world, served.

    url: where it answers, without a slash at the end.
    file_base: where its JSON says the files lie; left out: where the JSON was asked for.
    api_rate, file_rate: None means no limit.
    heavy: searches that must put more posts than this in order run into the database's timeout,
        and so do counts of more; None means never.
    now: the clock that `age:` counts from.
    faults: what goes wrong on the way; None: nothing.
    """

    world: World
    url: str = ""
    file_base: str = ""
    api_rate: Rate | None = None
    file_rate: Rate | None = None
    heavy: int | None = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    faults: Faults | None = None
    calls: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.listing = Listing(self.world, self.now, self.heavy)
        self.tags = TagIndex(self.world)
        self._api = Limiter("api", self.api_rate)
        self._files = Limiter("media", self.file_rate)
        app: ASGIApp = self._routes()
        self.app: ASGIApp = self._watched(self.faults.around(app) if self.faults else app)

    def count(self, start: str) -> int:
        """How many requests asked for a path that begins so."""
        return sum(call.path.startswith(start) for call in list(self.calls))

    def _routes(self) -> Starlette:
        api = self._endpoint
        return Starlette(
            routes=[
                Route("/posts.json", api(self._posts)),
                Route("/posts/{id:int}.json", api(self._post)),
                Route("/counts/posts.json", api(self._counts)),
                Route("/tags.json", api(self._tags)),
                Route("/tags/{id:int}.json", api(self._tag)),
                Route("/tag_aliases.json", api(self._aliases)),
                Route("/tag_implications.json", api(self._implications)),
                Route("/profile.json", api(self._profile)),
                Route("/", self._front_page),
                Route("/{kind}/{first}/{second}/{name}", self._file),
                Route("/{path:path}", self._elsewhere),
            ],
            exception_handlers={HTTPException: _error},
        )

    def _watched(self, app: ASGIApp) -> ASGIApp:
        """What stands before the site: the log of calls, and the challenge to robots."""

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            request = Request(scope)
            answer = app
            if manners.challenged(request.headers.get("user-agent", "")):
                answer = HTMLResponse(manners.CHALLENGE, 403, manners.CHALLENGE_HEADERS)
            await answer(scope, receive, self._noting(request, send))

        return watched

    def _noting(self, request: Request, send: Send) -> Callable[[Message], Awaitable[None]]:
        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = {
                    name: request.headers[name] for name in KEPT_HEADERS if name in request.headers
                }
                query = dict(request.query_params)
                call = Call(request.method, request.url.path, query, headers, message["status"])
                self.calls.append(call)
                if len(self.calls) > 2 * KEPT_CALLS:
                    del self.calls[:KEPT_CALLS]
            await send(message)

        return noting

    def _endpoint(self, answer: Callable[[Request, Account], Any]) -> Callable[[Request], Response]:
        """The checks that every API route begins with, around the one that answers."""

        def endpoint(request: Request) -> Response:
            account = manners.account_of(request.headers, request.query_params)
            if account is None:
                raise HTTPException(401, "Invalid name or API key.")
            headers = _allowed(self._api, _asker(request, account))
            if account.permitted is not None and request.url.path not in account.permitted:
                raise HTTPException(403, "Access denied.", headers)
            if any("\0" in value or "\ufffd" in value for value in request.query_params.values()):
                raise HTTPException(400, "Invalid encoding for parameter.", headers)
            try:
                return JSONResponse(answer(request, account), headers=headers)
            except HTTPException as refusal:
                raise HTTPException(
                    refusal.status_code, refusal.detail, {**headers, **(refusal.headers or {})}
                ) from refusal

        return endpoint

    def _reader(self, request: Request, account: Account) -> Reader:
        return Reader(account, self.file_base or str(request.base_url).rstrip("/"))

    def _posts(self, request: Request, account: Account) -> Any:
        query = request.query_params
        reader, only = self._reader(request, account), answers.parse_only(query.get("only", ""))
        if "md5" in query:
            found = self.world.with_md5(query["md5"].lower())
            if found is None or not found.visible_to(account.level):
                raise HTTPException(404, "That record was not found.")
            return answers.post_json(found, self.world, reader, only)
        search = self.listing.search(query.get("tags", ""), account)
        limit = _limit(query.get("limit"), search.query.limit or DEFAULT_ROWS, MAX_POSTS)
        page = self.listing.page(search, query.get("page") or "1", limit, account)
        return [answers.post_json(post, self.world, reader, only) for post in page]

    def _post(self, request: Request, account: Account) -> Any:
        post = self.world.post(request.path_params["id"])
        if post is None:
            raise HTTPException(404, "That record was not found.")
        only = answers.parse_only(request.query_params.get("only", ""))
        return answers.post_json(post, self.world, self._reader(request, account), only)

    def _counts(self, request: Request, account: Account) -> Any:
        search = self.listing.search(request.query_params.get("tags") or "", account)
        return {"counts": {"posts": self.listing.count(search)}}

    def _tags(self, request: Request, account: Account) -> Any:
        query = request.query_params
        limit = _limit(query.get("limit"), DEFAULT_ROWS, MAX_ROWS)
        rows = self.tags.search(query, limit, account)
        return [self._tag_json(row.id, request, account) for row in rows]

    def _tag(self, request: Request, account: Account) -> Any:
        return self._tag_json(request.path_params["id"], request, account)

    def _tag_json(self, id: int, request: Request, account: Account) -> Any:
        row = self.tags.rows.get(id)
        if row is None:
            raise HTTPException(404, "That record was not found.")
        answer = answers.tag_json(row, self.tags.counts()[row.name], self._reader(request, account))
        return answers.trimmed(answer, answers.parse_only(request.query_params.get("only", "")))

    def _aliases(self, request: Request, account: Account) -> Any:
        return self._relations(ALIAS_ROWS, request, account)

    def _implications(self, request: Request, account: Account) -> Any:
        return self._relations(IMPLICATION_ROWS, request, account)

    def _relations(
        self, rows: tuple[tuple[str, str, str], ...], request: Request, account: Account
    ) -> Any:
        query = request.query_params
        limit = _limit(query.get("limit"), DEFAULT_ROWS, MAX_ROWS)
        found = self.tags.relations(rows, query, limit, account)
        only, reader = answers.parse_only(query.get("only", "")), self._reader(request, account)
        return [answers.trimmed(answers.relation_json(*row, reader), only) for row in found]

    def _profile(self, request: Request, account: Account) -> Any:
        if account is manners.ANONYMOUS:
            raise HTTPException(404, "That record was not found.")
        return answers.profile_json(account, self._reader(request, account))

    def _front_page(self, request: Request) -> Response:
        return PlainTextResponse(f"kiroku's embedded booru: {len(self.world.ids)} posts\n")

    def _file(self, request: Request) -> Response:
        """Any file of any post. The file host knows no accounts."""
        headers = _allowed(self._files, _asker(request, manners.ANONYMOUS))
        return file_response(self.world, request, headers)

    def _elsewhere(self, request: Request) -> Response:
        name, _, kind = request.url.path.strip("/").partition(".")
        if kind != "json" and name in _PAGES:
            raise HTTPException(406, f"{kind or 'html'} is not a supported format for this page.")
        raise HTTPException(404, "That record was not found.")


_PAGES = ("posts", "tags", "tag_aliases", "tag_implications", "counts/posts", "profile")


def _asker(request: Request, account: Account) -> str:
    address = request.client.host if request.client else "unknown"
    return f"ip/{address}" if account is manners.ANONYMOUS else f"users/{account.name}"


def _allowed(limiter: Limiter, asker: str) -> dict[str, str]:
    """The header that tells the limit's state; refuses with 429 where the bucket is empty."""
    allowed, headers = limiter.ask(asker)
    if not allowed:
        raise HTTPException(
            429, "You're doing that too fast. Wait a minute and try again.", headers
        )
    return headers


def _limit(text: str | None, default: int, most: int) -> int:
    wanted = int(text) if text and re.fullmatch(r"\d{1,9}", text) else default
    return min(wanted, most)


def _error(request: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, HTTPException)
    return manners.refusal_response(refusal)
