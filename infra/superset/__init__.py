"""Superset: datasets, metrics and dashboards of gold as code."""
