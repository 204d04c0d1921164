"""The process in which dbt runs when each node is to be seen as a Prefect task run of the flow that asked for it."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str], context: bytes) -> int:
    """Run dbt inside the flow run whose context was handed over; return dbt's exit code.

    Args:
        arguments: dbt's arguments, the verb first, with --project-dir, --profiles-dir and --target-path.
        context: Pickled result of `prefect.context.serialize_context`, from our own parent process.
    """
    from dbt_common.events.base_types import EventLevel
    from prefect.context import hydrated_context
    from prefect_dbt import PrefectDbtRunner, PrefectDbtSettings

    # Lines of single nodes belong to task runs; people follow the run by what the parent prints.
    settings = PrefectDbtSettings(log_level=EventLevel.WARN)
    with hydrated_context(pickle.loads(context)):  # noqa: S301 - written by the parent process a moment ago
        # A failing node is read from run_results.json: raising for it would fail differently for each dbt command.
        # Assets double the calls to the API for each model and show the same tables that dbt documents.
        runner = PrefectDbtRunner(settings=settings, raise_on_failure=False, disable_assets=True)
        try:
            result = runner.invoke(list(arguments))
        except ValueError as error:
            print(error, flush=True)  # noqa: T201 - the parent reads it
            return 2
    return 0 if result.success else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdin.buffer.read()))
