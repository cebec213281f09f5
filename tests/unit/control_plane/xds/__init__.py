"""Tests of the xDS server."""
