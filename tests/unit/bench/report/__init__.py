"""Unit tests of the replay report."""
