"""A wild application through the pipeline, killed at random: nothing is lost, doubled or altered, and gold tells why.

`make simulate` lets as many days pass as it is told to; here it is a few.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.simulations.wild.simulation import Simulation

pytestmark = pytest.mark.slow

# Days with kills and with changes of many kinds.
DAYS = int(os.environ.get("WAREHOUSE_SIMULATION_DAYS", "4"))
SEEDS = [int(seed) for seed in os.environ.get("WAREHOUSE_SIMULATION_SEEDS", "5").split()]


@pytest.mark.timeout(300 + 120 * DAYS)
@pytest.mark.parametrize("seed", SEEDS)
def test_every_value_is_in_bronze_or_rejects_every_change_in_the_ledger_and_gold_is_green_or_says_why(
    seed: int, tmp_path: Path, mongodb_uri: str, mongodb_database: str, postgres_url: str, prefect_server: str
) -> None:
    with Simulation(tmp_path, mongodb_uri, mongodb_database, postgres_url, seed) as simulation:
        figures = simulation.live(DAYS)
    print(f"seed {seed}: {figures}")
    assert not figures.faults, "\n".join(figures.faults)
    assert figures.days == DAYS and figures.kills and figures.compared
