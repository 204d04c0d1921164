"""One HTTP server for all fakes: each answers below a prefix of its own, and can be told to fail."""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit


@dataclass(frozen=True)
class Asked:
    """A request as it came, below the fake's prefix."""

    method: str
    path: str
    raw_query: str
    headers: Mapping[str, str]
    body: bytes

    @cached_property
    def query(self) -> dict[str, str]:
        """Parameters of the query."""
        return dict(parse_qsl(self.raw_query, keep_blank_values=True))

    @cached_property
    def form(self) -> dict[str, str]:
        """Fields of a form."""
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))

    @cached_property
    def json(self) -> Any:
        """Body as JSON."""
        return json.loads(self.body or b"null")


@dataclass
class Answer:
    """What is sent back.

    Attributes:
        body: Sent as JSON; bytes are sent as they are.
        status: HTTP status.
        headers: Beside the usual ones.
        cut: Number of bytes after which the connection is closed; None sends all.
    """

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None

    def payload(self) -> bytes:
        """Return the bytes of the body."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass
class Fault:
    """An answer in place of the true one.

    Attributes:
        answer: What is sent.
        times: How often.
        where: Which requests; default all.
    """

    answer: Answer
    times: int = 1
    where: Callable[[Asked], bool] = lambda asked: True


class Fake(ABC):
    """One service: answers requests, keeps a log of them, and fails where it is told to."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.log: list[Asked] = []
        self.faults: list[Fault] = []

    def fail(self, answer: Answer, times: int = 1, where: Callable[[Asked], bool] = lambda asked: True) -> None:
        """Give another answer than the true one for the next requests."""
        self.faults.append(Fault(answer, times, where))

    def handle(self, asked: Asked) -> Answer:
        """Return the answer to a request."""
        with self.lock:
            self.log.append(asked)
            for fault in self.faults:
                if fault.times > 0 and fault.where(asked):
                    fault.times -= 1
                    return fault.answer
            return self.answer(asked)

    @abstractmethod
    def answer(self, asked: Asked) -> Answer:
        """Return the true answer."""


class Server:
    """The fakes on one port of this machine.

    Args:
        fakes: By prefix.
        port: The port; 0 takes a free one.
    """

    def __init__(self, fakes: Mapping[str, Fake], port: int = 0) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Without it each answer waits for the acknowledgement of its headers.
            wbufsize = -1
            disable_nagle_algorithm = True

            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                address = urlsplit(self.path)
                prefix, _, path = address.path.lstrip("/").partition("/")
                fake = fakes.get(prefix)
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, unquote(path), address.query, headers, body)
                answer = fake.handle(asked) if fake else Answer({"error": "no such service"}, 404)
                payload = answer.payload()
                self.send_response(answer.status)
                for name, value in {"content-type": "application/json", **answer.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload if answer.cut is None else payload[: answer.cut])
                self.wfile.flush()
                if answer.cut is not None:
                    self.close_connection = True

            do_GET = do_POST = _any

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing: the fakes keep their own log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """Address of the server, without a prefix."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Server:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self) -> None:
        """Serve until the process ends."""
        self._server.serve_forever()
