"""What `kvpilot demo` shows: simulated pods, a real Envoy, real requests, and a report of what became of each."""
