"""Benchmarks: ratios from one run on one machine; `make benchmark` runs them all."""
