"""For all tests: no test depends on how fast the machine is, and Hypothesis would give each example 200 ms."""

from hypothesis import HealthCheck, settings

settings.register_profile("kvpilot", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kvpilot")
