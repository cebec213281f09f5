"""Tests of the engines' adapters."""
