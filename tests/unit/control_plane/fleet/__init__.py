"""Tests of the fleet values."""
