"""A picked request read once more, for those who record it: nothing of this is done while nobody does. Pure."""

from ext_proc.core.alias import asked_of
from ext_proc.core.blocks import BLOCK_BYTES, block_hashes, tokens_of
from ext_proc.core.request import ParsedRequest, RequestFacts, parse_request
from ext_proc.core.settings import PickerSettings
from ext_proc.core.strategies.session import key_of
from ext_proc.core.strategies.view import Request
from ext_proc.recording import Question


def question_of(
    settings: PickerSettings, facts: RequestFacts, pool: str, decision_id: str, at: float
) -> Question | None:
    """What is recorded of a request; None where settings changed since the pick, and nobody knows its model now."""
    request = parse_request(facts)
    if not isinstance(request, ParsedRequest):
        return None
    asked = asked_of(settings, facts.route, request.model)
    if asked is None:
        return None
    text = request.prompt
    # A partial block at the end stands for nothing that an engine caches.
    whole = text[: len(text) // BLOCK_BYTES * BLOCK_BYTES]
    return Question(
        decision_id=decision_id,
        at=at,
        pool=pool,
        model=asked.model,
        kind=request.kind,
        stream=request.stream,
        tokens=tokens_of(text),
        max_tokens=request.max_tokens,
        blocks=block_hashes(whole, asked.engine_model, request.salt),
        session=_session(settings, facts, request, pool),
        user=request.user,
    )


def _session(settings: PickerSettings, facts: RequestFacts, request: ParsedRequest, pool: str) -> str:
    """What the pool knows the request's session by, where its policy names that; else the listener's session header."""
    keys = (each.parameters.get("session") for each in settings.pools if each.name == pool)
    key = next(keys, None)
    if key is None:
        return request.session
    return key_of(Request(session=request.session, user=request.user, headers=facts.headers), key)
