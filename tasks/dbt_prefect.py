"""The process in which dbt runs when its nodes are to be seen as Prefect task runs of the flow that asked for it."""

from __future__ import annotations

import logging
import pickle
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from tasks.dbt import CONTEXT_UNUSABLE, PROJECT

# Less than tasks.dbt gives an interrupted dbt before it is ended by force.
_SECONDS_TO_FINISH = 20.0


def main(arguments: Sequence[str], context: bytes) -> int:
    """Run dbt inside the flow run whose context was handed over; return dbt's exit code, or CONTEXT_UNUSABLE.

    Args:
        arguments: dbt's arguments, the verb first, with --project-dir, --profiles-dir and --target-path.
        context: Pickled result of `prefect.context.serialize_context`, from our own parent process.
    """
    from dbt_common.events.base_types import EventLevel
    from prefect.context import hydrated_context
    from prefect_dbt import PrefectDbtRunner, PrefectDbtSettings  # type: ignore[import-untyped]

    class Runner(PrefectDbtRunner):  # type: ignore[misc]
        """Shows models, snapshots and seeds, but not tests.

        There are five times as many tests as models, each a thread, a task run and a dozen API calls, all of it for
        something that takes 50 ms. Failed tests are rows of the flow's own artifact.
        """

        def _get_manifest_node_and_config(self, node_id: str) -> tuple[Any, dict[str, Any]]:
            if node_id.startswith(("test.", "unit_test.")):
                return None, {}
            found: tuple[Any, dict[str, Any]] = super()._get_manifest_node_and_config(node_id)
            return found

        def _run_post_model_hooks(self, node_id: str, event_data: dict[str, Any], event_message: str) -> None:
            print(f"{node_id}: {event_data.get('node_info', {}).get('node_status', 'finished')}", flush=True)
            super()._run_post_model_hooks(node_id, event_data, event_message)

    # The flow that follows us says level and time.
    logging.basicConfig(format="%(message)s")
    logging.getLogger("prefect.task_runs").setLevel(logging.WARNING)
    # Prefect loads a deployment's flow from its file, as a top-level module, and the context names it so.
    sys.path.append(str(PROJECT.parent / "flows"))
    # Lines of single nodes belong to task runs; people follow the run by what the parent prints.
    settings = PrefectDbtSettings(project_dir=PROJECT, profiles_dir=PROJECT, log_level=EventLevel.WARN)
    with ExitStack() as stack:
        try:
            stack.enter_context(hydrated_context(pickle.loads(context)))  # noqa: S301 - of our parent process
        except Exception as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            return CONTEXT_UNUSABLE
        # A failing node is read from run_results.json: raising for it would fail differently for each dbt command.
        # Assets double the calls to the API for each model and show the same tables that dbt documents.
        runner = Runner(settings=settings, raise_on_failure=False, disable_assets=True)
        try:
            result = runner.invoke(list(arguments))
        except ValueError as error:
            print(error, flush=True)
            return 2
        finally:
            _finish_task_runs()
    return 0 if result.success else 1


def _finish_task_runs() -> None:
    """Wait for prefect-dbt's daemon threads: ending with the process they would leave task runs Running for ever."""
    deadline = time.monotonic() + _SECONDS_TO_FINISH
    for thread in threading.enumerate():
        if "(run_task)" in thread.name:
            thread.join(max(deadline - time.monotonic(), 0.0))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdin.buffer.read()))
