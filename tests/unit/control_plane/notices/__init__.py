"""Tests of `control_plane/notices`."""
