"""Tests of `protos`."""
