"""From what Envoy tells of a request to what it wants of a pool. Whole requests are in `test_picker.py`."""

import json
from dataclasses import replace
from typing import Any

import pytest

from ext_proc.core.blocks import block_hashes, tokens_of
from ext_proc.core.counted import Counted
from ext_proc.core.decision import Rejected, Unpicked
from ext_proc.core.pool import Pool, deciders, prepared
from ext_proc.core.request import RequestFacts
from ext_proc.core.settings import EndpointSettings, PickerSettings, PoolSettings
from ext_proc.core.slots import Slots
from ext_proc.core.token_blocks import token_block_hashes, token_bytes
from ext_proc.core.token_sizes import TokenSizes
from ext_proc.core.wanted import NO_ENDPOINT_RETRY_AFTER_S, Asking, no_endpoint, read, wanted_of

PODS = (EndpointSettings(address="10.0.0.1:8000"),)
POOL = PoolSettings(name="p", cluster="pool/p", strategy="kv-aware", endpoints=PODS, request_timeout_s=30.0)
SETTINGS = PickerSettings(version="v", pools=(POOL,), models={"big": "big", "alias": "big"}, timeouts_s={"quick": 2.0})
TEXT = "Once upon a time there was a router. " * 20


def pools(settings: PoolSettings = POOL) -> dict[str, Pool]:
    """The pool by its cluster."""
    who = deciders(settings, None, has_shadows=False)
    return {settings.cluster: prepared(settings, who, Slots())}


POOL_BY_CLUSTER = pools()


def facts(model: str = "big", **changes: Any) -> RequestFacts:
    """A completion."""
    body = json.dumps({"model": model, "prompt": TEXT, "max_tokens": 7, "user": "u"}).encode()
    made = RequestFacts(body=body, path="/v1/completions", cluster="pool/p", session="s", headers={"x-a": "b"})
    return replace(made, **changes)


def asking_of(asked: RequestFacts) -> Asking:
    """A request that a pool is asked about."""
    found = read(asked, SETTINGS, pools(), TokenSizes())
    assert isinstance(found, Asking), found
    return found


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (facts(cluster="pool/other"), "the route leads to no pool"),
        (facts("other"), "unknown model"),
    ],
)
def test_nobody_is_asked(asked: RequestFacts, reason: str) -> None:
    """What is no affair of a pool is left to Envoy."""
    assert read(asked, SETTINGS, pools(), TokenSizes()) == Unpicked(reason)


def test_an_empty_pool() -> None:
    """Requests for it are read, since they may go elsewhere; else it is 503, and when to come back."""
    empty = pools(replace(POOL, endpoints=(replace(PODS[0], available=False),)))
    assert isinstance(read(facts(), SETTINGS, empty, TokenSizes()), Asking)
    answer = no_endpoint(empty["pool/p"])
    assert (answer.status, answer.error.code, answer.retry_after_s) == (503, "no_endpoint", NO_ENDPOINT_RETRY_AFTER_S)


def test_a_request_that_no_engine_would_take() -> None:
    """Its client is told, whatever pools there are."""
    answer = read(facts(body=b'{"model": "big", "prompt": }'), SETTINGS, {}, TokenSizes())
    assert isinstance(answer, Rejected)
    assert (answer.status, answer.error.code) == (400, "invalid_json")


def test_the_timeout_is_the_routes_own() -> None:
    """Else the pool's."""
    assert asking_of(facts(route="quick")).timeout_s == 2.0
    assert asking_of(facts(route="other")).timeout_s == 30.0


def test_an_alias_has_a_new_body() -> None:
    """The engine is asked by the name that it knows; a body with that name stays as it is."""
    assert asking_of(facts()).body is None
    body = asking_of(facts("alias")).body
    assert body is not None
    assert json.loads(body)["model"] == "big"


def test_what_is_wanted() -> None:
    """All that strategies may look at; blocks only where somebody does, under the engine's own name."""
    asking = asking_of(facts("alias"))
    wanted = wanted_of(asking, needs_prompt=True, waited_s=1.5)
    text = b"".join(asking.request.prompt_parts)
    assert wanted.blocks == block_hashes(text, "big", asking.request.salt)
    assert wanted.blocks
    assert (wanted.model, wanted.timeout_s, wanted.waited_s) == (asking.asked.model, 30.0, 1.5)
    assert wanted.tokens == wanted.request.tokens == tokens_of(text)
    request = wanted.request
    assert (request.model, request.max_tokens, request.session, request.user) == ("big", 7, "s", "u")
    assert request.headers == {"x-a": "b"}
    assert wanted_of(asking, needs_prompt=False) == replace(wanted, blocks=(), waited_s=0.0)


def test_tokens_in_place_of_the_text() -> None:
    """Where they are known: the length is exact, blocks are of tokens, and the base model has no name in them."""
    ids = tuple(range(130))
    counted = Counted(token_bytes(ids))
    base = {**POOL_BY_CLUSTER, "pool/p": pools(replace(POOL, base_model="big"))["pool/p"]}
    for known, name in ((POOL_BY_CLUSTER, "big"), (base, "")):
        asking = read(facts(counted=counted), SETTINGS, known, TokenSizes())
        assert isinstance(asking, Asking)
        wanted = wanted_of(asking, needs_prompt=True)
        assert wanted.blocks == token_block_hashes(ids, name)
        assert (wanted.tokens, wanted.size, wanted.block_tokens) == (130, 0, 64.0)
        assert wanted.request.counted_by == "tokens"


def test_why_not_tokens() -> None:
    """The record says it; nobody says anything where nobody was asked."""
    assert wanted_of(asking_of(facts()), needs_prompt=False).request.counted_by == "text"
    late = wanted_of(asking_of(facts(counted=Counted(None, "late"))), needs_prompt=True)
    assert late.request.counted_by == "text: late"
    assert late.blocks == wanted_of(asking_of(facts()), needs_prompt=True).blocks
