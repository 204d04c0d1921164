"""One HTTP server for all fakes: each answers below a prefix of its own, and can be told to fail."""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
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


class Handler(BaseHTTPRequestHandler):
    """Takes requests for fakes and sends their answers."""

    protocol_version = "HTTP/1.1"
    # Without it each answer waits for the acknowledgement of its headers.
    wbufsize = -1
    disable_nagle_algorithm = True

    def asked(self, path: str) -> Asked:
        """Read the request, as one for a path below a fake's prefix."""
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Asked(self.command, unquote(path), urlsplit(self.path).query, headers, body)

    def send(self, answer: Answer) -> None:
        """Send an answer."""
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

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the fakes keep their own log."""


class Loopback:
    """A server on one port of this machine, serving while its context is open.

    Args:
        handler: Of its requests.
        port: The port; 0 takes a free one.
    """

    def __init__(self, handler: type[Handler], port: int = 0) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """Address of the server, without a prefix."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self) -> None:
        """Serve until the process ends."""
        self._server.serve_forever()


class Server(Loopback):
    """The fakes on one port of this machine.

    Args:
        fakes: By prefix.
        port: The port; 0 takes a free one.
    """

    def __init__(self, fakes: Mapping[str, Fake], port: int = 0) -> None:
        class ByPrefix(Handler):
            def _any(self) -> None:
                prefix, _, path = urlsplit(self.path).path.lstrip("/").partition("/")
                fake = fakes.get(prefix)
                asked = self.asked(path)
                self.send(fake.handle(asked) if fake else Answer({"error": "no such service"}, 404))

            do_GET = do_POST = _any

        super().__init__(ByPrefix, port)
