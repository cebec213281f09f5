"""Live data in: outcomes from Envoy's access log service, load from the engines' metrics pages."""
