"""End to end: simulated pods (or real engines), kvpilot as a process, a real Envoy, real HTTP clients."""
