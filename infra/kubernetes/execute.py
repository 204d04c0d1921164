"""The entry of a flow pod: `prefect flow-run execute`, but its engine is forked instead of started anew.

Prefect 3.8 starts four interpreters one after another for a run (command line, supervisor, workspace resolver, engine),
and each imports Prefect for seconds. The image already holds the code, so there is no workspace to resolve: this module
imports once, forks the engine's process before any thread exists, and leaves everything else (states, signals,
rescheduling on SIGTERM, cancellation, crash reports) to Prefect's own command. Remove it when Prefect starts an engine
without the resolver.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn


@dataclass
class ForkedEngine:
    """A process that waits, with Prefect imported, until it is told which run to execute.

    Attributes:
        pid: Process id.
        returncode: Exit code, negative for a signal; None while it runs.
    """

    pid: int
    _orders: int
    returncode: int | None = None
    _reaped: threading.Lock = field(default_factory=threading.Lock)

    def release(self, environment: Mapping[str, str], folder: str | None) -> None:
        """Let it run the engine with this environment, in this folder."""
        with os.fdopen(self._orders, "w", encoding="utf-8") as pipe:
            json.dump({"environment": dict(environment), "folder": folder}, pipe)

    def wait(self) -> int:
        """Block until it ended and return its exit code."""
        with self._reaped:
            if self.returncode is None:
                _, status = os.waitpid(self.pid, 0)
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def fork_engine() -> ForkedEngine:
    """Fork the engine's process; call it before any thread starts, and after Prefect was imported."""
    orders_read, orders_write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(orders_read)
        return ForkedEngine(pid, orders_write)
    os.close(orders_write)
    _be_engine(orders_read)


def _be_engine(orders: int) -> NoReturn:
    # A session of its own: no signal to the group may reach the engine before Prefect told it what the signal means.
    os.setsid()
    with os.fdopen(orders, encoding="utf-8") as pipe:
        text = pipe.read()
    if not text:
        os._exit(0)
    given = json.loads(text)
    os.environ.clear()
    os.environ.update(given["environment"])
    if given["folder"]:
        os.chdir(given["folder"])
    sys.argv = ["prefect.engine"]
    sys.modules.pop("prefect.engine", None)
    try:
        runpy.run_module("prefect.engine", run_name="__main__")
    except SystemExit as ended:
        sys.stdout.flush()
        sys.stderr.flush()
        code = ended.code
        # Not sys.exit: the callers' frames of the forked parent must not run again here.
        _leave(code if isinstance(code, int) else int(code is not None))
    except BaseException:
        sys.excepthook(*sys.exc_info())
        _leave(1)
    _leave(0)


def _leave(code: int) -> NoReturn:
    import atexit
    import logging

    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def install(engine: ForkedEngine) -> None:
    """Make `prefect flow-run execute` run its flow in the forked process."""
    import anyio.to_thread
    import prefect.cli.flow_run as command
    import prefect.runner._starter_engine as starter_module
    from prefect.flows import load_flow_from_flow_run
    from prefect.runner._hook_runner import HookRunner

    async def run_in_fork(
        command: list[str],
        *,
        stream_output: bool,
        task_status: Any,
        task_status_handler: Any,
        env: Mapping[str, str],
        cwd: str | None = None,
        **_: Any,
    ) -> None:
        engine.release(env, cwd)
        task_status.started(task_status_handler(engine))
        await anyio.to_thread.run_sync(engine.wait, abandon_on_cancel=True)

    class ForkedEngineStarter(starter_module.EngineCommandStarter):
        """Prefect's starter of a fixed command, with the hooks of its starter of workspaces."""

        def __init__(self, *, workspace_root: Path, control_channel: Any) -> None:
            super().__init__(control_channel=control_channel, isolate_process_group=True, env_overrides_settings=True)
            self.hook_runner = HookRunner(resolve_flow=load_flow_from_flow_run)

        def close(self) -> None:
            """Nothing to close: no workspace was made."""

    # The two names that Prefect looks up when it starts a run's process; both are its own places for this.
    vars(starter_module)["run_process"] = run_in_fork
    vars(command)["WorkspaceResolvingEngineCommandStarter"] = ForkedEngineStarter


def main() -> None:
    """Execute the flow run that the environment names."""
    import prefect.cli.flow_run
    import prefect.engine
    import prefect.flow_engine
    import prefect.task_engine

    # A lock held by another thread would stay locked in the fork for ever; then Prefect's own way is the safe one.
    if threading.active_count() == 1:
        install(fork_engine())
    sys.argv = ["prefect", "flow-run", "execute"]
    prefect.cli.app()


if __name__ == "__main__":
    main()
