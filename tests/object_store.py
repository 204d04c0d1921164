"""A real S3 store for the tests: versitygw over a folder, on loopback."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil

from infra.embedded import process

BUCKET = "landing"
_KEYS = ("tests", "tests-only")


class ObjectStore:
    """The server; it may be stopped, killed and started again over the same objects.

    Args:
        binary: The program.
        folder: Where the objects are.
    """

    def __init__(self, binary: Path, folder: Path) -> None:
        self._binary, self._folder = binary, folder
        self.port = process.choose_port(0)
        for name in ("sidecar", f"objects/{BUCKET}"):
            (folder / name).mkdir(parents=True)
        self.start()

    @staticmethod
    def binary() -> Path | None:
        """Return the program: `dist/versitygw`, where .ci/run builds it, else the one on the PATH."""
        built = Path(__file__).parents[1] / "dist" / "versitygw"
        found = str(built) if built.exists() else shutil.which("versitygw")
        return Path(found) if found else None

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs beside the URL of the root."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": _KEYS[0],
            "AWS_SECRET_ACCESS_KEY": _KEYS[1],
        }

    def start(self) -> None:
        """Start the server, and wait until it listens."""
        place = ["posix", "--sidecar", str(self._folder / "sidecar"), str(self._folder / "objects")]
        command = [str(self._binary), "--quiet", "--port", f"127.0.0.1:{self.port}", *place]
        keys = {"ROOT_ACCESS_KEY": _KEYS[0], "ROOT_SECRET_KEY": _KEYS[1]}
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, env=os.environ | keys, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while process.port_free(self.port):
            assert self._process.poll() is None and time.monotonic() < deadline, process.log_tail(
                self._folder / "server.log"
            )
            time.sleep(0.02)

    def kill(self) -> None:
        """End the server without a word."""
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Let connections be opened, and nothing be answered."""
        self._process.send_signal(signal.SIGSTOP)
        # Its threads may still answer between the signal and the stop.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def go_on(self) -> None:
        """Answer again."""
        self._process.send_signal(signal.SIGCONT)

    def connected(self, pid: int) -> bool:
        """Return whether a process has an open connection to the server."""
        found = psutil.Process(pid).net_connections("tcp")
        return any(one.raddr and one.raddr.port == self.port and one.status == "ESTABLISHED" for one in found)
