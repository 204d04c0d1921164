"""Servers that a test or a benchmark starts as a person would: the dashboard by its own command."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager

from monitoring import reader
from monitoring.dashboard.server import command
from tasks.database import connect


@contextmanager
def dashboard(url: str, role: str) -> Iterator[str]:
    """Serve the dashboard of a warehouse to a reading role, which is made and dropped, and give its address."""
    with connect(url, autocommit=True) as connection:
        reader.apply(connection, role, "secret")
    port = free_port()
    environment = {**os.environ, "WAREHOUSE_READER_URL": reader.as_role(url, role, "secret")}
    process = subprocess.Popen(command("127.0.0.1", port), env=environment, stdout=subprocess.DEVNULL)
    try:
        until_it_answers(f"http://127.0.0.1:{port}/_stcore/health", process, 60)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)
        with connect(url, autocommit=True) as connection:
            connection.execute(f"drop owned by {role}; drop role {role}".encode())


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def until_it_answers(url: str, process: subprocess.Popen[bytes], patience: float) -> None:
    """Wait until an address answers with 200, for so many seconds and as long as its process lives."""
    until = time.monotonic() + patience
    while True:
        assert process.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert answer.status == 200
                return
        except OSError:
            assert time.monotonic() < until, "the server does not answer"
            time.sleep(0.2)
