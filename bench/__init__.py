"""Benchmarks: each prints a table and one JSON line. They measure; no test depends on what they find."""
