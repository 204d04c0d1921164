"""A wild application through the pipeline, killed at random: nothing is lost, doubled or altered."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.simulations.wild.simulation import Simulation

DAYS = int(os.environ.get("WAREHOUSE_SIMULATION_DAYS", "3"))
SEEDS = os.environ.get("WAREHOUSE_SIMULATION_SEEDS", "1")


@pytest.mark.slow
@pytest.mark.timeout(60 * DAYS)
@pytest.mark.parametrize("seed", [int(seed) for seed in SEEDS.split(",")])
def test_days_of_a_wild_application(
    seed: int, tmp_path: Path, mongodb_uri: str, mongodb_database: str, postgres_url: str, prefect_server: str
) -> None:
    models = bool(os.environ.get("WAREHOUSE_SIMULATION_MODELS"))
    with Simulation(tmp_path, mongodb_uri, mongodb_database, postgres_url, seed, models=models) as simulation:
        figures = simulation.live(DAYS)
    print(figures)
    assert not figures.faults, "\n".join(figures.faults)
