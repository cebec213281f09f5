"""Tests: unit (mirrors the source), conformance, e2e, and the kit that they share."""
