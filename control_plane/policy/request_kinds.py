"""What requests there are."""

KINDS = ("chat", "completion", "embedding", "responses", "messages")
"""Kinds of requests, by their path (`ext_proc.core.request.KINDS`)."""
