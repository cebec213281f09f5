"""Tests of `control_plane/demo`."""
