"""What requests lose on a way: tools, long answers."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.features import offers_tools, without_features
from ext_proc.core.request import Kind

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("body", "offers"),
    [
        (b'{"tools": [{"type": "function"}]}', True),
        (b'{"functions": [{}]}', True),
        (b'{"tools": []}', False),
        (b'{"tools": null}', False),
        (b'{"messages": [{"tools": [1]}]}', False),
        (b"{}", False),
    ],
)
def test_offers_tools(body: bytes, offers: bool) -> None:
    """At the top of the body, and any at all."""
    assert offers_tools(body) is offers


def test_tools_are_removed() -> None:
    """With all that is about them, and nothing else; the values of other keys stay byte by byte."""
    body = b'{"model": "m", "tools": [1], "tool_choice": "auto", "parallel_tool_calls": true, "x": {"a":  1e2}}'
    left, lost = without_features(body, "chat", tools_off=True, max_tokens=None)
    assert (left, lost) == (b'{"model":"m","x":{"a":  1e2}}', ("tools",))
    assert without_features(b'{"a":  1}', "chat", tools_off=True, max_tokens=None) == (b'{"a":  1}', ())


@pytest.mark.parametrize(
    ("kind", "body", "left"),
    [
        ("chat", '{"max_tokens":5}', None),
        ("chat", '{"max_tokens":10}', None),
        ("chat", '{"max_tokens":11}', {"max_tokens": 10}),
        ("chat", '{"max_completion_tokens":11}', {"max_completion_tokens": 10}),
        ("chat", '{"max_completion_tokens":3}', None),
        ("chat", '{"max_completion_tokens":12,"max_tokens":3}', {"max_completion_tokens": 10, "max_tokens": 3}),
        ("chat", '{"model":"m"}', {"model": "m", "max_tokens": 10}),
        ("chat", '{"max_tokens":null}', {"max_tokens": 10}),
        ("chat", '{"max_tokens":"many"}', None),
        ("completion", '{"max_tokens":1e3}', {"max_tokens": 10}),
        ("completion", '{"max_tokens":-1}', {"max_tokens": 10}),
        ("completion", '{"max_tokens":1%s}' % ("0" * 400), {"max_tokens": 10}),
        ("responses", '{"input":""}', {"input": "", "max_output_tokens": 10}),
        ("messages", '{"max_tokens":400}', {"max_tokens": 10}),
        ("embedding", "{}", None),
        ("chat", "[1]", None),
        ("chat", "not JSON", None),
    ],
)
def test_long_answers_are_bounded(kind: Kind, body: str, left: dict[str, int] | None) -> None:
    """By the key that the kind of request has; what asks for no bound gets one, what is no number is left alone."""
    found, lost = without_features(body.encode(), kind, tools_off=False, max_tokens=10)
    if left is None:
        assert (found, lost) == (body.encode(), ())
    else:
        assert (json.loads(found), lost) == (left, ("max_tokens",))


@given(st.dictionaries(st.text(), JSON, max_size=6), st.booleans(), st.integers(1, 100))
def test_whatever_else_is_there_stays(values: dict[str, object], tools_off: bool, most: int) -> None:
    """Of any object, all but the keys that this is about."""
    found, _ = without_features(json.dumps(values).encode(), "chat", tools_off=tools_off, max_tokens=most)
    about = {"tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "max_tokens"}
    about.add("max_completion_tokens")
    kept = {key: value for key, value in values.items() if key not in about}
    assert {key: value for key, value in json.loads(found).items() if key not in about} == kept
