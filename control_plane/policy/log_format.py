"""Envoy's command operators, as far as a policy may write them: `%REQ(x-team)%`, `%START_TIME%`.

Envoy refuses a listener with an operator that it does not know or that is written wrongly, so they are checked here.
The lists are those of the oldest Envoy that kvpilot is tested with (access log page, "Command operators"): a newer
operator would be refused there.
"""

import difflib
import re

MAX_FORMAT = 1024
"""Characters of one format."""

_TOKEN = re.compile(r"%(?P<name>[A-Z][A-Z0-9_]*)(?:\((?P<argument>[^)]*)\))?(?::(?P<length>[0-9]{1,5}))?%")

_TLS_NAMES = (
    "URI_SAN", "DNS_SAN", "IP_SAN", "EMAIL_SAN", "SUBJECT",
)  # fmt: skip

PLAIN_OPERATORS = frozenset((
    "ACCESS_LOG_TYPE", "BYTES_RECEIVED", "BYTES_SENT", "CONNECTION_ID", "CONNECTION_TERMINATION_DETAILS",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_HEADER_BYTES_SENT", "DOWNSTREAM_LOCAL_ADDRESS", "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_PORT", *(f"DOWNSTREAM_LOCAL_{name}" for name in _TLS_NAMES if name != "IP_SAN"),
    "DOWNSTREAM_PEER_CERT", "DOWNSTREAM_PEER_FINGERPRINT_1", "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_ISSUER", "DOWNSTREAM_PEER_SERIAL", *(f"DOWNSTREAM_PEER_{name}" for name in _TLS_NAMES),
    "DOWNSTREAM_REMOTE_ADDRESS", "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_REMOTE_PORT",
    "DOWNSTREAM_TLS_CIPHER", "DOWNSTREAM_TLS_SESSION_ID", "DOWNSTREAM_TLS_VERSION",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON", "DOWNSTREAM_WIRE_BYTES_RECEIVED", "DOWNSTREAM_WIRE_BYTES_SENT",
    "DURATION", "GRPC_STATUS_NUMBER", "HOSTNAME", "PROTOCOL", "REQUESTED_SERVER_NAME", "REQUEST_DURATION",
    "REQUEST_HEADERS_BYTES", "REQUEST_TX_DURATION", "RESPONSE_CODE", "RESPONSE_CODE_DETAILS", "RESPONSE_DURATION",
    "RESPONSE_FLAGS", "RESPONSE_FLAGS_LONG", "RESPONSE_HEADERS_BYTES", "RESPONSE_TRAILERS_BYTES",
    "RESPONSE_TX_DURATION", "ROUNDTRIP_DURATION", "ROUTE_NAME", "STREAM_ID", "TRACE_ID", "UNIQUE_ID",
    "UPSTREAM_CLUSTER", "UPSTREAM_CLUSTER_RAW", "UPSTREAM_CONNECTION_ID", "UPSTREAM_CONNECTION_POOL_READY_DURATION",
    "UPSTREAM_HEADER_BYTES_RECEIVED", "UPSTREAM_HEADER_BYTES_SENT", "UPSTREAM_HOST",
    "UPSTREAM_HOST_NAME", "UPSTREAM_HOST_NAME_WITHOUT_PORT", "UPSTREAM_LOCAL_ADDRESS",
    "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", "UPSTREAM_LOCAL_PORT", "UPSTREAM_PROTOCOL", "UPSTREAM_REMOTE_ADDRESS",
    "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", "UPSTREAM_REMOTE_PORT", "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    "UPSTREAM_TLS_CIPHER", "UPSTREAM_TLS_SESSION_ID", "UPSTREAM_TLS_VERSION", "UPSTREAM_TRANSPORT_FAILURE_REASON",
    "UPSTREAM_WIRE_BYTES_RECEIVED", "UPSTREAM_WIRE_BYTES_SENT", "VIRTUAL_CLUSTER_NAME",
))  # fmt: skip
"""Operators without an argument."""

_HEADER = r"[:A-Za-z0-9_.-]{1,256}(?:\?[:A-Za-z0-9_.-]{1,256})?"
_PATH = r"[A-Za-z0-9_./-]{1,256}(?::[A-Za-z0-9_./-]{1,256})*"

OPERATORS_WITH_ARGUMENT = {
    "REQ": (_HEADER, "REQ(x-team)"),
    "RESP": (_HEADER, "RESP(x-kvpilot-pod)"),
    "TRAILER": (_HEADER, "TRAILER(grpc-status)"),
    "DYNAMIC_METADATA": (_PATH, "DYNAMIC_METADATA(kvpilot:model)"),
    "CLUSTER_METADATA": (_PATH, "CLUSTER_METADATA(kvpilot:engine)"),
    "UPSTREAM_METADATA": (_PATH, "UPSTREAM_METADATA(envoy.lb:gpu)"),
    "ENVIRONMENT": ("[A-Za-z_][A-Za-z0-9_]{0,255}", "ENVIRONMENT(HOSTNAME)"),
    "QUERY_PARAM": ("[A-Za-z0-9_.-]{1,256}", "QUERY_PARAM(trace)"),
}
"""Operators that need an argument → what it can be, and an example."""

OPERATORS_WITH_FORMAT = frozenset(("START_TIME", "EMIT_TIME"))
"""Operators that may have a time format, such as `%START_TIME(%s.%3f)%`; kvpilot takes them without one."""


def format_problem(text: str) -> tuple[str, str]:
    """What is wrong with a format, and a hint; two empty texts for nothing."""
    position = 0
    while (start := text.find("%", position)) >= 0:
        if text.startswith("%%", start):
            position = start + 2
            continue
        found = _TOKEN.match(text, start)
        if found is None:
            message = f"`{text[start : start + 40]}` is no command operator of Envoy's"
            return message, "the form is %NAME% or %NAME(argument)%; a plain percent sign is %%"
        problem = _operator_problem(found["name"], found["argument"], found["length"])
        if problem[0]:
            return problem
        position = found.end()
    return "", ""


def _operator_problem(name: str, argument: str | None, length: str | None) -> tuple[str, str]:
    if name in PLAIN_OPERATORS or name in OPERATORS_WITH_FORMAT:
        is_bare = argument is None and length is None
        return ("", "") if is_bare else (f"`%{name}%` has no argument and no length here", f"write %{name}%")
    if name not in OPERATORS_WITH_ARGUMENT:
        known = (*PLAIN_OPERATORS, *OPERATORS_WITH_ARGUMENT, *OPERATORS_WITH_FORMAT)
        similar = difflib.get_close_matches(name, sorted(known), n=1)
        hint = f"did you mean `%{similar[0]}%`?" if similar else ""
        return f"`%{name}%` is no command operator that kvpilot knows", hint
    pattern, example = OPERATORS_WITH_ARGUMENT[name]
    if argument is None or re.fullmatch(pattern, argument) is None:
        return f"`%{name}%` needs an argument", f"such as %{example}%"
    if length is not None and name.endswith("METADATA"):
        return f"`%{name}%` has no length", f"write %{name}({argument})%"
    return "", ""
