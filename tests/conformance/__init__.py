"""Against the protocols and the real Envoy: what the parts promise to each other over the wire."""
