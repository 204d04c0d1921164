"""Ctrl-C ends a command within two seconds, whatever its threads wait for: no state is lost, as none is in memory."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator

INTERRUPTED = 130
"""Exit code of a command that was ended by Ctrl-C, as shells have it."""

# What still runs after this has only answers of servers to wait for; a person has been told two seconds.
_PATIENCE_SECONDS = 1.2


@contextlib.contextmanager
def guarded(say: str, release: Callable[[], None]) -> Iterator[None]:
    """Have Ctrl-C end the process in time; to be entered in the main thread.

    Args:
        say: What is told the person who pressed it: what became of the work, and how to go on.
        release: Frees what the command holds outside the process, such as a server that it started.
    """
    raised = threading.Event()
    pressed, wakes = socket.socketpair()
    wakes.setblocking(False)

    def interrupted(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    def watch() -> None:
        if not any(number == signal.SIGINT for number in iter(lambda: int.from_bytes(pressed.recv(1)), 0)):
            return
        print(f"\ninterrupted: {say}", file=sys.stderr, flush=True)
        signal.pthread_kill(main, signal.SIGUSR1)
        raised.wait(_PATIENCE_SECONDS)
        _end_children()
        with contextlib.suppress(Exception):
            release()
        os._exit(INTERRUPTED)

    # A thread, woken by the signal itself: Polars has the kernel go on with what the main thread waits for, so that
    # Python's own handler runs only when that is over. Another signal ends the wait, whatever it is.
    main = threading.get_ident()
    watcher = threading.Thread(target=watch, name="interrupt", daemon=True)
    watcher.start()
    waking = signal.set_wakeup_fd(wakes.fileno())
    handlers = {
        signal.SIGINT: signal.signal(signal.SIGINT, interrupted),
        signal.SIGUSR1: signal.signal(signal.SIGUSR1, lambda number, frame: None),
    }
    try:
        yield
    except KeyboardInterrupt:
        raised.set()
        # It ends the process: threads that are left would be waited for when the interpreter ends.
        watcher.join()
    finally:
        signal.set_wakeup_fd(waking)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        wakes.close()


def _end_children() -> None:
    """End what this command started for itself, such as dbt; servers have sessions of their own and stay."""
    import psutil

    own = os.getsid(0)
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError, PermissionError):
            if os.getsid(child.pid) == own:
                child.terminate()
