"""The model's value changes and nothing else does."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.alias import Asked, asked_of, replace_model
from ext_proc.core.settings import PickerSettings


@pytest.mark.parametrize(
    ("body", "rewritten"),
    [
        (b'{"model":"a"}', b'{"model":"NEW"}'),
        (b' {\n"model"\t:\r\n "a" , "n": 1.50}\n', b' {\n"model"\t:\r\n "NEW" , "n": 1.50}\n'),
        (b'{"m":{"model":"a"},"model":"a"}', b'{"m":{"model":"a"},"model":"NEW"}'),
        (b'{"m":[{"model":"a"}],"model":"a"}', b'{"m":[{"model":"a"}],"model":"NEW"}'),
        (b'{"user":"model","model":"model"}', b'{"user":"model","model":"NEW"}'),
        (b'{"t":"\\"model\\":\\"a\\"","model":"a\\"b\\\\"}', b'{"t":"\\"model\\":\\"a\\"","model":"NEW"}'),
        (b'{"mo\\u0064el":"a"}', b'{"mo\\u0064el":"NEW"}'),
        (b'{"mo\\u0065el":"a"}', b'{"mo\\u0065el":"a"}'),
        (b'{"\xff\\n":1,"\\ud800":2,"model":"a"}', b'{"\xff\\n":1,"\\ud800":2,"model":"NEW"}'),
        (b'{"model":"a","x":"\xc3\xbc{[","model":"b"}', b'{"model":"NEW","x":"\xc3\xbc{[","model":"NEW"}'),
        (b'{"model":5,"x":"model"}', b'{"model":5,"x":"model"}'),
        (b'{"model":null,"x":"a"}', b'{"model":null,"x":"a"}'),
        (b'{"model":["a"],"x":{"model":"a"}}', b'{"model":["a"],"x":{"model":"a"}}'),
        (b'{"stop":["model","a"]}', b'{"stop":["model","a"]}'),
        (b"{}", b"{}"),
    ],
)
def test_replaces_only_top_level_values(body: bytes, rewritten: bytes) -> None:
    """Nested keys, values, escapes and white space stay; repeated and escaped keys are found."""
    assert replace_model(body, "NEW") == rewritten


@pytest.mark.parametrize(
    ("route", "name", "asked"),
    [
        ("", "m", Asked("m", "engine")),
        ("", "alias", Asked("m", "engine")),
        ("", "k", Asked("k", "k")),
        ("", "other", None),
        ("rule/r", "alias", Asked("m", "forced")),
        ("rule/r", "other", None),
        ("rule/o", "other", Asked("other", "other")),
        ("rule/o", "alias", Asked("m", "engine")),
    ],
)
def test_what_a_name_stands_for(route: str, name: str, asked: Asked | None) -> None:
    """A model by any of its names, and what its engine calls it; the route's word is the last."""
    settings = PickerSettings(
        version="v",
        models={"m": "m", "alias": "m", "k": "k"},
        engine_models={"m": "engine"},
        rewrites={"rule/r": "forced"},
        open_routes=frozenset({"rule/o"}),
    )
    assert asked_of(settings, route, name) == asked


def test_writes_any_name_as_json() -> None:
    """A name with quotes and other characters is escaped."""
    assert json.loads(replace_model(b'{"model": "a"}', 'ü"\\\n')) == {"model": 'ü"\\\n'}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='model":{}[],\\ü\n'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["model", "m", '"', "a:"]), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["model", "messages", "x\\", '"model"']), _JSON), st.booleans(), st.booleans())
def test_is_the_document_with_another_model(document: dict[str, Any], ascii_only: bool, spaced: bool) -> None:
    """Read again, the document differs in its model only; and putting the old name back gives the old bytes."""
    document = {**document, "model": "old"}
    body = json.dumps(document, ensure_ascii=ascii_only, indent=2 if spaced else None).encode()
    rewritten = replace_model(body, "new")
    assert json.loads(rewritten) == {**document, "model": "new"}
    assert replace_model(rewritten, "old") == body
