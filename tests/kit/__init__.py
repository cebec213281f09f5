"""Builders and real processes for tests: a fleet, a kvpilot and an Envoy, each ended by its own process id."""
