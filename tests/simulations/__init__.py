"""Simulations that say how good a rule is: `make simulate-anomalies` for docs/anomalies.md, `make simulate-drift`."""
