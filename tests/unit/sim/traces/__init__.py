"""Tests of traces: formats, generators, numbers."""
