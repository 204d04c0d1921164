"""Simulations that say how good a rule is; `make simulate-anomalies` prints the tables of docs/anomalies.md."""
