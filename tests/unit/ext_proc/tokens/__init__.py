"""Tests of `ext_proc.tokens`."""
