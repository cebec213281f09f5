"""What rules of authorization look at."""

import pytest

from control_plane.policy.identity import needs_certificate, needs_model, needs_token
from tests.unit.control_plane.policy.samples import MINIMAL, document


@pytest.mark.parametrize(
    ("rules", "token", "certificate"),
    [
        ("[{}]", False, False),
        ("[{from: [{source: {requestPrincipals: ['*']}}]}]", True, False),
        ("[{from: [{source: {notRequestPrincipals: ['*']}}]}]", True, False),
        ("[{when: [{key: 'request.auth.claims[a]', values: [b]}]}]", True, False),
        ("[{from: [{source: {principals: ['*']}}]}]", False, True),
        ("[{from: [{source: {notPrincipals: ['*']}}]}]", False, True),
        ("[{when: [{key: source.principal, values: [b]}]}]", False, True),
    ],
)
def test_what_rules_look_at(rules: str, token: bool, certificate: bool) -> None:
    """A rule that looks at a token or a certificate is known, also one that wants the opposite."""
    text = MINIMAL.replace("8080}", f"8080, authorization: [{{name: a, rules: {rules}}}]}}")
    [listener] = document(text).policy.listeners
    assert (needs_token(listener.authorization), needs_certificate(listener.authorization)) == (token, certificate)


@pytest.mark.parametrize(("key", "expected"), [("request.model", True), ("source.ip", False)])
def test_rules_about_models(key: str, expected: bool) -> None:
    """A listener with such a rule has the body's model read."""
    rules = f"[{{}}, {{when: [{{key: {key}, values: [10.0.0.1]}}]}}]"
    text = MINIMAL.replace("8080}", f"8080, authorization: [{{name: a, rules: {rules}}}]}}")
    assert needs_model(document(text).policy.listeners[0].authorization) is expected
