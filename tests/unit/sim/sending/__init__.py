"""Tests of sending traces to real endpoints."""
