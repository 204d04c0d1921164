"""What the embedded Prefect server serves: Prefect's own application, imported faster."""

from __future__ import annotations

from typing import Any

from tasks.imports import uncollected


def create_app() -> Any:
    """Return the application for uvicorn; Prefect's settings are in the environment."""
    with uncollected():
        from prefect.server.api import server

        return server.create_app()
