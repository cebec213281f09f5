"""Envoy's messages: which ones we speak (`roots`), their descriptors (`derive`), their classes (`messages`)."""
