"""Tests of the re-implemented rules of other systems."""
