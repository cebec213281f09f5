"""Tests of the replay in virtual time."""
