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
import signal, subprocess, sys, threading
from concurrent.futures import ThreadPoolExecutor
from flows.interrupt import guarded

def wait():
    # Only once the main thread waits, too, is the test told to interrupt it.
    while sys._current_frames()[threading.main_thread().ident].f_code.co_name != "wait":
        pass
    print(child.pid, server.pid, flush=True)
    threading.Event().wait()

with guarded("go on with X", lambda: print("released", flush=True)):
    program = [sys.executable, "-c", "import time; time.sleep(600)"]
    child = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    {before}
    waiting = ThreadPoolExecutor(1).submit(wait)
    {wait}
"""
WAIT = "waiting.result()"
SWALLOW = "exec('while True:\\n  try: waiting.result()\\n  except KeyboardInterrupt: pass')"
# It puts a handler of its own before Python's, with which the kernel goes on with what the main thread waits for.
POLARS = "import polars"


@pytest.mark.parametrize(
    ("before", "wait"),
    [("", WAIT), ("", SWALLOW), (POLARS, WAIT)],
    ids=["the interrupt comes through", "somebody swallows it", "Polars is imported"],
)
def test_ctrl_c_ends_what_waits_for_ever(before: str, wait: str) -> None:
    import psutil

    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(before=before, wait=wait)],
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
