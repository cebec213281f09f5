"""Endpoints and their life: which there are, where they are, how they are."""
