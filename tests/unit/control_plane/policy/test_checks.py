"""Rules between values; their places are in `test_bad_policies.py`, here is what the findings say."""

import pytest

from control_plane.policy import load
from tests.unit.control_plane.policy.samples import FILE, MINIMAL, with_pool


def _said(text: str) -> list[tuple[str, str]]:
    return [(found.message, found.hint) for found in load(text, FILE).diagnostics]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (MINIMAL.replace("pool: chat", "pool: caht"), "there is no pool `caht`", "did you mean `chat`?"),
        (MINIMAL.replace("pool: chat", "pool: other"), "there is no pool `other`", "possible here: chat"),
        (
            MINIMAL.replace("pool: chat", "pool: chat, aliases: [llama]"),
            "the alias `llama` is the name of a model",
            "it is defined in line 3",
        ),
        (
            MINIMAL.replace("pool: chat", "pool: chat, aliases: [x, x]"),
            "the alias `x` is taken",
            "by the one in line 3",
        ),
        (
            MINIMAL.replace("pool: chat", "route: [{pool: chat, weight: 0}]"),
            "the weights of this route add up to 0",
            "together they must be in 1..4294967295",
        ),
        (
            with_pool("endpoints:\n- {address: 10.0.0.1:1}\n- {address: 10.0.0.1:1}"),
            "the endpoint `10.0.0.1:1` is in this list already",
            "the first is in line 7",
        ),
        (
            MINIMAL.replace("8080}", "8080}, {name: b, address: 127.0.0.1:8080}"),
            "the address `127.0.0.1:8080` belongs to the listener `openai` already",
            "an address has one listener",
        ),
        (
            MINIMAL.replace("}]}}", "}]}, spare: {endpoints: [{address: 10.0.0.2:1}]}}"),
            "no model and no listener uses the pool `spare`",
            "remove it, or give it to a model",
        ),
    ],
)
def test_messages(text: str, message: str, hint: str) -> None:
    """A finding says what is wrong in the file's own words and what to do."""
    assert _said(text) == [(message, hint)]


def test_weights_of_a_damaged_route() -> None:
    """Of a route with a bad weight no sum is known, so none is complained about."""
    text = MINIMAL.replace("pool: chat", "route: [{pool: chat, weight: 0}, {pool: chat, weight: x}]")
    assert [found.code for found in load(text, FILE).diagnostics] == ["KP206"]


@pytest.mark.parametrize("use", ["defaultPool: spare", ""])
def test_default_pools_are_used(use: str) -> None:
    """A pool that only other paths use is in use; without `defaultPool` that is the first one."""
    text = (
        f"kvpilot: v1\nlisteners: [{{name: a, address: 127.0.0.1:80{use and ', ' + use}}}]\n"
        "models: [{name: m, pool: chat}]\n"
        "pools: {spare: {endpoints: [{address: 10.0.0.2:1}]}, chat: {endpoints: [{address: 10.0.0.1:1}]}}\n"
    )
    assert _said(text) == []


def test_no_warning_about_pools_in_a_bad_file() -> None:
    """Which pools are in use is only known of a file without errors."""
    text = MINIMAL.replace("name: llama, pool: chat", "name: llama").replace(
        "pools: {", "pools: {a: {endpoints: [{address: 10.0.0.2:1}]}, "
    )
    assert [found.code for found in load(text, FILE).diagnostics] == ["KP203"]


def test_endpoints_without_places() -> None:
    """A failover in a pool without regions and zones says why it leads nowhere."""
    text = with_pool(
        "endpoints: [{address: 10.0.0.1:1}]\n"
        "trafficPolicy: {loadBalancer: {localityLbSetting: {enabled: true, failover: [{from: a, to: b}]}}}"
    )
    assert _said(text) == [("no endpoint of `chat` is in `b`", "they have no region and no zone")]
