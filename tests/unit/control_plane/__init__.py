"""Tests of the slow loop."""
