"""Tests of `control_plane.drills`."""
