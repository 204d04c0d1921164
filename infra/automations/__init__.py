"""Automations as code: what Prefect does by itself when runs die, stall or fail."""
