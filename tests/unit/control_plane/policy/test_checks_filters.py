"""Mistakes in faults, limits, logs and patches, each with the place and code of its finding."""

import json

import pytest

from control_plane.policy import load
from tests.unit.control_plane.policy.samples import FILE, MINIMAL, document, places

NODES = "pools: {chat: {endpoints: [{address: 10.0.0.1:8000}]}}\n"


def listener(settings: str) -> str:
    """A policy with `settings` at its listener, in line 2 from column 53 on."""
    return (
        f"kvpilot: v1\nlisteners: [{{name: openai, address: 127.0.0.1:8080, {settings}}}]\n"
        f"models: [{{name: llama, pool: chat}}]\n{NODES}"
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("fault: {abort: {httpStatus: 503}}", []),
        ("fault: {delay: {fixedDelay: 1s, percentage: {value: 0.1}}, headers: {x-a: {exact: b}}}", []),
        ("fault: off", ["2:60 KP204"]),
        ("fault: {}", ["2:53 KP203"]),
        ("fault: {delay: {}}", ["2:68 KP203"]),
        ("fault: {delay: {fixedDelay: 5}}", ["2:81 KP206"]),
        ("fault: {delay: {exponentialDelay: 1s, fixedDelay: 1s}}", ["2:69 KP215"]),
        ("fault: {abort: {httpStatus: 600}}", ["2:81 KP207"]),
        ("fault: {abort: {httpStatus: 500, percentage: 50}}", ["2:98 KP204"]),
        ("fault: {abort: {httpStatus: 500, percentage: {value: 101}}}", ["2:106 KP207"]),
        ("fault: {abort: {grpcStatus: 1, httpStatus: 500}}", ["2:69 KP215"]),
        ("fault: {abort: {httpStatus: 500}, headers: {x-a: {present: true}}}", []),
        ("fault: {abort: {httpStatus: 423}}", ["2:81 KP215"]),
        ("fault: {abort: {httpStatus: 500}, headers: {x-a: {}}}", ["2:102 KP203"]),
        ("fault: {abort: {httpStatus: 500}, headers: {x-a: {exact: a, regex: b}}}", ["2:113 KP214"]),
        ("fault: {abort: {httpStatus: 500}, headers: {x-a: {regex: '('}}}", ["2:110 KP206"]),
        ("fault: {abort: {httpStatus: 500}, headers: {x-a: {prefix: ''}}}", ["2:111 KP206"]),
        ("fault: {abort: {httpStatus: 500}, headers: {x-envoy-a: {exact: a}}}", ["2:97 KP209"]),
    ],
)
def test_faults(settings: str, expected: list[str]) -> None:
    """What Envoy's fault filter would refuse, and what does nothing."""
    assert places(listener(settings)) == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("rateLimit: [{requests: 1}]", []),
        ("rateLimit: [{requests: 10, per: 1m, burst: 20, header: X-Api-Key}]", []),
        ("rateLimit: [{requests: 10, header: {name: x-tier, exact: free}}]", []),
        ("rateLimit: {requests: 1}", ["2:64 KP204"]),
        ("rateLimit: [{per: 1s}]", ["2:65 KP203"]),
        ("rateLimit: [{requests: 0}]", ["2:76 KP207"]),
        ("rateLimit: [{requests: 1, per: 10ms}]", ["2:84 KP207"]),
        ("rateLimit: [{requests: 1, burst: 0}]", ["2:86 KP207"]),
        ("rateLimit: [{requests: 1, tokens: 5}]", ["2:79 KP215"]),
        ("rateLimit: [{requests: 1, header: 'a b'}]", ["2:87 KP209"]),
        ("rateLimit: [{requests: 1, header: }]", ["2:87 KP205"]),
        ("rateLimit: [{requests: 1, header: {exact: a}}]", ["2:87 KP203"]),
        ("rateLimit: [{requests: 1, header: {name: a, exact: a, prefix: b}}]", ["2:115 KP214"]),
        (f"rateLimit: [{', '.join(['{requests: 1}'] * 17)}]", ["2:64 KP213"]),
    ],
)
def test_rate_limits(settings: str, expected: list[str]) -> None:
    """What Envoy's local rate limit would refuse."""
    assert places(listener(settings)) == expected


def test_the_name_of_a_header_is_enough() -> None:
    """`header: x` is each value of x; header names are in lower case."""
    (limit,) = document(listener("rateLimit: [{requests: 1, header: X-Api-Key}]")).policy.listeners[0].rate_limit
    assert limit.header is not None
    assert (limit.header.name, limit.header.counts_each_value) == ("x-api-key", True)
    assert (limit.per_s, limit.burst) == (1.0, None)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("accessLog: [{}]", []),
        ("accessLog: [{path: /var/log/a.log, fields: {a: '%REQ(x)%', time: ''}, filter: {minStatus: 400}}]", []),
        ("accessLog: {}", ["2:64 KP204"]),
        ("accessLog: [{path: access.log}]", ["2:72 KP206"]),
        ("accessLog: [{path: '/a b'}]", ["2:72 KP206"]),
        ("accessLog: [{fields: {a: '%REQ%'}}]", ["2:78 KP206"]),
        ("accessLog: [{fields: {'a b': x}}]", ["2:75 KP209"]),
        ('accessLog: [{fields: {a: "x\\ny"}}]', ["2:78 KP206"]),
        ("accessLog: [{filter: {minStatus: 600}}]", ["2:86 KP207"]),
        ("accessLog: [{format: text}]", ["2:66 KP201"]),
    ],
)
def test_access_logs(settings: str, expected: list[str]) -> None:
    """What Envoy would refuse, but for a file that it cannot open on its own machine."""
    assert places(listener(settings)) == expected


def patches(text: str) -> str:
    """The smallest policy with these patches, from line 6 on."""
    return f"{MINIMAL}envoyPatch:\n{text}"


def patch(operation: str) -> str:
    """A patch with one operation, in line 6 from column 57 on."""
    return patches(f"- {{name: p, kind: cluster, resource: pool/chat, patch: [{operation}]}}\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (patch("{op: add, path: /x/-, value: null}"), []),
        (patch("{op: remove, path: ''}"), []),
        (patch("{op: move, from: /a~1b, path: /c~0d}"), []),
        (patch("{op: ad, path: /x, value: 1}"), ["6:62 KP208"]),
        (patch("{op: add, path: x, value: 1}"), ["6:73 KP206"]),
        (patch("{op: add, path: /x~2, value: 1}"), ["6:73 KP206"]),
        (patch("{op: add, path: /x}"), ["6:57 KP203"]),
        (patch("{op: remove, path: /x, value: 1}"), ["6:87 KP902"]),
        (patch("{op: copy, path: /x}"), ["6:57 KP203"]),
        (patch("{op: remove, path: /x, from: /y}"), ["6:86 KP902"]),
        (patches("- {name: p, kind: clusters, resource: a, patch: [{op: remove, path: /x}]}\n"), ["6:19 KP208"]),
        (patches("- {name: p, kind: cluster, resource: a b, patch: [{op: remove, path: /x}]}\n"), ["6:38 KP209"]),
        (patches("- {name: p, kind: cluster, resource: a, patch: []}\n"), ["6:48 KP213"]),
        (patches("- {kind: cluster, resource: a, patch: [{op: remove, path: /x}]}\n"), ["6:3 KP203"]),
        (
            patches("- {name: p, kind: cluster, resource: a, patch: [{op: remove, path: /x}]}\n" * 2),
            ["7:10 KP302"],
        ),
    ],
)
def test_patches(text: str, expected: list[str]) -> None:
    """What no JSON patch is; whether it fits is not known here."""
    assert places(text) == expected


def test_values_of_patches_are_json() -> None:
    """Types are kept, in a form that can be compared and hashed."""
    text = patch("{op: add, path: /x, value: {n: 1.50, t: '1', l: [true, ~]}}")
    (found,) = document(text).policy.envoy_patch[0].patch
    assert json.loads(found.value) == {"n": 1.5, "t": "1", "l": [True, None]}
    assert hash(document(text).policy) == hash(document(text).policy)


@pytest.mark.parametrize(("text", "expected"), [("true", []), ("false", []), ("off", ["5:19 KP206"])])
def test_feedback(text: str, expected: list[str]) -> None:
    """A switch, on by default."""
    assert places(f"{MINIMAL}feedback: {{usage: {text}}}\n") == expected
    assert document(MINIMAL).policy.feedback.usage


def test_faults_and_limits_of_models_and_rules() -> None:
    """The same words in all three places."""
    own = "pool: chat, rateLimit: [{requests: 1}], fault: {abort: {httpStatus: 500}}}]"
    text = (
        f"{MINIMAL.replace('pool: chat}]', own)}"
        "rules: [{name: r, match: {method: {exact: PUT}}, pool: chat, rateLimit: [{requests: 2}], "
        "fault: {delay: {fixedDelay: 1s}}}]\n"
    )
    policy = document(text).policy
    assert [limit.requests for owner in (policy.models[0], policy.rules[0]) for limit in owner.rate_limit] == [1, 2]
    assert load(text, FILE).diagnostics == ()
