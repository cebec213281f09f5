"""The composition root: the two loops, the admin server, the policy watch and, if wanted, an Envoy, in one process."""
