"""Tests of `control_plane/cli`."""
