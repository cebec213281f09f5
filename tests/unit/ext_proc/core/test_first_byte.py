"""The limit of one try: streams, plain answers, and when there is none."""

import pytest

from ext_proc.core.first_byte import AUTO_FLOOR_S, AUTO_TOKENS_PER_S, DEFAULT_MAX_TOKENS, SLOWEST_TOKEN_S, first_byte_ms
from ext_proc.core.request import Kind, ParsedRequest
from ext_proc.core.settings import PoolSettings


def limit(
    *,
    first_byte_s: float | None = None,
    stream: bool = True,
    max_tokens: int | None = None,
    kind: Kind = "chat",
    uncached: float = 0,
    request_timeout_s: float = 600.0,
) -> int | None:
    """The limit in ms."""
    request = ParsedRequest(
        kind=kind, model="m", stream=stream, max_tokens=max_tokens, prompt_parts=(), session="", salt=""
    )
    pool = PoolSettings(name="p", cluster="c", first_byte_s=first_byte_s, request_timeout_s=request_timeout_s)
    return first_byte_ms(request, pool, uncached)


def test_an_explicit_limit_bounds_streams() -> None:
    """Whatever the queue, and however small."""
    assert limit(first_byte_s=2.5, uncached=1e6) == 2_500
    assert limit(first_byte_s=0.0001) == 1


def test_auto_grows_with_the_work_in_front() -> None:
    """A floor for cold engines, and time for the tokens before the first byte."""
    assert limit() == AUTO_FLOOR_S * 1_000
    assert limit(uncached=10 * AUTO_TOKENS_PER_S) == (AUTO_FLOOR_S + 10) * 1_000


@pytest.mark.parametrize(("asked", "tokens"), [(100, 100), (None, DEFAULT_MAX_TOKENS), (-5, 0)])
def test_a_plain_answer_gets_its_generation_on_top(asked: int | None, tokens: int) -> None:
    """With the tokens that it may generate, or the usual limit."""
    assert limit(first_byte_s=1.0, stream=False, max_tokens=asked) == round((1 + tokens * SLOWEST_TOKEN_S) * 1_000)


def test_an_embedding_generates_nothing() -> None:
    """It is plain, but quick."""
    assert limit(first_byte_s=1.0, stream=False, kind="embedding") == 1_000


def test_no_limit_where_the_request_ends_first() -> None:
    """A limit at or above the request's timeout is left out."""
    assert limit(first_byte_s=1.0, stream=False, max_tokens=100_000) is None
    assert limit(first_byte_s=10.0, request_timeout_s=10.0) is None
    assert limit(first_byte_s=9.0, request_timeout_s=10.0) == 9_000
