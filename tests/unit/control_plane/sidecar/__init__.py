"""Tests of `control_plane/sidecar`."""
