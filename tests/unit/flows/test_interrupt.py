"""Ctrl-C ends a command although a thread of it waits, frees what the command holds, and says how to go on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows import interrupt

CHECKOUT = Path(interrupt.__file__).parents[1]
SCRIPT = """
import subprocess, sys, threading
from concurrent.futures import ThreadPoolExecutor
from flows.interrupt import guarded
never = threading.Event()
with guarded("go on with X", lambda: print("released", flush=True)):
    program = [sys.executable, "-c", "import time; time.sleep(600)"]
    child = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    pool = ThreadPoolExecutor(1)
    waiting = pool.submit(never.wait)
    print(child.pid, server.pid, flush=True)
    {wait}
"""


@pytest.mark.parametrize(
    "wait",
    ["waiting.result()", "exec('while True:\\n  try: waiting.result()\\n  except KeyboardInterrupt: pass')"],
    ids=["the interrupt comes through", "somebody swallows it"],
)
def test_ctrl_c_ends_what_waits_for_ever(wait: str) -> None:
    import psutil

    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(wait=wait)],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as command:
        assert command.stdout is not None
        child, server = (psutil.Process(int(pid)) for pid in command.stdout.readline().split())
        command.send_signal(signal.SIGINT)
        said, errors = command.communicate(timeout=60)
    try:
        assert command.returncode == interrupt.INTERRUPTED
        assert said == "released\n"
        assert errors == "\ninterrupted: go on with X\n"
        assert psutil.wait_procs([child], timeout=60)[1] == []
        assert server.is_running()
    finally:
        server.kill()
