"""Tests of `control_plane.scenarios`."""
