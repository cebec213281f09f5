"""Tests of `control_plane/admin`."""
