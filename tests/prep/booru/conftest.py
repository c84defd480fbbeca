"""A real HTTP server that answers what a test tells it to, and remembers what it was asked."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from prep.booru import session


@dataclass(frozen=True)
class Asked:
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # names in lower case


@dataclass
class Answer:
    status: int = 200
    body: bytes = b"[]"
    headers: dict[str, str] = field(default_factory=dict)
    short: int = 0  # bytes that are promised and never come


class Server:
    """`answers`: what comes next, the last one for ever; or a function of what is asked."""

    def __init__(self, port: int) -> None:
        self.netloc = f"127.0.0.1:{port}"
        self.url = f"http://{self.netloc}"
        self.asked: list[Asked] = []
        self.answers: list[Answer] | Callable[[Asked], Answer] = [Answer()]

    def reply(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        if callable(self.answers):
            return self.answers(asked)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def serving() -> tuple[Server, ThreadingHTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = server.reply(Asked(parts.path, query, headers))
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(answer.body) + answer.short))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = Server(http.server_port)
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    return server, http


@pytest.fixture
def server() -> Iterator[Server]:
    server, http = serving()
    yield server
    http.shutdown()
    http.server_close()


@pytest.fixture
def other() -> Iterator[Server]:
    """The host of the files."""
    server, http = serving()
    yield server
    http.shutdown()
    http.server_close()


@pytest.fixture
def answer() -> type[Answer]:
    return Answer


@pytest.fixture
def nobody() -> str:
    """An address of this machine at which nobody listens."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as http:
        return f"127.0.0.1:{http.server_port}"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "BACK_OFF", 0.01)
    monkeypatch.setattr(session, "CHALLENGE_PAUSE", 0.01)
