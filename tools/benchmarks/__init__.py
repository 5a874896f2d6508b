"""Suites of `tools/benchmark.py`, one a file; each has a `SUITE` of benchmarks and its `SIZES`."""
