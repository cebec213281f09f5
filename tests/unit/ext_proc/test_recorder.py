"""What is recorded of a request's body."""

import json
from dataclasses import replace

import pytest

from ext_proc.core.blocks import BLOCK_BYTES, block_hashes
from ext_proc.core.request import ParsedRequest, RequestFacts, parse_request
from ext_proc.core.settings import PickerSettings, PoolSettings
from ext_proc.core.strategies.session import Parameters
from ext_proc.recorder import question_of

SETTINGS = PickerSettings(version="v", models={"m": "m", "alias": "m"}, engine_models={"m": "engine/m"})


def facts(**fields: object) -> RequestFacts:
    """A completion."""
    body = {"model": "alias", "prompt": "Once upon a time. " * 40, **fields}
    return RequestFacts(path="/v1/completions", body=json.dumps(body).encode(), session="s-1")


def test_what_is_told() -> None:
    """Canonical model, lengths, and the hashes of whole blocks under what the engine is asked for."""
    asked = facts(stream=True, max_tokens=9, user="u", cache_salt="pepper")
    request = parse_request(asked)
    assert isinstance(request, ParsedRequest)
    text = b"".join(request.prompt_parts)
    whole = len(text) // BLOCK_BYTES
    found = question_of(SETTINGS, asked, "p", "id", 5.0)
    assert found is not None
    assert (found.decision_id, found.at, found.pool, found.model) == ("id", 5.0, "p", "m")
    assert (found.kind, found.stream, found.max_tokens) == ("completion", True, 9)
    assert (found.session, found.user, found.tokens) == ("s-1", "u", len(text) // 4)
    assert found.blocks == block_hashes(text, "engine/m", "pepper")[:whole]
    assert 0 < whole < len(block_hashes(text, "engine/m", "pepper"))


@pytest.mark.parametrize(
    ("key", "session"),
    [(None, "s-1"), (Parameters(cookie="sid"), "42"), (Parameters(header="x-s"), ""), (Parameters(use_user=True), "u")],
)
def test_a_session_is_what_the_pool_knows_it_by(key: Parameters | None, session: str) -> None:
    """By its own header, cookie or user, where its policy names one; else by the listener's header."""
    pool = PoolSettings(name="p", cluster="c", parameters={} if key is None else {"session": key})
    asked = replace(facts(user="u"), headers={"cookie": "a=b; sid=42"})
    found = question_of(replace(SETTINGS, pools=(pool,)), asked, "p", "id", 5.0)
    assert found is not None
    assert (found.session, found.user) == (session, "u")


@pytest.mark.parametrize(
    "asked",
    [RequestFacts(path="/v1/completions", body=b"{"), facts(model="nobody's")],
)
def test_what_cannot_be_told(asked: RequestFacts) -> None:
    """A body or a model that means nothing under these settings."""
    assert question_of(SETTINGS, asked, "p", "id", 0.0) is None
