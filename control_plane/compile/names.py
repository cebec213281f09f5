"""Every name that kvpilot and Envoy must agree on: resources, headers, metadata keys, paths, log names.

Resource names come from identity (the operator's own names), never from a position in a list, so that moving a line in
the policy changes nothing in Envoy.
"""

KVPILOT_CLUSTER = "kvpilot"
"""The cluster of ext_proc and of the access log service; both listen on one port."""

RUNTIME_RESOURCE = "kvpilot"
"""The RTDS layer that an Envoy asks for; the bootstrap's `rtds_layer` has the same name."""

DECISION_HEADER = "x-kvpilot-decision"
"""The picker's decision id, on the request to the pod and on the response to the client."""
POD_HEADER = "x-kvpilot-pod"
"""The address of the pod that served, on the response to the client."""
EXPLAIN_HEADER = "x-kvpilot-explain"
"""`1` on a request asks for the decision's id, where the listener lets clients ask."""
DEGRADED_HEADER = "x-kvpilot-degraded"
"""On the response to the client: the model that answered in place of the one that was asked for, or how it was."""
FEATURES_HEADER = "x-kvpilot-degraded-features"
"""What the request lost on its way, with commas between."""
ANSWER_HEADER = "x-kvpilot-answer"
"""On a request that a rule of the policy answers: Envoy's error pages leave that answer as it is."""
PER_TRY_TIMEOUT_HEADER = "x-envoy-upstream-rq-per-try-timeout-ms"
"""Envoy's router takes the limit of one try from here (router filter documentation, "HTTP headers (consumed)")."""

MAX_RETRIES_HEADER = "x-envoy-max-retries"
"""How often the router tries again at most; it wins over the route (the same page)."""

LB_NAMESPACE = "envoy.lb"
"""Dynamic metadata that the picker answers with."""
DESTINATION_KEY = "x-gateway-destination-endpoint"
"""Addresses, best first, comma separated: the key that the public endpoint-picker protocol uses."""
DECISION_KEY = "kvpilot-decision"
TOLD_KEY = "kvpilot-told-decision"
"""The decision's id again, for a client that asked for it."""
FIRST_BYTE_KEY = "kvpilot-first-byte-ms"
"""Digits; absent means no limit for one try."""
RETRIES_KEY = "kvpilot-retries"
"""Digits; absent means as many as the route says."""
POOL_KEY = "kvpilot-pool"
"""A pool in place of the one that Envoy chose."""
DEGRADED_KEY = "kvpilot-degraded"
FEATURES_KEY = "kvpilot-degraded-features"
SERVED_KEY = "x-gateway-destination-endpoint-served"
"""Where `override_host` notes the host that it really chose."""

KVPILOT_NAMESPACE = "kvpilot"
"""Dynamic metadata that Envoy's own filters put there for routes and logs."""
MODEL_KEY = "model"
STREAM_KEY = "stream"
ASKED_TOKENS_KEY = "max_tokens"
"""How long the answer may become, as the body says; only where a rule asks for it. Absent: no bound."""
TOOLS_KEY = "tools"
"""True for a body that offers tools; only where a rule asks for it."""
BODY_KEY = "body"
"""What is wrong with a body: `BODY_NOT_JSON` or `BODY_WITHOUT_MODEL`; absent for a body with a model."""
BODY_NOT_JSON = "not-json"
BODY_WITHOUT_MODEL = "no-model"
PROMPT_TOKENS_KEY = "prompt_tokens"
COMPLETION_TOKENS_KEY = "completion_tokens"
CACHED_TOKENS_KEY = "cached_tokens"

ATTEMPT_LOG = "attempt"
REQUEST_LOG = "request"

DEFAULT_ROUTE = "default"
NOT_JSON_ROUTE = "not-json"
NO_MODEL_ROUTE = "no-model"
UNKNOWN_MODEL_ROUTE = "unknown-model"

GENERATION_PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages")
EMBEDDINGS_PATH = "/v1/embeddings"
PICKED_PATHS = (*GENERATION_PATHS, EMBEDDINGS_PATH)
"""POSTs here have a model and a prompt; everything else goes unpicked to the listener's default pool."""


def cluster_name(pool: str) -> str:
    """Envoy's name of a pool: its cluster and its EDS service."""
    return f"pool/{pool}"


def statistics_name(name: str) -> str:
    """A name for Envoy's statistics, which split names at dots: they would cut `llama-3.1-8b` in two."""
    return name.replace(".", "_")


def rule_route_name(rule: str) -> str:
    """The name of a rule's routes."""
    return f"rule/{rule}"


def detour_route_name(pool: str) -> str:
    """The name of the routes to a pool that the picker names in place of another."""
    return f"degraded/{pool}"


def model_route_name(model: str) -> str:
    """The name of a model's routes, by which the picker and the access log know the rule that matched."""
    return f"model/{model}"
