"""Live data in: outcomes from Envoy's access log service; load and cache events from the engines themselves."""
