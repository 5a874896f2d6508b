"""Suites of `tools/benchmark.py`, one a file.

A suite has `SIZES`, names with descriptions, a quick trial first and then the default; and `suite(size)`, which returns
its benchmarks.
"""
